"""The operator as a process: rest, restart, leadership, probes, namespaces."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import devcluster
import pytest
from tests.cluster.api import Api
from tests.cluster.installed import Release
from tests.cluster.operator_process import OperatorProcess
from tests.cluster.waiting import stays, wait_until
from tests.cluster.world import World, WritesSince
from tests.cluster.wrappers import Q3d, Q3m

REST_SECONDS = float(os.environ.get("QWEN3_TEST_REST_SECONDS", "12"))
"""How long the rest is watched, at a resync of a tenth of it."""


@pytest.fixture(scope="module")
def settled(serving: World) -> World:
    """Qwen3Deployments of several kinds, and nothing left to do for any of them."""
    serving.apply(
        Q3d("one"),
        Q3d("two").engine(maxModelLen=4096, compileCache={"enabled": True}).set(replicas=2),
        Q3d("asleep").set(suspend=True),
        Q3m("unused").set(id="Qwen/Qwen3-4B"),
    )
    for name in ("one", "two"):
        serving.wait_ready(name)
    serving.wait_condition("asleep", "Ready", "False", reason="Suspended")
    serving.wait_ready("unused", "Qwen3Model")
    time.sleep(1)
    return serving


@pytest.fixture
def another(
    release: Release, tmp_path: Path, the_operator: OperatorProcess
) -> Iterator[Callable[..., OperatorProcess]]:
    """Make another operator with settings of its own, of the same release or another one; it is ended after the test,
    and the first is at work again."""
    made: list[OperatorProcess] = []

    def make(of: Release = release, **settings: str) -> OperatorProcess:
        made.append(of.operator(tmp_path / f"operator-{len(made)}.log", **settings))
        return made[-1]

    yield make
    for it in made:
        if it.running:
            it.stop()
    the_operator.keep_running()


def test_at_rest_nothing_is_written(
    settled: World,
    operator: OperatorProcess,
    another: Callable[..., OperatorProcess],
    writes_since: WritesSince,
) -> None:
    """Also across resyncs, which come ten times as the rest is watched."""
    operator.stop()
    it = another(resync_seconds=str(REST_SECONDS / 10))
    it.start()
    time.sleep(2)
    reconciles, began = _reconciles(it), time.time()
    time.sleep(REST_SECONDS)
    assert writes_since(settled, began) == []
    print(f"{_reconciles(it) - reconciles:.0f} reconciles in {REST_SECONDS:.0f} s, 0 writes")
    assert _reconciles(it) - reconciles >= 5 * _objects(settled), "the resyncs came"


def _objects(world: World) -> int:
    """Objects of ours in a namespace: each is reconciled at least once after a start."""
    return sum(len(world.list(kind)) for kind in ("Qwen3Deployment", "Qwen3Model", "Qwen3Batch"))


def test_a_restart_writes_nothing_and_restarts_no_server(
    settled: World, operator: OperatorProcess, writes_since: WritesSince
) -> None:
    def pods() -> list[str]:
        return sorted(p["metadata"]["uid"] for p in settled.list("Pod"))

    before, began = pods(), time.time()
    operator.stop()
    operator.start()
    wait_until(lambda: _reconciles(operator) >= _objects(settled), what="it has reconciled everything")
    time.sleep(2)
    assert writes_since(settled, began) == []
    assert pods() == before


def test_sigterm_ends_it_within_seconds(settled: World, operator: OperatorProcess) -> None:
    settled.set_spec("one", engine={"maxModelLen": 2048})  # something to do at that moment
    assert operator.stop() < 5
    operator.start()
    settled.wait_ready("one")


def test_a_second_operator_waits_for_the_first(
    world: World, operator: OperatorProcess, another: Callable[..., OperatorProcess], release: Release
) -> None:
    second = another(identity="second")
    second.launch()
    wait_until(lambda: "waiting for the lease" in second.log.read_text(), what="the second waits")
    assert second.http("/readyz")[0] == 503
    assert second.http("/healthz")[0] == 200
    lease = world.api.get("Lease", release.namespace, release.name)
    assert lease is not None
    assert lease["spec"]["holderIdentity"] != "second"
    stays(lambda: second.http("/readyz")[0] == 503, seconds=1)
    operator.stop()
    wait_until(lambda: second.http("/readyz")[0] == 200, within=10, what="the second takes over")
    world.apply(Q3d().set(suspend=True))
    world.wait_condition("chat", "Ready", "False")
    assert second.stop() < 5
    lease = world.api.get("Lease", release.namespace, release.name)
    assert lease is not None
    assert not lease["spec"].get("holderIdentity"), "the lease is given back"


def test_probes_and_metrics(operator: OperatorProcess, settled: World) -> None:
    assert operator.http("/healthz") == (200, "ok")
    assert operator.http("/readyz") == (200, "ok")
    wait_until(lambda: _reconciles(operator) >= _objects(settled), what="it has reconciled everything")
    status, text = operator.http("/metrics")
    assert status == 200
    assert "qwen3_operator_leader 1.0" in text
    assert 'qwen3_operator_reconciles_total{kind="Qwen3Deployment",result="ok"}' in text
    assert 'result="error"' not in text, operator.log_tail()
    assert operator.http("/other")[0] == 404


@pytest.mark.parametrize(
    ("settings", "code", "words"),
    [
        ({"workerz": "3"}, 2, "QWEN3_OPERATOR_WORKERZ"),
        ({"workers": "many"}, 2, "QWEN3_OPERATOR_WORKERS"),
    ],
)
def test_bad_settings_end_it_in_words(
    another: Callable[..., OperatorProcess],
    the_operator: OperatorProcess,
    settings: dict[str, str],
    code: int,
    words: str,
) -> None:
    it = another(**settings)
    it.launch()
    assert it.wait(60) == code
    assert words in it.log.read_text()
    assert "Traceback" not in it.log.read_text()


def test_a_lease_namespace_that_is_not_there_ends_it_in_words(tmp_path: Path, cluster: devcluster.Cluster) -> None:
    """With rights for every namespace: the chart's would be refused before."""
    it = OperatorProcess(cluster.kubeconfig, tmp_path / "operator.log", lease_namespace="nowhere")
    it.launch()
    assert it.wait(60) == 1
    assert "nowhere" in it.log.read_text()
    assert "Traceback" not in it.log.read_text()


