"""What every reconcile has at hand, and the steps that both kinds share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from qwen3_operator.controller import metrics
from qwen3_operator.controller.cluster import ApiError, Cluster, Object
from qwen3_operator.controller.events import Recorder
from qwen3_operator.controller.kinds import EVENTS, NODES, Kind
from qwen3_operator.desired.drift import stamped, up_to_date, with_ports_of
from qwen3_operator.engine.problem import Problem
from qwen3_operator.naming import MANAGER
from qwen3_operator.plan import NodeGpus
from qwen3_operator.reconcile.users import ModelUsers
from qwen3_operator.settings import Settings

STATUS_MANAGER = f"{MANAGER}-status"
# Conditions whose news a person wants as an Event: the start, what is in the way, and the end of the story.
_NEWSWORTHY = ("Downloaded", "Ready", "Stalled")


NODES_SECONDS = 60.0


def utc_now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


class NodeCache:
    """The nodes' GPUs, read at most once a minute: labels of nodes hardly change, and nobody watches them."""

    def __init__(self) -> None:
        self._read: dict[tuple[str, str], tuple[float, dict[str, NodeGpus]]] = {}

    async def gpus(self, cluster: Cluster, selector: Mapping[str, str], resource: str) -> Mapping[str, NodeGpus]:
        """Nodes with the labels of `selector` that have `resource`: name -> their GPUs."""
        key = (",".join(f"{k}={v}" for k, v in sorted(selector.items())), resource)
        loop = asyncio.get_running_loop()
        read_at, gpus = self._read.get(key, (-NODES_SECONDS, {}))
        if loop.time() - read_at >= NODES_SECONDS:
            nodes = await cluster.list(NODES, labels=key[0])
            gpus = {node["metadata"]["name"]: _node_gpus(node, resource) for node in nodes}
            gpus = {name: found for name, found in gpus.items() if found.count}
            self._read[key] = (loop.time(), gpus)
        return gpus


def _node_gpus(node: Object, resource: str) -> NodeGpus:
    count = str((node.get("status", {}).get("allocatable") or {}).get(resource) or "0")
    if count == "0" or not count.isdigit():
        return NodeGpus()
    labels = node["metadata"].get("labels") or {}
    memory = str(labels.get(f"{resource}.memory") or labels.get("nvidia.com/gpu.memory") or "")
    return NodeGpus(labels.get("nvidia.com/gpu.product") or "", int(memory) if memory.isdigit() else None, int(count))


@dataclass(frozen=True)
class Context:
    """The cluster, the settings, and what is remembered from one reconcile to the next."""

    cluster: Cluster
    settings: Settings
    recorder: Recorder
    now: Callable[[], datetime] = field(default=utc_now)
    nodes: NodeCache = field(default_factory=NodeCache)
    users: ModelUsers = field(default_factory=ModelUsers)

    async def ensure(self, kind: Kind, desired: Object) -> Object:
        """Have `desired` in the cluster and return it as it is there; no write where it is there already."""
        meta = desired["metadata"]
        return await self.change(kind, await self.cluster.get(kind, meta["namespace"], meta["name"]), desired)

    async def change(self, kind: Kind, live: Object | None, desired: Object) -> Object:
        """`ensure` for what was read a moment ago as `live`; None: it was not there."""
        wanted = stamped(desired)
        if live is not None and up_to_date(live, wanted):
            return live
        try:
            return await self.cluster.apply(kind, wanted, manager=MANAGER)
        except ApiError as error:
            if error.status != 422 or live is None or (mended := with_ports_of(live, wanted)) == live:
                raise
        await self.cluster.replace(kind, mended, manager=MANAGER)
        return await self.cluster.apply(kind, wanted, manager=MANAGER)

    async def write_status(self, kind: Kind, obj: Object, status: dict[str, Any]) -> None:
        """Apply `status` where it differs from the live one, and tell the news as Events."""
        before = obj.get("status") or {}
        namespace, name = obj["metadata"]["namespace"], obj["metadata"]["name"]
        metrics.show_conditions(kind.kind, namespace, name, status["conditions"])
        if status == before:
            return
        wanted = {"metadata": {"namespace": namespace, "name": name}, "status": status}
        try:
            await self.cluster.apply(kind, wanted, manager=STATUS_MANAGER, subresource="status")
        except ApiError as error:
            if error.status == 404:  # deleted meanwhile
                return
            raise
        await self._tell_news(kind, obj, before, status)

    async def _tell_news(self, kind: Kind, obj: Object, before: Object, status: Object) -> None:
        old = {c["type"]: c for c in before.get("conditions") or []}
        about = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": obj["metadata"]}
        for condition in status["conditions"]:
            was, kind_of = old.get(condition["type"], {}), condition["type"]
            changed = (was.get("status"), was.get("reason")) != (condition["status"], condition["reason"])
            good, bad = kind_of != "Stalled", kind_of == "Stalled"
            if kind_of in _NEWSWORTHY and changed and condition["status"] == "True":
                await self.recorder.say(about, reason=condition["reason"], note=condition["message"], warning=bad)
            elif good and kind_of == "Ready" and was.get("status") == "True" and condition["status"] == "False":
                await self.recorder.say(about, reason=condition["reason"], note=condition["message"], warning=False)

    async def warnings_about(self, obj: Mapping[str, Any]) -> list[str]:
        """Warning Events about one object, oldest first, each with its reason."""
        meta = obj["metadata"]
        found = await self.cluster.list(
            EVENTS, meta["namespace"], fields=f"regarding.uid={meta['uid']},type=Warning", limit=50
        )
        return [f"{e['reason']}: {e.get('note', '')}" for e in sorted(found, key=_last_seen)]

    async def missing_key(self, namespace: str, kind: Kind, name: str, key: str, field_path: str) -> Problem | None:
        """A problem where the Secret or ConfigMap `name` has no `key`."""
        obj = await self.cluster.get(kind, namespace, name)
        if obj is None:
            return Problem(f"{kind.kind}NotFound", f"{kind.kind} {name} does not exist: create it", field_path)
        if key not in (obj.get("data") or {}) and key not in (obj.get("binaryData") or {}):
            there = ", ".join(sorted(obj.get("data") or {})) or "none"
            return Problem(
                f"{kind.kind}KeyNotFound", f"{kind.kind} {name} has no key {key} (it has {there}): add it", field_path
            )
        return None

    async def version(self, namespace: str, kind: Kind, name: str) -> str:
        """The resourceVersion of a Secret or ConfigMap: it changes with the content."""
        obj = await self.cluster.get(kind, namespace, name)
        return str(obj["metadata"]["resourceVersion"]) if obj else ""


def refused(kind: Kind, name: str, error: ApiError) -> Problem:
    """A child that the API server refuses for good, as a problem of its owner. Raises an `error` that may pass."""
    if not error.final:
        raise error
    return Problem(
        f"{kind.kind}Refused", f"the API server refuses the {kind.kind} {name}: {error.message or error.reason}"
    )


def invalid_spec(errors: Sequence[Any]) -> Problem:
    """A spec that this operator cannot read, though the API server took it (an older CRD is installed)."""
    words = "; ".join(f"spec.{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in errors[:5])
    return Problem("InvalidSpec", f"{words}. The installed CRDs may be older than the operator: apply them again.")


def _last_seen(event: Object) -> str:
    series = event.get("series") or {}
    return str(series.get("lastObservedTime") or event.get("deprecatedLastTimestamp") or event.get("eventTime") or "")
