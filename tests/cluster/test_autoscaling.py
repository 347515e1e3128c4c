"""The ScaledObject on a real API server, with KEDA's own CRD: who writes the number of servers, and when.

KEDA's part, the scale sub-resource of the Deployment, is this test's: KEDA itself is run by tests/e2e/test_keda.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import devcluster
import pytest
from tests.autoscaling.keda import CRD, scaled_object_crd
from tests.cluster.installed import Release
from tests.cluster.operator_process import OperatorProcess
from tests.cluster.waiting import stays
from tests.cluster.world import World
from tests.cluster.wrappers import Q3d
from tests.crds import install, remove

from qwen3_operator.controller.kinds import DEPLOYMENTS

KIND = "ScaledObject"
AUTOSCALING: dict[str, Any] = {"minReplicas": 1, "maxReplicas": 4, "target": {"concurrency": 8}}


@pytest.fixture(scope="module")
def scaling(installs: Callable[..., Release]) -> Release:
    """An installation that is configured for KEDA, with the front."""
    keda = ("autoscaling.enabled=true", "autoscaling.prometheusAddress=http://prometheus.monitoring:9090")
    values = (*keda, "front.enabled=true")
    return installs(*values, name="scaling", namespace="scaling-system")


@pytest.fixture(scope="module")
def take_over(
    scaling: Release, the_operator: OperatorProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], OperatorProcess]]:
    """Have the operator of that installation at work, in the place of the session's and of the one before."""
    made: list[OperatorProcess] = []

    def it() -> OperatorProcess:
        for before in (the_operator, *made):
            if before.running:
                before.stop()
        made.append(scaling.operator(tmp_path_factory.mktemp("scaling") / "operator.log"))
        made[-1].start()
        return made[-1]

    yield it
    for operator in made:
        if operator.running:
            operator.stop()
    the_operator.keep_running()


@pytest.fixture(scope="module")
def with_keda(cluster: devcluster.Cluster, take_over: Callable[[], OperatorProcess]) -> Iterator[OperatorProcess]:
    """KEDA's CRD is there, and the operator was started after it."""
    cluster.apply([scaled_object_crd()])
    cluster.kubectl("wait", "--for=condition=Established", "crd", CRD, "--timeout=60s")
    cluster.kubectl("api-resources", "--cached=false")
    yield take_over()
    remove(cluster.kubectl, CRD)


@pytest.fixture
def space(with_keda: OperatorProcess, make_world: Callable[[str], World]) -> Iterator[World]:
    with_keda.keep_running()
    it = make_world("scaled")
    yield it
    it.api.delete("Namespace", None, it.namespace)


def scaled(**fields: Any) -> Q3d:
    return Q3d().set(autoscaling=AUTOSCALING | fields)


def scale(world: World, replicas: int) -> None:
    """As the HorizontalPodAutoscaler does."""
    world.api.patch("Deployment", world.namespace, "chat", {"spec": {"replicas": replicas}}, subresource="scale")


def replicas(world: World) -> int:
    return int(world.must("Deployment", "chat")["spec"]["replicas"])


def test_without_the_crd_it_serves_and_says_so(
    take_over: Callable[[], OperatorProcess], make_world: Callable[[str], World]
) -> None:
    """First of this file: KEDA's CRD is not there yet."""
    operator = take_over()
    world = make_world("no-keda")
    world.apply(scaled(minReplicas=2))
    world.wait_ready("chat")
    reported = world.wait_condition("chat", "Accepted", "True", reason="AcceptedWithWarnings")
    assert "install KEDA" in reported["message"] and replicas(world) == 2
    assert operator.running
    world.api.delete("Namespace", None, world.namespace)


def test_the_autoscaler_owns_the_number(space: World) -> None:
    space.apply(scaled(minReplicas=2))
    space.wait_ready("chat")
    space.wait(lambda: space.get(KIND, "chat") is not None, "the ScaledObject is made")
    assert replicas(space) == 2
    scale(space, 4)
    space.wait(lambda: space.must("Qwen3Deployment", "chat")["status"]["readyReplicas"] == 4, "four servers")
    before = space.must("Deployment", "chat")
    space.set_spec("chat", engine={"maxModelLen": 2048})
    space.wait(lambda: "2048" in str(space.container("chat")["args"]), "the change reaches the servers")
    space.wait_ready("chat")
    seen = space.history("Deployment", "chat", before)
    assert {it["spec"]["replicas"] for it in seen} == {4}, "a new template leaves their number alone"
    assert space.must("Qwen3Deployment", "chat")["status"]["autoscaling"] == {"desiredReplicas": 4}


def test_the_operator_writes_no_replicas(space: World) -> None:
    space.apply(scaled())
    space.wait_ready("chat")
    space.wait(lambda: space.get(KIND, "chat") is not None, "the ScaledObject is made")
    path = f"{DEPLOYMENTS.path(space.namespace, 'chat')}"
    managed = space.api.request("GET", path)["metadata"]["managedFields"]
    ours = next(it for it in managed if it["manager"] == "qwen3-operator" and it["operation"] == "Apply")
    assert "f:replicas" not in ours["fieldsV1"]["f:spec"]


