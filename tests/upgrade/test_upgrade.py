"""The operator of this checkout takes over what the operator of c4bbbf7 made, and nobody notices.

data/objects.json.gz has the objects, capture.py made it; objects.py says what each is there for.
"""

from __future__ import annotations

from typing import Any

from tests.upgrade import golden, objects
from tests.upgrade.takeover import Takeover

Object = dict[str, Any]


def conditions(it: Object) -> dict[str, tuple[str, str]]:
    """(status, reason) by the condition's type, of the newest generation."""
    assert it["status"]["observedGeneration"] == it["metadata"]["generation"], it["metadata"]["name"]
    return {c["type"]: (c["status"], c["reason"]) for c in it["status"]["conditions"]}


def named(it: Object) -> str:
    return f"{it['kind']} {it['metadata']['name']}"


def test_everything_was_put_in_as_it_was(takeover: Takeover) -> None:
    """Otherwise the rest would show nothing: kinds, uids, owners, specs, and no controller has made anything beside."""
    before = {it["metadata"]["uid"]: it for it in takeover.before}
    kept = [it for it in takeover.golden if not golden.is_expired(it) and not golden.of_expired(it, takeover.golden)]
    assert {named(it) for it in takeover.before} == {named(it) for it in kept}
    for it in kept:
        live = before[it["metadata"]["uid"]]
        assert live["metadata"].get("ownerReferences") == it["metadata"].get("ownerReferences"), named(it)
        assert live.get("spec") == it.get("spec"), named(it)
        if it["kind"] in golden.CUSTOM:
            assert live["status"] == it["status"], named(it)


def test_every_kind_of_object_is_on_file(takeover: Takeover) -> None:
    there = {(it["kind"], it["metadata"]["name"]) for it in takeover.golden}
    wanted = [it.manifest for it in (*objects.servers(), *objects.ahead(), *objects.batches())] + objects.beside()
    assert {(it["kind"], it["metadata"]["name"]) for it in wanted} <= there


def test_no_server_is_restarted(takeover: Takeover) -> None:
    for before, after in takeover.pairs("Deployment"):
        assert after["spec"] == before["spec"], named(before)
        assert after["metadata"]["generation"] == before["metadata"]["generation"], named(before)
    for before, after in takeover.pairs("ReplicaSet"):
        assert after["spec"] == before["spec"], named(before)
    for before, after in takeover.pairs("Pod"):
        assert after["spec"] == before["spec"], named(before)
        assert after["status"]["containerStatuses"] == before["status"]["containerStatuses"], named(before)
    assert takeover.new("Deployment", "ReplicaSet", "Pod") == []


def test_nothing_is_downloaded_and_no_batch_runs_again(takeover: Takeover) -> None:
    assert takeover.new("Job") == []
    for before, after in takeover.pairs("Job"):
        assert after["spec"] == before["spec"], named(before)
        assert after["status"] == before["status"], named(before)


def test_no_claim_is_touched(takeover: Takeover) -> None:
    for before, after in takeover.pairs("PersistentVolumeClaim", "PersistentVolume"):
        for part in ("labels", "annotations", "ownerReferences", "finalizers"):
            assert after["metadata"].get(part) == before["metadata"].get(part), (named(before), part)
        assert (after["spec"], after["status"]) == (before["spec"], before["status"]), named(before)
    assert takeover.new("PersistentVolumeClaim", "PersistentVolume") == []


def test_services_and_config_maps_stay(takeover: Takeover) -> None:
    for before, after in takeover.pairs("Service", "ConfigMap", "Secret"):
        assert after.get("spec") == before.get("spec") and after.get("data") == before.get("data"), named(before)
    assert takeover.new("Service", "ConfigMap", "Secret") == []


def test_models_keep_their_users_and_what_they_are_of(takeover: Takeover) -> None:
    def holders(it: Object) -> list[str]:
        return sorted(owner["uid"] for owner in it["metadata"].get("ownerReferences", []))

    for before, after in takeover.pairs("Qwen3Model"):
        assert after["spec"] == before["spec"], named(before)
        assert holders(after) == holders(before), named(before)
        assert after["status"]["model"] == before["status"]["model"], named(before)
    assert takeover.new(*golden.CUSTOM) == []


def test_what_was_ready_is_ready(takeover: Takeover) -> None:
    for before, after in takeover.pairs(*golden.CUSTOM):
        assert after["metadata"]["generation"] == before["metadata"]["generation"], named(before)
        assert conditions(after)["Ready"][0] == conditions(before)["Ready"][0], (named(before), conditions(after))
        assert conditions(after)["Stalled"][0] == "False", (named(before), conditions(after))
    ready = {it["metadata"]["name"] for it in takeover.after if conditions_ready(it)}
    assert {it.manifest["metadata"]["name"] for it in (*objects.servers(), *objects.ahead())} <= ready


def conditions_ready(it: Object) -> bool:
    return it["kind"] in golden.CUSTOM and conditions(it)["Ready"][0] == "True"


def test_a_finished_batch_has_its_result_and_a_running_one_runs(takeover: Takeover) -> None:
    for before, after in takeover.pairs("Qwen3Batch"):
        assert conditions(after)["Completed"][0] == conditions(before)["Completed"][0], named(before)
        for part in ("requests", "tokens", "output", "job", "shards"):
            assert after["status"].get(part) == before["status"].get(part), (named(before), part)


def test_a_server_is_what_its_status_says(takeover: Takeover) -> None:
    for before, after in takeover.pairs("Qwen3Deployment"):
        for part in ("endpoint", "selector", "replicas", "readyReplicas"):
            assert after["status"].get(part) == before["status"].get(part), (named(before), part)
        for part in ("image", "maxModelLen", "command"):
            assert after["status"]["engine"][part] == before["status"]["engine"][part], (named(before), part)


def test_the_operator_makes_and_deletes_nothing(takeover: Takeover) -> None:
    """Also what was there again when the test compared: a Job made and deleted, a claim deleted and made."""
    done = {(verb, resource) for verb, resource, _ in takeover.writes() if verb in ("create", "delete")}
    assert done <= {("create", "events"), ("create", "leases")}
