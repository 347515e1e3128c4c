"""kopf's part: watch events in, keys out, nothing else.

Handlers only enqueue, so they cannot fail; kopf keeps no state for such handlers: no annotation, no finalizer, and a
restart writes nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import kopf
from kubernetes.aio.client.configuration import Configuration

from qwen3_operator.api import GROUP, VERSION
from qwen3_operator.api.batch import Qwen3Batch
from qwen3_operator.api.deployment import Qwen3Deployment
from qwen3_operator.api.model import Qwen3Model
from qwen3_operator.controller.kinds import CLAIMS, DEPLOYMENTS, JOBS, PODS, SERVICES, Kind
from qwen3_operator.naming import BATCH_LABEL, DEPLOYMENT_LABEL, MANAGED_BY, MANAGER, MODEL_LABEL, SELECTOR, digest
from qwen3_operator.reconcile import Key

OWNER_LABELS = {
    DEPLOYMENT_LABEL: Qwen3Deployment.KIND,
    BATCH_LABEL: Qwen3Batch.KIND,
    MODEL_LABEL: Qwen3Model.KIND,
}
"""Labels of a child that name its owner; the first that it has counts."""
PATIENCE = {PODS.plural: 2.0, DEPLOYMENTS.plural: 1.0}
"""Seconds that a child's status may wait for a look: a start brings a dozen of them, and one look is for all. Edits and
deletions are looked at at once."""
USERS_SECONDS = 1.0
"""The same for who uses a model: many come at once."""
PROGRESS_SECONDS = 5.0
"""The same for the progress of a model, which each of its users shows."""
CHILDREN: tuple[Kind, ...] = (DEPLOYMENTS, SERVICES, CLAIMS, JOBS, PODS)


def make_registry(
    look_at: Callable[[Key, float], None],
    users_of: Callable[[str, str], Iterable[Key]],
    configuration: Configuration,
    at_end: Callable[[], Awaitable[None]],
) -> kopf.OperatorRegistry:
    """Handlers that call `look_at` with a key and in how many seconds at most, for a Qwen3Model also with the keys of
    `users_of` its namespace and name; a login with the credentials of `configuration`, and `at_end` when kopf ends."""
    registry = kopf.OperatorRegistry()

    def enqueue(kind: str, namespace: str | None, name: str, seconds: float = 0.0) -> None:
        look_at(Key(kind, namespace or "", name), seconds)

    kopf.on.login(registry=registry, id="login")(_login(configuration))

    @kopf.on.cleanup(registry=registry, id="end")
    async def end(**_: Any) -> None:
        await at_end()

    @kopf.on.event(GROUP, VERSION, Qwen3Deployment.PLURAL, registry=registry, id="deployment")
    @kopf.on.event(GROUP, VERSION, Qwen3Batch.PLURAL, registry=registry, id="batch")
    async def on_user(namespace: str | None, name: str, type: str, body: kopf.Body, memo: kopf.Memo, **_: Any) -> None:
        if type == "DELETED" or _is_news(memo, "spec", _spec_version(body)):
            enqueue(body["kind"], namespace, name)
        status = body.get("status") or {}
        (before, _), model = memo.get("model", (None, None)), (status.get("model") or {}).get("name")
        if type == "DELETED" or _is_news(memo, "model", (model, status.get("modelFaultAt"))):
            for changed in {before, model} - {None}:
                enqueue(Qwen3Model.KIND, namespace, str(changed), USERS_SECONDS)

    @kopf.on.event(GROUP, VERSION, Qwen3Model.PLURAL, registry=registry, id="model")
    async def on_model(namespace: str | None, name: str, type: str, body: kopf.Body, memo: kopf.Memo, **_: Any) -> None:
        version = _spec_version(body)
        if type == "DELETED" or _is_news(memo, "spec", version):
            enqueue(Qwen3Model.KIND, namespace, name)
        if _is_news(memo, "holders", body["metadata"].get("ownerReferences")):
            enqueue(Qwen3Model.KIND, namespace, name, USERS_SECONDS)
        status = body.get("status") or {}
        summary = [c for c in status.get("conditions") or [] if c.get("type") in ("Ready", "Stalled")]
        verdict = [version, status.get("model"), [(c.get("status"), c.get("reason")) for c in summary]]
        decisive = type == "DELETED" or _is_news(memo, "verdict", verdict)
        told = {key: value for key, value in status.items() if key != "usedBy"}
        if _is_news(memo, "told", digest(told)) or decisive:
            for user in users_of(namespace or "", name):
                look_at(user, 0.0 if decisive else PROGRESS_SECONDS)

    for child in CHILDREN:
        group, _, version = child.api_version.rpartition("/")

        @kopf.on.event(group, version, child.plural, registry=registry, id=child.plural, labels={MANAGED_BY: MANAGER})
        async def on_child(
            namespace: str | None, type: str, meta: kopf.Meta, memo: kopf.Memo, resource: kopf.Resource, **_: Any
        ) -> None:
            owner, generation = _owner(meta.get("labels") or {}), meta.get("generation")
            owner_before, generation_before = memo.get("owner"), memo.get("generation", generation)
            memo["owner"], memo["generation"] = owner, generation
            edited = type == "DELETED" or generation_before != generation
            # A child whose labels were taken away comes as DELETED with the old ones; one whose label names another
            # owner by now is looked at by the one before as well.
            for named in {owner_before, owner}:
                if named is not None:
                    enqueue(named[0], namespace, named[1], 0.0 if edited else PATIENCE.get(resource.plural, 0.0))

    return registry


def _owner(labels: Mapping[str, str]) -> tuple[str, str] | None:
    """(kind, name) that a child's labels name."""
    for label, kind in OWNER_LABELS.items():
        if name := labels.get(label):
            return kind, name
    return None