def test_what_is_there_stays_when_it_is_turned_on_and_comes_back_when_off(space: World) -> None:
    space.apply(Q3d().set(replicas=3))
    space.wait_ready("chat")
    before = space.must("Deployment", "chat")
    space.set_spec("chat", autoscaling=AUTOSCALING)
    space.wait(lambda: space.get(KIND, "chat") is not None, "the ScaledObject is made")
    stays(lambda: replicas(space) == 3, seconds=1)
    assert {it["spec"]["replicas"] for it in space.history("Deployment", "chat", before)} <= {3}
    scale(space, 1)
    space.set_spec("chat", autoscaling=None)
    space.wait_gone(KIND, "chat")
    space.wait(lambda: replicas(space) == 3, "spec.replicas counts again")


def test_suspend_and_zero(space: World) -> None:
    space.apply(scaled(minReplicas=0))
    space.wait_ready("chat")
    space.wait(lambda: space.get(KIND, "chat") is not None, "the ScaledObject is made")
    scale(space, 0)
    space.wait_condition("chat", "Ready", "True", reason="ScaledToZero")
    stays(lambda: replicas(space) == 0, seconds=1)
    space.set_spec("chat", suspend=True)
    space.wait_gone(KIND, "chat")
    space.wait_condition("chat", "Ready", "False", reason="Suspended")
    space.set_spec("chat", suspend=False)
    space.wait_ready("chat")
    assert replicas(space) == 1
    space.wait(lambda: space.get(KIND, "chat") is not None, "the ScaledObject is made again")


def test_edits_and_deletions_are_undone(space: World) -> None:
    space.apply(scaled())
    space.wait_ready("chat")
    space.wait(lambda: space.get(KIND, "chat") is not None, "the ScaledObject is made")
    space.patch(KIND, "chat", {"spec": {"maxReplicaCount": 9, "triggers": [{"type": "cron", "metadata": {}}]}})
    space.wait(lambda: space.must(KIND, "chat")["spec"]["maxReplicaCount"] == 4, "an edit is undone")
    (trigger,) = space.must(KIND, "chat")["spec"]["triggers"]
    assert trigger["type"] == "prometheus" and "num_requests_waiting" in trigger["metadata"]["query"]
    space.delete(KIND, "chat")
    space.wait(lambda: space.get(KIND, "chat") is not None, "it is made again")
    space.delete("Qwen3Deployment", "chat")
    space.wait_gone(KIND, "chat")


def test_what_waits_at_the_front_wakes_it(space: World) -> None:
    space.apply(scaled(minReplicas=0))
    space.wait_ready("chat")
    space.wait(lambda: space.get(KIND, "chat") is not None, "the ScaledObject is made")
    load, front = space.must(KIND, "chat")["spec"]["triggers"]
    assert (load["type"], front["type"], front["metricType"]) == ("prometheus", "metrics-api", "AverageValue")
    url = f"http://scaling-qwen3-operator-front.scaling-system.svc:8080/waiting/{space.namespace}/chat"
    assert (front["metadata"]["url"], front["metadata"]["targetValue"]) == (url, "8")


@pytest.mark.parametrize("target", [{"concurrency": 8}, {"queue": 4}, {"kvCache": 70}])
def test_the_api_server_knows_every_field(space: World, target: dict[str, int]) -> None:
    """An apply with a field that KEDA's schema does not have would be refused, or lose it."""
    space.apply(scaled(target=target))
    space.wait_ready("chat")
    live = space.wait(lambda: space.get(KIND, "chat"), "the ScaledObject is made")
    assert live is not None
    behavior = live["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert behavior["scaleDown"]["stabilizationWindowSeconds"] == live["spec"]["initialCooldownPeriod"] == 300
    assert {t["metadata"]["ignoreNullValues"] for t in live["spec"]["triggers"]} == {"false"}


def test_keda_may_be_removed_and_installed_anew(
    space: World, with_keda: OperatorProcess, cluster: devcluster.Cluster
) -> None:
    """Its CRD goes with it, and with that each ScaledObject."""
    space.apply(scaled(minReplicas=0))
    space.wait_ready("chat")
    space.wait(lambda: space.get(KIND, "chat") is not None, "the ScaledObject is made")
    process = with_keda.pid
    scale(space, 0)
    space.wait_condition("chat", "Ready", "True", reason="ScaledToZero")
    remove(cluster.kubectl, CRD)
    space.wait(lambda: "install KEDA" in space.conditions("Qwen3Deployment", "chat")["Accepted"]["message"])
    space.wait(lambda: replicas(space) == 1, "nothing else would wake it")
    assert with_keda.running and with_keda.pid == process
    install(cluster, [scaled_object_crd()])
    space.wait(lambda: space.get(KIND, "chat") is not None, "the ScaledObject is made again", within=30)
    space.patch(KIND, "chat", {"spec": {"maxReplicaCount": 9}})
    space.wait(lambda: space.must(KIND, "chat")["spec"]["maxReplicaCount"] == 4, "an edit is undone", within=10)
    space.wait_condition("chat", "Accepted", "True", reason="Accepted")
