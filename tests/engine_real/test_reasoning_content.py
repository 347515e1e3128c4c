"""The middleware inside a real vLLM (its CPU build): both fields in whole answers and in streams."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from images.vllm_bundle import bundle

pytestmark = pytest.mark.e2e

REPOSITORY = Path(__file__).parents[2]
CHECKPOINT = REPOSITORY / "tests" / "data" / "tiny-qwen3"
STARTUP_SECONDS = 240


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a server that runs the middleware from a folder of its own, as from a ConfigMap."""
    folder = tmp_path_factory.mktemp("middleware")
    source = resources.files("qwen3_in_engine").joinpath("reasoning_content.py").read_text(encoding="utf-8")
    (folder / "reasoning_content.py").write_text(source, encoding="utf-8")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "PYTHONPATH": f"{bundle()}:{folder}",
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": "1",
    }
    command = [
        *(sys.executable, str(REPOSITORY / "images" / "vllm-cpu" / "vllm"), "serve", str(CHECKPOINT)),
        *("--host", "127.0.0.1", "--port", str(port), "--served-model-name", "Qwen3-8B", "--max-model-len", "2048"),
        *("--reasoning-parser", "qwen3", "--enforce-eager", "--kv-cache-memory-bytes", "64M"),
        *("--middleware", "reasoning_content.ReasoningContentMiddleware"),
    ]
    log = folder / "vllm.log"
    with log.open("wb") as output, subprocess.Popen(command, env=environment, stdout=output, stderr=output) as process:
        try:
            _wait(f"http://127.0.0.1:{port}/health", process, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(60)


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + STARTUP_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text(errors="replace")[-3000:]
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise AssertionError(f"not ready in {STARTUP_SECONDS} s: {log.read_text(errors='replace')[-3000:]}")


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
