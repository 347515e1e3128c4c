"""A control plane with simulated nodes: scheduling by GPUs, what pods play, volumes, audit log, several at once."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import devcluster
import pytest
from devcluster import processes, stages
from devcluster.paths import DevclusterError
from tests.devcluster.manifests import claim, job, pod

pytestmark = pytest.mark.cluster

Wait = Callable[..., None]
ROOT = Path(__file__).parents[2]
REPORT = {"commit": "0123abc", "files": 9, "note": 'say "hi" {{ never a template }}'}


@pytest.fixture(scope="module")
def cluster() -> Iterator[devcluster.Cluster]:
    with devcluster.cluster(nodes=2, gpus_per_node=8, audit=True, fake_download_report=REPORT) as it:
        yield it


@pytest.fixture(autouse=True)
def empty_namespace(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "cluster" in request.fixturenames:
        cluster = request.getfixturevalue("cluster")
        cluster.kubectl("delete", "job,pod,pvc", "--all", "--wait=true")


def status(cluster: devcluster.Cluster, name: str) -> dict[str, Any]:
    found: dict[str, Any] = cluster.get("pod", name)["status"]
    return found


def pod_of_job(cluster: devcluster.Cluster, name: str) -> dict[str, Any]:
    (pod,) = cluster.get("pod", "-l", f"job-name={name}")["items"]
    found: dict[str, Any] = pod["status"]
    return found


def is_ready(pod_status: dict[str, Any]) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod_status.get("conditions", []))


def annotate(cluster: devcluster.Cluster, name: str, annotation: str) -> None:
    cluster.kubectl("annotate", "pod", name, stages.PREFIX + annotation)


def test_there_are_addresses_for_thousands_of_services(cluster: devcluster.Cluster) -> None:
    assert cluster.get("service", "kubernetes")["spec"]["clusterIP"] == "10.96.0.1"


def test_the_scheduler_places_pods_by_free_gpus(cluster: devcluster.Cluster, eventually: Wait) -> None:
    cluster.create(pod(f"p{n}", gpus=4) for n in range(5))

    def four_run_and_one_waits() -> None:
        pods = cluster.get("pods")["items"]
        assert sorted(p["status"]["phase"] for p in pods) == ["Pending"] + ["Running"] * 4
        nodes = [p["spec"].get("nodeName") for p in pods if p["status"]["phase"] == "Running"]
        assert sorted(nodes) == ["sim-0", "sim-0", "sim-1", "sim-1"]

    eventually(four_run_and_one_waits)


def test_a_pod_becomes_ready_and_its_readiness_can_be_taken(cluster: devcluster.Cluster, eventually: Wait) -> None:
    cluster.create([pod("server")])

    def ready(expected: bool) -> None:
        assert is_ready(status(cluster, "server")) is expected

    eventually(lambda: ready(True))
    annotate(cluster, "server", "ready=false")
    eventually(lambda: ready(False))
    annotate(cluster, "server", "ready-")
    eventually(lambda: ready(True))


def test_a_waiting_pod_shows_why_and_recovers(cluster: devcluster.Cluster, eventually: Wait) -> None:
    cluster.create([pod("p", annotations={"waiting-reason": "ImagePullBackOff", "waiting-message": "no such image"})])

    def waits() -> None:
        (container,) = status(cluster, "p").get("containerStatuses", [{}])
        assert container.get("state") == {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
        assert status(cluster, "p")["phase"] == "Pending"

    eventually(waits)
    annotate(cluster, "p", "waiting-reason-")

    def runs() -> None:
        assert is_ready(status(cluster, "p"))

    eventually(runs)


def test_a_running_pod_can_start_to_crash(cluster: devcluster.Cluster, eventually: Wait) -> None:
    cluster.create([pod("p", annotations={"exit-code": "2", "termination-message": "CUDA out of memory"})])
    eventually(lambda: _assert(is_ready(status(cluster, "p"))))
    annotate(cluster, "p", "waiting-reason=CrashLoopBackOff")

    def crashes() -> None:
        (container,) = status(cluster, "p")["containerStatuses"]
        assert container["state"]["waiting"]["reason"] == "CrashLoopBackOff"
        assert container["lastState"]["terminated"]["exitCode"] == 2
        assert container["lastState"]["terminated"]["message"] == "CUDA out of memory"
        assert container["restartCount"] == 3

    eventually(crashes)


def test_a_download_job_ends_with_the_clusters_report(cluster: devcluster.Cluster, eventually: Wait) -> None:
    label, value = stages.DOWNLOAD_LABEL
    cluster.create([job("download", labels={label: value}), job("other")])

    def both_complete() -> None:
        for name in ("download", "other"):
            assert cluster.get("job", name)["status"].get("succeeded") == 1

    eventually(both_complete)
    (ended,) = pod_of_job(cluster, "download")["containerStatuses"]
    assert json.loads(ended["state"]["terminated"]["message"]) == REPORT
    (ended,) = pod_of_job(cluster, "other")["containerStatuses"]
    assert "message" not in ended["state"]["terminated"]


def test_the_fake_download_can_change_while_the_cluster_runs(cluster: devcluster.Cluster, eventually: Wait) -> None:
    label, value = stages.DOWNLOAD_LABEL
    cluster.fake_download({"error": "no such model"}, exit_code=65)
    try:
        cluster.create([job("download", labels={label: value})])

        def failed() -> None:
            assert cluster.get("job", "download")["status"].get("failed") == 1
            (ended,) = pod_of_job(cluster, "download")["containerStatuses"]
            assert ended["state"]["terminated"]["exitCode"] == 65
            assert json.loads(ended["state"]["terminated"]["message"]) == {"error": "no such model"}

        eventually(failed)
    finally:
        cluster.fake_download(REPORT)


def test_an_annotation_on_the_pod_goes_before_the_clusters_report(
    cluster: devcluster.Cluster, eventually: Wait
) -> None:
    label, value = stages.DOWNLOAD_LABEL
    annotations = {"exit-code": "70", "termination-message": "disk full", "terminated-reason": "OOMKilled"}
    cluster.create([job("download", labels={label: value}, annotations=annotations)])

    def failed() -> None:
        (ended,) = pod_of_job(cluster, "download").get("containerStatuses", [{"state": {}}])
        terminated = ended["state"].get("terminated", {})
        assert (terminated.get("exitCode"), terminated.get("message")) == (70, "disk full")
        assert terminated["reason"] == "OOMKilled"

    eventually(failed)


def test_claims_bind_at_once_or_with_their_pod_and_grow(cluster: devcluster.Cluster, eventually: Wait) -> None:
    cluster.create([claim("late"), claim("early", "simulated-immediate"), claim("never", "unavailable")])

    def phases(**expected: str) -> None:
        assert {c["metadata"]["name"]: c["status"]["phase"] for c in cluster.get("pvc")["items"]} == expected

    eventually(lambda: phases(late="Pending", early="Bound", never="Pending"))
    cluster.create([pod("user", claim="late")])
    eventually(lambda: phases(late="Bound", early="Bound", never="Pending"))
    cluster.kubectl("patch", "pvc", "late", "-p", '{"spec":{"resources":{"requests":{"storage":"3Gi"}}}}')
    eventually(lambda: _assert(cluster.get("pvc", "late")["status"]["capacity"]["storage"] == "3Gi"))


def test_the_audit_log_says_who_wrote_what(cluster: devcluster.Cluster, eventually: Wait) -> None:
    cluster.create([pod("written")])

    def logged() -> None:
        creations = [
            r
            for r in cluster.requests()
            if r["verb"] == "create" and r["objectRef"]["resource"] == "pods" and "kubectl" in r["userAgent"]
        ]
        assert "written" in {r["objectRef"].get("name") for r in creations}
        assert {r["responseStatus"]["code"] for r in creations} == {201}

    eventually(logged)


def test_a_component_can_be_away_for_a_while(cluster: devcluster.Cluster, eventually: Wait) -> None:
    controllers = "kube-controller-manager"
    with cluster.control_plane.without(controllers):
        assert [name for name, _, alive in cluster.status() if not alive] == [controllers]
        cluster.create([job("later")])
    assert cluster.running()

    def its_pod_is_made() -> None:
        assert cluster.get("pod", "-l", "job-name=later")["items"]

    eventually(its_pod_is_made)


def test_two_clusters_run_side_by_side(cluster: devcluster.Cluster) -> None:
    with devcluster.cluster(nodes=1) as other:
        other.create([pod("only-there")])
        assert "only-there" in other.kubectl("get", "pods", "-o", "name")
        assert "only-there" not in cluster.kubectl("get", "pods", "-o", "name")
        components = [pid for _, pid, _ in other.status()]
        assert _any_alive(components)
        with pytest.raises(DevclusterError, match="runs already"):
            other.up(other.spec())
    assert not other.workdir.exists()
    assert not _any_alive(components)


def test_what_a_killed_test_run_left_is_ended_by_the_next() -> None:
    """The owner and some components die by SIGKILL: nobody had a chance to clean up."""
    code = "import devcluster, os\nwith devcluster.cluster(name='orphan-test'): os.kill(os.getpid(), 9)"
    killed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    orphan = devcluster.Cluster("orphan-test")
    components = [pid for _, pid, _ in orphan.status()]
    assert _any_alive(components)
    for pid in components[:3]:
        os.kill(pid, signal.SIGKILL)
    devcluster.end_orphans()
    assert not _any_alive(components)
    assert not orphan.workdir.exists()


def _assert(condition: bool) -> None:
    assert condition


def _any_alive(pids: Iterable[int]) -> bool:
    return any(processes.current("", pid) for pid in pids)  # a zombie counts as ended
