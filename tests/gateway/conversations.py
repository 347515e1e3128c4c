"""Users who talk on and on: each question comes with all that was said before it."""

from __future__ import annotations

import http.client
import json
import random
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

_WORDS = (
    "cluster server model token answer question weight memory cache queue batch prompt reason tool call stream route"
    " gateway picker volume claim node pod label price river mountain garden letter number colour winter summer"
)
_SAMPLE = re.compile(r"^(vllm:[a-z_]+)\{[^}]*\} ([0-9.e+]+)$", re.MULTILINE)


@dataclass(frozen=True)
class Talk:
    """So many users, each with a document of their own, and so many questions of each."""

    users: int
    questions: int
    at_once: int
    document: int
    question: int
    """Words."""

    def hold(self, port: int, model: str, seed: int) -> int:
        """Ask everything at a port; returns the tokens of all prompts. Raises AssertionError for a request that is not
        answered."""
        chance = random.Random(seed)
        said = [[_message("system", chance, self.document)] for _ in range(self.users)]
        tokens = 0
        with ThreadPoolExecutor(self.at_once) as pool:
            for _ in range(self.questions):
                for messages in said:
                    messages.append(_message("user", chance, self.question))
                order = chance.sample(said, len(said))  # else they would come to the same server by chance
                for messages, answer in zip(
                    order, pool.map(lambda messages: ask(port, model, messages), order), strict=True
                ):
                    messages.append({"role": "assistant", "content": answer["text"]})
                    tokens += answer["usage"]["prompt_tokens"]
        return tokens


def _message(role: str, chance: random.Random, words: int) -> dict[str, str]:
    return {"role": role, "content": " ".join(chance.choices(_WORDS.split(), k=words))}


def ask(
    port: int,
    model: str,
    messages: list[dict[str, str]],
    *,
    stream: bool = False,
    headers: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """One whole answer: its text and usage. Raises AssertionError for anything else."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    body = {"model": model, "messages": messages, "max_tokens": 8, "temperature": 0, "stream": stream}
    if stream:
        body["stream_options"] = {"include_usage": True}
    try:
        connection.request(
            "POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json", **(headers or {})}
        )
        answer = connection.getresponse()
        text = answer.read().decode()
    except (OSError, http.client.HTTPException) as error:
        raise AssertionError(f"{type(error).__name__}: {error}") from error
    finally:
        connection.close()
    assert answer.status == 200, f"{answer.status}: {text[:300]}"
    if not stream:
        whole = json.loads(text)
        return {"text": whole["choices"][0]["message"]["content"] or "", "usage": whole["usage"]}
    assert text.rstrip().endswith("data: [DONE]"), f"a stream that was cut off: {text[-300:]}"
    pieces = [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: {")]
    said = "".join(c["delta"].get("content") or "" for piece in pieces for c in piece["choices"])
    return {"text": said, "usage": pieces[-1]["usage"]}


def under_load(port: int, model: str, requests: int, users: int, at: dict[int, Callable[[], None]]) -> list[str]:
    """`requests` of `users`, half of them streams; once so many are answered as a key of `at` says, it is called.
    Returns why requests failed."""
    failures: list[str] = []
    numbers: Iterator[int] = iter(range(requests))
    lock, done = threading.Lock(), 0
    pending = sorted(at.items())

    def user() -> None:
        nonlocal done
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            chance = random.Random(number % 32)
            messages = [_message("system", chance, 100), {"role": "user", "content": f"{number}?"}]
            try:
                ask(port, model, messages, stream=number % 2 == 0)
            except AssertionError as error:
                failures.append(f"request {number}: {error}")
            with lock:
                done += 1
                act = pending.pop(0)[1] if pending and done >= pending[0][0] else None
            if act:
                act()

    threads = [threading.Thread(target=user) for _ in range(users)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == requests and not pending
    return failures


def metrics(text: str) -> dict[str, float]:
    """Samples of vLLM's /metrics by name, added up over their labels."""
    found: dict[str, float] = {}
    for name, value in _SAMPLE.findall(text):
        found[name] = found.get(name, 0.0) + float(value)
    return found
