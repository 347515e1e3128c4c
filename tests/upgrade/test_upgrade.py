"""The operator of this checkout takes over what the operator of c4bbbf7 made, and nobody notices.

data/objects.json.gz has the objects, capture.py made it; objects.py says what each is there for.
"""

from __future__ import annotations

from typing import Any

from tests.cluster.rights import is_refusal
from tests.kubernetes import newest_only
from tests.upgrade import golden, objects
from tests.upgrade.takeover import Takeover

from qwen3_operator.desired.drift import holds_all_of
from qwen3_operator.naming import APPLIED_HASH, INSTANCE

Object = dict[str, Any]


def named(it: Object) -> str:
    return f"{it['kind']} {it['metadata']['name']}"


def at(it: Object, path: str) -> Any:
    """The value at a path like spec.template; None where there is none."""
    value: Any = it
    for part in path.split("."):
        value = (value or {}).get(part)
    return value


def differing(pairs: list[tuple[Object, Object]], *paths: str) -> list[str]:
    """What is not the same before and after, in words."""
    return [
        f"{named(before)}: {path} was {at(before, path)!r}, is {at(after, path)!r}"
        for before, after in pairs
        for path in paths
        if at(before, path) != at(after, path)
    ]


def conditions(it: Object) -> dict[str, tuple[str, str]]:
    """(status, reason) by the condition's type, of the newest generation."""
    assert it["status"]["observedGeneration"] == it["metadata"]["generation"], named(it)
    return {c["type"]: (c["status"], c["reason"]) for c in it["status"]["conditions"]}


@newest_only("it drops fields that the objects have had where they were made")
def test_everything_was_put_in_as_it_was(takeover: Takeover) -> None:
    """Otherwise the rest would show nothing: kinds, uids, owners, specs, and no controller has made anything beside."""
    kept = [it for it in takeover.golden if not golden.is_expired(it) and not golden.of_expired(it, takeover.golden)]
    live = {it["metadata"]["uid"]: it for it in takeover.before}
    assert live.keys() == {it["metadata"]["uid"] for it in kept}
    pairs = [(it, live[it["metadata"]["uid"]]) for it in kept]
    custom = [pair for pair in pairs if pair[0]["kind"] in golden.CUSTOM]
    others = [pair for pair in pairs if pair not in custom]
    assert differing(others, "spec") == []
    # Of the custom resources the API server adds defaults of fields that are new since.
    assert [was["metadata"]["name"] for was, now in custom if not holds_all_of(now["spec"], was["spec"])] == []
    assert differing(pairs, "data", "metadata.ownerReferences", "metadata.generation") == []
    assert differing(custom, "status") == []


def test_every_kind_of_object_is_on_file(takeover: Takeover) -> None:
    there = {(it["kind"], it["metadata"]["name"]) for it in takeover.golden}
    wanted = [it.manifest for it in (*objects.servers(), *objects.ahead(), *objects.batches())] + objects.beside()
    assert {(it["kind"], it["metadata"]["name"]) for it in wanted} <= there


def test_no_server_is_restarted(takeover: Takeover) -> None:
    pairs = takeover.pairs("Deployment")
    # How the next change rolls out is this release's to say.
    fields = {f"spec.{field}" for before, _ in pairs for field in before["spec"]} - {"spec.strategy"}
    assert differing(pairs, *sorted(fields)) == []
    assert differing(takeover.pairs("ReplicaSet"), "spec") == []
    assert differing(takeover.pairs("Pod"), "spec", "status.containerStatuses") == []
    assert takeover.new("Deployment", "ReplicaSet", "Pod") == []


def test_nothing_is_downloaded_and_no_batch_runs_again(takeover: Takeover) -> None:
    assert takeover.new("Job") == []
    assert differing(takeover.pairs("Job"), "spec", "status") == []


def test_no_claim_is_touched(takeover: Takeover) -> None:
    kinds = ("PersistentVolumeClaim", "PersistentVolume")
    pairs = [(without_instance(before), without_instance(after)) for before, after in takeover.pairs(*kinds)]
    meta = [f"metadata.{part}" for part in ("labels", "annotations", "ownerReferences", "finalizers")]
    assert differing(pairs, "spec", "status", *meta) == []
    assert takeover.new(*kinds) == []