def test_an_api_server_that_is_away_is_reported_in_words(tmp_path: Path, cluster: devcluster.Cluster) -> None:
    text = cluster.kubeconfig.read_text()
    (server,) = {line.split("server:")[1].strip() for line in text.splitlines() if "server:" in line}
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(text.replace(server, "https://127.0.0.1:1"))
    it = OperatorProcess(kubeconfig, tmp_path / "operator.log")
    it.launch()
    assert it.wait(90) == 1
    assert "did not answer" in it.log.read_text()
    assert "Traceback" not in it.log.read_text()


@pytest.fixture(params=["nodes-are-read", "no-cluster-role"])
def narrow(request: pytest.FixtureRequest, installs: Callable[..., Release], ours: World, api: Api) -> Release:
    """The chart with `watchNamespaces`: Roles in those instead of a ClusterRole, which is for the nodes alone, or not
    there. What an operator without it asks for all the same is refused, and fails the session."""
    without = request.param == "no-cluster-role"
    values = ("rbac.readCluster=false", "rbac.aggregateToDefaultRoles=false") if without else ()
    name = f"narrow-qwen3-operator{'-alone' if without else ''}"
    it = installs(*values, name=name, namespace="narrow-system", narrow=True)
    assert (api.get("ClusterRole", None, name) is None) == without
    for role in it.roles_in(ours.namespace):
        api.create(role)
    return it


@pytest.fixture
def ours(make_world: Callable[[str], World]) -> World:
    return make_world("ours")


def test_only_the_named_namespaces(
    make_world: Callable[[str], World],
    ours: World,
    narrow: Release,
    operator: OperatorProcess,
    another: Callable[..., OperatorProcess],
) -> None:
    theirs = make_world("theirs")
    operator.stop()
    it = another(narrow, namespaces=ours.namespace)
    it.start()
    ours.apply(Q3d(), Q3d("cached").engine(compileCache={"enabled": True}))
    theirs.apply(Q3d())
    ours.wait_ready("chat")
    ours.wait_ready("cached")
    assert theirs.must("Qwen3Deployment", "chat")["status"] == {"observedGeneration": 0}, "it was never reconciled"
    assert not theirs.list("Qwen3Model")
    ours.delete("Qwen3Deployment", "cached")
    ours.wait_gone("Deployment", "cached")
    it.stop()  # its Roles go with the namespace
    for world in (ours, theirs):
        world.delete("Qwen3Deployment", "chat")
        world.api.delete("Namespace", None, world.namespace)


def _reconciles(operator: OperatorProcess) -> float:
    """How many reconciles it has ended."""
    lines = operator.http("/metrics")[1].splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("qwen3_operator_reconciles_total{"))
