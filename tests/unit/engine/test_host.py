"""Host memory, /dev/shm, disk and time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3_operator.engine.host import GIB, host_resources, shm_bytes, startup_budget_seconds, volume_bytes
from qwen3_operator.engine.weights import Sharding


@pytest.mark.parametrize(("tp", "shm"), [(1, 2), (2, 3), (8, 9)])
def test_shared_memory_holds_vllms_rings(tp: int, shm: int) -> None:
    """vLLM asks for 160 MiB, and 240 MiB a worker; NCCL shares the place."""
    assert shm_bytes(Sharding(tp)) == shm * GIB
    assert shm_bytes(Sharding(tp)) >= (160 + 240 * tp) * 2**20


def test_memory_and_cpu_grow_with_the_ranks() -> None:
    one, eight = host_resources(16 * GIB, Sharding(1)), host_resources(230 * GIB, Sharding(8))
    assert (one.cpu, one.memory_bytes // GIB) == (5, 15)
    assert (eight.cpu, eight.memory_bytes // GIB) == (12, 85)
    assert host_resources(None, Sharding(1)) == one
    assert host_resources(GIB, Sharding(1)).memory_bytes < one.memory_bytes


@pytest.mark.parametrize(("weights_gib", "seconds"), [(1, 360), (15, 600), (57, 1320), (220, 4080), (4600, 4 * 3600)])
def test_startup_budget(weights_gib: int, seconds: int) -> None:
    assert startup_budget_seconds(weights_gib * GIB) == seconds


def test_startup_budget_covers_the_slow_load_that_was_seen() -> None:
    """30B-A3B from a slow disk took 558 s to load (vLLM issue 17327)."""
    assert startup_budget_seconds(int(56.9 * GIB)) > 558 + 300


def test_startup_budget_without_a_size() -> None:
    assert startup_budget_seconds(None) == 3600


@given(st.integers(1, 10**13))
def test_a_volume_has_room_to_spare(weights: int) -> None:
    assert volume_bytes(weights) >= weights * 1.1
    assert volume_bytes(weights) % GIB == 0
