"""What every reconcile has at hand, and the one place that writes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Literal

from qwen3_operator.api.reasons import Reason
from qwen3_operator.controller.cluster import ApiError, Cluster, Object
from qwen3_operator.controller.events import Recorder
from qwen3_operator.controller.kinds import EVENTS, Kind
from qwen3_operator.controller.ownership import NameTaken, is_controlled_by, prove_ours
from qwen3_operator.controller.store import Store
from qwen3_operator.desired.drift import stamped, up_to_date, with_ports_of
from qwen3_operator.engine.problem import Problem
from qwen3_operator.naming import MANAGED_BY, MANAGER
from qwen3_operator.reconcile import object_metrics
from qwen3_operator.reconcile.front_pods import Front
from qwen3_operator.reconcile.heard import Heard
from qwen3_operator.reconcile.nodes import Nodes
from qwen3_operator.reconcile.plans import Plans
from qwen3_operator.reconcile.rehearsal import Rehearsals
from qwen3_operator.reconcile.replica_sets import ReplicaSets
from qwen3_operator.reconcile.users import ModelUsers
from qwen3_operator.reconcile.watched import OWNER_LABELS
from qwen3_operator.settings import Settings

STATUS_MANAGER = f"{MANAGER}-status"
HAND_OVER_MANAGER = f"{MANAGER}-hand-over"
# Conditions whose news a person wants as an Event: the start, what is in the way, and the end.
_NEWSWORTHY = ("Downloaded", "Ready", "Stalled")


def utc_now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Context:
    """The cluster, what was observed of it, the settings, and what is remembered from one reconcile to the next."""

    cluster: Cluster
    store: Store
    settings: Settings
    recorder: Recorder
    nodes: Nodes
    users: ModelUsers = field(default_factory=ModelUsers)
    front: Front = field(default_factory=Front)
    adapters_heard: Heard = field(default_factory=Heard)
    """Servers that have every adapter of a list."""
    results_heard: Heard = field(default_factory=Heard)
    """Servers that were asked what they measured of themselves, by the key of the measurement."""
    replica_sets: ReplicaSets = field(default_factory=ReplicaSets)
    """Which pods are servers."""
    rehearsals: Rehearsals = field(default_factory=Rehearsals)
    """What the API server said to servers that are not made yet."""
    plans: Plans = field(default_factory=Plans)
    """What specs were resolved into."""
    now: Callable[[], datetime] = field(default=utc_now)

    async def ensure(self, kind: Kind, desired: Object) -> Object:
        """Have `desired` in the cluster and return it as it is there; no write where it is there already.

        What has the name and is not ours is left alone. Raises NameTaken, OwnerGoing, ApiError.
        """
        meta = desired["metadata"]
        return await self.change(kind, await self.observe(kind, meta["namespace"], meta["name"]), desired)

    async def ensure_new(self, kind: Kind, desired: Object) -> Object:
        """`ensure` of what is most likely not there yet and is immutable then: one POST, and a read only where the name
        is taken. An apply costs the API server more than twice as much, and a read before it."""
        wanted = stamped(desired)
        try:
            return self.keep(kind, await self.cluster.create(kind, wanted, manager=MANAGER))
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
        return await self.ensure(kind, desired)

    async def observe(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """A child as it was seen last. What is not there is asked for: without our label no watch would show it."""
        live = self.store.get(kind, namespace, name) if kind in self.store.kinds else None
        return live or await self.cluster.get(kind, namespace, name)

    def prove(self, kind: Kind, live: Object, desired: Object) -> None:
        """Check that `live` is ours, as `desired` would be. Raises NameTaken, OwnerGoing."""
        prove_ours(kind, live, desired, _identity(desired))

    def own(self, kind: Kind, namespace: str, name: str, uid: str) -> Object | None:
        """A child as it was seen last; None for what is not controlled by this very `uid`, and is not to be believed:
        where one has to be made, `ensure` says whose the name is."""
        live = self.store.get(kind, namespace, name)
        return live if is_controlled_by(live, uid) else None

    async def found(self, kind: Kind, desired: Object) -> Object | None:
        """What is there as `desired` already, whatever its spec; None where nothing has its name.

        Raises NameTaken, OwnerGoing, ApiError.
        """
        meta = desired["metadata"]
        live = await self.observe(kind, meta["namespace"], meta["name"])
        if live is not None:
            self.prove(kind, live, desired)
        return live

    async def change(self, kind: Kind, live: Object | None, desired: Object, holders: Sequence[Object] = ()) -> Object:
        """`ensure` for what `observe` returned a moment ago as `live`. `holders`: ownerReferences to make it with."""
        wanted = stamped(desired)
        if live is None:
            if holders:
                wanted = wanted | {"metadata": wanted["metadata"] | {"ownerReferences": list(holders)}}
            # Not by force: should somebody else make one of that name right now, theirs stays as it is.
            return self.keep(kind, await self.cluster.apply(kind, wanted, manager=MANAGER, force=False))
        self.prove(kind, live, desired)
        if up_to_date(live, wanted):
            return live
        exactly = wanted | {"metadata": wanted["metadata"] | {"uid": live["metadata"]["uid"]}}
        try:
            return self.keep(kind, await self.cluster.apply(kind, exactly, manager=MANAGER))
        except ApiError as error:
            if error.status != 422 or "spec" not in wanted or with_ports_of(live, wanted) == live:
                raise
        await self._mend_ports(kind, desired, wanted)
        return self.keep(kind, await self.cluster.apply(kind, exactly, manager=MANAGER))

    async def _mend_ports(self, kind: Kind, desired: Object, wanted: Object) -> None:
        """Put our ports in the place of what a hand made of them; no apply can. What is there is read for it."""
        meta = desired["metadata"]
        live = await self.cluster.get(kind, meta["namespace"], meta["name"])
        if live is None:
            return
        self.prove(kind, live, desired)
        exactly = {key: live["metadata"][key] for key in ("namespace", "name", "uid", "resourceVersion")}
        mended = {"metadata": exactly, "spec": with_ports_of(live, wanted)["spec"]}
        self.keep(kind, await self.cluster.merge(kind, mended, manager=MANAGER))

    async def rehearse(self, kind: Kind, desired: Object) -> None:
        """Have the API server say whether it would make `desired`, and change nothing; what is there already and ours
        is not asked for. Raises NameTaken, ApiError."""
        if await self.found(kind, desired) is None:
            await self.cluster.apply(kind, stamped(desired), manager=MANAGER, force=False, dry_run=True)

    async def hand_over(self, kind: Kind, live: Object, fields: Object) -> Object:
        """Give `fields` of the spec of a child of ours away, as they are. What our next apply leaves out would go else,
        and become the API server's default. Raises ApiError (409 where it changes at this very moment)."""
        meta = {key: live["metadata"][key] for key in ("namespace", "name", "uid", "resourceVersion")}
        theirs = {"metadata": meta, "spec": fields}
        return self.keep(kind, await self.cluster.apply(kind, theirs, manager=HAND_OVER_MANAGER))

    async def delete(self, kind: Kind, seen: Object, desired: Object | None = None) -> None:
        """Delete what was `seen`, as it is now: it is read first. `desired`: what it has to be, by default `seen`.

        Raises NameTaken, ApiError (409 where it changes at this very moment).
        """
        meta = seen["metadata"]
        live = await self.cluster.get(kind, meta["namespace"], meta["name"])
        if live is None or live["metadata"]["uid"] != meta["uid"]:
            self.forget(kind, meta)
            return
        self.prove(kind, live, desired or seen)
        await self.delete_as_read(kind, live)

    async def delete_as_read(self, kind: Kind, live: Object) -> None:
        """Delete what was read as `live` to decide that. Raises ApiError (409 where it has changed since)."""
        meta = live["metadata"]
        if not meta.get("deletionTimestamp"):
            exactly = {"uid": meta["uid"], "resource_version": meta["resourceVersion"]}
            await self.cluster.delete(kind, meta["namespace"], meta["name"], **exactly)
            self.forget(kind, meta)

    def keep(self, kind: Kind, answer: Object) -> Object:
        """Put the answer to a write into the store, which is never older than that."""
        if kind in self.store.kinds:
            self.store.put(kind, answer, own=True)
        return answer

    def forget(self, kind: Kind, meta: Mapping[str, Any]) -> None:
        """What was deleted is not in the store any more, though the watch has yet to say so."""
        if kind in self.store.kinds:
            self.store.remove(kind, meta, own=True)

    async def write_status(
        self, kind: Kind, obj: Object, status: dict[str, Any], pods: Iterable[Mapping[str, Any]] | None = None
    ) -> None:
        """Apply `status` where it differs from that of `obj`, and record the news as Events and metrics. `pods`: all of
        the object's own, where they are known. Raises ApiError, a conflict too: no event need come after it."""
        before, meta = obj.get("status") or {}, obj["metadata"]
        object_metrics.show(kind.kind, obj, status, pods)
        if status == before:
            return
        named = {"metadata": {key: meta[key] for key in ("namespace", "name")}}
        try:
            answer = await self._apply_status(kind, named | {"status": status})
            if answer["metadata"]["uid"] != meta["uid"]:
                # Made anew meanwhile: it has no status yet, and a uid is no precondition of this subresource.
                await self._apply_status(kind, named | {"status": {}})
                return
        except ApiError as error:
            if error.status == HTTPStatus.NOT_FOUND:  # deleted meanwhile
                return
            raise
        self.keep(kind, answer)
        object_metrics.count(kind.kind, before, status)
        await self._record_news(kind, obj, before, status)

    async def _apply_status(self, kind: Kind, wanted: Object) -> Object:
        return await self.cluster.apply(kind, wanted, manager=STATUS_MANAGER, subresource="status")

    async def _record_news(self, kind: Kind, obj: Object, before: Object, status: Object) -> None:
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

    async def events_about(self, obj: Mapping[str, Any], kind: Literal["Warning", "Normal"]) -> list[Object]:
        """Events about one object, oldest first."""
        meta = obj["metadata"]
        fields = f"regarding.uid={meta['uid']},type={kind}"
        return sorted(await self.cluster.list(EVENTS, meta["namespace"], fields=fields, limit=50), key=last_seen)

    async def warnings_about(self, obj: Mapping[str, Any]) -> list[str]:
        """Warning Events about one object, oldest first, each with its reason."""
        return [event_words(event) for event in await self.events_about(obj, "Warning")]


def refused(kind: Kind, name: str, error: ApiError) -> Problem:
    """A child that cannot be had, as a problem of its owner. Raises an `error` that may pass."""
    if isinstance(error, NameTaken):
        words = f"{error}. It is left alone: delete or rename it, or give this object another name"
        return Problem(Reason.NAME_TAKEN, words)
    if not error.final:
        raise error
    return Problem(
        Reason.of(f"{kind.kind}Refused"),
        f"the API server refuses the {kind.kind} {name}: {error.message or error.reason}",
    )


def _identity(desired: Object) -> dict[str, str]:
    """The labels that say for what an object was made."""
    labels = desired["metadata"].get("labels") or {}
    return {key: value for key, value in labels.items() if key == MANAGED_BY or key in OWNER_LABELS}


def event_words(event: Object) -> str:
    """What an Event says, with its reason."""
    return f"{event.get('reason', '')}: {event.get('note', '')}"


def last_seen(event: Object) -> str:
    """When an Event was seen last; empty where nobody says."""
    series = event.get("series") or {}
    return str(series.get("lastObservedTime") or event.get("deprecatedLastTimestamp") or event.get("eventTime") or "")
