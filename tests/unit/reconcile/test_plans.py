"""Plans that are remembered are what make_plan would answer now."""

from __future__ import annotations

from typing import Any

import pytest

from qwen3_operator.api.deployment import Qwen3DeploymentSpec
from qwen3_operator.catalog import resolve
from qwen3_operator.engine.node_gpus import NodeGpus, gpus_of_node
from qwen3_operator.plan import Plan, Weights, make_plan
from qwen3_operator.reconcile import plans
from qwen3_operator.reconcile.plans import Plans
from qwen3_operator.settings import Settings

SETTINGS = Settings(identity="test")


def weights(**fields: Any) -> Weights:
    entry = resolve("Qwen/Qwen3-8B", None, None)
    assert entry is not None
    return Weights("claim", "folder", entry.facts, **fields)


def spec(**engine: Any) -> Qwen3DeploymentSpec:
    return Qwen3DeploymentSpec.model_validate({"model": {"id": "Qwen/Qwen3-8B"}, "engine": engine})


def node(product: str) -> NodeGpus:
    labels = {"nvidia.com/gpu.product": product, "nvidia.com/gpu.memory": "81559"}
    return gpus_of_node(labels, {"nvidia.com/gpu": "8"}, "nvidia.com/gpu")


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Plan]:
    """The plans that were really made."""
    found: list[Plan] = []

    def make(*words: Any, **more: Any) -> Plan:
        found.append(make_plan(*words, **more))
        return found[-1]

    monkeypatch.setattr(plans, "make_plan", make)
    return found


def test_the_same_question_is_answered_once(made: list[Plan]) -> None:
    known = Plans()
    first = known.make(weights(), spec(), SETTINGS, [node("NVIDIA-H100-80GB-HBM3")], "")
    assert known.make(weights(), spec(), SETTINGS, [node("NVIDIA-H100-80GB-HBM3")], "") is first
    assert made == [first]


@pytest.mark.parametrize(
    "other",
    [
        {"weights": weights(claim_is_others=True)},
        {"weights": Weights("claim", "folder")},
        {"spec": spec(maxModelLen=4096)},
        {"spec": spec(maxModelLen=4096, tensorParallelSize=2)},
        {"settings": Settings(identity="test", engine_image="registry.example/vllm:v0.33.0")},
        {"nodes": [node("NVIDIA-A100-SXM4-80GB")]},
        {"nodes": []},
        {"template_hash": "0123"},
        {"chosen_length": 4096},
        {"middleware": False},
    ],
    ids=str,
)
def test_another_question_has_its_own_answer(made: list[Plan], other: dict[str, Any]) -> None:
    asked: dict[str, Any] = {
        "weights": weights(),
        "spec": spec(),
        "settings": SETTINGS,
        "nodes": [node("NVIDIA-H100-80GB-HBM3")],
        "template_hash": "",
    }
    known = Plans()
    known.make(**asked)
    assert known.make(**(asked | other)) == make_plan(**(asked | other))
    assert len(made) == 2


def test_what_was_asked_last_is_kept(made: list[Plan], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans, "_MOST", 2)
    known = Plans()
    for length in (1024, 2048, 1024, 4096, 1024):
        known.make(weights(), spec(maxModelLen=length), SETTINGS, [], "")
    assert [plan.max_model_len for plan in made] == [1024, 2048, 4096]
