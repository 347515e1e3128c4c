"""What the Jobs of a Qwen3Model get: limits, patterns, certificates; and claims that were there before."""

from __future__ import annotations

from typing import Any

import pytest
from devcluster.stages import FakeDownload
from tests.cluster.downloads import COMPLETE, NEVER_ENDS, failed, stage
from tests.cluster.waiting import stays
from tests.cluster.world import World
from tests.cluster.wrappers import Q3d, Q3m, claim, config_map

from qwen3_operator.controller.kinds import PODS

Object = dict[str, Any]
THERE = {"name": "filled", "path": "qwen/Qwen3-0.6B"}


def job_pod(world: World) -> Object:
    """PodSpec of the one Job."""
    (job,) = world.wait(lambda: world.list("Job"), "a Job")
    spec: Object = job["spec"]["template"]["spec"]
    return spec


def test_options_reach_the_program(world: World) -> None:
    world.api.apply(stage(world.namespace, NEVER_ENDS))
    world.apply(config_map("trusted", ca__crt="PEM"))
    options = {
        "ignorePatterns": ["*.md", "figures/*"],
        "bytesPerSecond": "50Mi",
        "maxConnections": 4,
        "caBundleConfigMapKeyRef": {"name": "trusted", "key": "ca.crt"},
    }
    world.apply(Q3d().model(download=options))
    pod = job_pod(world)
    (container,) = pod["containers"]
    for argument in ("--ignore=*.md,figures/*", "--limit-rate=52428800", "--max-workers=4"):
        assert argument in container["args"]
    assert {"name": "REQUESTS_CA_BUNDLE", "value": "/etc/qwen3/ca/ca.crt"} in container["env"]
    (volume,) = (v for v in pod["volumes"] if v["name"] == "ca")
    assert volume["configMap"]["items"] == [{"key": "ca.crt", "path": "ca.crt"}]
    assert {"name": "ca", "mountPath": "/etc/qwen3/ca", "readOnly": True} in container["volumeMounts"]


@pytest.mark.long
def test_a_missing_bundle_is_named_and_noticed_when_it_comes(world: World) -> None:
    bundle = {"name": "trusted", "key": "ca.crt"}
    world.apply(Q3m().set(download={"caBundleConfigMapKeyRef": bundle}))
    reported = world.wait_condition(
        "weights", "Stalled", "True", kind="Qwen3Model", reason="ConfigMapNotFound", within=30
    )
    assert "trusted" in reported["message"]
    assert not world.list("Job")
    world.apply(config_map("trusted", ca__crt="PEM"))
    world.wait_ready("weights", "Qwen3Model")


def test_other_patterns_are_another_copy(world: World) -> None:
    """Two that want other files do not share a folder, nor a model."""
    world.apply(
        Q3d("all").set(suspend=True), Q3d("some").model(download={"ignorePatterns": ["*.md"]}).set(suspend=True)
    )
    world.wait(lambda: len(world.list("Qwen3Model")) == 2, "two models")
    for model in world.list("Qwen3Model"):
        world.wait_ready(model["metadata"]["name"], "Qwen3Model")
    paths = {m["status"]["model"]["path"] for m in world.list("Qwen3Model")}
    assert len(paths) == 2


@pytest.mark.parametrize(
    ("witness", "reason", "words"),
    [
        ("hub", "Verified", "verified against the hub"),
        ("marker", "Verified", "the marker of its download"),
        ("structure", "StructureVerified", "only their structure"),
    ],
)
def test_a_claim_that_was_there_is_verified_and_not_written_to(
    world: World, witness: str, reason: str, words: str
) -> None:
    commit = {"commit": ""} if witness == "structure" else {}
    world.api.apply(stage(world.namespace, FakeDownload(COMPLETE | commit | {"verifiedBy": witness}, seconds=1)))
    world.apply(claim("filled"))
    world.apply(Q3m().storage(existingClaim=THERE))
    pod = job_pod(world)
    (container,) = pod["containers"]
    assert "--existing" in container["args"]
    assert "--target=/models/qwen/Qwen3-0.6B" in container["args"]
    assert {"name": "models", "mountPath": "/models", "readOnly": True} in container["volumeMounts"]
    volume = next(v for v in pod["volumes"] if v["name"] == "models")
    assert volume["persistentVolumeClaim"] == {"claimName": "filled", "readOnly": True}
    ready = world.wait_ready("weights", "Qwen3Model")
    reported = world.condition("weights", "Downloaded", kind="Qwen3Model")
    assert reported["reason"] == reason and words in reported["message"]
    assert ready["status"]["model"]["verifiedBy"] == witness.capitalize()
    meta = world.must("PersistentVolumeClaim", "filled")["metadata"]
    assert not {"labels", "ownerReferences"} & set(meta)
    assert world.must("PersistentVolumeClaim", "filled")["spec"]["resources"]["requests"]["storage"] == "10Gi"


