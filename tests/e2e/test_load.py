"""Users inside the cluster, with pooled connections and streams, while everything happens that changes servers.

`make test-load` prints for each: requests, failures by kind, and the longest time in which nobody was answered.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator

import pytest
from demo.kube import wait_until
from demo.manifests import NAMESPACE
from tests.e2e.world import World
from tests.load.in_cluster import RESTRICTED, RESTRICTED_CONTAINER, Users, users

pytestmark = pytest.mark.load

NAME = "loaded"
ENOUGH = 1000
"""Requests of a row where there are always servers."""
FOUND_SECONDS = 30.0
"""A server that hangs is out of the endpoints and restarted in so long."""


@pytest.fixture(scope="module")
def loaded(world: World) -> Iterator[World]:
    """A Qwen3Deployment that is Ready, with two servers."""
    world.apply(world.example(NAME))
    world.patch(NAME, {"replicas": 2})
    world.ready(NAME)
    yield world
    world.delete(NAME)


@pytest.fixture
def two(loaded: World) -> World:
    """With two servers, as each row begins."""
    loaded.patch(NAME, {"replicas": 2, "engine": {"reasoningParser": "qwen3"}})
    loaded.ready(NAME)
    return loaded


@pytest.fixture
def one(loaded: World) -> World:
    """With one server."""
    loaded.patch(NAME, {"replicas": 1})
    loaded.ready(NAME)
    wait_until("one server", lambda: len(loaded.servers(NAME)) == 1, timeout=120)
    return loaded


def nothing_lost(found: Users, *, requests: int = ENOUGH) -> None:
    assert found.tally["failed"] == {}, found.tally["examples"]
    assert found.tally["requests"] >= requests


def another_length(world: World) -> int:
    """Change the servers' template; returns the new length."""
    length = int(world.get("qwen3deployment", NAME)["spec"]["engine"]["maxModelLen"]) ^ 512
    world.patch(NAME, {"engine": {"maxModelLen": length}})
    return length


def roll_out(world: World) -> None:
    length = another_length(world)
    assert world.ready(NAME)["status"]["engine"]["maxModelLen"] == length


def roll_back(world: World) -> None:
    """A parser that does not belong to the model: its server never gets a user, and those before go on."""
    world.patch(NAME, {"engine": {"reasoningParser": "deepseek_r1"}})
    reported = world.condition(NAME, "Accepted", "False", reason="RolledBack", timeout=240)
    assert "AnswersWrong" in reported["message"]
    wait_until("two servers as before", lambda: ready(world) == 2, timeout=240)
    world.patch(NAME, {"engine": {"reasoningParser": "qwen3"}})
    world.ready(NAME)


def scale_down_and_up(world: World) -> None:
    world.patch(NAME, {"replicas": 1})
    wait_until("one server", lambda: len(world.servers(NAME)) == 1, timeout=120)
    world.patch(NAME, {"replicas": 2})
    world.ready(NAME)


def delete_a_pod(world: World) -> None:
    pod = world.servers(NAME)[0]["metadata"]["name"]
    world.kubectl("delete", "pod", pod, "--wait=false")
    wait_until("another pod", lambda: pod not in names(world) and ready(world) == 2, timeout=240)


def drain_the_node(world: World) -> None:
    """There is only one node: it takes pods again once the first server has left it, and the drain goes on."""
    before = names(world)
    (node,) = (it["metadata"]["name"] for it in world.kube.get("nodes")["items"])
    drained = threading.Thread(target=_drain, args=(world, node))
    drained.start()
    wait_until("the first server leaves", lambda: len(before & names(world)) < 2, timeout=180)
    world.kube.run("uncordon", node)
    drained.join(360)
    assert not drained.is_alive()
    wait_until("two others", lambda: not before & names(world) and ready(world) == 2, timeout=240)


def _drain(world: World, node: str) -> None:
    selector = f"--pod-selector=serving.qwen3.dev/deployment={NAME}"
    world.kube.run("drain", node, selector, "--delete-emptydir-data", "--ignore-daemonsets", "--timeout=340s")


