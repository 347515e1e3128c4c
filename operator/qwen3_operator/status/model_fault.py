"""A verified copy whose files are missing or damaged all the same: its users say so, and the Qwen3Model has it verified
again.

A user (Qwen3Deployment or Qwen3Batch) notes in `status.modelFaultAt` when the container started that met the fault; the
model compares that with `status.model.verifiedAt`. Both are on the objects, so nothing is lost by a restart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from qwen3_operator.api.reasons import Reason
from qwen3_operator.api.times import parse_time, timestamp
from qwen3_operator.engine.diagnosis import diagnose_log
from qwen3_operator.status.pods import PodView

Object = Mapping[str, Any]

FAULTS = {Reason.MODEL_FILES_MISSING, Reason.MODEL_FILES_DAMAGED}
"""Causes in vLLM's log that a verification of the files may mend."""
REST = timedelta(hours=1)
"""After a verification that found every file in place the cause is another one: so long none is made for it."""


def fault_at(previous: Object, pods: Sequence[PodView], copy: Object | None) -> str | None:
    """`status.modelFaultAt` of a user of `copy`: the one before while it is newer than the copy's verification, or else
    the newest start of a container that ended for the files."""
    verified = _verified_at(copy)
    same = (previous.get("model") or {}).get("claimUid") == (copy or {}).get("claimUid")
    known = parse_time(previous.get("modelFaultAt")) if same else None
    starts = [start for view in pods if (start := _start_of_fault(view))]
    newer = [moment for moment in [known, *sorted(starts, reverse=True)] if moment and moment > verified]
    return timestamp(newer[0]) if copy and newer else None


def suspected_at(copy: Object, users: Iterable[Object], model: str) -> str:
    """When users of the Qwen3Model `model` first met a fault in its verified `copy` that is worth another verification;
    empty where there is none."""
    named = [status for user in users if ((status := user.get("status") or {}).get("model") or {}).get("name") == model]
    faults = [moment for status in named if (moment := parse_time(status.get("modelFaultAt")))]
    rest = REST if is_in_order(copy) else timedelta()
    worth = [moment for moment in faults if moment > _verified_at(copy) + rest]
    return timestamp(min(worth)) if worth else ""


def is_in_order(copy: Object | None) -> bool:
    """Whether the copy was verified for a fault, and every file was right."""
    return (copy or {}).get("repairedFiles") == 0


def _verified_at(copy: Object | None) -> datetime:
    return parse_time((copy or {}).get("verifiedAt")) or parse_time("1970-01-01T00:00:00Z")  # type: ignore[return-value]


def _start_of_fault(view: PodView) -> datetime | None:
    cause = diagnose_log(view.log) if view.log else None
    if cause is None or cause.reason not in FAULTS:
        return None
    for container in view.pod.get("status", {}).get("containerStatuses") or []:
        for state in ("state", "lastState"):
            if ended := (container.get(state) or {}).get("terminated"):
                return parse_time(ended.get("startedAt"))
    return None
