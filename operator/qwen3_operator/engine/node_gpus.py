"""What the GPUs of a node are, by its labels: whole cards, slices, or shares (gpu_labels.yaml)."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict

from qwen3_operator.engine.gpu import MIB_PER_GIB, Gpu

MIG_RESOURCE = "nvidia.com/mig-"
INSTANCE_TYPE = "node.kubernetes.io/instance-type"
Strategy = Literal["", "mig", "mps", "time-slicing"]
_STRATEGIES: Mapping[str, Strategy] = {"time-slicing": "time-slicing", "time-sharing": "time-slicing", "mps": "mps"}
_SIZE = re.compile(r"(?P<number>[0-9]{1,9}) ?(?P<unit>MiB|GiB)?")


@dataclass(frozen=True, order=True)
class NodeGpus:
    """The GPUs of the nodes that a server may land on."""

    product: str = ""
    """Name of the card; empty: no label has it."""
    memory_mib: int = 0
    """MiB of one GPU, or of one MIG slice; 0: no label has it."""
    count: int = 0
    """Units of the resource on one node: GPUs, slices or shares."""
    pieces: int = 1
    """Units of the resource that one GPU is counted as."""
    strategy: Strategy = ""
    """How a GPU is divided; empty: it is whole, or a pod says by another resource how much of it is wanted."""
    as_sold: bool = False
    """The memory is the size on the box."""

    @property
    def gpus(self) -> int:
        """GPUs of one node that a server's processes can have each for itself."""
        return 1 if self.strategy == "mig" else max(1, self.count // self.pieces)

    def gpu(self) -> Gpu | None:
        """What a server gets for one unit; None where its memory is not known."""
        if self.strategy == "mig":
            return Gpu.from_labels(self.product, self.memory_mib) if self.memory_mib else None
        if self.as_sold:
            whole: Gpu | None = Gpu.on_the_box(self.memory_mib / MIB_PER_GIB, self.product)
        else:
            whole = Gpu.from_labels(self.product or None, self.memory_mib or None)
        if whole is None or self.pieces == 1:
            return whole
        if self.strategy == "mps":
            return replace(whole, memory_gib=whole.memory_gib / self.pieces, source="label")
        return replace(whole, sharers=self.pieces) if self.strategy == "time-slicing" else whole


def gpus_of_node(labels: Mapping[str, str], allocatable: Mapping[str, str], resource: str) -> NodeGpus:
    """``allocatable``: of the node's status. No GPUs (``count`` 0) where it does not have the resource."""
    count = _number(allocatable.get(resource))
    if not count:
        return NodeGpus()
    if resource.startswith(MIG_RESOURCE):
        return _own_labels(labels, count, resource, "mig")
    known = _labels()
    if resource not in known.gpu_resources:  # what another kind of device is called says nothing about it
        return _own_labels(labels, count, resource, "")
    if _first(labels, known.partition) or "-MIG-" in labels.get(known.product[0], ""):
        return _own_labels(labels, count, "nvidia.com/gpu", "mig")
    exact, sold = _mib(_first(labels, known.memory)), _mib(_first(labels, known.memory_on_the_box))
    pieces, strategy = _division(labels, count)
    product = _first(labels, known.product) or _of_instance_type(labels.get(INSTANCE_TYPE) or "")
    return NodeGpus(product, exact or sold, count, pieces, strategy, as_sold=not exact and bool(sold))


def memory_label(resource: str) -> str:
    """The label that makes the memory of a resource known; empty where the operator reads none."""
    if resource.startswith(MIG_RESOURCE):
        return f"{resource}.memory"
    return "nvidia.com/gpu.memory" if resource in _labels().gpu_resources else ""


def share_mib(gpu_memory_mib: float | None, asked: Mapping[str, str]) -> float | None:
    """MiB of each GPU that a pod asks for by resources like nvidia.com/gpumem; None where it asks for no share.

    ``asked``: the pod's own resources beside the GPU. ``gpu_memory_mib``: of the whole GPU, None when not known.
    """
    for resource, unit in _labels().share_resources.items():
        if number := _number(asked.get(resource)):
            if unit == "MiB":
                return number
            return gpu_memory_mib * min(number, 100) / 100 if gpu_memory_mib is not None else None
    return None


def _own_labels(labels: Mapping[str, str], count: int, prefix: str, strategy: Strategy) -> NodeGpus:
    """By the labels that carry the resource's own name. The labels of the whole card do not say what a part has."""
    return NodeGpus(labels.get(f"{prefix}.product") or "", _mib(labels.get(f"{prefix}.memory")), count, 1, strategy)


def _division(labels: Mapping[str, str], count: int) -> tuple[int, Strategy]:
    """(units that one GPU is counted as, how it is divided)."""
    known = _labels()
    pieces = _number(_first(labels, known.pieces))
    if pieces > 1:
        return pieces, _STRATEGIES.get(_first(labels, known.strategy), "time-slicing")
    physical = _number(_first(labels, known.count))
    # HAMi counts a GPU several times and says nothing of it: pods ask for memory by another resource.
    return (count // physical if physical and count > physical else 1), ""


def _of_instance_type(name: str) -> str:
    kinds = _labels().instance_types.items()
    return next((card for pattern, card in kinds if fnmatch.fnmatchcase(name, pattern)), "")


def _first(labels: Mapping[str, str], names: Iterable[str]) -> str:
    return next((labels[name] for name in names if labels.get(name)), "")


def _mib(text: str | None) -> int:
    found = _SIZE.fullmatch((text or "").strip())
    if found is None:
        return 0
    return int(found["number"]) * (MIB_PER_GIB if found["unit"] == "GiB" else 1)


def _number(text: str | None) -> int:
    """A whole number without a unit; 0 for anything else."""
    text = str(text or "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


class _Labels(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    product: list[str]
    memory: list[str]
    memory_on_the_box: list[str]
    count: list[str]
    pieces: list[str]
    strategy: list[str]
    partition: list[str]
    gpu_resources: list[str]
    share_resources: dict[str, Literal["MiB", "percent"]]
    instance_types: dict[str, str]


@cache
def _labels() -> _Labels:
    text = resources.files("qwen3_operator.engine").joinpath("gpu_labels.yaml").read_text(encoding="utf-8")
    return _Labels.model_validate(yaml.safe_load(text))