def _is_news(memo: kopf.Memo, topic: str, value: Any) -> bool:
    """Whether `value` differs from what the last event of this object said; most events are our own status writes."""
    known = topic in memo and memo[topic] == value
    memo[topic] = value
    return not known


def _spec_version(body: kopf.Body) -> list[Any]:
    """What changes with the spec and with the deletion, and not with the status."""
    return [body["metadata"].get(key) for key in ("generation", "deletionTimestamp")]


class _NoLastHandled(kopf.DiffBaseStorage):
    """kopf copies each object to compare it with how it was last handled. No handler of ours asks; copying was 2/5 of
    the operator's CPU time."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        return kopf.BodyEssence({})

    def fetch(self, **_: Any) -> kopf.BodyEssence | None:
        return None

    def store(self, **_: Any) -> None:
        pass


class _NoProgress(kopf.ProgressStorage):
    """Nor is the progress of handlers kept anywhere: ours have none."""

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        pass

    def purge(self, **_: Any) -> None:
        pass

    def touch(self, **_: Any) -> None:
        pass

    def clear(self, *, essence: kopf.BodyEssence) -> kopf.BodyEssence:
        return essence


def kopf_settings() -> kopf.OperatorSettings:
    """kopf as a watch engine: no scanning, no posting, children selected on the server, errors end the process."""
    settings = kopf.OperatorSettings()
    settings.scanning.disabled = True  # it would list all CRDs and namespaces, which least privilege forbids
    settings.posting.enabled = False
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 10
    settings.networking.error_backoffs = (1, 2, 4)
    settings.networking.enforce_retry_after = True
    settings.watching.chunk_size = 500
    settings.queueing.exit_timeout = 1
    settings.persistence.diffbase_storage = _NoLastHandled()
    settings.persistence.progress_storage = _NoProgress()
    for child in CHILDREN:
        group, _, version = child.api_version.rpartition("/")
        settings.watching.label_selectors[group, version, child.plural] = SELECTOR
    return settings


def _login(configuration: Configuration) -> Callable[..., Awaitable[kopf.ConnectionInfo]]:
    async def login(**_: Any) -> kopf.ConnectionInfo:
        header = await configuration.get_api_key_with_prefix("BearerToken", alias="authorization") or ""
        scheme, _sep, token = header.rpartition(" ")
        return kopf.ConnectionInfo(
            server=configuration.host,
            ca_path=configuration.ssl_ca_cert,
            insecure=not configuration.verify_ssl,
            scheme=scheme.strip().capitalize() or None,
            token=token or None,
            certificate_path=configuration.cert_file,
            private_key_path=configuration.key_file,
        )

    return login
