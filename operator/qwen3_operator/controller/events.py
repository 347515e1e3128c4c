"""Kubernetes Events about our objects, deduplicated: the same thing said again raises a count, and not too often."""

from __future__ import annotations

import hashlib
import logging
from datetime import UTC, datetime

from qwen3_operator.controller.cluster import ApiError, Cluster, NamespaceEnding, Object
from qwen3_operator.controller.kinds import EVENTS

log = logging.getLogger(__name__)

CONTROLLER = "serving.qwen3.dev/operator"
MAX_NOTE = 1024


class Recorder:
    """Writes events.k8s.io Events. An Event that cannot be written is logged and forgotten: it is only news."""

    def __init__(self, cluster: Cluster, instance: str) -> None:
        self._cluster, self._instance = cluster, instance

    async def say(self, about: Object, *, reason: str, note: str, action: str = "Reconcile", warning: bool) -> None:
        """Record `reason` and `note` on `about`. The name is made from the words, so a repetition finds the first."""
        meta = about["metadata"]
        words = "\0".join((meta["uid"], reason, note))
        name = f"{meta['name']}.{hashlib.sha256(words.encode()).hexdigest()[:16]}"
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        event: Object = {
            "metadata": {"namespace": meta["namespace"], "name": name},
            "eventTime": now,
            "reportingController": CONTROLLER,
            "reportingInstance": self._instance[:128],
            "action": action,
            "reason": reason,
            "note": note if len(note) <= MAX_NOTE else note[: MAX_NOTE - 1] + "…",
            "type": "Warning" if warning else "Normal",
            "regarding": {
                "apiVersion": about["apiVersion"],
                "kind": about["kind"],
                "namespace": meta["namespace"],
                "name": meta["name"],
                "uid": meta["uid"],
            },
        }
        try:
            await self._write(event)
        except NamespaceEnding:
            pass
        except ApiError as error:
            log.warning("event %s on %s/%s was not written: %s", reason, meta["namespace"], meta["name"], error)

    async def _write(self, event: Object) -> None:
        """Have `event` there, or its count raised. Raises ApiError."""
        try:
            await self._cluster.create(EVENTS, event, manager="qwen3-operator")
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
            await self._repeat(event["metadata"]["namespace"], event["metadata"]["name"], event["eventTime"])

    async def _repeat(self, namespace: str, name: str, now: str) -> None:
        event = await self._cluster.get(EVENTS, namespace, name)
        if event is None:
            return
        series = {"count": event.get("series", {}).get("count", 1) + 1, "lastObservedTime": now}
        await self._cluster.replace(EVENTS, event | {"series": series}, manager="qwen3-operator")