def another_revision(world: World) -> None:
    """The same files by their commit: another Qwen3Model, another download, other servers."""
    live = world.get("qwen3deployment", NAME)
    commit, spec = live["status"]["model"]["commit"], live["spec"]["model"]
    revision = commit if spec.get("revision", "master") == "master" else "master"
    world.patch(NAME, {"model": {"revision": revision}})
    world.ready(NAME)


def restart_in_a_roll_out(world: World) -> None:
    length = another_length(world)
    wait_until("a new server", lambda: ready(world) < 2 or len(names(world)) > 2, timeout=120)
    world.restart_operator()
    assert world.ready(NAME)["status"]["engine"]["maxModelLen"] == length


def names(world: World) -> set[str]:
    return {pod["metadata"]["name"] for pod in world.servers(NAME)}


def ready(world: World) -> int:
    """Servers that are in the endpoints."""
    living = [pod for pod in world.servers(NAME) if not pod["metadata"].get("deletionTimestamp")]
    conditions = [c for pod in living for c in pod["status"].get("conditions") or ()]
    return sum(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


ROWS: list[Callable[[World], None]] = [
    roll_out,
    roll_back,
    scale_down_and_up,
    delete_a_pod,
    drain_the_node,
    another_revision,
    restart_in_a_roll_out,
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.__name__)
def test_two_servers(two: World, row: Callable[[World], None]) -> None:
    with users(two, NAME) as asking:
        row(two)
        asking.wait_for(max(0, ENOUGH - asking.so_far()["requests"]) + 20)
    nothing_lost(asking)


def test_one_server_and_a_spare_gpu(one: World) -> None:
    with users(one, NAME) as asking:
        roll_out(one)
        asking.wait_for(max(0, ENOUGH - asking.so_far()["requests"]) + 20)
    nothing_lost(asking)


@pytest.fixture
def full(one: World) -> Iterator[World]:
    """One server, and somebody else on the other GPU."""
    image = one.servers(NAME)[0]["spec"]["containers"][0]["image"]
    resources = {"limits": {"nvidia.com/gpu": "1"}}
    container = {
        "name": "other",
        "image": image,
        "command": ["sleep", "3600"],
        "resources": resources,
        "securityContext": RESTRICTED_CONTAINER,
    }
    spec = {"containers": [container], "terminationGracePeriodSeconds": 0, "securityContext": RESTRICTED}
    meta = {"name": "other", "namespace": NAMESPACE}
    one.kube.apply([{"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}])
    one.kubectl("wait", "pod", "other", "--for=condition=Ready", "--timeout=60s")
    yield one
    one.kubectl("delete", "pod", "other")


def test_one_server_and_no_spare_gpu(full: World) -> None:
    """Nobody is cut off; in the gap a connection is refused, and nobody gets a 500."""
    with users(full, NAME) as asking:
        roll_out(full)
        asking.wait_for(20)
    kinds = set(asking.tally["failed"])
    assert kinds <= {"ConnectionRefusedError", "TimeoutError", "HTTP 503", "OSError"}, asking.tally
    startup = full.get("qwen3deployment", NAME)["status"]["startup"]
    print("gap", asking.tally["longestGapSeconds"], "s; start by stage:", json.dumps(startup), flush=True)


FAULTS = {"stopped": "SIGSTOP", "killed": "SIGKILL"}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_engine_that_fails_is_found(two: World, fault: str) -> None:
    """The other server goes on; of the one that hangs only what it held is lost."""
    pod = sorted(names(two))[0]

    def restarts() -> int:
        status = two.get("pod", pod)["status"]
        return int(status["containerStatuses"][0]["restartCount"])

    with users(two, NAME) as asking:
        before = restarts()
        two.signal_engine(pod, FAULTS[fault])
        wait_until("it is restarted", lambda: restarts() > before, timeout=FOUND_SECONDS)
        two.ready(NAME)
        asking.wait_for(20)
    lost = sum(asking.tally["failed"].values())
    assert lost <= 2 * 6, asking.tally  # what it held, and what was on its way to it


def test_a_hang_is_reported(one: World) -> None:
    pod = next(iter(names(one)))
    one.signal_engine(pod, FAULTS["stopped"])
    reported = one.condition(NAME, "Available", "False", reason="EngineHung", timeout=FOUND_SECONDS + 10)
    assert "restart" in reported["message"]
    one.ready(NAME)
