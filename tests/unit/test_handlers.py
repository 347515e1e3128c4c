"""Watch events in, keys out."""

from __future__ import annotations

from typing import Any

import kopf
import pytest
from kubernetes.aio.client.configuration import Configuration

from qwen3_operator.handlers import CHILDREN, kopf_settings, make_registry
from qwen3_operator.naming import SELECTOR
from qwen3_operator.reconcile import Key
from qwen3_operator.reconcile.users import ModelUsers


class Handlers:
    """The registered handlers, called as kopf calls them: with one memo an object."""

    def __init__(self) -> None:
        self.keys: list[Key] = []
        self.delays: dict[Key, float] = {}
        self.memos: dict[str, kopf.Memo] = {}
        self.users = ModelUsers()
        registry = make_registry(self.look_at, self.users.of, Configuration(), at_end=self.end)
        self.functions = {str(handler.id): handler.fn for handler in registry._watching.get_all_handlers()}

    def look_at(self, key: Key, seconds: float) -> None:
        """What the queue would be asked for."""
        self.keys.append(key)
        self.delays[key] = seconds

    async def end(self) -> None:
        """Nothing runs beside these handlers."""

    async def see(self, handler: str, body: dict[str, Any], type: str | None = "MODIFIED") -> list[Key]:
        """One event; the keys that it brings."""
        self.keys.clear()
        meta = body["metadata"]
        memo = self.memos.setdefault(f"{handler}/{meta['name']}", kopf.Memo())
        resource = kopf.Resource("", "v1", handler)
        await self.functions[handler](
            namespace=meta["namespace"],
            name=meta["name"],
            type=type,
            body=body,
            meta=meta,
            memo=memo,
            resource=resource,
        )
        return sorted(set(self.keys))


@pytest.fixture
def handlers() -> Handlers:
    return Handlers()


def obj(name: str, *, generation: int = 1, **fields: Any) -> dict[str, Any]:
    meta = {"namespace": "team", "name": name, "generation": generation} | fields.pop("metadata", {})
    return {"kind": "Qwen3Deployment", "metadata": meta, "spec": {}, **fields}


BATCH = Key("Qwen3Batch", "team", "chat")
DEPLOYMENT = Key("Qwen3Deployment", "team", "chat")
MODEL = Key("Qwen3Model", "team", "weights")


async def test_a_deployment_is_looked_at_when_it_is_new_and_when_its_spec_changes(handlers: Handlers) -> None:
    assert await handlers.see("deployment", obj("chat"), type=None) == [DEPLOYMENT]
    assert await handlers.see("deployment", obj("chat", status={"replicas": 1})) == [], "our own status write"
    assert await handlers.see("deployment", obj("chat", generation=2)) == [DEPLOYMENT]
    assert await handlers.see("deployment", obj("chat", generation=2, metadata={"deletionTimestamp": "now"})) == [
        DEPLOYMENT
    ]


async def test_a_deleted_deployment_tells_its_model(handlers: Handlers) -> None:
    body = obj("chat", status={"model": {"name": "weights"}})
    await handlers.see("deployment", body)
    assert await handlers.see("deployment", body, type="DELETED") == [DEPLOYMENT, MODEL]


async def test_a_batch_is_a_user_like_a_deployment(handlers: Handlers) -> None:
    body = obj("chat", status={"model": {"name": "weights"}}) | {"kind": "Qwen3Batch"}
    assert await handlers.see("batch", body) == [BATCH, MODEL]
    assert await handlers.see("batch", body) == []


async def test_a_deployment_that_moves_tells_both_models(handlers: Handlers) -> None:
    await handlers.see("deployment", obj("chat", status={"model": {"name": "weights"}}))
    keys = await handlers.see("deployment", obj("chat", status={"model": {"name": "other"}}))
    assert keys == [Key("Qwen3Model", "team", "other"), MODEL]


async def test_a_model_tells_its_users_what_matters_to_them(handlers: Handlers) -> None:
    handlers.users.note(DEPLOYMENT, "weights")
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    assert await handlers.see("model", obj("weights")) == [DEPLOYMENT, MODEL]
    assert await handlers.see("model", obj("weights", status=ready)) == [DEPLOYMENT]
    assert await handlers.see("model", obj("weights", status=ready | {"usedBy": ["chat"]})) == []
    handlers.users.note(BATCH, "weights")
    assert await handlers.see("model", obj("weights", status=ready), type="DELETED") == [BATCH, DEPLOYMENT, MODEL]
    assert await handlers.see("model", obj("other", status=ready)) == [Key("Qwen3Model", "team", "other")]


