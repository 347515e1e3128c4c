"""How a Job ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Object = Mapping[str, Any]


def job_result(job: Object | None) -> str | None:
    """ "Complete", "Failed", or None while the Job goes on."""
    conditions = (job or {}).get("status", {}).get("conditions") or []
    return next((c["type"] for c in conditions if c["type"] in ("Complete", "Failed") and c["status"] == "True"), None)
