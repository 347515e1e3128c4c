"""The memory formula against starts that were predicted before they were measured (tests/perf/gpu)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from tests.perf.gpu.cases import CASES, SERVING, Case
from tests.perf.gpu.predict import PREDICTIONS

from qwen3_operator.engine.fit import preflight
from qwen3_operator.engine.memory import GIB, predict

_FOLDER = PREDICTIONS.parent


def _json(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((_FOLDER / name).read_text(encoding="utf-8"))
    return found


@dataclass(frozen=True)
class Start:
    case: Case
    predicted: dict[str, Any]
    row: dict[str, Any]
    """One row of measured.json, or the start in throughput.json."""

    @property
    def available_gib(self) -> float:
        return float(self.row["log"]["kv_cache_gib"])

    @property
    def allowed_gib(self) -> float:
        return max(0.15, 0.01 * self.available_gib)


def _starts() -> list[Start]:
    rows = _json("measured.json")["cases"] | {SERVING.name: _json("throughput.json")["start"]}
    predictions = _json("predictions.json")["cases"]
    return [Start(case, predictions[case.name], rows[case.name]) for case in (*CASES, SERVING)]


def _params(starts: Iterable[Start]) -> list[Any]:
    return [pytest.param(start, id=start.case.name) for start in starts]


STARTS = _starts()
WITH_DEBUG_LOG = [start for start in STARTS if start.case != SERVING]
READY = [start for start in STARTS if start.row["log"]["ready"]]
TOO_LONG = [start for start in STARTS if "too_long" in start.row]


@pytest.mark.parametrize("start", _params(STARTS))
def test_what_was_predicted_came(start: Start) -> None:
    assert start.predicted["kv_cache_gib"] == pytest.approx(start.available_gib, abs=start.allowed_gib)
    assert (start.predicted["verdict"] == "Fits") is start.row["log"]["ready"]


@pytest.mark.parametrize("start", _params(STARTS))
def test_the_formula_of_today(start: Start) -> None:
    memory = predict(start.case.load)
    assert memory.unmeasured == ()
    assert memory.kv_cache_gib == pytest.approx(start.available_gib, abs=start.allowed_gib)
    assert memory.weights_gib == pytest.approx(start.row["log"]["weights_gib"], abs=0.05)
    assert (preflight(start.case.load, start.case.max_model_len).verdict == "Fits") is start.row["log"]["ready"]


@pytest.mark.parametrize("start", _params(WITH_DEBUG_LOG))
def test_the_overhead(start: Start) -> None:
    """Peak and non-torch memory, as vLLM adds them at debug level."""
    measured = start.row["peak_gib"] + start.row["non_torch_gib"]
    assert predict(start.case.load).overhead_gib == pytest.approx(measured, abs=0.05)


@pytest.mark.parametrize("start", _params(READY))
def test_tokens_of_the_measured_cache(start: Start) -> None:
    memory = replace(predict(start.case.load), kv_cache_gib=start.available_gib)
    rounding = 0.006 * GIB / memory.kv_bytes_per_token
    assert memory.longest() == pytest.approx(start.row["log"]["kv_cache_tokens"], abs=16 + rounding)


@pytest.mark.parametrize("start", _params(TOO_LONG))
def test_the_length_proposed_is_one_that_vllm_takes(start: Start) -> None:
    """vLLM's own estimate is the truth; ours is below it by no more than the margin."""
    truth = start.row["too_long"]["estimated_max_model_len"]
    memory = predict(start.case.load)
    margin_tokens = 2 * memory.margin_gib * GIB / memory.kv_bytes_per_token
    longest = preflight(start.case.load, start.case.max_model_len).max_model_len_that_fits
    assert longest is not None
    assert truth - margin_tokens <= longest <= truth


def test_every_start_is_judged() -> None:
    assert (len(READY), len(TOO_LONG)) == (5, 1)
