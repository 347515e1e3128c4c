"""Watch events in, keys out."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from qwen3_operator.controller.kinds import DEPLOYMENTS, JOBS, PODS, Kind
from qwen3_operator.controller.store import Store
from qwen3_operator.naming import QWEN3_BATCHES, QWEN3_DEPLOYMENTS, QWEN3_MODELS
from qwen3_operator.reconcile import Key
from qwen3_operator.reconcile.triggers import Triggers
from qwen3_operator.reconcile.users import ModelUsers
from qwen3_operator.reconcile.watched import BY_MODEL, CHILDREN, WATCHED, in_namespace


class Watch:
    """A store that hears events, and what its changes have enqueued."""

    def __init__(self) -> None:
        self.delays: dict[Key, float] = {}
        self.edited: set[Key] = set()
        self.users = ModelUsers()
        self.store = Store(WATCHED)
        self.store.listeners.append(Triggers(self._enqueue, self.users, self.store).observe)
        self._versions = itertools.count(1)

    def _enqueue(self, key: Key, seconds: float, *, edited: bool = False) -> None:
        if edited:
            self.edited.add(key)
        self.delays[key] = min(seconds, self.delays.get(key, seconds))

    def see(self, kind: Kind, body: dict[str, Any], *, deleted: bool = False, own: bool = False) -> list[Key]:
        """One event, or the answer to a write of our own; the keys that it brings."""
        self.delays.clear()
        body["metadata"] |= {"resourceVersion": str(next(self._versions))}
        if deleted:
            self.store.remove(kind, body["metadata"], own=own)
        else:
            self.store.put(kind, body, own=own)
        return sorted(self.delays)


@pytest.fixture
def watch() -> Watch:
    return Watch()


def obj(name: str, *, generation: int = 1, **fields: Any) -> dict[str, Any]:
    meta = {"namespace": "team", "name": name, "uid": name, "generation": generation} | fields.pop("metadata", {})
    return {"kind": "Qwen3Deployment", "metadata": meta, "spec": {"containers": []}, **fields}


BATCH = Key("Qwen3Batch", "team", "chat")
DEPLOYMENT = Key("Qwen3Deployment", "team", "chat")
MODEL = Key("Qwen3Model", "team", "weights")


def test_a_deployment_is_reconciled_when_it_is_new_and_when_its_spec_changes(watch: Watch) -> None:
    assert watch.see(QWEN3_DEPLOYMENTS, obj("chat")) == [DEPLOYMENT]
    assert not watch.edited, "it is new"
    assert watch.see(QWEN3_DEPLOYMENTS, obj("chat", status={"replicas": 1})) == [], "our own status write"
    assert watch.see(QWEN3_DEPLOYMENTS, obj("chat", generation=2)) == [DEPLOYMENT]
    assert watch.edited == {DEPLOYMENT}
    assert watch.see(QWEN3_DEPLOYMENTS, obj("chat", generation=2, metadata={"deletionTimestamp": "now"})) == [
        DEPLOYMENT
    ]


def test_a_deleted_deployment_concerns_its_model(watch: Watch) -> None:
    body = obj("chat", status={"model": {"name": "weights"}})
    watch.see(QWEN3_DEPLOYMENTS, body)
    assert watch.see(QWEN3_DEPLOYMENTS, body, deleted=True) == [DEPLOYMENT, MODEL]


def test_a_batch_that_is_over_uses_no_model_any_more(watch: Watch) -> None:
    used = {"model": {"name": "weights"}, "job": {"name": "j"}}
    watch.see(QWEN3_BATCHES, obj("chat", status=used))
    assert watch.store.find(QWEN3_BATCHES, BY_MODEL, in_namespace("team", "weights"))
    over = used | {"job": {"name": "j", "result": "Complete"}}
    assert watch.see(QWEN3_BATCHES, obj("chat", status=over), own=True) == [MODEL]
    assert not watch.store.find(QWEN3_BATCHES, BY_MODEL, in_namespace("team", "weights"))


def test_a_batch_is_a_user_like_a_deployment(watch: Watch) -> None:
    body = obj("chat", status={"model": {"name": "weights"}}) | {"kind": "Qwen3Batch"}
    assert watch.see(QWEN3_BATCHES, body) == [BATCH, MODEL]
    assert watch.see(QWEN3_BATCHES, body) == []


def test_a_deployment_that_moves_concerns_both_models(watch: Watch) -> None:
    watch.see(QWEN3_DEPLOYMENTS, obj("chat", status={"model": {"name": "weights"}}))
    keys = watch.see(QWEN3_DEPLOYMENTS, obj("chat", status={"model": {"name": "other"}}))
    assert keys == [Key("Qwen3Model", "team", "other"), MODEL]


def test_a_model_concerns_its_users_where_it_matters_to_them(watch: Watch) -> None:
    watch.users.note(DEPLOYMENT, {"weights"})
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    assert watch.see(QWEN3_MODELS, obj("weights")) == [DEPLOYMENT, MODEL]
    assert watch.see(QWEN3_MODELS, obj("weights", status=ready)) == [DEPLOYMENT]
    assert watch.see(QWEN3_MODELS, obj("weights", status=ready | {"usedBy": ["chat"]})) == []
    watch.users.note(BATCH, {"weights"})
    assert watch.see(QWEN3_MODELS, obj("weights", status=ready), deleted=True) == [BATCH, DEPLOYMENT, MODEL]
    assert watch.see(QWEN3_MODELS, obj("other", status=ready)) == [Key("Qwen3Model", "team", "other")]


def test_users_of_a_model() -> None:
    users = ModelUsers()
    users.note(DEPLOYMENT, {"weights", "other"})
    users.note(BATCH, {"weights"})
    assert users.of("team", "weights") == [BATCH, DEPLOYMENT] and not users.of("elsewhere", "weights")
    users.note(DEPLOYMENT, {"other"})
    assert (users.of("team", "weights"), users.of("team", "other")) == ([BATCH], [DEPLOYMENT])
    assert users.models_of(DEPLOYMENT) == ["other"]
    users.forget(BATCH)
    users.forget(DEPLOYMENT)
    users.forget(DEPLOYMENT)
    assert not users._users and not users._models, "nothing is kept of who is gone"


def test_a_new_holder_has_the_model_reconciled(watch: Watch) -> None:
    watch.see(QWEN3_MODELS, obj("weights"))
    stranger = {"ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "x"}]}
    assert watch.see(QWEN3_MODELS, obj("weights", metadata=stranger)) == [MODEL]


@pytest.mark.parametrize("child", CHILDREN, ids=lambda kind: kind.plural)
def test_a_child_leads_to_its_owner(watch: Watch, child: Kind) -> None:
    for label, key in (("deployment", DEPLOYMENT), ("batch", BATCH), ("model", MODEL)):
        labels = {f"serving.qwen3.dev/{label}": key.name}
        assert watch.see(child, obj(f"child-{label}", metadata={"labels": labels})) == [key]
        assert watch.see(child, obj(f"child-{label}", metadata={"labels": labels}), deleted=True) == [key]
    assert watch.see(child, obj("stranger")) == []


def test_status_of_a_child_has_time_and_edits_have_not(watch: Watch) -> None:
    def delay(kind: Kind, generation: int, **options: bool) -> float:
        labels = {"serving.qwen3.dev/deployment": "chat"}
        watch.see(kind, obj("child", generation=generation, metadata={"labels": labels}), **options)
        return watch.delays[DEPLOYMENT]

    assert delay(PODS, 1) > delay(DEPLOYMENTS, 1) > delay(JOBS, 1) == 0
    assert delay(DEPLOYMENTS, 1) > 0
    assert delay(DEPLOYMENTS, 2) == 0, "somebody edited it"
    assert delay(DEPLOYMENTS, 2) > 0
    assert delay(DEPLOYMENTS, 2, deleted=True) == 0


def test_our_own_write_of_a_child_brings_no_reconcile(watch: Watch) -> None:
    """Whoever wrote it has the answer; of a model, others have to hear."""
    labels = {"serving.qwen3.dev/deployment": "chat"}
    assert watch.see(DEPLOYMENTS, obj("child", metadata={"labels": labels}), own=True) == []
    assert watch.see(QWEN3_MODELS, obj("weights"), own=True) == [MODEL]


def test_what_servers_wait_for_comes_at_once_and_progress_later(watch: Watch) -> None:
    watch.users.note(DEPLOYMENT, {"weights"})

    def delay(**status: Any) -> float:
        watch.see(QWEN3_MODELS, obj("weights", status=status))
        return watch.delays[DEPLOYMENT]

    delay()
    assert delay(download={"bytesDone": 1}) > 0
    assert delay(download={"bytesDone": 2}, conditions=[{"type": "Stalled", "status": "True", "reason": "x"}]) == 0
    assert delay(download={"bytesDone": 2}, model={"commit": "c0ffee"}) == 0


def test_a_child_that_names_another_owner_leads_to_the_one_before_as_well(watch: Watch) -> None:
    def child(owner: str) -> dict[str, Any]:
        return obj("child", metadata={"labels": {"serving.qwen3.dev/deployment": owner}})

    other = Key("Qwen3Deployment", "team", "other")
    watch.see(DEPLOYMENTS, child("chat"))
    assert watch.see(DEPLOYMENTS, child("other")) == [DEPLOYMENT, other]
    assert watch.see(DEPLOYMENTS, obj("child")) == [other]
    assert watch.see(DEPLOYMENTS, child("chat")) == [DEPLOYMENT]


def test_a_user_hears_of_every_model_while_it_is_reconciled() -> None:
    """What it was served from until then is deleted meanwhile: that must not be news to nobody."""
    watch, chat = Watch(), Key("Qwen3Deployment", "team", "chat")
    platform: dict[str, Any] = {
        "metadata": {"namespace": "team", "name": "platform", "uid": "p"},
        "spec": {"id": "a/b"},
    }
    watch.see(QWEN3_MODELS, platform)
    watch.users.note(chat, {"platform"})
    watch.users.add(chat, "one-of-its-own")  # a reconcile begins with the name that it would give
    assert chat in watch.see(QWEN3_MODELS, platform, deleted=True)
    watch.users.note(chat, {"one-of-its-own"})  # and ends with what it is served from
    assert watch.users.of("team", "platform") == []


def test_a_batch_hears_of_the_deployment_that_it_refers_to(watch: Watch) -> None:
    """It may wait for a model that the deployment named before."""
    batch = obj("chat", spec={"deploymentRef": {"name": "chat"}})
    watch.see(QWEN3_BATCHES, batch)
    watch.see(QWEN3_BATCHES, obj("another", spec={"deploymentRef": {"name": "another"}}))
    assert watch.see(QWEN3_DEPLOYMENTS, obj("chat")) == [BATCH, DEPLOYMENT]
    assert watch.see(QWEN3_DEPLOYMENTS, obj("chat", status={"conditions": []})) == []
    assert watch.see(QWEN3_DEPLOYMENTS, obj("chat", generation=2)) == [BATCH, DEPLOYMENT]
    assert watch.see(QWEN3_DEPLOYMENTS, obj("chat", generation=2), deleted=True) == [BATCH, DEPLOYMENT]
    watch.see(QWEN3_BATCHES, batch | {"status": {"job": {"result": "Complete"}}})
    assert watch.see(QWEN3_DEPLOYMENTS, obj("chat")) == [DEPLOYMENT], "it has ended"