def test_damaged_weights_stall_and_are_verified_again_when_asked(world: World) -> None:
    words = "2 of 6 files differ from the listing"
    world.api.apply(stage(world.namespace, failed("IntegrityError", words, 13)))
    world.apply(claim("filled"))
    world.apply(Q3d().storage(existingClaim=THERE))
    reported = world.wait_condition("chat", "Stalled", "True", reason="IntegrityError")
    assert words in reported["message"]
    stays(lambda: not world.list("Deployment"), seconds=1, what="nothing unverified is served")
    world.api.delete("Stage", None, f"download-{world.namespace}")
    # The person says which files need not be the hub's.
    world.apply(Q3d().storage(existingClaim=THERE).model(download={"ignorePatterns": ["*.md"]}))
    world.wait_ready("chat")


def test_the_copy_before_is_freed_when_no_server_runs_on_it(world: World) -> None:
    world.apply(Q3m("pinned").set(revision="v1"))
    world.wait_ready("pinned", "Qwen3Model")
    world.apply(Q3d())
    world.wait_ready("chat")
    old = world.must("Qwen3Model", "pinned")["status"]["model"]["path"]
    world.patch("Qwen3Model", "pinned", {"spec": {"revision": "v2"}})
    ready = world.wait(lambda: _moved(world, "v2"), "the model is at v2", within=30)
    assert ready["status"]["model"]["path"] != old
    world.wait(lambda: f"/models/{old}" not in str(world.container("chat")), "servers of v2", within=30)
    world.wait(lambda: not world.must("Qwen3Model", "pinned")["status"].get("superseded"), "v1 is freed", within=40)
    removals = [job for job in world.list("Job") if "--remove" in _args(job)]
    assert len(removals) == 1
    assert {"--revision=v1", f"--target=/models/{old}"} <= set(_args(removals[0]))
    world.wait_ready("chat")


@pytest.mark.long
def test_a_copy_that_a_server_runs_on_is_kept(world: World) -> None:
    world.apply(Q3m("pinned").set(revision="v1"))
    world.wait_ready("pinned", "Qwen3Model")
    old = world.must("Qwen3Model", "pinned")["status"]["model"]["path"]
    world.apply(Q3m("other").storage(existingClaim={"name": "pinned", "path": old}))
    world.wait_ready("other", "Qwen3Model")
    notebook = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "notebook"},
        "spec": {
            "containers": [{"name": "it", "image": "busybox", "volumeMounts": [{"name": "w", "mountPath": "/w"}]}],
            "volumes": [{"name": "w", "persistentVolumeClaim": {"claimName": "pinned"}}],
        },
    }
    world.apply(notebook)
    world.wait(lambda: (world.get("Pod", "notebook") or {}).get("status", {}).get("phase") == "Running")
    world.patch("Qwen3Model", "pinned", {"spec": {"revision": "v2"}})
    world.wait(lambda: _moved(world, "v2"), within=30)
    status = world.must("Qwen3Model", "pinned")["status"]
    assert status["superseded"] == [{"revision": "v1", "path": old}]
    stays(lambda: not [j for j in world.list("Job") if "--remove" in _args(j)], seconds=2, what="no removal")
    world.api.request("DELETE", PODS.path(world.namespace, "notebook"))
    stays(
        lambda: not [j for j in world.list("Job") if "--remove" in _args(j)], seconds=12, what="another model's still"
    )
    world.delete("Qwen3Model", "other")
    world.wait(lambda: not world.must("Qwen3Model", "pinned")["status"].get("superseded"), within=40)


def _moved(world: World, revision: str) -> Object | None:
    model = world.must("Qwen3Model", "pinned")
    copy = model["status"].get("model") or {}
    return model if copy.get("revision") == revision else None


def _args(job: Object) -> list[str]:
    args: list[str] = job["spec"]["template"]["spec"]["containers"][0]["args"]
    return args