def test_users_of_a_model() -> None:
    users = ModelUsers()
    assert users.note(DEPLOYMENT, "weights") and not users.note(DEPLOYMENT, "weights")
    assert users.note(BATCH, "weights") and users.note(DEPLOYMENT, "other")
    assert users.of("team", "weights") == [BATCH, DEPLOYMENT] and not users.of("elsewhere", "weights")
    users.forget(DEPLOYMENT, "weights")
    assert (users.of("team", "weights"), users.of("team", "other")) == ([BATCH], [DEPLOYMENT])
    users.forget(BATCH)
    users.forget(DEPLOYMENT)
    users.forget(DEPLOYMENT)
    assert not users._users and not users._models, "nothing is kept of who is gone"


async def test_a_new_holder_has_the_model_looked_at(handlers: Handlers) -> None:
    await handlers.see("model", obj("weights"))
    stranger = {"ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "x"}]}
    assert await handlers.see("model", obj("weights", metadata=stranger)) == [MODEL]


@pytest.mark.parametrize("child", [kind.plural for kind in CHILDREN])
@pytest.mark.parametrize("type", [None, "ADDED", "MODIFIED", "DELETED"])
async def test_a_child_leads_to_its_owner(handlers: Handlers, child: str, type: str | None) -> None:
    for label, key in (("deployment", DEPLOYMENT), ("batch", BATCH), ("model", MODEL)):
        body = obj(f"child-{label}", metadata={"labels": {f"serving.qwen3.dev/{label}": key.name}})
        assert await handlers.see(child, body, type) == [key]
    assert await handlers.see(child, obj("stranger")) == []


async def test_status_of_a_child_has_time_and_edits_have_not(handlers: Handlers) -> None:
    def child(generation: int) -> dict[str, Any]:
        labels = {"serving.qwen3.dev/deployment": "chat"}
        return obj("child", generation=generation, metadata={"labels": labels})

    async def delay(kind: str, generation: int, type: str = "MODIFIED") -> float:
        await handlers.see(kind, child(generation), type)
        return handlers.delays[DEPLOYMENT]

    assert await delay("pods", 1) > await delay("deployments", 1) > await delay("jobs", 1) == 0
    assert await delay("deployments", 1) > 0
    assert await delay("deployments", 2) == 0, "somebody edited it"
    assert await delay("deployments", 2) > 0
    assert await delay("deployments", 2, "DELETED") == 0


async def test_what_servers_wait_for_is_told_at_once_and_progress_later(handlers: Handlers) -> None:
    handlers.users.note(DEPLOYMENT, "weights")

    async def delay(**status: Any) -> float:
        await handlers.see("model", obj("weights", status=status))
        return handlers.delays[DEPLOYMENT]

    await delay()
    assert await delay(download={"bytesDone": 1}) > 0
    assert (
        await delay(download={"bytesDone": 2}, conditions=[{"type": "Stalled", "status": "True", "reason": "x"}]) == 0
    )
    assert await delay(download={"bytesDone": 2}, model={"commit": "c0ffee"}) == 0


async def test_a_child_that_names_another_owner_leads_to_the_one_before_as_well(handlers: Handlers) -> None:
    def child(owner: str) -> dict[str, Any]:
        return obj("child", metadata={"labels": {"serving.qwen3.dev/deployment": owner}})

    other = Key("Qwen3Deployment", "team", "other")
    await handlers.see("deployments", child("chat"))
    assert await handlers.see("deployments", child("other")) == [DEPLOYMENT, other]
    assert await handlers.see("deployments", obj("child")) == [other]
    assert await handlers.see("deployments", child("chat")) == [DEPLOYMENT]


def test_kopf_only_watches() -> None:
    """Nothing is scanned, posted, or kept on objects; children are selected on the server."""
    settings = kopf_settings()
    assert settings.scanning.disabled and not settings.posting.enabled
    body = kopf.Body(obj("chat"))
    assert settings.persistence.diffbase_storage.fetch(body=body) is None
    assert settings.persistence.diffbase_storage.build(body=body) == {}
    for kind in CHILDREN:
        group, _, version = kind.api_version.rpartition("/")
        assert settings.watching.label_selectors[group, version, kind.plural] == SELECTOR


def test_no_handler_makes_kopf_write() -> None:
    """Only handlers of raw events: any other would bring annotations and finalizers."""
    registry = make_registry(lambda key, seconds: None, ModelUsers().of, Configuration(), at_end=Handlers().end)
    assert not registry._changing.get_all_handlers() and not registry._spawning.get_all_handlers()
    assert not registry._indexing.get_all_handlers() and not registry._webhooks.get_all_handlers()
