"""Nobody is refused while the only server is replaced, or none is there: users of the real node, with the front."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator

import pytest
from demo.kube import wait_until
from demo.manifests import NAMESPACE, SYSTEM_NAMESPACE
from demo.ours import RELEASE
from tests.autoscaling.keda import CRD, scaled_object_crd
from tests.crds import remove
from tests.e2e.keda_hand import keda, replicas, scale
from tests.e2e.release import install, remove_front
from tests.e2e.world import World
from tests.load.in_cluster import Users, users

pytestmark = pytest.mark.nightly

NAME = "held"
ENOUGH = 1000
USERS = 6
FRONT = f"{RELEASE}-front"
NOT_RUN = {"ConnectionRefusedError", "TimeoutError", "OSError", "HTTP 503"}
"""How a request ends that nobody took: its user asks again."""


@pytest.fixture(scope="module")
def held(world: World) -> Iterator[World]:
    """One server, whose roll-out ends it before the next one comes, and a front."""
    install(world, "front.enabled=true", "front.replicas=1")
    world.apply(world.example(NAME, rollout=lambda rollout: rollout.update(strategy="Recreate")))
    world.ready(NAME)
    yield world
    world.delete(NAME)
    remove_front(world)


def nothing_lost(found: Users) -> None:
    assert found.tally["failed"] == {}, found.tally["examples"]
    assert found.tally["requests"] >= ENOUGH


def roll_out(world: World) -> None:
    length = int(world.get("qwen3deployment", NAME)["spec"]["engine"]["maxModelLen"]) ^ 512
    world.patch(NAME, {"engine": {"maxModelLen": length}})
    assert world.ready(NAME)["status"]["engine"]["maxModelLen"] == length


def test_1000_requests_through_a_roll_out_on_one_gpu(held: World) -> None:
    with users(held, NAME) as asking:
        asking.wait_for(200)
        roll_out(held)
        asking.wait_for(max(0, ENOUGH - asking.so_far()["requests"]) + 20)
    nothing_lost(asking)
    startup = held.get("qwen3deployment", NAME)["status"]["startup"]
    print("longest wait", asking.tally["longestGapSeconds"], "s; start by stage:", json.dumps(startup), flush=True)


def test_the_operator_may_be_away_meanwhile(held: World) -> None:
    """kube-proxy goes to the front by itself once no server is ready, and to the server once it is. Only it also goes
    to the server that ends, to its end: what comes in that moment is lost."""
    with users(held, NAME) as asking:
        pod = held.servers(NAME)[0]["metadata"]["name"]
        where = ("-n", SYSTEM_NAMESPACE)
        held.kube.run(*where, "scale", f"deployment/{RELEASE}", "--replicas=0")
        held.kube.run(*where, "rollout", "status", f"deployment/{RELEASE}", "--timeout=60s")
        held.kubectl("delete", "pod", pod, "--wait=false")
        wait_until("another server", lambda: is_ready(held, pod), timeout=240)
        asking.wait_for(50)
        held.kube.run(*where, "scale", f"deployment/{RELEASE}", "--replicas=1")
        held.kube.run(*where, "rollout", "status", f"deployment/{RELEASE}", "--timeout=60s")
    assert sum(asking.tally["failed"].values()) <= 2 * 6, asking.tally


def test_a_front_that_is_replaced_loses_nobody(held: World) -> None:
    with users(held, NAME) as asking:
        rolling = threading.Thread(target=roll_out, args=(held,))
        rolling.start()
        wait_until("requests wait", lambda: held_back(held) > 0, timeout=120)
        held.kube.run("-n", SYSTEM_NAMESPACE, "rollout", "restart", f"deployment/{FRONT}")
        rolling.join(300)
        asking.wait_for(50)
    assert asking.tally["failed"] == {}, asking.tally["examples"]


def test_a_front_that_crashes_loses_what_it_held(held: World) -> None:
    where = ("-n", SYSTEM_NAMESPACE)
    with users(held, NAME) as asking:
        rolling = threading.Thread(target=roll_out, args=(held,))
        rolling.start()
        wait_until("requests wait", lambda: held_back(held) > 0, timeout=120)
        selector = "app.kubernetes.io/component=front"
        held.kube.run(*where, "delete", "pod", "-l", selector, "--grace-period=0", "--force")
        held.kube.run(*where, "rollout", "status", f"deployment/{FRONT}", "--timeout=60s")
        wait_until("requests wait again", lambda: held_back(held) == USERS, timeout=60)
        rolling.join(300)
        asking.wait_for(50)
    assert lost(asking) <= 2 * USERS, asking.tally


def test_a_server_that_crashes_loses_what_it_had(held: World) -> None:
    """The front stands in until it is up again."""
    with users(held, NAME) as asking:
        pod = held.servers(NAME)[0]["metadata"]["name"]
        held.signal_engine(pod, "SIGKILL")
        wait_until("requests wait", lambda: held_back(held) == USERS, timeout=60)
        asking.wait_for(50)
    assert lost(asking) <= 2 * USERS, asking.tally


def lost(asking: Users) -> int:
    """Requests that somebody had taken, and nobody answered."""
    return sum(count for kind, count in asking.tally["failed"].items() if kind not in NOT_RUN)


def test_what_is_suspended_is_refused_at_once(held: World) -> None:
    held.patch(NAME, {"suspend": True})
    held.condition(NAME, "Available", "False", reason="Suspended")
    wait_until("no server", lambda: not held.servers(NAME), timeout=90)
    with users(held, NAME, count=1) as asking:
        time.sleep(3)
    assert set(asking.tally["failed"]) == {"HTTP 503"}, asking.tally
    assert "spec.suspend is true" in asking.tally["examples"][0]
    held.patch(NAME, {"suspend": False})
    held.ready(NAME)


def held_back(world: World) -> int:
    """Requests that wait at the front."""
    path = f"/api/v1/namespaces/{SYSTEM_NAMESPACE}/services/{FRONT}:8080/proxy/waiting/{NAMESPACE}/{NAME}"
    return int(json.loads(world.kube.run("get", "--raw", path))["waiting"])


def is_ready(world: World, other_than: str) -> bool:
    """Whether another server is in the endpoints."""
    others = [pod for pod in world.servers(NAME) if pod["metadata"]["name"] != other_than]
    conditions = [c for pod in others for c in pod["status"].get("conditions") or ()]
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


@pytest.fixture(scope="module")
def zero(held: World) -> Iterator[World]:
    """It may have no server: its number is KEDA's, which is played here."""
    held.kube.apply([scaled_object_crd()])
    held.kube.run("wait", "--for=condition=Established", f"crd/{CRD}", "--timeout=60s")
    install(held, "autoscaling.enabled=true", "autoscaling.prometheusAddress=http://prometheus.nowhere:9090")
    held.patch(NAME, {"autoscaling": {"minReplicas": 0, "maxReplicas": 1, "target": {"concurrency": 8}}})
    wait_until("KEDA has a ScaledObject", lambda: held.get("scaledobjects")["items"], timeout=60)
    yield held
    held.patch(NAME, {"autoscaling": None})
    held.ready(NAME)
    install(held, "autoscaling.enabled=false")
    remove(held.kube.run, CRD)


def asleep(world: World) -> None:
    scale(world, NAME, 0)
    world.condition(NAME, "Ready", "True", reason="ScaledToZero", timeout=60)
    wait_until("no server", lambda: not world.servers(NAME), timeout=90)


def test_1000_requests_from_zero(zero: World) -> None:
    asleep(zero)
    with keda(zero, NAME), users(zero, NAME, first_within=240) as asking:
        woken_after = asking.so_far()["requests"]
        scale(zero, NAME, 0)  # with users at work: those before it are drained, the next ones wake it again
        wait_until("it is awake again", lambda: replicas(zero, NAME) == 1, timeout=120)
        asking.wait_for(max(0, ENOUGH - asking.so_far()["requests"]) + 20, timeout=400)
    nothing_lost(asking)
    print(
        "answers of the first server", woken_after, "longest wait", asking.tally["longestGapSeconds"], "s", flush=True
    )
