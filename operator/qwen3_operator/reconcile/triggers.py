"""Which objects of ours a change concerns, and how soon they are reconciled for it."""

from __future__ import annotations

from typing import Any, Protocol

from qwen3_operator.controller.kinds import DEPLOYMENTS, PODS, SCALED_OBJECTS, Kind
from qwen3_operator.controller.store import Object, Store
from qwen3_operator.naming import QWEN3_BATCHES, QWEN3_DEPLOYMENTS, QWEN3_MODELS
from qwen3_operator.reconcile.key import Key, key_of
from qwen3_operator.reconcile.users import ModelUsers
from qwen3_operator.reconcile.watched import BY_DEPLOYMENT, CHILDREN, in_namespace, owner_of, served_model

PATIENCE = {PODS: 2.0, DEPLOYMENTS: 1.0}
"""Seconds that a child's status may wait: a start brings a dozen changes, and one reconcile is for all. Edits and
deletions do not wait."""
USERS_SECONDS = 1.0
"""How long a model waits before it is reconciled because its users changed: often many objects that use it are created
at once."""
PROGRESS_SECONDS = 5.0
"""How long the users of a model wait before they are reconciled because its download went on: each shows the progress
in its own status."""


class Enqueue(Protocol):
    """Have `key` reconciled in so many seconds at the latest. `edited`: somebody has changed its spec, and waits."""

    def __call__(self, key: Key, seconds: float, *, edited: bool = False) -> None: ...


class Triggers:
    """Listens to the store and enqueues what a change concerns."""

    def __init__(self, enqueue: Enqueue, users: ModelUsers, store: Store) -> None:
        self._enqueue, self._users, self._store = enqueue, users, store

    def observe(self, kind: Kind, before: Object | None, after: Object | None, own: bool) -> None:
        """A change of the store; `own`: it is a write of ours."""
        if kind in (QWEN3_DEPLOYMENTS, QWEN3_BATCHES):
            self._user(kind, before, after)
        elif kind == QWEN3_MODELS:
            self._model(before, after)
        elif kind in CHILDREN and not own:  # whoever wrote it has the answer already
            self._child(kind, before, after)

    def _user(self, kind: Kind, before: Object | None, after: Object | None) -> None:
        key = key_of(kind, after or before or {})
        models = {served_model(before), served_model(after)} - {None}
        if _spec_version(before) != _spec_version(after):
            self._enqueue(key, 0.0, edited=before is not None)
            models |= set(self._users.models_of(key))
            if kind == QWEN3_DEPLOYMENTS:
                self._batches_of(key)
        elif (served_model(before), _status(before, "modelFaultAt")) == (
            served_model(after),
            _status(after, "modelFaultAt"),
        ):
            return
        for name in models:
            self._enqueue(Key(QWEN3_MODELS.kind, key.namespace, str(name)), USERS_SECONDS)

    def _batches_of(self, deployment: Key) -> None:
        """The Qwen3Batches that run by the spec of a Qwen3Deployment, or wait until they can."""
        wanted = in_namespace(deployment.namespace, deployment.name)
        for namespace, name in self._store.names_with(QWEN3_BATCHES, BY_DEPLOYMENT, wanted):
            self._enqueue(Key(QWEN3_BATCHES.kind, namespace, name), 0.0)

    def _model(self, before: Object | None, after: Object | None) -> None:
        key = key_of(QWEN3_MODELS, after or before or {})
        if _spec_version(before) != _spec_version(after):
            self._enqueue(key, 0.0, edited=before is not None)
        elif _meta(before).get("ownerReferences") != _meta(after).get("ownerReferences"):
            self._enqueue(key, USERS_SECONDS)
        decisive = _verdict(before) != _verdict(after)
        if decisive or _shown_to_users(before) != _shown_to_users(after):
            for user in self._users.of(key.namespace, key.name):
                self._enqueue(user, 0.0 if decisive else PROGRESS_SECONDS)

    def _child(self, kind: Kind, before: Object | None, after: Object | None) -> None:
        if kind == SCALED_OBJECTS and None not in (before, after) and _scaling(before) == _scaling(after):
            return
        generations = [_meta(it).get("generation") for it in (before, after) if it is not None]
        edited = after is None or len(set(generations)) > 1
        # A child whose label names another owner by now concerns the one before as well.
        for owner in {owner_of(_meta(it).get("labels") or {}) for it in (before, after)} - {None}:
            assert owner is not None
            key = Key(owner[0], _meta(after or before)["namespace"], owner[1])
            self._enqueue(key, 0.0 if edited else PATIENCE.get(kind, 0.0))


def _meta(obj: Object | None) -> Object:
    meta: Object = (obj or {}).get("metadata") or {}
    return meta


def _status(obj: Object | None, field: str) -> Any:
    return ((obj or {}).get("status") or {}).get(field)


def _spec_version(obj: Object | None) -> tuple[Any, ...]:
    """What changes with the spec, the deletion and the object itself, and not with the status."""
    return tuple(_meta(obj).get(key) for key in ("uid", "generation", "deletionTimestamp"))


def _verdict(model: Object | None) -> list[Any]:
    """What decides whether users may serve from the model."""
    summary = [c for c in _status(model, "conditions") or [] if c.get("type") in ("Ready", "Stalled")]
    verdict = [(c.get("status"), c.get("reason")) for c in summary]
    return [_spec_version(model), _status(model, "model"), _status(model, "retentionPolicy"), verdict]


def _scaling(scaler: Object | None) -> list[Any]:
    """What changes in a ScaledObject only when it means something: KEDA also writes each time that it checks."""
    meta = _meta(scaler)
    return [_spec_version(scaler), meta.get("labels"), meta.get("ownerReferences"), _status(scaler, "conditions")]


def _shown_to_users(model: Object | None) -> Object:
    return {key: value for key, value in ((model or {}).get("status") or {}).items() if key not in ("usedBy", "users")}
