"""The runner as a pod has it: its files from the ConfigMap, a Python without this project, vLLM's CPU build."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from images.vllm_bundle import bundle
from tests.batch.runner import REPOSITORY, Batch

from qwen3_in_engine.batch_runner.contract import Config
from qwen3_operator.api.batch import Qwen3BatchSpec
from qwen3_operator.desired.batch_config import CONFIG_KEY, batch_config_map, runner_items

CHECKPOINT = REPOSITORY / "tests" / "data" / "tiny-qwen3"
PYTHON = str(Path(sys.executable).resolve())
NAME = "Tiny-Qwen3"
ENGINE = (
    *(PYTHON, str(REPOSITORY / "images" / "vllm-cpu" / "vllm"), "serve", str(CHECKPOINT)),
    *("--served-model-name", NAME, "--max-model-len", "2048", "--enforce-eager", "--kv-cache-memory-bytes=64M"),
    *("--reasoning-parser", "qwen3", "--enable-auto-tool-choice", "--tool-call-parser", "hermes"),
)


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
        assert json.loads((folder / "etc" / CONFIG_KEY).read_text(encoding="utf-8"))["models"] == [NAME]
        self.how: dict[str, Any] = {"command": [PYTHON, str(folder / "etc" / "main.py")], "env": environment()}
