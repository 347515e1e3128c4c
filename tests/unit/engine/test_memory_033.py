"""The fit for vLLM 0.33: measured starts, loads that are known to fail, and releases that nobody measured."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.engine.measured_033 import VERSION, Row, rows

from qwen3_operator.catalog import lookup
from qwen3_operator.engine.fit import preflight
from qwen3_operator.engine.gpu import Gpu
from qwen3_operator.engine.load import Load
from qwen3_operator.engine.memory import GIB, predict
from qwen3_operator.engine.overhead import editions_for, full_graphs
from qwen3_operator.engine.version import EngineVersion
from qwen3_operator.engine.weights import Sharding

ROWS = rows()
COLD = [row for row in ROWS if row.available_kv_gib is not None and not row.warm]


def _params(found: list[Row]) -> list[Any]:
    return [pytest.param(row, id=row.case) for row in found]


def test_all_rows_are_there() -> None:
    assert (len(ROWS), len(COLD)) == (19, 15)


@pytest.mark.parametrize("row", _params(ROWS))
def test_weights(row: Row) -> None:
    """GPTQ: the tensors that Marlin drops are counted."""
    assert predict(row.load).weights_gib == pytest.approx(row.weights_gib, abs=0.11 if "GPTQ" in row.case else 0.035)


@pytest.mark.parametrize("row", _params(COLD))
def test_kv_cache(row: Row) -> None:
    assert row.available_kv_gib is not None
    allowed = max(0.15, 0.01 * row.available_kv_gib)
    assert predict(row.load).kv_cache_gib == pytest.approx(row.available_kv_gib, abs=allowed)


@pytest.mark.parametrize("row", _params(COLD))
def test_overhead(row: Row) -> None:
    """Tighter than what is asked for: a term that is wrong on a large card must not hide behind its one percent."""
    assert predict(row.load).overhead_gib == pytest.approx(row.overhead_gib, abs=0.08)


def test_a_warm_start_takes_less_than_predicted() -> None:
    (warm,) = (row for row in ROWS if row.warm)
    assert warm.overhead_gib is not None
    assert warm.overhead_gib < predict(warm.load).overhead_gib < warm.overhead_gib + 0.4


@pytest.mark.parametrize("row", _params([row for row in COLD if row.kv_tokens]))
def test_tokens_of_the_measured_cache(row: Row) -> None:
    assert row.available_kv_gib is not None
    memory = replace(predict(row.load), kv_cache_gib=row.available_kv_gib)
    assert memory.longest() == pytest.approx(row.kv_tokens, abs=16 + 0.0006 * GIB / memory.kv_bytes_per_token)


@pytest.mark.parametrize("row", _params([row for row in ROWS if row.held_gib]))
def test_what_is_free_at_the_start(row: Row) -> None:
    assert predict(row.load).free_at_start_gib == pytest.approx(139.80 - (row.held_gib or 0), abs=0.01)


@pytest.mark.parametrize("row", _params(COLD))
def test_every_start_that_came_up_fits(row: Row) -> None:
    report = preflight(row.load, row.max_model_len)
    assert report.verdict == "Fits"
    assert report.memory is not None and report.max_model_len_that_fits is not None
    assert row.available_kv_gib is not None
    assert report.memory.kv_gib_for(report.max_model_len_that_fits) <= row.available_kv_gib


@pytest.mark.parametrize("row", _params([row for row in COLD if not row.load.pooling]))
def test_the_sampler_of_the_official_image_takes_more(row: Row) -> None:
    """8 B more for each logit and 98 MiB less, as far as the sampler is the peak then; it is measured."""
    without, official = predict(row.load), predict(replace(row.load, flashinfer_sampler=True))
    more = official.overhead_gib - without.overhead_gib
    assert 0.0 <= more <= 8 * row.load.sequences * row.load.facts.vocab_size / GIB
    assert official.unmeasured == without.unmeasured
    if row.load.max_num_seqs == 1024:
        assert more > 0.4


@pytest.mark.parametrize(("tp", "more"), [(1, 0.0), (2, 0.5), (4, 0.03125), (8, 0.015625)])
def test_the_fused_all_reduce_of_the_official_image_widens_the_margin(tp: int, more: float) -> None:
    """By reading; it takes NVLink multicast, which every measured start had off."""
    memory = predict(load("Qwen3-32B", "H200", sharding=Sharding(tp), max_num_batched_tokens=8192))
    base = max(0.15, 0.01 * memory.kv_cache_gib) if tp < 8 else 0.03 * memory.requested_gib
    assert memory.margin_gib == pytest.approx(base + more)
    assert ("FlashInfer's all-reduce" in memory.unmeasured) is (tp > 1)


def test_a_small_batch_makes_small_messages_of_the_all_reduce() -> None:
    large, small = (
        predict(load("Qwen3-8B", "H200", sharding=Sharding(2), max_num_batched_tokens=batch, max_num_seqs=256))
        for batch in (8192, 2048)
    )
    widths = [memory.margin_gib - 0.01 * memory.kv_cache_gib for memory in (large, small)]
    assert widths == pytest.approx([0.5, 0.125])


def load(name: str, card: str, **changes: Any) -> Load:
    entry, gpu = lookup(f"Qwen/{name}"), Gpu.named(card)
    assert entry is not None and entry.facts is not None and gpu is not None
    return replace(Load(facts=entry.facts, gpu=gpu, version=VERSION), **changes)


FAILING = {
    "RTX-4090-8B": (load("Qwen3-8B", "RTX-4090", max_num_seqs=2048), 23968),
    "L4-14B-FP8": (load("Qwen3-14B-FP8", "L4", max_num_seqs=2048), 8192),
    "4xL4-32B": (load("Qwen3-32B", "L4", sharding=Sharding(4), max_num_seqs=2048), 32432),
    "H100-32B": (load("Qwen3-32B", "H100", max_num_seqs=4096), 24304),
    "2xA100-40-32B": (
        load("Qwen3-32B", "A100-40GB", sharding=Sharding(2), max_num_seqs=4096, max_num_batched_tokens=4096),
        8192,
    ),
}
"""Loads that fail by calculation, and that the operator let pass."""


@pytest.mark.parametrize("name", FAILING)
def test_loads_that_fail_are_never_said_to_fit(name: str) -> None:
    case, length = FAILING[name]
    report = preflight(case, length)
    assert report.verdict in ("Tight", "DoesNotFit")
    assert report.max_model_len_that_fits is not None and report.max_model_len_that_fits < length
    if report.max_model_len_that_fits:
        assert preflight(case, report.max_model_len_that_fits).verdict == "Fits", "what surely fits does"


BETWEEN = [EngineVersion.of(f"0.{minor}.0") for minor in range(27, 33)]


@pytest.mark.parametrize("version", BETWEEN, ids=str)
@pytest.mark.parametrize("name", ["Qwen3-8B", "Qwen3-32B-FP8", "Qwen3-30B-A3B", "Qwen3-Reranker-0.6B"])
def test_releases_between_are_on_the_safe_side(name: str, version: EngineVersion) -> None:
    """No larger cache is promised than either neighbour has, and what either would hold is not refused."""
    sides = [predict(load(name, "H100", version=EngineVersion.of(other))) for other in ("0.26.0", "0.33.0")]
    between = predict(load(name, "H100", version=version))
    assert between.kv_cache_gib == pytest.approx(min(side.kv_cache_gib for side in sides))
    assert between.kv_cache_gib - between.margin_gib <= min(side.kv_cache_gib - side.margin_gib for side in sides)
    assert between.kv_cache_gib + between.more_gib >= max(side.kv_cache_gib for side in sides)
    assert f"vLLM {version} (measured: 0.26.0 and 0.33.0; the larger sum of both)" in between.unmeasured


@pytest.mark.parametrize(
    ("version", "known"),
    [("0.25.0", ["0.26.0"]), ("0.26.0", ["0.26.0"]), ("0.33.1", ["0.33.0"]), ("0.34.0", ["0.33.0"])],
)
def test_the_measured_release_that_counts(version: str, known: list[str]) -> None:
    assert [str(name) for name, _ in editions_for(EngineVersion.of(version))] == known


def test_a_patch_release_is_the_measured_one_and_a_newer_one_is_not() -> None:
    seen = [
        predict(load("Qwen3-8B", "H200", version=EngineVersion.of(v), flashinfer_sampler=False))
        for v in ("0.33.1", "0.34.0")
    ]
    assert [memory.unmeasured for memory in seen] == [(), ("vLLM 0.34.0 (measured: 0.33.0)",)]


@pytest.mark.parametrize("version", ["0.20.0", "0.24.0"])
def test_before_0_25_a_dense_model_may_be_on_the_old_runner(version: str) -> None:
    """Which took more for the sampler, and counted graphs: less is promised, and what the new one holds not refused."""
    old, new = (predict(load("Qwen3-8B", "H100", version=EngineVersion.of(v))) for v in (version, "0.25.0"))
    assert old.kv_cache_gib < new.kv_cache_gib - 1
    assert old.kv_cache_gib + old.more_gib == pytest.approx(new.kv_cache_gib + new.more_gib)


def test_graphs_of_the_old_runner_are_counted_since_0_21() -> None:
    before, since = (predict(load("Qwen3-30B-A3B", "H100", version=EngineVersion.of(v))) for v in ("0.20.0", "0.21.0"))
    assert since.overhead_gib - before.overhead_gib == pytest.approx(0.65, abs=0.01)


@pytest.mark.parametrize(("sequences", "graphs"), [(1, 1), (4, 3), (8, 4), (256, 35), (512, 51), (1024, 51)])
def test_full_graphs(sequences: int, graphs: int) -> None:
    assert full_graphs(sequences) == graphs


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"sharding": Sharding(8)}, "8 GPUs (measured: 1 and 2 and 4)"),
        ({"sharding": Sharding(1, 2)}, "pipeline parallelism"),
        ({"quantization": "fp8"}, "quantization fp8"),
        ({"extras": ("LoRA adapters",)}, "LoRA adapters"),
        ({"gpu": Gpu.named("A100-80GB")}, "kernels of A100-80GB (measured: compute capability 9.0)"),
    ],
)
def test_a_combination_that_nobody_measured_widens_both_margins(changes: dict[str, Any], word: str) -> None:
    plain = load("Qwen3-8B", "H100")
    here, there = predict(plain), predict(replace(plain, **changes))
    assert word in there.unmeasured and word not in here.unmeasured
    base = max(0.5, 0.03 * there.requested_gib)
    assert there.more_gib == pytest.approx(base)
    assert there.margin_gib >= base
    assert word in preflight(replace(plain, **changes), 8192).message


@pytest.mark.parametrize("version", ["0.26.0", "0.33.0"])
def test_an_fp8_cache_was_measured_with_dense_models_alone(version: str) -> None:
    changes = {"version": EngineVersion.of(version), "kv_cache_dtype": "fp8"}
    dense, moe = (predict(load(name, "H100", **changes)) for name in ("Qwen3-8B", "Qwen3-30B-A3B"))
    assert "an FP8 KV cache" not in dense.unmeasured
    assert "an FP8 KV cache" in moe.unmeasured and moe.margin_gib >= 0.5
