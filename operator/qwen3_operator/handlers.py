"""kopf's part: watch events go into the store, nothing else.

Handlers cannot fail, and kopf keeps no state for such handlers: no annotation, no finalizer, and a restart writes
nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import kopf
from kubernetes.aio.client.configuration import Configuration

from qwen3_operator.controller.kinds import Kind
from qwen3_operator.controller.store import Store
from qwen3_operator.naming import SELECTOR
from qwen3_operator.reconcile.watched import CHILDREN, MAY_BE_MISSING


def make_registry(
    store: Store,
    relisted: Callable[[], None],
    configuration: Configuration,
    at_end: Callable[[], Awaitable[None]],
) -> kopf.OperatorRegistry:
    """Handlers that keep `store` up to date; a login with the credentials of `configuration`; `at_end` when kopf ends.

    `relisted` is called when a kind is listed anew after a gap: kopf does not say what vanished meanwhile.
    """
    registry = kopf.OperatorRegistry()
    kopf.on.login(registry=registry, id="login")(_login(configuration))

    @kopf.on.cleanup(registry=registry, id="end")
    async def end(**_: Any) -> None:
        await at_end()

    def handler(kind: Kind) -> Callable[..., Awaitable[None]]:
        async def on_event(event: Any, **_: Any) -> None:
            obj, type = event["object"], event["type"]
            if type == "DELETED":
                store.remove(kind, obj["metadata"])
                return
            if type is None and store.ready.is_set():
                relisted()
            store.put(kind, dict(obj))

        return on_event

    for kind in set(store.kinds).difference(MAY_BE_MISSING):
        kopf.on.event(*_resource(kind), registry=registry, id=kind.plural)(handler(kind))
    return registry


def _resource(kind: Kind) -> tuple[str, str, str]:
    group, _, version = kind.api_version.rpartition("/")
    return group, version, kind.plural


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
    # kopf has a task for each object that it heard of in the last seconds, which keeps the whole of it: with the 5 s
    # that are its default that was most of the memory of a start with thousands.
    settings.queueing.idle_timeout = 0.1
    settings.watching.chunk_size = 100
    settings.queueing.exit_timeout = 1
    settings.persistence.diffbase_storage = _NoLastHandled()
    settings.persistence.progress_storage = _NoProgress()
    for child in set(CHILDREN).difference(MAY_BE_MISSING):
        settings.watching.label_selectors[_resource(child)] = SELECTOR
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
