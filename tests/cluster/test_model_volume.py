"""How large a Qwen3Model's volume is: asked from the hub, grown when it is too small, and never for ever."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import devcluster
import pytest
from devcluster.stages import FakeDownload
from tests.cluster.api import Api, Refused
from tests.cluster.downloads import COMPLETE, NEVER_ENDS, failed, stage
from tests.cluster.installed import Release
from tests.cluster.operator_process import OperatorProcess
from tests.cluster.waiting import stays, wait_until
from tests.cluster.world import World, shared_name
from tests.cluster.wrappers import Q3d, Q3m, claim, storage_class

Object = dict[str, Any]
GIB = 1 << 30
FULL = FakeDownload(
    {"result": "Failed", "reason": "DiskFull", "message": "the volume is too small", "volumeBytes": 30 * GIB}, 12
)
ENOUGH = "34Gi"
SELECTED_NODE = "volume.kubernetes.io/selected-node"


def size(world: World, name: str) -> str:
    """What the claim asks for."""
    found: str = world.must("PersistentVolumeClaim", name)["spec"]["resources"]["requests"]["storage"]
    return found


def args(job: Object) -> list[str]:
    found: list[str] = job["spec"]["template"]["spec"]["containers"][0]["args"]
    return found


def test_an_unknown_model_is_listed_before_its_claim_is_made(world: World) -> None:
    world.api.apply(stage(world.namespace, NEVER_ENDS))
    world.apply(Q3m().set(id="our/fine-tune"))
    (job,) = world.wait(lambda: world.list("Job"))
    assert "--list" in args(job)
    assert [v["name"] for v in job["spec"]["template"]["spec"]["volumes"]] == ["tmp"]
    world.wait_condition("weights", "Downloaded", "False", kind="Qwen3Model", reason="Listing")
    assert not world.list("PersistentVolumeClaim")

    world.api.apply(stage(world.namespace, FakeDownload(COMPLETE | {"bytes": 100 * 10**9})))
    for pod in world.list("Pod"):
        world.patch(
            "Pod", pod["metadata"]["name"], {"metadata": {"annotations": {"devcluster.qwen3.dev/run-for": "0s"}}}
        )
    world.wait(lambda: world.get("PersistentVolumeClaim", "weights"), "the claim", within=25)
    assert size(world, "weights") == "104Gi"
    world.wait_ready("weights", "Qwen3Model")
    assert not [job for job in world.list("Job") if "--list" in args(job)], "one Job at a time"


def test_known_models_and_given_sizes_are_not_listed(world: World) -> None:
    world.apply(Q3m("known"), Q3m("given").set(id="our/fine-tune").storage(size="7Gi"))
    for name in ("known", "given"):
        world.wait_ready(name, "Qwen3Model")
    assert not [job for job in world.list("Job") if "--list" in args(job)]
    assert size(world, "given") == "7Gi"


def test_a_listing_that_fails_is_reported(world: World) -> None:
    world.api.apply(stage(world.namespace, failed("ModelNotFound", "there is no model our/typo", 10)))
    world.apply(Q3m().set(id="our/typo"))
    reported = world.wait_condition("weights", "Stalled", "True", kind="Qwen3Model", reason="ModelNotFound")
    assert "our/typo" in reported["message"]
    assert not world.list("PersistentVolumeClaim")


def test_a_claim_of_ours_grows_and_the_download_goes_on(world: World) -> None:
    world.api.apply(stage(world.namespace, FULL))
    cr = Q3d()
    name = shared_name(cr)
    world.apply(cr)
    world.wait(lambda: size(world, name) == ENOUGH, "the claim grows", within=25)
    world.api.delete("Stage", None, f"download-{world.namespace}")
    world.wait_ready("chat", within=60)
    assert world.must("Qwen3Model", name)["status"]["size"] == ENOUGH


def test_it_grows_once_for_one_need(world: World) -> None:
    world.api.apply(stage(world.namespace, FULL))
    world.apply(Q3m())
    world.wait(lambda: size(world, "weights") == ENOUGH, within=25)
    world.wait_condition("weights", "Stalled", "True", kind="Qwen3Model", reason="DiskFull", within=25)
    stays(lambda: size(world, "weights") == ENOUGH, seconds=3)


def test_a_class_that_cannot_grow_is_reported(world: World, api: Api) -> None:
    name = f"fixed-{world.namespace}"
    fixed = storage_class(name, "simulated")
    simulated = api.get("StorageClass", None, "simulated")
    assert simulated
    api.apply(fixed | {"provisioner": simulated["provisioner"], "volumeBindingMode": "Immediate"})
    world.api.apply(stage(world.namespace, FULL))
    world.apply(Q3m().storage(storageClassName=name))
    reported = world.wait_condition("weights", "Stalled", "True", kind="Qwen3Model", reason="DiskFull", within=25)
    assert name in reported["message"] and ENOUGH in reported["message"] and "delete the claim" in reported["message"]


def test_a_size_that_was_given_is_the_users_to_change(world: World) -> None:
    world.api.apply(stage(world.namespace, FULL))
    world.apply(Q3m().storage(size="10Gi"))
    reported = world.wait_condition("weights", "Stalled", "True", kind="Qwen3Model", reason="DiskFull", within=25)
    assert f"spec.storage.size: {ENOUGH} is enough" in reported["message"]
    assert size(world, "weights") == "10Gi"
    (before,) = world.list("Job")
    world.api.delete("Stage", None, f"download-{world.namespace}")
    world.patch("Qwen3Model", "weights", {"spec": {"storage": {"size": ENOUGH}}})
    world.wait_ready("weights", "Qwen3Model")
    assert size(world, "weights") == ENOUGH
    assert [j["metadata"]["uid"] for j in world.list("Job")] != [before["metadata"]["uid"]], "tried again at once"


def test_a_scheduler_that_fails_at_a_volume_needs_nobody(world: World, cluster: devcluster.Cluster) -> None:
    """Whoever else writes a claim just then makes the scheduler's own write of it fail. It tries again."""
    policy = no_binding(world.namespace)
    cluster.apply(policy)
    try:
        wait_until(lambda: "not bound here" in _answer_to_bound(world), within=30)
        world.apply(Q3m())
        reported = world.wait_condition("weights", "Downloaded", "False", kind="Qwen3Model", reason="SchedulerError")
        assert "not bound here" in reported["message"]
        found = world.conditions("Qwen3Model", "weights")
        assert (found["Stalled"]["status"], found["Reconciling"]["status"]) == ("False", "True")
    finally:
        for manifest in policy:
            cluster.kubectl("delete", manifest["kind"], manifest["metadata"]["name"])
    world.wait_ready("weights", "Qwen3Model", within=60)


