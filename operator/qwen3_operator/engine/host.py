"""What a server needs beside its GPUs: host memory, CPU, /dev/shm, disk, time to start. Sizes in bytes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from qwen3_operator.engine.weights import Sharding

GIB = 1 << 30

_PROCESS_BYTES = 8 * GIB
"""Python, torch, CUDA context and buffers of one server."""
_LARGEST_SHARD_BYTES = 5 * GIB
"""Qwen stores weights in files of 4 to 5 GB; one is in memory while it is loaded."""

_STARTUP_FIXED_SECONDS = 300
"""Imports (50 s measured), compilation (34 to 75 s), CUDA graphs, kernels made for the GPU (100 s): twice over."""
_SLOWEST_READ_BYTES_PER_SECOND = 60 << 20
"""A network disk at its worst: 30B-A3B took 558 s for 57 GiB (vLLM issue 17327), 105 MB/s."""
_LONGEST_STARTUP_SECONDS = 4 * 3600


@dataclass(frozen=True)
class HostResources:
    """Requests of the server's container. The memory limit must also hold /dev/shm, which counts against it."""

    cpu: int
    memory_bytes: int
    shm_bytes: int


def host_resources(weights_bytes: int | None, sharding: Sharding, adapters_bytes: int = 0) -> HostResources:
    """``weights_bytes``: of the files on disk, None when not known. ``adapters_bytes``: of LoRA adapters, which every
    rank keeps whole.

    Weights are read by mmap, so the page cache takes what is free; needed is one shard for each rank that loads.
    """
    ranks = sharding.world_size
    shard = _LARGEST_SHARD_BYTES if weights_bytes is None else min(weights_bytes, _LARGEST_SHARD_BYTES)
    shm = shm_bytes(sharding)
    memory = _PROCESS_BYTES + (ranks - 1) * 4 * GIB + ranks * (shard + adapters_bytes) + shm
    return HostResources(cpu=4 + ranks, memory_bytes=math.ceil(memory / GIB) * GIB, shm_bytes=shm)


def shm_bytes(sharding: Sharding) -> int:
    """Size of /dev/shm. With several GPUs vLLM takes 160 MiB and 240 MiB a worker (checked since 0.28), NCCL more."""
    return 2 * GIB if sharding.world_size == 1 else GIB + sharding.world_size * GIB


def startup_budget_seconds(weights_bytes: int | None) -> int:
    """Longest start that is no failure, for the startup probe: weights read from a slow disk, and everything after."""
    if weights_bytes is None:
        return 3600
    reading = weights_bytes / _SLOWEST_READ_BYTES_PER_SECOND
    return min(_LONGEST_STARTUP_SECONDS, int(math.ceil((_STARTUP_FIXED_SECONDS + reading) / 60) * 60))


def volume_bytes(weights_bytes: int) -> int:
    """A volume for one checkpoint: a tenth and 1 GiB to spare, in whole GiB (file systems keep a part)."""
    return math.ceil((weights_bytes * 1.1 + GIB) / GIB) * GIB
