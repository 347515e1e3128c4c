"""Users by the client libraries that people have: openai, httpx, requests, aiohttp and curl, each with its own pool.

A program, run by a Python that has them (vLLM's environment does): one user of each kind asks until SIGTERM, then the
tally of each is printed as JSON. curl keeps a connection for the requests of one command.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import subprocess
import threading
from collections.abc import Callable
from typing import Any

TIMEOUT = 120.0
OF_CURL = 3
"""Requests of one curl command."""
STREAMED = b"data: [DONE]"


class Lost(Exception):
    """A request that did not end as it should."""


def body(model: str, *, stream: bool) -> dict[str, Any]:
    """What everybody asks."""
    question = {"role": "user", "content": "Count from 1 to 40."}
    return {"model": model, "messages": [question], "max_tokens": 60, "temperature": 0, "stream": stream}


def openai_user(url: str, model: str) -> Callable[[], None]:
    """A stream, and a whole answer. Without retries: these would hide what is lost."""
    import openai

    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=TIMEOUT)

    def ask() -> None:
        chunks = list(client.chat.completions.create(**body(model, stream=True)))
        if not any(choice.finish_reason for chunk in chunks for choice in chunk.choices):
            raise Lost("a stream without an end")
        client.chat.completions.create(**body(model, stream=False))

    return ask


def httpx_user(url: str, model: str) -> Callable[[], None]:
    """A stream by httpx."""
    import httpx

    client = httpx.Client(timeout=TIMEOUT)

    def ask() -> None:
        with client.stream("POST", f"{url}/v1/chat/completions", json=body(model, stream=True)) as response:
            check(response.status_code, response.read(), stream=True)

    return ask


def requests_user(url: str, model: str) -> Callable[[], None]:
    """A whole answer by requests."""
    import requests

    session = requests.Session()

    def ask() -> None:
        response = session.post(f"{url}/v1/chat/completions", json=body(model, stream=False), timeout=TIMEOUT)
        check(response.status_code, response.content, stream=False)

    return ask


def aiohttp_user(url: str, model: str) -> Callable[[], None]:
    """Two streams at once by aiohttp."""
    import aiohttp

    loop = asyncio.new_event_loop()

    async def one(session: Any) -> None:
        async with session.post(f"{url}/v1/chat/completions", json=body(model, stream=True)) as response:
            check(response.status, await response.read(), stream=True)

    async def made() -> Any:
        return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT))

    session = loop.run_until_complete(made())

    async def both() -> None:
        await asyncio.gather(one(session), one(session))

    return lambda: loop.run_until_complete(both())


def curl_user(url: str, model: str) -> Callable[[], None]:
    """Some requests after each other on one connection."""
    asked = ["-d", json.dumps(body(model, stream=True)), "-H", "content-type: application/json", "--max-time", "120"]
    one = ["-sSf", *asked, f"{url}/v1/chat/completions"]
    words = ["curl", *one]
    for _ in range(OF_CURL - 1):
        words += ["--next", *one]

    def ask() -> None:
        done = subprocess.run(words, capture_output=True, check=False)
        if done.returncode or done.stdout.count(STREAMED) != OF_CURL:
            raise Lost(f"curl {done.returncode}: {done.stderr.decode()[:200]}")

    return ask


def check(status: int, text: bytes, *, stream: bool) -> None:
    """Raises Lost for an error, and for a stream that was cut."""
    if status != 200 or (stream and not text.rstrip().endswith(STREAMED)) or b'"error"' in text:
        raise Lost(f"HTTP {status}: {text[-200:]!r}")


USERS = {
    "openai": openai_user,
    "httpx": httpx_user,
    "requests": requests_user,
    "aiohttp": aiohttp_user,
    "curl": curl_user,
}


def use(name: str, url: str, model: str, stop: threading.Event, reported: dict[str, Any]) -> None:
    """Ask as this kind of user until the stop."""
    tally = reported.setdefault(name, {"ok": 0, "lost": []})
    ask = USERS[name](url, model)
    while not stop.is_set():
        try:
            ask()
            tally["ok"] += 1
        except Exception as error:
            tally["lost"].append(f"{type(error).__name__}: {error}"[:300])
            stop.wait(0.2)


def main() -> None:
    """Print a word when everybody was answered once, and the tallies at the end."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("model")
    arguments = parser.parse_args()
    stop, reported = threading.Event(), dict[str, Any]()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    threads = [
        threading.Thread(target=use, args=(name, arguments.url, arguments.model, stop, reported), daemon=True)
        for name in USERS
    ]
    for thread in threads:
        thread.start()
    while not stop.wait(0.2) and not all(reported.get(name, {}).get("ok") for name in USERS):
        pass
    print("served", flush=True)
    stop.wait()
    for thread in threads:
        thread.join(TIMEOUT)
    print(json.dumps(reported), flush=True)


if __name__ == "__main__":
    main()
