"""What was seen of a Qwen3Model and its children."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from qwen3_operator.desired.download import Step
from qwen3_operator.engine.problem import Problem
from qwen3_operator.status.pods import PodView

Object = Mapping[str, Any]

FIRST_RETRY_SECONDS = 15.0
"""Default of the wait before a Job that failed is made anew."""


@dataclass(frozen=True)
class ModelView:
    """What was seen of a Qwen3Model and its children at one moment."""

    now: datetime
    problems: Sequence[Problem] = ()
    """What keeps the Job from being made: a missing Secret, a refused child."""
    claim: Object | None = None
    claim_events: Sequence[str] = ()
    """Warnings about the claim, newest last."""
    claim_waits: bool = False
    """Whether it is said since to wait for a pod."""
    grows_to: str = ""
    """The size that the claim was given because the download found it too small."""
    fixed_class: str = ""
    """StorageClass of the claim, where that does not let it grow."""
    step: Step = Step.DOWNLOAD
    """What the Job does."""
    suspected_at: str = ""
    """When a user met a fault in the verified copy; empty where there is nothing to verify again for."""
    job: Object | None = None
    pods: Sequence[PodView] = ()
    """Pods of the Job."""
    pods_refused: str = ""
    """The API server's words, where it takes no pod of the Job."""
    log_tail: str = ""
    used_by: Sequence[str] = ()
    """Names of all users, sorted."""
    retention: str = "Retain"
    """What becomes of the claim, as all users together say."""
    decided_by: str = ""
    """Whose token, endpoint and size count."""
    endpoint: str = ""
    """The hub."""
    removed: Sequence[str] = ()
    """Folders that a Job has freed."""
    first_retry_seconds: float = FIRST_RETRY_SECONDS
