"""The bench's own arithmetic: what is counted, and which verdict a figure gets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from tests.perf.scale import __main__ as bench
from tests.perf.scale.audit import AuditLog, by_kind, reads_and_writes
from tests.perf.scale.cases import CASES, Result, percentile
from tests.perf.scale.prometheus import reconciles

ROWS = yaml.safe_load((bench.HERE / "thresholds.yaml").read_text())["rows"]


def line(verb: str, resource: str | None, name: str = "a", code: int = 200, subresource: str = "") -> bytes:
    what = {"resource": resource, "name": name} | ({"subresource": subresource} if subresource else {})
    entry = {
        "verb": verb,
        "requestReceivedTimestamp": "2026-11-27T01:00:00.500000Z",
        "responseStatus": {"code": code},
    }
    return json.dumps(entry | ({"objectRef": what} if resource else {})).encode() + b"\n"


def test_requests_are_counted_without_leases_watches_and_discovery(tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    counted = [
        line("get", "services"),
        line("patch", "services", code=500),
        line("patch", "qwen3deployments", subresource="status"),
    ]
    log.write_bytes(
        b"".join(
            [*counted, line("update", "leases"), line("watch", "pods"), line("get", None), line("get", "services")]
        )
    )
    requests = AuditLog(log).requests()
    assert reads_and_writes(requests) == (2, 2)
    assert by_kind(requests) == {"get services": 2, "patch services": 1, "patch qwen3deployments/status": 1}
    assert (requests[1].code, requests[1].at % 60) == (500, 0.5)


def test_a_line_that_is_half_written_is_read_when_it_is_whole(tmp_path: Path) -> None:
    path, whole = tmp_path / "audit.log", line("get", "pods")
    log = AuditLog(path)
    path.write_bytes(whole + whole[:20])
    assert len(log.requests()) == 1
    path.write_bytes(whole + whole)
    assert len(log.requests()) == 2


@pytest.mark.parametrize(("percent", "value"), [(50, 5), (99, 10), (100, 10), (10, 1)])
def test_percentile(percent: int, value: float) -> None:
    assert percentile([10, 9, 8, 7, 6, 5, 4, 3, 2, 1], percent) == value


@pytest.mark.parametrize(("value", "verdict"), [(3, "aim met"), (3.1, "met"), (6, "met"), (6.1, "MISSED")])
def test_a_figure_is_judged_by_its_median(value: float, verdict: str) -> None:
    row = {"case": "hundred", "figure": "reads_per_cr", "words": "reads a CR", "must": 6, "aim": 3}
    runs = {"hundred": [Result({"reads_per_cr": it}, {}) for it in (0.0, value, 100.0)], "many": []}
    (judged,) = bench.judge([row, row | {"case": "many"}], runs)
    assert (judged["value"], judged["verdict"]) == (value, verdict)
    assert verdict in bench.report([judged], runs)


def test_every_row_belongs_to_a_case_and_asks_no_less_than_it_must() -> None:
    assert {row["case"] for row in ROWS} == set(CASES) - {"bare"}, "that one is what others are compared with"
    assert all(row["aim"] <= row["must"] for row in ROWS)


def test_figures_of_cases_that_did_not_run_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    bench.record(path, {"hundred": [Result({"all_ready_s": 9.0}, {})]}, {"hundred": 100})
    bench.record(path, {"many": [Result({"all_ready_s": 700.0}, {})], "hundred": []}, {"many": 5000})
    kept = json.loads(path.read_text())
    assert {name: found["medians"]["all_ready_s"] for name, found in kept.items()} == {"hundred": 9.0, "many": 700.0}


def test_what_the_operator_counts_itself() -> None:
    text = """# TYPE qwen3_operator_reconcile_seconds histogram
qwen3_operator_reconcile_seconds_bucket{kind="Qwen3Model",le="+Inf"} 4.0
qwen3_operator_reconcile_seconds_count{kind="Qwen3Model"} 4.0
qwen3_operator_reconcile_seconds_sum{kind="Qwen3Model"} 0.2
"""
    assert reconciles(text) == {"Qwen3Model": "4, 50 ms each"}
