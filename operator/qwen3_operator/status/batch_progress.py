"""How far a batch is: what its pods say of their shards, added up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from qwen3_in_engine.batch_runner.contract import PROGRESS_SECONDS
from qwen3_operator.api.batch import MAX_SHARDS
from qwen3_operator.api.times import parse_time, timestamp
from qwen3_operator.desired.server import CONTAINER
from qwen3_operator.status.pods import PodView
from qwen3_operator.status.words import LIMIT, counts, is_reason, is_size, is_text, json_object, newest_event

Object = Mapping[str, Any]
FIELDS = ("total", "done", "failed", "promptTokens", "completionTokens", "tokensPerSecond", "etaSeconds")
PACE_SECONDS = 60.0
"""Least time between two writes for the pace alone: answers may be long, and few."""
PROGRESS_FIELDS = ("requests", "tokens", "tokensPerSecond", "etaSeconds", "progressAt", "shards")


def last_words(pod: Object) -> dict[str, Any] | None:
    """The report in the runner's termination message; empty where it left none; None while it runs."""
    for status in pod.get("status", {}).get("containerStatuses") or []:
        terminated = (status.get("state") or {}).get("terminated") if status.get("name") == CONTAINER else None
        if terminated:
            return _of_its_types(json_object(str(terminated.get("message") or "").strip()) or {})
    return None


def progress_line(log_tail: str) -> dict[str, Any]:
    """The newest progress line in the tail of a log."""
    return _of_its_types(newest_event(log_tail, {"progress", "resumed"}))


def said_of_shard(view: PodView, tails: Mapping[str, str]) -> dict[str, Any]:
    """What a pod says of its shard: its last words where they have counts, for one may end without; else its log does.

    `tails`: pod name -> the end of its log, of those that run.
    """
    words = last_words(view.pod) or {}
    return words if "done" in words else progress_line(tails.get(view.name) or view.log or "")


def shards(previous: Sequence[Object], pods: Sequence[PodView], tails: Mapping[str, str]) -> list[dict[str, Any]]:
    """Each shard that has begun: by its pods, or where they have not spoken yet, as it was `previous`ly."""
    known = {int(shard["index"]): dict(shard) for shard in previous}
    for view in reversed(pods):  # the newest pod of a shard has the last word
        index = view.pod["metadata"].get("annotations", {}).get("batch.kubernetes.io/job-completion-index", "")
        said = said_of_shard(view, tails)
        if not (index.isascii() and index.isdecimal() and len(index) < 9 and int(index) < MAX_SHARDS):
            continue
        if "total" in said:
            known[int(index)] = {"index": int(index)} | counts(said, FIELDS)
        shard, words = known.get(int(index), {}), last_words(view.pod)
        if words is not None and words.get("result") != "Complete":  # nothing goes on at a pace
            shard.pop("tokensPerSecond", None)
            shard.pop("etaSeconds", None)
    return [known[index] for index in sorted(known)]


def progress(before: Object, found: Sequence[Object], lines: int | None, now: datetime) -> dict[str, Any]:
    """The fields of the status that show progress: those `before` where it has hardly moved since.

    `lines`: lines of the whole input, where somebody has counted them.
    """
    kept = {key: before[key] for key in PROGRESS_FIELDS if key in before}
    if not found:
        return kept
    done, failed = _sum(found, "done"), _sum(found, "failed")
    total = lines or (before.get("requests") or {}).get("total")
    working = [shard for shard in found if shard.get("tokensPerSecond") is not None and _to_go(shard) > 0]
    rate = _sum(working, "tokensPerSecond")
    if not _moved(kept, done + failed, total, rate, now):
        return kept
    result: dict[str, Any] = {
        "requests": {"done": done, "failed": failed} | ({"total": total} if total else {}),
        "tokens": {"prompt": _sum(found, "promptTokens"), "completion": _sum(found, "completionTokens")},
        "shards": [dict(shard) for shard in found],
        "progressAt": timestamp(now),
    }
    if working:
        result["tokensPerSecond"] = rate
    foreseen = [shard for shard in found if shard.get("etaSeconds") is not None and _to_go(shard) > 0]
    if foreseen and total:
        lines_a_second = sum(_to_go(shard) / max(shard["etaSeconds"], 1) for shard in foreseen)
        result["etaSeconds"] = min(int(max(total - done - failed, 0) / lines_a_second), LIMIT - 1)
    return result


def final(before: Object, job: Object) -> dict[str, Any]:
    """`before` of a Job that is complete: nothing to go, and the rate over its whole time."""
    result = {key: value for key, value in before.items() if key != "etaSeconds"}
    started = parse_time(job.get("status", {}).get("startTime"))
    ended = parse_time(job.get("status", {}).get("completionTime"))
    if started and ended and (tokens := before.get("tokens")):
        result["tokensPerSecond"] = int(tokens["completion"] / max((ended - started).total_seconds(), 1))
    return result


def lines_of_input(pods: Sequence[PodView], tails: Mapping[str, str]) -> int | None:
    """Lines of the whole input, which every shard counts."""
    for view in pods:
        said = said_of_shard(view, tails)
        if said.get("lines"):
            return int(said["lines"])
    return None


def _moved(before: Object, finished: int, total: int | None, rate: int, now: datetime) -> bool:
    """Whether progress is worth a write: the first, the end, 1 % and some seconds more, or another pace."""
    requests = before.get("requests")
    if not requests or requests.get("total") != total:
        return True
    moved = finished - int(requests["done"]) - int(requests["failed"])
    if finished == total:
        return moved != 0
    at = parse_time(before.get("progressAt"))
    if at is not None and now - at < timedelta(seconds=PROGRESS_SECONDS):
        return False
    if abs(moved) * 100 >= max(total or 1, 1) or (rate and not before.get("tokensPerSecond")):
        return True
    old = at is None or now - at >= timedelta(seconds=PACE_SECONDS)
    return old and rate != (before.get("tokensPerSecond") or 0)


def _sum(found: Sequence[Object], field: str) -> int:
    return min(sum(int(shard.get(field) or 0) for shard in found), LIMIT - 1)


def _to_go(shard: Object) -> int:
    """Lines of a shard that are not finished."""
    return int(shard.get("total") or 0) - int(shard.get("done") or 0) - int(shard.get("failed") or 0)


_TYPES: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys((*FIELDS, "lines"), is_size),
    "result": is_text,
    "reason": is_reason,
    "message": is_text,
    "merged": lambda value: isinstance(value, bool),
}


def _of_its_types(said: Object) -> dict[str, Any]:
    return {name: value for name, value in said.items() if name in _TYPES and _TYPES[name](value)}
