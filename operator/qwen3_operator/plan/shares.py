"""GPUs that are not whole: what cannot work on parts of them, and what other servers would miss."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from qwen3_operator.api.deployment import Qwen3DeploymentSpec
from qwen3_operator.api.reasons import Reason
from qwen3_operator.engine.gpu import default_utilization
from qwen3_operator.engine.node_gpus import NodeGpus
from qwen3_operator.engine.parallelism import TP_FIELD
from qwen3_operator.engine.problem import Problem
from qwen3_operator.engine.version import EngineVersion

UTILIZATION_FIELD = "spec.engine.gpuMemoryUtilizationPercent"


def check_shares(spec: Qwen3DeploymentSpec, nodes: Sequence[NodeGpus], version: EngineVersion) -> list[Problem]:
    """What slices and shares of GPUs make impossible or doubtful; empty where whole GPUs are to be had."""
    world = spec.engine.tensor_parallel_size * spec.engine.pipeline_parallel_size
    enough = [node for node in nodes if node.count >= world]
    if not enough or any(node.pieces == 1 and node.strategy != "mig" for node in enough):
        return []
    problems = list(_over_parts(enough, world)) if world > 1 else []
    return problems or list(_greedy(spec, enough, version))


def _over_parts(nodes: Sequence[NodeGpus], world: int) -> Iterator[Problem]:
    """Ranks need a GPU each: NCCL refuses two on one, and a process sees no more than one MIG slice."""
    if all(node.strategy == "mig" for node in nodes):
        words = f"{world} GPUs make one server, and these nodes have MIG slices, which cannot work together"
        yield Problem(Reason.ILLEGAL_PARALLELISM, f"{words}: set 1, or name nodes with whole GPUs", TP_FIELD)
        return
    if all(node.gpus < world for node in nodes):
        most = max(node.gpus for node in nodes)
        words = f"{world} GPUs make one server, and no node has more than {most}, which count as {nodes[0].count}"
        yield Problem(
            Reason.ILLEGAL_PARALLELISM,
            f"{words}: shares of one GPU cannot work together; set {most}, or name nodes with whole GPUs",
            TP_FIELD,
        )
        return
    if all(node.strategy for node in nodes):
        words = f"{world} GPUs make one server, and on these nodes it may get {world} shares of the same one"
        yield Problem(
            Reason.SHARED_GPU, f"{words}, which fails: name nodes with whole GPUs", TP_FIELD, severity="warning"
        )


def _greedy(spec: Qwen3DeploymentSpec, nodes: Sequence[NodeGpus], version: EngineVersion) -> Iterator[Problem]:
    """vLLM sees the whole memory of a GPU that others use too, and takes its part of that."""
    sharers = max((node.pieces for node in nodes if node.strategy == "time-slicing"), default=1)
    percent = spec.engine.gpu_memory_utilization_percent or round(100 * default_utilization(version))
    if sharers == 1 or percent * sharers <= 100:
        return
    fair = int(100 * default_utilization(version) / sharers)
    words = f"{sharers} servers share each GPU, and this one takes {percent} % of its memory: the others cannot start"
    yield Problem(
        Reason.SHARED_GPU,
        f"{words}; set {UTILIZATION_FIELD} to {max(fair, 1)} or less, or name nodes with whole GPUs",
        UTILIZATION_FIELD,
        severity="warning",
    )
