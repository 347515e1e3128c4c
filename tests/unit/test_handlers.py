"""kopf watches for us and does nothing else."""

from __future__ import annotations

from typing import Any

import kopf
from kubernetes.aio.client.configuration import Configuration

from qwen3_operator.controller.kinds import DEPLOYMENTS
from qwen3_operator.controller.store import Store
from qwen3_operator.handlers import kopf_settings, make_registry
from qwen3_operator.naming import SELECTOR
from qwen3_operator.reconcile.watched import CHILDREN, MAY_BE_MISSING, WATCHED


def registry(store: Store, relisted: list[bool]) -> kopf.OperatorRegistry:
    async def end() -> None:
        """Nothing runs beside these handlers."""

    return make_registry(store, lambda: relisted.append(True), Configuration(), at_end=end)


async def test_events_go_into_the_store() -> None:
    store, relisted = Store(WATCHED), list[bool]()
    watching = registry(store, relisted)._watching.get_all_handlers()
    handlers: dict[str, Any] = {str(handler.id): handler.fn for handler in watching}
    assert set(handlers) == {kind.plural for kind in WATCHED if kind not in MAY_BE_MISSING}
    meta = {"namespace": "team", "name": "chat", "uid": "u", "resourceVersion": "1"}

    async def see(type: str | None, version: str) -> None:
        obj = {"metadata": meta | {"resourceVersion": version, "managedFields": [{}]}, "spec": {"v": version}}
        await handlers["deployments"](event={"type": type, "object": obj})

    await see(None, "1")
    assert store.get(DEPLOYMENTS, "team", "chat") == {"metadata": meta, "spec": {"v": "1"}} and not relisted
    store.ready.set()
    await see(None, "2")
    assert relisted, "a listing after the first: something may have vanished"
    await see("DELETED", "3")
    await see("MODIFIED", "2")
    assert store.get(DEPLOYMENTS, "team", "chat") is None


def test_kopf_only_watches() -> None:
    """Nothing is scanned, posted, or kept on objects; children are selected on the server."""
    settings = kopf_settings()
    assert settings.scanning.disabled and not settings.posting.enabled
    body = kopf.Body({"metadata": {"name": "chat"}, "spec": {}})
    assert settings.persistence.diffbase_storage.fetch(body=body) is None
    assert settings.persistence.diffbase_storage.build(body=body) == {}
    for kind in set(CHILDREN) - set(MAY_BE_MISSING):
        group, _, version = kind.api_version.rpartition("/")
        assert settings.watching.label_selectors[group, version, kind.plural] == SELECTOR


def test_no_handler_makes_kopf_write() -> None:
    """Only handlers of raw events: any other would bring annotations and finalizers."""
    handlers = registry(Store(WATCHED), [])
    assert not handlers._changing.get_all_handlers() and not handlers._spawning.get_all_handlers()
    assert not handlers._indexing.get_all_handlers() and not handlers._webhooks.get_all_handlers()
