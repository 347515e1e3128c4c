"""What servers have measured of themselves, in a ConfigMap that the next ones find: those do not measure again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from qwen3_in_engine.capacity.contract import VARIABLE, Benchmark, Result
from qwen3_operator.desired.child import child_metadata
from qwen3_operator.engine.capacity import result_of
from qwen3_operator.plan import Plan
from qwen3_operator.plan.benchmark import CAPACITY_DIR, CAPACITY_FILE

VOLUME = "capacity"
MOST_RESULTS = 16
"""Of one Qwen3Deployment: of more the oldest go."""
LONGEST_TEXT = 64 * 1024


def capacity_name(name: str) -> str:
    """Name of the ConfigMap with the results for the Qwen3Deployment `name`."""
    return f"{name}-capacity"


def capacity_config_map(namespace: str, name: str, uid: str, results: Sequence[Result]) -> dict[str, Any]:
    """The ConfigMap."""
    text = json.dumps({"results": [it.as_json() for it in results]}, separators=(",", ":"), ensure_ascii=False)
    return {
        "metadata": child_metadata(namespace, name, uid, capacity_name(name)),
        "data": {CAPACITY_FILE: text},
    }


def results_in(config_map: Mapping[str, Any] | None) -> list[Result]:
    """The results in a ConfigMap that there is, in the order in which they came; what cannot be read is none."""
    text = ((config_map or {}).get("data") or {}).get(CAPACITY_FILE, "")
    try:
        given = json.loads(text[:LONGEST_TEXT])["results"]
        return [found for it in given[:MOST_RESULTS] if (found := result_of(it)) is not None]
    except (ValueError, KeyError, TypeError, RecursionError):
        return []


def with_result(results: Iterable[Result], result: Result) -> list[Result]:
    """The results with another one, in the place of one before for the same servers and GPU."""
    others = [it for it in results if (it.key, it.gpu) != (result.key, result.gpu)]
    return [*others, result][-MOST_RESULTS:]


def benchmark_in(template: Mapping[str, Any]) -> Benchmark | None:
    """What servers of a pod template measure; None: nothing."""
    variables = (v for c in template["spec"].get("containers") or () for v in c.get("env") or ())
    text = next((v.get("value") for v in variables if v.get("name") == VARIABLE), None)
    try:
        return Benchmark.from_text(text) if text else None
    except ValueError:
        return None


def volumes(name: str, plan: Plan) -> list[dict[str, Any]]:
    """Of the pod. Optional: it is not there before the first result."""
    if not plan.benchmark:
        return []
    return [{"name": VOLUME, "configMap": {"name": capacity_name(name), "optional": True}}]


def mounts(plan: Plan) -> list[dict[str, Any]]:
    """Of the container. As a folder: the kubelet never changes a file that is mounted by itself."""
    return [{"name": VOLUME, "mountPath": CAPACITY_DIR, "readOnly": True}] if plan.benchmark else []


def variables(plan: Plan) -> list[dict[str, Any]]:
    """Environment variable that says to the middleware what to measure."""
    return [{"name": VARIABLE, "value": plan.benchmark}] if plan.benchmark else []
