"""The runner as a pod has it: its files from the ConfigMap, a Python without this project, vLLM's CPU build."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import requests
from devcluster.controlplane import free_ports
from images.vllm_bundle import bundle
from tests.batch.runner import REPOSITORY, Batch

from qwen3_in_engine.batch_runner.contract import Config
from qwen3_operator.api.batch import Qwen3BatchSpec
from qwen3_operator.desired.batch_config import CONFIG_KEY, batch_config_map, runner_items

CHECKPOINT = REPOSITORY / "tests" / "data" / "tiny-qwen3"
PYTHON = str(Path(sys.executable).resolve())
NAME = "Tiny-Qwen3"
STARTUP_SECONDS = 300
ENGINE = (
    *(PYTHON, str(REPOSITORY / "images" / "vllm-cpu" / "vllm"), "serve", str(CHECKPOINT)),
    *("--served-model-name", NAME, "--max-model-len", "2048", "--enforce-eager", "--kv-cache-memory-bytes=64M"),
    *("--reasoning-parser", "qwen3", "--enable-auto-tool-choice", "--tool-call-parser", "hermes"),
)

VERIFY: dict[str, Any] = {
    "names": [NAME],
    "max_model_len": 2048,
    "thinking": "hybrid",
    "reasoning_parser": "qwen3",
    "tool_call_parser": "hermes",
    "well_known": True,
}
"""What that engine must be seen to do before its first line."""


def environment() -> dict[str, str]:
    """Environment in which vLLM's CPU build runs, one thread."""
    return {
        **{key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"},
        "PYTHONPATH": str(bundle()),
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": "1",
    }


@contextlib.contextmanager
def serving(words: Sequence[str], folder: Path) -> Iterator[str]:
    """URL of a server of its own."""
    (port,) = free_ports(1)
    command, log = [*words, "--host", "127.0.0.1", "--port", str(port)], folder / "server.log"
    with (
        log.open("wb") as output,
        subprocess.Popen(command, env=environment(), stdout=output, stderr=output, start_new_session=True) as process,
    ):
        try:
            url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + STARTUP_SECONDS
            while not answers(url):
                assert process.poll() is None and time.monotonic() < deadline, log.read_text(errors="replace")[-4000:]
                time.sleep(0.5)
            yield url
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(60)


def answers(url: str) -> bool:
    """Whether a server is up."""
    try:
        return requests.get(f"{url}/health", timeout=5).ok
    except requests.ConnectionError:
        return False


def posted(url: str, body: dict[str, Any]) -> dict[str, Any]:
    """What a server answers to a body."""
    response = requests.post(url, json=body, timeout=60)
    assert response.ok, response.text
    found: dict[str, Any] = response.json()
    return found


class RealBatch(Batch):
    """A batch whose shards run vLLM."""

    def __init__(self, folder: Path, lines: list[Any] | bytes, **config: Any) -> None:
        super().__init__(folder, lines, **{"engine": ENGINE, "models": [NAME], "vocabulary": 640, **config})
        output = {"claim": {"name": "c", "path": "p"}}
        spec = Qwen3BatchSpec.model_validate({"model": {"id": "a/b"}, "input": {"prompts": ["x"]}, "output": output})
        data = batch_config_map("team", "nightly", "uid", spec, Config.from_json(self.config))["data"]
        for item in runner_items():
            target = folder / "etc" / item["path"]
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(data[item["key"]], encoding="utf-8")
        assert json.loads((folder / "etc" / CONFIG_KEY).read_text(encoding="utf-8"))["models"] == self.config["models"]
        self.how: dict[str, Any] = {"command": [PYTHON, str(folder / "etc" / "main.py")], "env": environment()}
