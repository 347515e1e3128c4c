"""Asks a server what users of vLLM ask it, with curl and with the openai client, and checks what comes back."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Callable
from typing import Any

from openai import OpenAI

from demo.kube import DemoError

FACTORIAL = "5的阶乘是多少？"
COMPLETION = ("San Francisco is a", "California")
Say = Callable[[str], None]


def expect(truth: object, what: str) -> None:
    """Raise DemoError with `what` unless it is true."""
    if not truth:
        raise DemoError(f"expected {what}")


def curl(url: str, body: dict[str, Any] | None = None, *, say: Say = print) -> Any:
    """The parsed answer to curl; the command is printed first. Raises DemoError for an HTTP error."""
    command = ["curl", "-sS", "--fail-with-body", "--max-time", "60", url]
    if body is not None:
        command += ["-H", "Content-Type: application/json", "-d", json.dumps(body, ensure_ascii=False)]
    say(f"$ {shlex.join(command)}")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DemoError(f"curl {url}: {done.stderr}{done.stdout}")
    return json.loads(done.stdout)


def model_length(url: str, model: str, *, say: Say = print) -> int:
    """max_model_len of the one model that is served."""
    served = curl(f"{url}/v1/models", say=say)["data"]
    say(json.dumps([{k: m[k] for k in ("id", "root", "max_model_len")} for m in served]))
    expect([m["id"] for m in served] == [model], f"/v1/models to name {model} alone")
    return int(served[0]["max_model_len"])


def complete(url: str, model: str, *, say: Say = print) -> None:
    """A plain completion."""
    prompt, expected = COMPLETION
    body = {"model": model, "prompt": prompt, "max_tokens": 16, "temperature": 0}
    text = curl(f"{url}/v1/completions", body, say=say)["choices"][0]["text"]
    say(f"text: {text!r}")
    expect(expected in text, f"{expected} in the completion")


def chat(url: str, model: str, *, say: Say = print) -> None:
    """A chat with its reasoning, by curl."""
    body = {"model": model, "messages": [{"role": "user", "content": FACTORIAL}], "temperature": 0}
    _check(curl(f"{url}/v1/chat/completions", body, say=say)["choices"][0]["message"], say)


def chat_with_openai(url: str, model: str, *, say: Say = print) -> None:
    """The same by the openai client, whole and as a stream."""
    client = OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=60)
    messages: Any = [{"role": "user", "content": FACTORIAL}]
    say(f">>> OpenAI(base_url=…).chat.completions.create(model={model!r}, messages={messages})")
    answer = client.chat.completions.create(model=model, messages=messages, temperature=0)
    _check(answer.choices[0].message.model_dump(), say)
    say(f"usage: {answer.usage.prompt_tokens} + {answer.usage.completion_tokens} tokens" if answer.usage else "")
    streamed = {"reasoning": "", "content": ""}
    for chunk in client.chat.completions.create(model=model, messages=messages, temperature=0, stream=True):
        delta = chunk.choices[0].delta.model_dump()
        for field in streamed:
            streamed[field] += delta.get(field) or ""
    say("the same as a stream:")
    _check(streamed, say)


def _check(message: dict[str, Any], say: Say) -> None:
    say(f"reasoning: {message.get('reasoning')!r}")
    say(f"content:   {message.get('content')!r}")
    expect((message.get("reasoning") or "").strip(), "reasoning that is not empty")
    expect("120" in (message.get("content") or ""), "120 in the answer to 5!")
