"""The outcome of a batch's Job, recorded on the Job: its pods reported it, and they are gone before the Job is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from pydantic import TypeAdapter, ValidationError

from qwen3_operator.api import GROUP

ANNOTATION = f"{GROUP}/outcome"
LONGEST_MESSAGE = 4096
Object = Mapping[str, Any]


@dataclass(frozen=True)
class BatchOutcome:
    """The annotation. What was noted once stays."""

    answered: bool = False
    """Whether a line is finished: then there is something to deliver."""
    merged: bool = False
    """Whether the output is in place."""
    reason: str = ""
    """Why the Job failed, as its pods reported; empty: it did not fail, or no pod reported why."""
    message: str = ""
    """The same in words."""
    capacity: str = ""
    """Size of the output's claim when it was full; empty: it was not."""

    def written(self) -> str:
        """As the annotation's text: what is not noted is left out."""
        short = replace(self, message=self.message[:LONGEST_MESSAGE])
        content = {key: value for key, value in asdict(short).items() if value}
        return json.dumps(content, separators=(",", ":"), ensure_ascii=False)


_OUTCOME = TypeAdapter(BatchOutcome)


def outcome_on(job: Object) -> BatchOutcome:
    """What is written on a Job; nothing where nothing is, or nothing that can be read."""
    text = (job["metadata"].get("annotations") or {}).get(ANNOTATION)
    try:
        return _OUTCOME.validate_json(text) if text else BatchOutcome()
    except ValidationError:
        return BatchOutcome()