def _answer_to_bound(world: World) -> str:
    """What the API server says of a claim that has a node."""
    bound = claim("bound")
    bound["metadata"] |= {"namespace": world.namespace, "annotations": {SELECTED_NODE: "sim-0"}}
    try:
        world.api.create(bound, dry_run=True)
    except Refused as refused:
        return str(refused)
    return ""


def no_binding(namespace: str) -> list[Object]:
    """A policy by which the scheduler may not give a claim of this namespace a node."""
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"], "resources": ["persistentvolumeclaims"]}
    bound = f"has(object.metadata.annotations) && '{SELECTED_NODE}' in object.metadata.annotations"
    name = f"no-binding-{namespace}"
    here = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    spec = {
        "matchConstraints": {"resourceRules": [rule], "namespaceSelector": here},
        "validations": [{"expression": f"!({bound})", "message": "not bound here"}],
    }
    policy = {"kind": "ValidatingAdmissionPolicy", "spec": spec}
    binding = {
        "kind": "ValidatingAdmissionPolicyBinding",
        "spec": {"policyName": name, "validationActions": ["Deny"]},
    }
    meta = {"apiVersion": "admissionregistration.k8s.io/v1", "metadata": {"name": name}}
    return [policy | meta, binding | meta]


@pytest.fixture
def impatient(release: Release, operator: OperatorProcess, tmp_path: Path) -> Iterator[OperatorProcess]:
    """An operator whose first retry comes after half a second, in the place of the session's."""
    operator.stop()
    it = release.operator(tmp_path / "operator.log", download_retry_seconds="0.5")
    it.start()
    yield it
    it.stop()


@pytest.mark.long
def test_failed_downloads_back_off_and_leave_one_job(world: World, impatient: OperatorProcess) -> None:
    """Waits of 0.5, 1, 2, 4, 8 s …: in 20 s no more than six Jobs, never two at a time; a mended cause ends it."""
    world.api.apply(stage(world.namespace, failed("ModelNotFound", "no such model", 10)))
    world.apply(Q3m())
    seen: set[str] = set()

    def one_at_a_time() -> bool:
        jobs = [j for j in world.list("Job") if not j["metadata"].get("deletionTimestamp")]
        seen.update(j["metadata"]["uid"] for j in jobs)
        return len(jobs) <= 1

    stays(one_at_a_time, seconds=20)
    failures = world.must("Qwen3Model", "weights")["status"]["download"]["failures"]
    assert 4 <= failures <= len(seen) <= 6, (failures, len(seen))
    world.api.delete("Stage", None, f"download-{world.namespace}")
    world.wait_ready("weights", "Qwen3Model", within=40)
    assert "failures" not in world.must("Qwen3Model", "weights")["status"]["download"]
