"""What the operator writes for the front, and what the front reports to autoscalers.

All that the front knows stands in EndpointSlices. The operator makes one for each Service: its port is a port of the
front that is this Service's alone, so a request is known by its port whatever its Host header says, and an annotation
says what is to be done with it. The addresses of the servers stand in the slices that the cluster itself makes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

ANNOTATION = "serving.qwen3.dev/front"
"""On the operator's EndpointSlice: a `Notice`, as JSON."""
COMPONENT = "front"
SERVICE_LABEL = "kubernetes.io/service-name"
SLICE_MANAGER = "endpointslice.kubernetes.io/managed-by"
OURS, CLUSTERS = "qwen3-operator", "endpointslice-controller.k8s.io"
"""Values of SLICE_MANAGER: of the operator's slices, and of those with the servers."""
PORT_NAME = "http"
"""Of the Service, and so of each slice."""
FIRST_PORT, PORTS = 20000, 512
"""The front's ports, by default: so many deployments can hold requests."""
ADMIN_PORT = 8080
WAITING_PATH = "/waiting/{namespace}/{name}"
"""Of the front's own port: how many requests wait, as JSON, for an autoscaler."""
WAITING_FIELD = "waiting"
MOST_ANNOTATION = 4096


class Mode(StrEnum):
    """What becomes of a request while no server is ready."""

    HOLD = "hold"
    """A server is on its way: it waits."""
    ASLEEP = "asleep"
    """There is no server, and requests that wait make the autoscaler start one."""
    REFUSE = "refuse"
    """No server will come: it is answered at once."""


@dataclass(frozen=True, kw_only=True)
class Notice:
    """What the operator writes about one deployment."""

    mode: Mode = Mode.HOLD
    why: str = ""
    """Why it refuses, or at which stage the start is: a word or a short sentence for users."""
    started: float | None = None
    """When the newest server began to start (Unix time)."""
    usual_seconds: int | None = None
    """How long a start took the last time."""

    def written(self) -> str:
        """As the annotation's value."""
        said = {key: value for key, value in asdict(self).items() if value not in (None, "")}
        return json.dumps(said, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def read_notice(annotations: Mapping[str, Any] | None) -> Notice:
    """What stands in the annotations of a slice. What cannot be read says nothing, and requests wait."""
    text = str((annotations or {}).get(ANNOTATION) or "")
    try:
        said = json.loads(text) if len(text) <= MOST_ANNOTATION else {}
        started, usual = said.get("started"), said.get("usual_seconds")
        return Notice(
            mode=Mode(said.get("mode", Mode.HOLD)),
            why=" ".join(str(said.get("why", "")).split())[:300],
            started=float(started) if isinstance(started, int | float) else None,
            usual_seconds=max(0, min(int(usual), 86_400)) if isinstance(usual, int | float) else None,
        )
    except (ValueError, OverflowError, AttributeError, RecursionError):
        return Notice()
