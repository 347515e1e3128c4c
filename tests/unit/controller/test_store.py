"""What the watches saw: newest wins, whatever comes in whichever order."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3_operator.controller.kinds import DEPLOYMENTS, PODS, SERVICES
from qwen3_operator.controller.store import OWNER, UNDECODABLE, Kept, Store, StoreError


def obj(name: str, version: int, *, uid: str = "", owner: str = "", **fields: Any) -> dict[str, Any]:
    owners = {"ownerReferences": [{"uid": owner}]} if owner else {}
    meta = {"namespace": "team", "name": name, "uid": uid or name, "resourceVersion": str(version)} | owners
    return {"metadata": meta, **fields}


def store() -> Store:
    return Store({DEPLOYMENTS: Kept(indices={"app": lambda it: [it["spec"]["app"]]}), PODS: Kept()})


def test_the_newest_version_stays() -> None:
    it = store()
    assert it.put(DEPLOYMENTS, obj("a", 5, spec={"app": "x"}))
    assert not it.put(DEPLOYMENTS, obj("a", 4, spec={"app": "old"})), "an event that was on its way before our write"
    assert not it.put(DEPLOYMENTS, obj("a", 5, spec={"app": "same"}))
    assert it.put(DEPLOYMENTS, obj("a", 10, spec={"app": "y"})), "10 is newer than 5, as numbers go"
    found = it.get(DEPLOYMENTS, "team", "a")
    assert found is not None and found["spec"] == {"app": "y"}


def test_a_kind_may_be_left_out() -> None:
    it = store()
    it.leave_out(PODS)
    it.leave_out(SERVICES)
    assert list(it.kinds) == [DEPLOYMENTS]
    with pytest.raises(StoreError):
        it.get(PODS, "team", "a")
    it.take_in(PODS)
    assert it.get(PODS, "team", "a") is None and it.put(PODS, obj("a", 1))


def test_of_a_kind_that_is_left_out_all_is_gone() -> None:
    it = store()
    it.put(DEPLOYMENTS, obj("a", 5, spec={"app": "x"}))
    heard: list[object] = []
    it.listeners.append(lambda kind, before, after, own: heard.append((kind, before and before["spec"], after, own)))
    it.leave_out(DEPLOYMENTS)
    assert heard == [(DEPLOYMENTS, {"app": "x"}, None, False)]
    it.take_in(DEPLOYMENTS)
    assert it.find(DEPLOYMENTS, "app", "x") == [] and it.put(DEPLOYMENTS, obj("a", 5, spec={"app": "x"}))


def test_what_was_deleted_does_not_come_back() -> None:
    it = store()
    it.put(PODS, obj("a", 1))
    it.remove(PODS, obj("a", 3)["metadata"], own=True)
    assert not it.put(PODS, obj("a", 2)) and it.get(PODS, "team", "a") is None
    assert it.put(PODS, obj("a", 4, uid="another")), "made anew"
    assert not it.remove(PODS, obj("a", 9)["metadata"]), "the late news of the first one's end"
    assert it.get(PODS, "team", "a") is not None


def test_indices_follow() -> None:
    it = store()
    it.put(DEPLOYMENTS, obj("b", 1, owner="o", spec={"app": "x"}))
    it.put(DEPLOYMENTS, obj("a", 2, owner="o", spec={"app": "x"}))
    assert [found["metadata"]["name"] for found in it.find(DEPLOYMENTS, "app", "x")] == ["a", "b"]
    it.put(DEPLOYMENTS, obj("a", 3, spec={"app": "y"}))
    assert [found["metadata"]["name"] for found in it.find(DEPLOYMENTS, OWNER, "o")] == ["b"]
    it.remove(DEPLOYMENTS, obj("b", 4)["metadata"])
    assert it.find(DEPLOYMENTS, "app", "x") == [] == it.find(DEPLOYMENTS, OWNER, "o")
    assert set(it._index) == {(DEPLOYMENTS, "app", "y")}, "nothing is kept of who is gone"


def test_only_what_is_kept_may_be_asked_for() -> None:
    with pytest.raises(StoreError, match="Service is not kept"):
        store().get(SERVICES, "team", "a")
    with pytest.raises(StoreError, match="Pod has no index app"):
        store().find(PODS, "app", "x")


def test_what_no_reader_survives_is_kept_by_its_metadata() -> None:
    deep: Any = {}
    for _ in range(5000):
        deep = {"a": deep}
    it = store()
    assert it.put(DEPLOYMENTS, obj("a", 1, owner="o", spec=deep))
    found = it.get(DEPLOYMENTS, "team", "a")
    assert found is not None and found[UNDECODABLE] and "spec" not in found
    assert [each["metadata"]["uid"] for each in it.find(DEPLOYMENTS, OWNER, "o")] == ["a"]


def test_listeners_hear_what_changed() -> None:
    it, heard = store(), []
    it.listeners.append(lambda kind, before, after, own: heard.append((bool(before), bool(after), own)))
    it.put(PODS, obj("a", 1), own=True)
    it.put(PODS, obj("a", 1))
    it.put(PODS, obj("a", 2))
    it.remove(PODS, obj("a", 3)["metadata"])
    assert heard == [(False, True, True), (True, True, False), (True, False, False)]


VERSIONS = st.lists(st.tuples(st.integers(1, 30), st.booleans()), min_size=1)


@given(VERSIONS.flatmap(lambda events: st.permutations(events)))
def test_the_order_of_arrival_does_not_matter(events: list[tuple[int, bool]]) -> None:
    """Events of one object in any order, some of them its deletion: what the highest version says is what stays."""
    it = store()
    deleted = max((version for version, gone in events if gone), default=0)
    for version, gone in events:
        if gone:
            it.remove(PODS, obj("a", version)["metadata"])
        else:
            it.put(PODS, obj("a", version))
    alive = [version for version, gone in events if not gone and version > deleted]
    found = it.get(PODS, "team", "a")
    assert (found is not None) == bool(alive)
    if found is not None:
        assert int(found["metadata"]["resourceVersion"]) == max(alive)
