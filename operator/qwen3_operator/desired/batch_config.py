"""The ConfigMap that carries the runner, its configuration, and prompts that stand in the spec, into vLLM's image."""

from __future__ import annotations

import json
from typing import Any

from qwen3_in_engine.batch_runner.contract import Config
from qwen3_operator.api import API_VERSION
from qwen3_operator.api.batch import Qwen3Batch, Qwen3BatchSpec
from qwen3_operator.desired.modules import items, texts
from qwen3_operator.naming import BATCH_DIR, batch_labels, digest, owner_reference

PACKAGE = "qwen3_in_engine.batch_runner"
CONFIG_KEY, PROMPTS_KEY = "config.json", "prompts.jsonl"
MAIN = f"{BATCH_DIR}/main.py"


def batch_config_map(namespace: str, name: str, uid: str, spec: Qwen3BatchSpec, config: Config) -> dict[str, Any]:
    """The ConfigMap. Its name holds a hash of its content: a Job that runs keeps the one that it was made with."""
    data = {CONFIG_KEY: json.dumps(config.as_json(), ensure_ascii=False), **texts(PACKAGE)}
    if spec.input.prompts is not None:
        lines = (json.dumps({"prompt": prompt}, ensure_ascii=False) for prompt in spec.input.prompts)
        data[PROMPTS_KEY] = "".join(f"{line}\n" for line in lines)
    return {
        "metadata": {
            "namespace": namespace,
            "name": f"{name}-batch-{digest(data, 8)}",
            "labels": batch_labels(name),
            "ownerReferences": [owner_reference(Qwen3Batch.KIND, API_VERSION, name, uid, controller=True)],
        },
        "immutable": True,
        "data": data,
    }


def runner_items() -> list[dict[str, str]]:
    """Items of the ConfigMap's volume: each module at the path by which the others import it."""
    modules = [item | {"path": "main.py"} if item["key"] == "__main__.py" else item for item in items(PACKAGE)]
    return [{"key": CONFIG_KEY, "path": CONFIG_KEY}, *modules]
