"""Plans for GPUs that are not whole (review case 28)."""

from __future__ import annotations

from typing import Any

import pytest

from qwen3_operator.api.deployment import Qwen3DeploymentSpec
from qwen3_operator.engine.node_gpus import NodeGpus, gpus_of_node
from qwen3_operator.plan import Plan, Weights, make_plan
from qwen3_operator.settings import Settings

L4 = NodeGpus("NVIDIA-L4", 23034, 4)
L4_TIMES_4 = NodeGpus("NVIDIA-L4-SHARED", 23034, 4, 4, "time-slicing")
TWO_L4_TIMES_4 = NodeGpus("NVIDIA-L4-SHARED", 23034, 8, 4, "time-slicing")
SLICES = NodeGpus("NVIDIA-H100-80GB-HBM3-MIG-1g.10gb", 9984, 7, 1, "mig")
HAMI = NodeGpus("NVIDIA-H100-80GB-HBM3", 81559, 20, 10)


def plan(*nodes: NodeGpus, model: str = "Qwen/Qwen3-0.6B", engine: dict[str, Any] | None = None, **spec: Any) -> Plan:
    words = {"model": {"id": model}, "engine": {"maxModelLen": 4096} | (engine or {})} | spec
    return make_plan(Weights("claim", "path"), Qwen3DeploymentSpec.model_validate(words), Settings(), nodes)


def refusals(found: Plan) -> list[tuple[str, str]]:
    return [(problem.field, problem.message) for problem in found.problems]


def test_whole_gpus_raise_no_doubts() -> None:
    found = plan(L4, engine={"tensorParallelSize": 2})
    assert (found.problems, found.warnings) == ((), ())


def test_a_server_is_not_split_over_shares_of_one_gpu() -> None:
    ((field, words),) = refusals(plan(L4_TIMES_4, engine={"tensorParallelSize": 2}))
    assert field == "spec.engine.tensorParallelSize"
    assert "no node has more than 1, which count as 4" in words


def test_where_a_node_has_enough_gpus_shares_of_the_same_one_are_only_possible() -> None:
    found = plan(TWO_L4_TIMES_4, engine={"tensorParallelSize": 2})
    assert found.problems == ()
    (warning,) = found.warnings
    assert (warning.reason, warning.severity) == ("SharedGpu", "warning")
    assert "2 shares of the same one" in warning.message


def test_a_server_is_not_split_over_slices() -> None:
    ((_, words),) = refusals(plan(SLICES, engine={"tensorParallelSize": 2}))
    assert "MIG slices, which cannot work together" in words


def test_a_whole_gpu_elsewhere_is_left_to_the_scheduler() -> None:
    found = plan(L4_TIMES_4, L4, engine={"tensorParallelSize": 2})
    assert (found.problems, found.warnings) == ((), ())


def test_the_fit_is_that_of_the_fair_part() -> None:
    """A quarter of 0.92 of an L4 is 5.06 GiB: enough for 0.6B, not for 8B."""
    small, large = plan(L4_TIMES_4), plan(L4_TIMES_4, model="Qwen/Qwen3-8B")
    assert (small.fit.reason, large.fit.reason) == ("Fits", "DoesNotFit")
    assert "5.1 GiB vLLM may use on a GPU with 22.0 GiB that 4 servers share" in small.fit.message
    (warning,) = small.warnings
    assert "this one takes 92 % of its memory" in warning.message
    assert "gpuMemoryUtilizationPercent to 23 or less" in warning.message


def test_who_says_how_much_is_taken_by_the_word() -> None:
    fair = plan(L4_TIMES_4, engine={"gpuMemoryUtilizationPercent": 23})
    assert (fair.fit.reason, fair.warnings) == ("Fits", ())
    greedy = plan(L4_TIMES_4, model="Qwen/Qwen3-8B", engine={"gpuMemoryUtilizationPercent": 92})
    assert greedy.fit.reason == "Fits"
    assert [warning.reason for warning in greedy.warnings] == ["SharedGpu"]


def test_a_slice_without_its_label_is_unknown_and_the_label_is_named() -> None:
    resource = "nvidia.com/mig-1g.10gb"
    whole = {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3", "nvidia.com/gpu.memory": "81559"}
    found = plan(gpus_of_node(whole, {resource: "7"}, resource), gpu={"resourceName": resource})
    assert found.fit.status == "Unknown"
    assert "(label nvidia.com/mig-1g.10gb.memory); set spec.gpu.memory" in found.fit.message
    said = plan(gpus_of_node(whole, {resource: "7"}, resource), gpu={"resourceName": resource, "memory": "10Gi"})
    assert said.fit.reason == "Fits"


def test_a_slice_with_its_label() -> None:
    found = plan(SLICES, model="Qwen/Qwen3-8B", gpu={"resourceName": "nvidia.com/mig-1g.10gb"})
    assert found.fit.reason == "DoesNotFit"
    assert "on a GPU with 9.7 GiB" in found.fit.message


@pytest.mark.parametrize(
    ("asked", "verdict", "words"),
    [
        ({}, "Fits", "a GPU with 79.2 GiB"),
        ({"nvidia.com/gpumem": "40000"}, "Fits", "a GPU with 39.1 GiB"),
        ({"nvidia.com/gpumem": "16000"}, "DoesNotFit", "a GPU with 15.6 GiB"),
        ({"nvidia.com/gpumem-percentage": "20"}, "DoesNotFit", "a GPU with 15.8 GiB"),
    ],
)
def test_a_share_that_the_pod_asks_for(asked: dict[str, str], verdict: str, words: str) -> None:
    found = plan(HAMI, model="Qwen/Qwen3-8B", resources={"limits": asked})
    assert found.fit.reason == verdict
    assert words in found.fit.message
    assert found.warnings == ()


def test_nodes_with_too_few_gpus_are_none_that_it_may_get() -> None:
    """Four shares of one L4 are not four GPUs: neither for the fit, nor for a size that is proposed."""
    found = plan(L4_TIMES_4, NodeGpus("NVIDIA-H100-80GB-HBM3", 81559, 4), engine={"tensorParallelSize": 2})
    assert found.fit.reason == "Fits", "not FitsSomeNodes"
    alone = plan(L4_TIMES_4, model="Qwen/Qwen3-8B")
    assert "tensorParallelSize" not in alone.fit.message
    whole = plan(L4, model="Qwen/Qwen3-32B")
    assert "tensorParallelSize 4" in whole.fit.message


def test_other_resources_name_the_field_alone() -> None:
    found = plan(NodeGpus(count=8), gpu={"resourceName": "amd.com/gpu"})
    assert found.fit.message.endswith("tells its GPU memory; set spec.gpu.memory")
