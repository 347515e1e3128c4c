"""The middleware inside a real vLLM (its CPU build): both fields in whole answers and in streams."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from tests.engine_real.server import CONFIG, serving

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a server that repeats the reasoning under its old name."""
    with serving(tmp_path_factory.mktemp("server"), replace(CONFIG, reasoning_content=True)) as started:
        started.wait()
        yield started.url


def ask(server: str, **more: Any) -> bytes:
    body = {
        "model": "Qwen3-8B",
        "messages": [{"role": "user", "content": "5的阶乘是多少?"}],
        "temperature": 0,
        **more,
    }
    request = urllib.request.Request(
        f"{server}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        text: bytes = answer.read()
        return text


def test_a_whole_answer(server: str) -> None:
    message = json.loads(ask(server))["choices"][0]["message"]
    assert message["reasoning"]
    assert message["reasoning_content"] == message["reasoning"]
    assert "120" in message["content"]


def test_a_stream(server: str) -> None:
    lines = [
        line.removeprefix(b"data: ") for line in ask(server, stream=True).splitlines() if line.startswith(b"data: ")
    ]
    assert lines[-1] == b"[DONE]"
    deltas = [json.loads(line)["choices"][0]["delta"] for line in lines[:-1]]
    old, new = ("".join(delta.get(name) or "" for delta in deltas) for name in ("reasoning_content", "reasoning"))
    assert old == new != ""
    assert "120" in "".join(delta.get("content") or "" for delta in deltas)
