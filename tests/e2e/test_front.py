"""Nobody is refused while the only server is replaced: users of the real node, with the front behind the Service."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator

import pytest
from demo import ours
from demo.kube import wait_until
from demo.manifests import NAMESPACE, SYSTEM_NAMESPACE
from demo.ours import RELEASE
from demo.stage import CHART
from tests.e2e.world import World
from tests.load.in_cluster import Users, users

pytestmark = pytest.mark.nightly

NAME = "held"
ENOUGH = 1000
FRONT = f"{RELEASE}-front"


def install(world: World, *values: str) -> None:
    words = [word for value in values for word in ("--set", value)]
    where = [*ours.IN_RELEASE, "--reuse-values", "--wait", "--timeout=120s"]
    world.kube.helm("upgrade", RELEASE, str(CHART), *where, *words)


@pytest.fixture(scope="module")
def held(world: World) -> Iterator[World]:
    """One server, whose roll-out ends it before the next one comes, and a front."""
    install(world, "front.enabled=true", "front.replicas=1")
    world.apply(world.example(NAME, rollout=lambda rollout: rollout.update(strategy="Recreate")))
    world.ready(NAME)
    yield world
    world.delete(NAME)
    install(world, "front.replicas=0")
    wait_until("no slice leads to the front", lambda: not led_to_the_front(world), timeout=60)
    install(world, "front.enabled=false")


def led_to_the_front(world: World) -> list[str]:
    selector = "endpointslice.kubernetes.io/managed-by=qwen3-operator"
    found = world.kube.get("endpointslices", "-A", "-l", selector)["items"]
    return [it["metadata"]["name"] for it in found if it.get("endpoints")]


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
        wait_until("requests wait", lambda: waiting(held) > 0, timeout=120)
        held.kube.run("-n", SYSTEM_NAMESPACE, "rollout", "restart", f"deployment/{FRONT}")
        rolling.join(300)
        asking.wait_for(50)
    assert asking.tally["failed"] == {}, asking.tally["examples"]


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


def waiting(world: World) -> int:
    path = f"/api/v1/namespaces/{SYSTEM_NAMESPACE}/services/{FRONT}:8080/proxy/waiting/{NAMESPACE}/{NAME}"
    return int(json.loads(world.kube.run("get", "--raw", path))["waiting"])


def is_ready(world: World, other_than: str) -> bool:
    """Whether another server is in the endpoints."""
    others = [pod for pod in world.servers(NAME) if pod["metadata"]["name"] != other_than]
    conditions = [c for pod in others for c in pod["status"].get("conditions") or ()]
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
