"""Secrets and ConfigMaps that an object names: what is read of them, and what is said."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from tests.unit.fakes import FakeCluster

from qwen3_operator.controller.cluster import Cluster
from qwen3_operator.controller.events import Recorder
from qwen3_operator.controller.kinds import CONFIG_MAPS, SECRETS, Kind
from qwen3_operator.controller.store import Store
from qwen3_operator.naming import digest
from qwen3_operator.reconcile.context import Context
from qwen3_operator.reconcile.nodes import Nodes
from qwen3_operator.reconcile.references import Reference, References, find_references
from qwen3_operator.settings import Settings

TOKEN = Reference(SECRETS, "db", "x", "spec.tokenSecretRef")
TEMPLATE = Reference(CONFIG_MAPS, "template", "chat.jinja", "spec.engine.chatTemplate.configMapKeyRef")


class Counting(FakeCluster):
    """Notes what is read."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[tuple[str, str]] = []

    async def get(self, kind: Kind, namespace: str | None, name: str) -> dict[str, Any] | None:
        self.read.append((kind.kind, name))
        return await super().get(kind, namespace, name)


def find(cluster: Counting, *wanted: Reference, read_secrets: bool = True) -> References:
    settings = Settings(identity="test", read_secrets=read_secrets)
    store = Store({})
    context = Context(cast(Cluster, cluster), store, settings, cast(Recorder, None), Nodes(store))
    return asyncio.run(find_references(context, "ns", wanted))


def cluster(**objects: dict[str, str]) -> Counting:
    """`Secret__db={"a": ""}` and the like."""
    made = Counting()
    for name, data in objects.items():
        kind, _, name = name.partition("__")
        asyncio.run(
            made.create(
                SECRETS if kind == "Secret" else CONFIG_MAPS,
                {"metadata": {"namespace": "ns", "name": name, "uid": f"uid-{name}"}, "data": data},
                manager="test",
            )
        )
    made.read.clear()
    return made


def test_no_secret_is_read_where_the_setting_does_not_allow_it() -> None:
    it = cluster()
    found = find(it, TOKEN, read_secrets=False)
    assert it.read == []
    assert found == References(versions=("",), digests=("",), fingerprints=("",)), "its absence is the kubelet's to say"


def test_a_config_map_is_read_all_the_same() -> None:
    found = find(cluster(), TOKEN, TEMPLATE, read_secrets=False)
    assert [p.reason for p in found.problems] == ["ConfigMapNotFound"]


def test_what_is_not_there_is_named_with_its_field() -> None:
    found = find(cluster(), TOKEN, TEMPLATE)
    assert [(p.reason, p.field) for p in found.problems] == [
        ("SecretNotFound", TOKEN.field),
        ("ConfigMapNotFound", TEMPLATE.field),
    ]
    assert found.problems[0].message.startswith("Secret db does not exist: ")
    assert found.versions == ("", "")


def test_other_keys_are_never_named() -> None:
    """Whoever may read the status may not read Secrets."""
    it = cluster(Secret__db={"prod-root-password": "", "replica": ""}, ConfigMap__template={"private.txt": ""})
    secret, config_map = find(it, TOKEN, TEMPLATE).problems
    assert (secret.reason, secret.message) == ("SecretKeyNotFound", "Secret db has no key x: add it")
    assert (config_map.reason, config_map.message) == (
        "ConfigMapKeyNotFound",
        "ConfigMap template has no key chat.jinja: add it",
    )


def test_any_key_will_do_where_none_is_named() -> None:
    teams = Reference(SECRETS, "teams", "", "spec.auth.keys.secretRef")
    assert not find(cluster(Secret__teams={"team-a": ""}), teams).problems
    (empty,) = find(cluster(Secret__teams={}), teams).problems
    assert (empty.reason, empty.message) == ("SecretKeyNotFound", "Secret teams is empty: add a key")
    (missing,) = find(cluster(), teams).problems
    assert missing.reason == "SecretNotFound"


def test_versions_and_digests_are_in_the_order_of_what_was_wanted() -> None:
    it = cluster(ConfigMap__template={"chat.jinja": "{{ a }}"}, Secret__db={"x": "c2VjcmV0"})
    found = find(it, TOKEN, TEMPLATE)
    assert found.problems == () and found.versions == ("2", "1")
    assert found.digests == ("", digest("{{ a }}")), "nothing follows from a Secret's content"


def test_what_is_no_text_is_seen_to_change_too() -> None:
    def seen(content: str) -> tuple[str, ...]:
        it, meta = cluster(), {"namespace": "ns", "name": "template", "uid": "u"}
        there = {"metadata": meta, "binaryData": {"chat.jinja": content}}
        asyncio.run(it.create(CONFIG_MAPS, there, manager="test"))
        return find(it, TEMPLATE).digests

    assert seen("b25l") == seen("b25l") != seen("dHdv")


def test_an_object_is_read_once_however_many_keys_are_wanted() -> None:
    it = cluster(Secret__db={"x": ""})
    found = find(it, TOKEN, Reference(SECRETS, "db", "y", "spec.other"))
    assert it.read == [("Secret", "db")]
    assert [p.message for p in found.problems] == ["Secret db has no key y: add it"]


def test_nothing_wanted_is_nothing_read() -> None:
    it = cluster()
    assert find(it) == References() and it.read == []


def test_a_fingerprint_is_of_the_value_and_nothing_can_be_guessed_by_it() -> None:
    """The same value in another Secret has another one: whoever can read a Deployment cannot try passwords on it."""
    any_key = Reference(SECRETS, "db", "", "")
    before, of_all = find(cluster(Secret__db={"x": "YQ=="}), TOKEN, any_key).fingerprints
    beside = find(cluster(Secret__db={"x": "YQ==", "y": "Yg=="}), TOKEN, any_key).fingerprints
    assert beside[0] == before and beside[1] != of_all
    changed = find(cluster(Secret__db={"x": "Yg=="}), TOKEN).fingerprints
    other = find(cluster(Secret__other={"x": "YQ=="}), Reference(SECRETS, "other", "x", "")).fingerprints
    assert len({before, *changed, *other}) == 3
    assert find(cluster(ConfigMap__template={"chat.jinja": "a"}), TEMPLATE, TOKEN).fingerprints == ("", "")