def without_instance(it: Object) -> Object:
    """A claim without the one label that claims do not have any more, and without the hash that changes with it."""
    meta = dict(it["metadata"])
    for part, key in (("labels", INSTANCE), ("annotations", APPLIED_HASH)):
        meta[part] = {k: v for k, v in (meta.get(part) or {}).items() if k != key}
    return {**it, "metadata": meta}


def test_services_and_config_maps_stay(takeover: Takeover) -> None:
    kinds = ("Service", "ConfigMap", "Secret")
    assert differing(takeover.pairs(*kinds), "spec", "data") == []
    assert takeover.new(*kinds) == []


def test_nobodys_spec_is_written(takeover: Takeover) -> None:
    """Nor that of a model that was made ahead; those that the operator made are its own to write."""
    pairs = takeover.pairs(*golden.CUSTOM)
    theirs = [pair for pair in pairs if not pair[0]["metadata"].get("ownerReferences")]
    assert differing(theirs, "spec", "metadata.generation") == []


def test_models_keep_their_users_and_what_they_are_of(takeover: Takeover) -> None:
    batches = [before for before, _ in takeover.pairs("Qwen3Batch")]
    over = {it["metadata"]["uid"] for it in batches if conditions(it)["Completed"][0] == "True"}

    def holders(it: Object) -> set[str]:
        """A batch that has ended holds nothing any more."""
        return {owner["uid"] for owner in it["metadata"].get("ownerReferences", [])} - over

    pairs = takeover.pairs("Qwen3Model")
    assert [named(before) for before, after in pairs if holders(before) != holders(after)] == []
    assert differing(pairs, "spec.id", "spec.revision", "spec.endpoint", "status.model") == []
    assert takeover.new(*golden.CUSTOM) == []


def test_what_was_ready_is_ready(takeover: Takeover) -> None:
    pairs = [(conditions(before), conditions(after), named(before)) for before, after in takeover.pairs(*golden.CUSTOM)]
    assert [(name, after) for before, after, name in pairs if before["Ready"][0] != after["Ready"][0]] == []
    assert [(name, after) for _, after, name in pairs if after["Stalled"][0] != "False"] == []
    ready = {name for before, _, name in pairs if before["Ready"][0] == "True"}
    made = [it.manifest for it in (*objects.servers(), *objects.ahead())]
    assert {named(it) for it in made} <= ready, "all were Ready on the old operator"


def test_a_finished_batch_has_its_result_and_a_running_one_runs(takeover: Takeover) -> None:
    pairs = takeover.pairs("Qwen3Batch")
    assert [named(b) for b, a in pairs if conditions(b)["Completed"][0] != conditions(a)["Completed"][0]] == []
    assert differing(pairs, *(f"status.{part}" for part in ("requests", "tokens", "output", "job", "shards"))) == []


def test_a_server_is_what_its_status_says(takeover: Takeover) -> None:
    paths = ["endpoint", "selector", "replicas", "readyReplicas", "engine.image", "engine.maxModelLen"]
    paths += ["engine.command", "model.name", "model.claim", "model.path", "model.commit"]
    assert differing(takeover.pairs("Qwen3Deployment"), *(f"status.{path}" for path in paths)) == []


def test_the_operator_makes_and_deletes_nothing(takeover: Takeover) -> None:
    """Also what was there again when the test compared: a Job made and deleted, a claim deleted and made.

    But PodDisruptionBudgets, which there were none of.
    """
    writes = takeover.writes()
    assert ("create", "leases") in {write[:2] for write in writes}, "the audit log shows its writes"
    done = [write for write in writes if write[0] in ("create", "delete", "deletecollection")]
    several = {b["metadata"]["name"] for b, _ in takeover.pairs("Qwen3Deployment") if b["spec"].get("replicas", 1) > 1}
    assert several
    budgets = {("create", "poddisruptionbudgets", name) for name in several}
    assert {write for write in done if write[1] not in ("events", "leases")} == budgets


def test_the_chart_grants_what_it_does(takeover: Takeover) -> None:
    refused = [it for it in takeover.requests if is_refusal(it) and it["user"]["username"] == takeover.user]
    assert [f"{it['verb']} {it['requestURI']}" for it in refused] == []
