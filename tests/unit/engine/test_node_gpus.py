"""What labels of GPU operators and cloud vendors say about a node's GPUs."""

from __future__ import annotations

import pytest

from qwen3_operator.engine.gpu import Gpu
from qwen3_operator.engine.node_gpus import NodeGpus, gpus_of_node, memory_label, share_mib

GPU = "nvidia.com/gpu"
MIG = "nvidia.com/mig-1g.10gb"
H100 = {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3", "nvidia.com/gpu.memory": "81559"}
L4_SHARED = {
    "nvidia.com/gpu.product": "NVIDIA-L4-SHARED",
    "nvidia.com/gpu.memory": "23034",
    "nvidia.com/gpu.count": "1",
    "nvidia.com/gpu.replicas": "4",
    "nvidia.com/gpu.sharing-strategy": "time-slicing",
}


def gib(labels: dict[str, str], count: str = "8", resource: str = GPU) -> float | None:
    gpu = gpus_of_node(labels, {resource: count}, resource).gpu()
    return round(gpu.memory_gib, 2) if gpu else None


@pytest.mark.parametrize(
    ("labels", "memory"),
    [
        pytest.param(H100, 79.18, id="feature-discovery"),
        pytest.param({"cloud.google.com/gke-accelerator": "nvidia-tesla-t4"}, 14.6, id="gke-t4"),
        pytest.param({"cloud.google.com/gke-accelerator": "nvidia-tesla-a100"}, 39.4, id="gke-a100"),
        pytest.param({"cloud.google.com/gke-accelerator": "nvidia-a100-80gb"}, 79.1, id="gke-a100-80"),
        pytest.param({"cloud.google.com/gke-accelerator": "nvidia-h100-mega-80gb"}, 79.18, id="gke-h100"),
        pytest.param({"cloud.google.com/gke-accelerator": "nvidia-h200-141gb"}, 139.8, id="gke-h200"),
        pytest.param(
            {"aliyun.accelerator/nvidia_name": "NVIDIA-A10", "aliyun.accelerator/nvidia_mem": "23028MiB"},
            22.0,
            id="ack-a10",
        ),
        pytest.param(
            {"aliyun.accelerator/nvidia_name": "Future", "aliyun.accelerator/nvidia_mem": "16160MiB"},
            15.69,
            id="ack-unknown-card",
        ),
        pytest.param(
            {"karpenter.k8s.aws/instance-gpu-name": "l4", "karpenter.k8s.aws/instance-gpu-memory": "22888"},
            22.0,
            id="karpenter-l4",
        ),
        pytest.param(
            {"karpenter.k8s.aws/instance-gpu-name": "a100", "karpenter.k8s.aws/instance-gpu-memory": "81920"},
            78.4,
            id="karpenter-a100-80-is-not-the-one-of-40",
        ),
        pytest.param(
            {"eks.amazonaws.com/instance-gpu-name": "t4", "eks.amazonaws.com/instance-gpu-memory": "16384"},
            14.6,
            id="eks-t4-as-sold",
        ),
        pytest.param({"node.kubernetes.io/instance-type": "g5.2xlarge"}, 22.0, id="aws-g5"),
        pytest.param({"node.kubernetes.io/instance-type": "p5.48xlarge"}, 79.18, id="aws-p5"),
        pytest.param({"node.kubernetes.io/instance-type": "p5en.48xlarge"}, 139.8, id="aws-p5en"),
        pytest.param({"node.kubernetes.io/instance-type": "g6f.large"}, None, id="aws-g6f-has-parts-of-an-l4"),
        pytest.param({"node.kubernetes.io/instance-type": "Standard_NC24ads_A100_v4"}, 79.1, id="azure-a100"),
        pytest.param({"node.kubernetes.io/instance-type": "m7i.large"}, None, id="unknown-instance"),
        pytest.param({}, None, id="no-label"),
    ],
)
def test_whole_cards(labels: dict[str, str], memory: float | None) -> None:
    assert gib(labels) == memory


def test_the_gpu_operators_labels_count_before_a_vendors() -> None:
    both = H100 | {"cloud.google.com/gke-accelerator": "nvidia-l4", "node.kubernetes.io/instance-type": "g5.xlarge"}
    assert gib(both) == 79.18


@pytest.mark.parametrize("number", ["", "many", "-1", "٣", "99999999999"])
def test_a_label_that_is_no_size_says_nothing(number: str) -> None:
    assert gib({"nvidia.com/gpu.memory": number}) is None


@pytest.mark.parametrize("count", ["0", "", "1k", "99999999999"])
def test_without_the_resource_there_are_no_gpus(count: str) -> None:
    assert gpus_of_node(H100, {GPU: count}, GPU) == NodeGpus()
    assert gpus_of_node(H100, {}, GPU) == NodeGpus()


def test_a_slice_is_never_the_whole_card() -> None:
    """review case 28: a MIG resource without its own label is unknown."""
    assert gib(H100, "7", MIG) is None
    assert gib(H100 | {f"{MIG}.memory": "9984"}, "7", MIG) == 9.69
    assert memory_label(MIG) == f"{MIG}.memory"


@pytest.mark.parametrize(
    ("labels", "memory"),
    [
        ({"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-40GB-MIG-1g.5gb", "nvidia.com/gpu.memory": "4864"}, 4.72),
        ({"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-40GB-MIG-1g.5gb"}, None),
        (
            {
                "cloud.google.com/gke-accelerator": "nvidia-tesla-a100",
                "cloud.google.com/gke-gpu-partition-size": "1g.5gb",
            },
            None,
        ),
    ],
)
def test_nodes_whose_gpus_are_all_cut(labels: dict[str, str], memory: float | None) -> None:
    found = gpus_of_node(labels, {GPU: "7"}, GPU)
    assert (found.strategy, found.gpus) == ("mig", 1)
    assert gib(labels, "7") == memory


def test_time_slicing_leaves_each_server_a_part() -> None:
    found = gpus_of_node(L4_SHARED, {GPU: "4"}, GPU)
    assert (found.pieces, found.gpus, found.strategy) == (4, 1, "time-slicing")
    gpu = found.gpu()
    assert gpu is not None
    assert (gpu.memory_gib, gpu.sharers) == (22.0, 4), "each sees all of the memory, as vLLM will"


def test_gke_time_sharing_and_a_renamed_resource() -> None:
    gke = {
        "cloud.google.com/gke-accelerator": "nvidia-l4",
        "cloud.google.com/gke-gpu-sharing-strategy": "time-sharing",
        "cloud.google.com/gke-max-shared-clients-per-gpu": "2",
    }
    assert gpus_of_node(gke, {GPU: "2"}, GPU).pieces == 2
    assert gpus_of_node(L4_SHARED, {"nvidia.com/gpu.shared": "4"}, "nvidia.com/gpu.shared").pieces == 4


def test_mps_divides_the_memory() -> None:
    gpu = gpus_of_node(L4_SHARED | {"nvidia.com/gpu.sharing-strategy": "mps"}, {GPU: "4"}, GPU).gpu()
    assert gpu is not None
    assert (gpu.memory_gib, gpu.sharers, gpu.source) == (5.5, 1, "label")


def test_hami_counts_a_gpu_several_times() -> None:
    found = gpus_of_node(H100 | {"nvidia.com/gpu.count": "2"}, {GPU: "20"}, GPU)
    assert (found.pieces, found.gpus, found.strategy) == (10, 2, "")
    assert found.gpu() == Gpu.named("H100"), "whole, unless the pod asks for less"


@pytest.mark.parametrize(
    ("asked", "mib"),
    [
        ({}, None),
        ({"nvidia.com/gpumem": "8000"}, 8000),
        ({"volcano.sh/vgpu-memory": "4096"}, 4096),
        ({"nvidia.com/gpumem-percentage": "25"}, 10_000),
        ({"nvidia.com/gpumem": "half"}, None),
        ({"cpu": "8"}, None),
    ],
)
def test_what_a_pod_asks_of_a_gpu(asked: dict[str, str], mib: int | None) -> None:
    assert share_mib(40_000, asked) == mib


def test_a_part_of_an_unknown_card_is_unknown() -> None:
    assert share_mib(None, {"nvidia.com/gpumem-percentage": "25"}) is None
    assert share_mib(None, {"nvidia.com/gpumem": "8000"}) == 8000


@pytest.mark.parametrize("resource", ["amd.com/gpu", "example.com/accelerator"])
def test_what_another_resource_stands_for_is_known_by_its_own_labels_alone(resource: str) -> None:
    assert gib(H100, "8", resource) is None
    assert gib(H100 | {f"{resource}.memory": "65536"}, "8", resource) == 63.62
    assert memory_label(resource) == ""


def test_kinds_of_nodes_have_an_order_whatever_is_known_of_them() -> None:
    assert sorted([NodeGpus(count=8), NodeGpus(memory_mib=81559, count=8)])[0].memory_mib == 0
