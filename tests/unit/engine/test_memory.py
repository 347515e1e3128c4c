"""Predicted memory against what vLLM 0.26.0 measured on an H100 and on one or two H200."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.engine.measured import H100, H200, VERSION, Row, rows

from qwen3_operator.catalog import known_ids, lookup
from qwen3_operator.engine.fit import missing_for_fit, preflight
from qwen3_operator.engine.gpu import Gpu, default_utilization, scheduler_defaults
from qwen3_operator.engine.memory import GIB, Load, predict
from qwen3_operator.engine.version import EngineVersion
from qwen3_operator.engine.weights import Sharding, parameter_bytes

ROWS = [pytest.param(row, id=row.case) for row in rows()]


def test_all_rows_are_there() -> None:
    assert len(ROWS) == 16 + 31  # the warm start of gpu-h100.csv is left out


@pytest.mark.parametrize("row", ROWS)
def test_weights(row: Row) -> None:
    assert predict(row.load).weights_gib == pytest.approx(row.weights_gib, abs=0.035)


@pytest.mark.parametrize("row", ROWS)
def test_kv_cache(row: Row) -> None:
    allowed = max(0.15, 0.01 * row.available_kv_gib)
    assert predict(row.load).kv_cache_gib == pytest.approx(row.available_kv_gib, abs=allowed)


@pytest.mark.parametrize("row", [pytest.param(row, id=row.case) for row in rows() if row.kv_tokens])
def test_tokens_of_the_measured_cache(row: Row) -> None:
    """floor(available / 16 tokens) x 16 is what vLLM logged, to the rounding of the csv."""
    memory = replace(predict(row.load), kv_cache_gib=row.available_kv_gib)
    assert row.kv_tokens is not None
    rounding = 0.0006 * GIB / memory.kv_bytes_per_token
    assert memory.longest() == pytest.approx(row.kv_tokens, abs=16 + rounding)


@pytest.mark.parametrize("row", ROWS)
def test_no_row_that_failed_is_said_to_fit(row: Row) -> None:
    verdict = preflight(row.load, row.max_model_len).verdict
    assert verdict in (("Tight", "DoesNotFit") if row.too_long else ("Fits", "Tight"))


@pytest.mark.parametrize("row", ROWS)
def test_the_longest_length_that_fits_does(row: Row) -> None:
    longest = preflight(row.load, row.max_model_len).max_model_len_that_fits
    assert longest is not None
    memory = predict(row.load)
    assert longest == 0 or memory.kv_gib_for(longest) <= row.available_kv_gib


@pytest.mark.parametrize("model_id", known_ids())
def test_the_shapes_explain_the_sizes(model_id: str) -> None:
    """Every size in the catalogue agrees with the sum of the tensors, stored copies of tied heads aside."""
    entry = lookup(model_id)
    assert entry is not None
    if entry.facts is None or entry.weights_bytes is None or model_id.startswith("Qwen/Qwen3.5-9B"):  # "9B" is rounded
        return
    facts = entry.facts
    copy = 2 * facts.vocab_size * facts.hidden_size if facts.tie_word_embeddings else 0
    assert parameter_bytes(facts) <= entry.weights_bytes * 1.03
    assert parameter_bytes(facts) + copy >= entry.weights_bytes * 0.94


def load(name: str, **changes: object) -> Load:
    entry = lookup(f"Qwen/{name}")
    assert entry is not None
    assert entry.facts is not None
    return replace(Load(facts=entry.facts, gpu=H100, version=VERSION), **changes)  # type: ignore[arg-type]


def test_a_file_larger_than_its_shape_counts_with_its_size() -> None:
    plain = load("Qwen3-8B")
    heavy = replace(plain, facts=plain.facts.model_copy(update={"weights_bytes": 20 * GIB}))
    assert predict(heavy).weights_gib == pytest.approx(20, abs=0.1)


def known(it: Load, **update: int | None) -> float:
    """GiB of weights where the files are known to hold so much."""
    return predict(replace(it, facts=it.facts.model_copy(update=update))).weights_gib


def test_nobody_loads_more_than_there_is() -> None:
    """A format whose bits are not known here, by the files and by their headers (llm-compressor 1406)."""
    plain = load("Qwen3-30B-A3B")
    assert known(plain, weights_bytes=17_200_000_000) == pytest.approx(16.0, abs=0.1)
    assert known(plain, weights_bytes=None, loaded_bytes=17_200_000_000) == pytest.approx(16.0, abs=0.1)


def test_tensors_that_are_loaded_beat_the_size_of_the_files() -> None:
    """Three copies in a repository, or MTP layers beside the model: the headers of what is loaded count."""
    plain = load("Qwen3-8B")
    size = 16_381_470_720
    by_shape = predict(plain).weights_gib
    assert known(plain, weights_bytes=3 * size, loaded_bytes=size) == pytest.approx(by_shape, abs=0.001)
    more = int(1.018 * size)  # an audio tower that the config does not mention
    assert known(plain, loaded_bytes=more) == pytest.approx(1.018 * by_shape, abs=0.01)
    assert known(plain, weights_bytes=size, loaded_bytes=20 * GIB, mtp_layers=1) == pytest.approx(20, abs=0.1)


def test_a_file_smaller_than_its_shape_counts_with_its_size() -> None:
    """review case 02: 4 bits that the config did not seem to say; 17.2 GB were taken for 29 GiB."""
    plain = load("Qwen3-30B-A3B-FP8", gpu=Gpu.named("RTX-4090"), max_num_seqs=16)
    light = replace(plain, facts=plain.facts.model_copy(update={"weights_bytes": 17_200_000_000}))
    assert predict(light).weights_gib == pytest.approx(17.2e9 / GIB, abs=0.4)
    assert preflight(plain, 8192).verdict == "DoesNotFit"
    assert preflight(light, 8192).verdict == "Fits"


def test_a_file_that_is_about_its_shape_changes_nothing() -> None:
    plain = load("Qwen3-8B")
    shape = parameter_bytes(plain.facts)
    for share in (0.92, 1.0, 1.01):
        about = replace(plain, facts=plain.facts.model_copy(update={"weights_bytes": int(share * shape)}))
        assert predict(about).weights_gib == predict(plain).weights_gib


def test_no_length_beyond_the_models_own_is_said_to_fit() -> None:
    """review case 29: `maxModelLen up to 680384` for a model of 40960."""
    case = load("Qwen3-8B")
    assert predict(case).longest() > 300_000
    assert preflight(case, 8192).max_model_len_that_fits == 40960
    assert preflight(replace(case, max_position=131072), 100_000).max_model_len_that_fits == 131072


def test_a_float32_file_is_loaded_in_16_bits() -> None:
    plain = load("Qwen3-8B")
    update = {"weights_bytes": 2 * 16_381_470_720, "dtype": "float32"}
    stored_wide = replace(plain, facts=plain.facts.model_copy(update=update))
    assert predict(stored_wide).weights_gib == pytest.approx(predict(plain).weights_gib)


def test_quantizing_while_loading_halves_the_layers() -> None:
    plain = load("Qwen3-32B", quantization="fp8")
    assert known(plain, loaded_bytes=65_524_246_528) == predict(plain).weights_gib
    assert predict(load("Qwen3-32B", quantization="fp8")).weights_gib == pytest.approx(32.1, abs=0.3)


def test_fp8_cache_holds_twice_the_tokens() -> None:
    assert predict(load("Qwen3-8B", kv_cache_dtype="fp8")).kv_bytes_per_token * 2 == 147_456


def test_linear_attention_counts_a_state_for_each_sequence() -> None:
    memory = predict(load("Qwen3-Next-80B-A3B-Instruct", gpu=H200))
    assert memory.kv_bytes_per_token == 24_576
    assert memory.state_bytes_per_sequence / 2**20 == pytest.approx(38, abs=0.5)
    assert "linear-attention layers" in memory.unmeasured


def test_key_value_heads_are_repeated_beyond_their_number() -> None:
    four = predict(load("Qwen3-30B-A3B", sharding=Sharding(4))).kv_bytes_per_token
    assert predict(load("Qwen3-30B-A3B", sharding=Sharding(8))).kv_bytes_per_token == four


@pytest.mark.parametrize(
    ("name", "gpu", "tp", "length", "verdict", "smallest"),
    [
        ("Qwen3-0.6B", "T4", 1, 8192, "Fits", 1),
        ("Qwen3-8B", "L4", 1, 8192, "Fits", 1),
        ("Qwen3-8B", "L4", 1, 40960, "DoesNotFit", 2),
        ("Qwen3-14B", "RTX-4090", 1, 8192, "DoesNotFit", 2),
        ("Qwen3-32B", "H100", 1, 16384, "Fits", 1),
        ("Qwen3-32B", "H100", 1, 40960, "DoesNotFit", 2),
        ("Qwen3-32B", "H100", 1, 27648, "Tight", 2),
        ("Qwen3-235B-A22B-FP8", "H100", 2, 8192, "DoesNotFit", 4),
        ("Qwen3-235B-A22B-FP8", "H100", 8, 40960, "Fits", 4),
        ("Qwen3-235B-A22B", "H100", 4, 8192, "DoesNotFit", 8),
        ("Qwen3-Coder-480B-A35B-Instruct", "H100", 8, 8192, "DoesNotFit", None),
    ],
)
def test_verdicts(name: str, gpu: str, tp: int, length: int, verdict: str, smallest: int | None) -> None:
    card = Gpu.named(gpu)
    assert card is not None
    report = preflight(load(name, gpu=card, version=EngineVersion.of("0.33.0"), sharding=Sharding(tp)), length)
    assert (report.verdict, report.smallest_tensor_parallel_size) == (verdict, smallest)
    if verdict == "DoesNotFit":
        assert "Surely fits:" in report.message


def test_too_high_a_utilization_does_not_start() -> None:
    asked = load("Qwen3-8B", gpu=Gpu(22.0, "exact"), sharding=Sharding(2), utilization=0.99)
    report = preflight(asked, 8192)
    assert report.verdict == "DoesNotFit"
    assert report.max_model_len_that_fits == 0, "no length starts"
    assert "gpuMemoryUtilizationPercent 93 (only 20.5 GiB are free at start)" in report.message
    assert preflight(replace(asked, utilization=0.93), 8192).verdict == "Fits"
    long = preflight(asked, 200_000)
    assert "gpuMemoryUtilizationPercent 93 with maxModelLen up to 1" in long.message


def test_no_utilization_is_advised_where_the_weights_alone_exceed_the_card() -> None:
    report = preflight(load("Qwen3-30B-A3B", gpu=Gpu(22.0, "exact"), sharding=Sharding(2), utilization=0.99), 8192)
    assert report.verdict == "DoesNotFit"
    assert "gpuMemoryUtilizationPercent" not in report.message


def test_a_given_cache_size_is_exact() -> None:
    """--kv-cache-memory-bytes: 8192 tokens of Qwen3-8B take 1.125 GiB, and the card has room for them."""
    enough = load("Qwen3-8B", kv_cache_bytes=int(1.125 * GIB))
    assert preflight(enough, 8192).verdict == "Fits"
    assert preflight(enough, 8192).max_model_len_that_fits == 8192
    assert preflight(enough, 8208).verdict == "DoesNotFit"


def test_unknown_says_what_is_missing() -> None:
    report = preflight(None, 8192, unknown=missing_for_fit(load("Qwen3-8B").facts, None))
    assert report.verdict == "Unknown"
    assert "spec.gpu.memory" in report.message
    assert missing_for_fit(None, H100).startswith("the model's config.json")


sizes = st.sampled_from(["Qwen3-0.6B", "Qwen3-8B", "Qwen3-8B-FP8", "Qwen3-32B-AWQ", "Qwen3-30B-A3B", "Qwen3.5-27B"])
ORDER = ("DoesNotFit", "Tight", "Fits")


@given(sizes, st.floats(8, 150), st.floats(8, 150), st.sampled_from([1, 2, 4]), st.integers(256, 40960))
def test_more_memory_never_fits_less(name: str, a: float, b: float, tp: int, length: int) -> None:
    verdicts = [
        preflight(
            load(name, gpu=Gpu(memory, "exact"), sharding=Sharding(tp), max_num_seqs=256, max_num_batched_tokens=2048),
            length,
        ).verdict
        for memory in sorted((a, b))
    ]
    assert ORDER.index(verdicts[0]) <= ORDER.index(verdicts[1])


@given(sizes, st.floats(8, 150), st.integers(256, 40960), st.integers(256, 40960))
def test_a_shorter_length_never_fits_less(name: str, memory: float, a: int, b: int) -> None:
    short, long = sorted((a, b))
    case = load(name, gpu=Gpu(memory, "exact"))
    assert ORDER.index(preflight(case, short).verdict) >= ORDER.index(preflight(case, long).verdict)


@given(sizes, st.floats(8, 150))
def test_the_proposed_size_and_length_fit(name: str, memory: float) -> None:
    case = load(name, gpu=Gpu(memory, "exact"))
    report = preflight(case, 8192)
    if report.smallest_tensor_parallel_size is not None:
        proposed = replace(case, sharding=Sharding(report.smallest_tensor_parallel_size))
        assert preflight(proposed, 8192).verdict == "Fits"
    if report.max_model_len_that_fits:
        assert preflight(case, report.max_model_len_that_fits).verdict == "Fits"


@pytest.mark.parametrize(
    ("label", "memory"),
    [
        ("NVIDIA-H100-80GB-HBM3", 79.18),
        ("NVIDIA-H100-NVL", 93.1),
        ("NVIDIA-H200", 139.80),
        ("NVIDIA-A100-SXM4-40GB", 39.4),
        ("NVIDIA-A100-SXM4-80GB", 79.1),
        ("A100-80G", 79.1),
        ("NVIDIA-L4", 22.0),
        ("NVIDIA-L40S", 44.4),
        ("NVIDIA-GeForce-RTX-4090", 23.55),
        ("Tesla-T4", 14.6),
        ("Tesla-V100-SXM2-32GB", 31.7),
        ("h100", 79.18),
    ],
)
def test_gpus_by_name(label: str, memory: float) -> None:
    gpu = Gpu.named(label)
    assert gpu is not None
    assert gpu.memory_gib == memory


def test_gpus_by_label() -> None:
    assert Gpu.from_labels("NVIDIA-H100-80GB-HBM3", 81559) == Gpu.named("H100-80GB")
    unknown = Gpu.from_labels("NVIDIA-Future", 143771)
    assert unknown is not None
    assert unknown.memory_gib == pytest.approx(139.6, abs=0.1)
    shared = Gpu.from_labels("NVIDIA-H100-80GB-HBM3", 20096)  # a MIG slice is not the whole card
    assert shared is not None
    assert shared.memory_gib == pytest.approx(19.5, abs=0.1)
    assert Gpu.from_labels(None, None) is None
    assert Gpu.named("my-own-card") is None


def test_gpus_by_what_is_on_the_box_are_guessed_low() -> None:
    assert Gpu.from_spec(80).memory_gib < 79.18
    assert Gpu.from_spec(24).memory_gib < 22.0
    assert Gpu.from_spec(48).memory_gib < 44.4


def test_scheduler_defaults() -> None:
    assert scheduler_defaults(H100, VERSION).max_num_seqs == 1024
    a100 = Gpu.named("A100-80GB")
    assert a100 is not None
    assert scheduler_defaults(a100, VERSION).max_num_batched_tokens == 2048
    b200 = Gpu.named("B200")
    assert b200 is not None
    assert scheduler_defaults(b200, VERSION).max_num_batched_tokens == 8192
    assert scheduler_defaults(b200, EngineVersion.of("0.28.0")).max_num_batched_tokens == 16384


def test_default_utilization() -> None:
    assert (default_utilization(EngineVersion.of("0.19.1")), default_utilization(EngineVersion.of("0.20.0"))) == (
        0.9,
        0.92,
    )
