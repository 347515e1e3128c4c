"""Conditions: their types, and how a new list follows from an old one. Their reasons are in `api/reasons.py`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints

from qwen3_operator.api.base import ApiModel, Time
from qwen3_operator.api.reasons import Reason as Reason

Status = Literal["True", "False", "Unknown"]
MAX_MESSAGE = 4096


class Type(StrEnum):
    """Condition types of all kinds, each before those that wait for it."""

    ACCEPTED = "Accepted"
    VOLUME_BOUND = "VolumeBound"
    DOWNLOADED = "Downloaded"
    MODEL_READY = "ModelReady"
    FITS = "Fits"
    SCHEDULED = "Scheduled"
    AVAILABLE = "Available"
    COMPLETED = "Completed"
    READY = "Ready"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    ROUTED = "Routed"
    """Beside the summary: the servers serve, whatever a Gateway says."""


DEPLOYMENT_TYPES = (
    Type.ACCEPTED,
    Type.MODEL_READY,
    Type.FITS,
    Type.SCHEDULED,
    Type.AVAILABLE,
    Type.READY,
    Type.RECONCILING,
    Type.STALLED,
)
BATCH_TYPES = (
    Type.ACCEPTED,
    Type.MODEL_READY,
    Type.FITS,
    Type.SCHEDULED,
    Type.COMPLETED,
    Type.READY,
    Type.RECONCILING,
    Type.STALLED,
)
MODEL_TYPES = (Type.ACCEPTED, Type.VOLUME_BOUND, Type.DOWNLOADED, Type.READY, Type.RECONCILING, Type.STALLED)


def is_current(obj: Mapping[str, Any]) -> bool:
    """Whether the status of an object speaks of its present spec: what was wrong with the one before may be mended."""
    seen = (obj.get("status") or {}).get("observedGeneration")
    return bool(seen == obj["metadata"].get("generation"))


def condition_of(obj: Mapping[str, Any] | None, kind: str) -> Mapping[str, Any]:
    """The condition of that type of an object of any kind; empty where it has none."""
    conditions = ((obj or {}).get("status") or {}).get("conditions") or ()
    return next((c for c in conditions if c.get("type") == kind), {})


def shorten(message: str, limit: int = MAX_MESSAGE) -> str:
    """`message`, cut to `limit` characters. Messages quote what others wrote, so each is cut where it is made."""
    return message if len(message) <= limit else message[: limit - 1] + "…"


class Condition(ApiModel):
    """One observation. A message that is too long is cut."""

    type: Annotated[str, StringConstraints(min_length=1, max_length=63)]
    """What is observed."""
    status: Status
    """Whether it holds."""
    reason: Annotated[str, StringConstraints(min_length=1, max_length=128)]
    """Why, in one CamelCase word."""
    message: Annotated[str, BeforeValidator(shorten), StringConstraints(max_length=MAX_MESSAGE)] = ""
    """Why, in words, and what to do about it."""
    last_transition_time: Time | None = None
    """When the status last changed."""
    observed_generation: Annotated[int, Field(ge=0, le=2**53 - 1)] | None = None
    """Generation of the spec that this speaks of."""


def carry_over(
    new: Iterable[Condition], old: Iterable[Mapping[str, Any]], *, generation: int, now: str
) -> list[dict[str, Any]]:
    """`new` as written to the API: lastTransitionTime moves only where the status differs from `old`. `generation`:
    what a condition speaks of that does not say it."""
    before = {c.get("type"): c for c in old}
    result = []
    for condition in new:
        was = before.get(condition.type, {})
        since = was.get("lastTransitionTime") if was.get("status") == condition.status else None
        result.append(
            {
                "type": str(condition.type),
                "status": condition.status,
                "reason": condition.reason,
                "message": condition.message,
                "lastTransitionTime": since or now,
                "observedGeneration": condition.observed_generation or generation,
            }
        )
    return result
