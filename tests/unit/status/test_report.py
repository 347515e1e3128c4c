"""What the download Job's pods say, garbage included."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3_operator.status.pods import PodView
from qwen3_operator.status.report import final_report, latest_progress

COMPLETE = {"result": "Complete", "commit": "abc", "bytes": 10, "files": 2}
FAILED = {"result": "Failed", "reason": "Unauthorized", "message": "the hub refuses the token"}


def pod(message: Any = None, *, code: int = 1, reason: str = "Error", at: str = "2026-01-01T00:00:00Z") -> PodView:
    """A pod whose download container ended."""
    text = message if isinstance(message, str) or message is None else json.dumps(message)
    ended = {"exitCode": code, "reason": reason, "finishedAt": at} | ({"message": text} if text is not None else {})
    status = {"containerStatuses": [{"name": "download", "state": {"terminated": ended}}]}
    return PodView({"metadata": {"name": "p"}, "status": status})


def test_a_complete_one_is_read() -> None:
    report = final_report([pod(COMPLETE, code=0)], "Complete")
    assert report is not None and report.items() >= COMPLETE.items()
    assert final_report([pod(COMPLETE, code=0)], "Failed") is None


def test_the_newest_of_several_counts() -> None:
    older = pod(FAILED | {"message": "older"}, at="2026-01-01T00:00:00Z")
    newer = pod(FAILED | {"message": "newer"}, at="2026-01-01T00:00:09Z")
    for order in ([older, newer], [newer, older]):
        report = final_report(order, "Failed")
        assert report is not None and report["message"] == "newer"


def test_pods_without_an_end_say_nothing() -> None:
    running = PodView(
        {"metadata": {}, "status": {"containerStatuses": [{"name": "download", "state": {"running": {}}}]}}
    )
    other = PodView({"metadata": {}, "status": {"containerStatuses": [{"name": "mesh", "state": {"terminated": {}}}]}})
    assert final_report([running, other, PodView({"metadata": {}})], "Failed") is None


@pytest.mark.parametrize(
    ("message", "kwargs", "reason", "words"),
    [
        (None, {"code": 137, "reason": "OOMKilled"}, "OutOfMemory", "137"),
        (None, {"code": 1}, "DownloadFailed", "exit code 1"),
        ("", {"code": 1}, "DownloadFailed", "exit code 1"),
        ("Traceback: boom", {"code": 1}, "DownloadFailed", "boom"),
        ('{"result": "Failed", "reas', {"code": 10}, "DownloadFailed", "exit code 10"),
        ("[" * 4096, {"code": 1}, "DownloadFailed", "exit code 1"),
        ("[1, 2]", {"code": 2}, "DownloadFailed", "[1, 2]"),
        ("{}", {"code": 2}, "DownloadFailed", "exit code 2"),
        (None, {"code": 1, "reason": ""}, "DownloadFailed", "exit code 1"),
        (None, {"code": 2, "reason": "StartError"}, "DownloadFailed", "exit code 2 (StartError)"),
        ({"result": "Failed"}, {}, "DownloadFailed", "exit code 1"),
        (FAILED | {"reason": "OfAnotherRelease"}, {}, "DownloadFailed", "OfAnotherRelease: the hub refuses the token"),
        ({"result": "Failed", "reason": 7, "message": ["x"]}, {}, "DownloadFailed", "exit code 1"),
        ({"result": "Failed", "reason": "not a word", "message": "m"}, {}, "DownloadFailed", "m"),
    ],
)
def test_what_is_no_report_is_quoted_by_its_end(message: Any, kwargs: dict[str, Any], reason: str, words: str) -> None:
    report = final_report([pod(message, **kwargs)], "Failed")
    assert report is not None and report["reason"] == reason and words in report["message"]


@pytest.mark.parametrize("message", [None, "done", "{", "[]"])
def test_success_without_a_report_is_no_report(message: Any) -> None:
    assert final_report([pod(message, code=0, reason="Completed")], "Complete") is None
    assert final_report([pod(message, code=0, reason="Completed")], "Failed") is None


def test_numbers_that_are_none_are_dropped() -> None:
    report = final_report(
        [pod(COMPLETE | {"bytes": "many", "files": -1, "config": "x", "weightsBytes": 5}, code=0)], "Complete"
    )
    assert report is not None and "bytes" not in report and "files" not in report and "config" not in report
    assert report["weightsBytes"] == 5 and report["commit"] == "abc"


DEEP = '{"result": "Complete", "config": ' + "[" * 4000 + "]" * 4000 + "}"


@pytest.mark.parametrize(
    "text", [DEEP, "[" * 4096, '{"a":' * 800, '{"result": "Complete", "commit": "\\ud800"}', "{" + "a" * 100_000 + "}"]
)
def test_a_message_that_is_dear_or_broken_is_none(text: str) -> None:
    """Attack 22: the kubelet hands out whatever a container left."""
    assert final_report([pod(text, code=0)], "Complete") is None
    report = final_report([pod(text, code=7)], "Failed")
    assert report is not None and report["reason"] == "DownloadFailed"


@pytest.mark.parametrize(
    "config",
    [
        {"a": [[[[[[[[1]]]]]]]]},
        {str(number): 1 for number in range(65)},
        {"num_hidden_layers": 2**63},
        {"rope_scaling": {"factor": float("inf")}},
        {"rope_scaling": {"factor": float("nan")}},
    ],
    ids=["deep", "many", "too large for JSON readers", "infinite", "no number"],
)
def test_facts_that_a_status_cannot_hold_are_no_report_or_dropped(config: dict[str, Any]) -> None:
    report = final_report([pod(COMPLETE | {"config": config}, code=0)], "Complete") or {}
    assert "config" not in report


def test_facts_are_taken_as_they_are() -> None:
    config = {"num_hidden_layers": 10**15, "rope_scaling": {"factor": 4.0, "short_factor": [1.0, 2]}}
    report = final_report([pod(COMPLETE | {"config": config}, code=0)], "Complete")
    assert report is not None and report["config"] == config, "whether they make sense is for who plans with them"


def test_a_volume_beyond_all_sense_is_not_asked_for() -> None:
    report = final_report([pod(FAILED | {"volumeBytes": 2**50 + 1})], "Failed")
    assert report is not None and "volumeBytes" not in report


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
KEYS = ["result", "reason", "message", "commit", "bytes", "files", "weightsBytes", "bytesPerSecond", "config"]


@given(st.dictionaries(st.sampled_from(KEYS), JSON | st.sampled_from(["Failed", "Complete"])), st.integers(0, 255))
def test_no_message_breaks_the_reader(message: dict[str, Any], code: int) -> None:
    for result in ("Complete", "Failed"):
        report = final_report([pod(message, code=code)], result)
        if report is not None:
            assert all(0 <= report.get(key, 0) < 2**53 for key in ("bytes", "files", "weightsBytes"))
            assert all(isinstance(report.get(key, ""), str) for key in ("reason", "message", "commit"))
            assert result == "Complete" or (report["reason"] and report["message"])


PROGRESS = {"event": "progress", "bytesDone": 5, "bytesTotal": 10, "bytesPerSecond": 2, "etaSeconds": 3}


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ([PROGRESS], {"bytesDone": 5, "bytesTotal": 10, "bytesPerSecond": 2, "etaSeconds": 3}),
        ([PROGRESS, PROGRESS | {"bytesDone": 7}, {"event": "retry"}], {"bytesDone": 7}),
        ([PROGRESS, "{torn"], {"bytesDone": 5}),
        ([{"event": "progress", "bytesDone": 1.9, "etaSeconds": None, "filesDone": -1}], {"bytesDone": 1}),
        (["", "words", "[1]", "7"], {}),
        (
            [PROGRESS, "[" * 100_000, '{"a":' * 1600, '{"event": "progress", "bytesDone": 9' + " " * 9000 + "}"],
            {"bytesDone": 5},
        ),
        ([PROGRESS, *["{"] * 3000], {"bytesDone": 5}),
    ],
)
def test_progress_is_the_newest_whole_line(lines: list[Any], found: dict[str, int]) -> None:
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    assert latest_progress(text).items() >= found.items()
    assert bool(latest_progress(text)) == bool(found)


@given(st.text(max_size=60), JSON)
def test_no_log_breaks_the_reader(text: str, value: Any) -> None:
    line = json.dumps({"event": "progress", "bytesDone": value, "etaSeconds": value})
    found = latest_progress(f"{line}\n{text}")
    assert all(isinstance(number, int) and 0 <= number < 2**53 for number in found.values())
