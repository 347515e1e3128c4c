"""KEDA itself sets the number of real servers, by what a real Prometheus has scraped of them.

With `-s` it prints the number of servers over time, and how long answers took in each part.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import requests
from demo.kube import wait_until
from demo.manifests import SYSTEM_NAMESPACE
from demo.ours import RELEASE
from devcluster.realnode import layout
from tests.autoscaling.curve import SAMPLE_SECONDS, Curve, curve, quantiles
from tests.autoscaling.keda import keda, log
from tests.documents.shell import Shell
from tests.documents.snippets import documented
from tests.e2e.release import install, remove_front
from tests.e2e.world import MODEL, World
from tests.load.in_cluster import users
from tests.monitoring.discovery import discovered
from tests.monitoring.prometheus import Prometheus, prometheus
from tests.monitoring.scrapes import of_cluster

from qwen3_operator.desired.autoscaling import POLL_SECONDS
from qwen3_operator.naming import MANAGER

pytestmark = pytest.mark.nightly  # KEDA is built in 20 minutes

NAME = "scaled"
CONCURRENCY, FEW, MORE = 4, 2, 5
"""Users that one server is to have, who are always there, and who come beside them: all are two servers' work."""
TOKENS = 600
"""Answers of seconds: a server that goes has some to finish."""
DOWN_SECONDS, STEADY_SECONDS = 60, 180
AUTOSCALING = {
    "minReplicas": 1,
    "maxReplicas": 3,
    "target": {"concurrency": CONCURRENCY},
    "scaleDownDelaySeconds": DOWN_SECONDS,
}


@dataclass(frozen=True)
class Scaled:
    """The Qwen3Deployment whose servers KEDA has a hand on, and the Prometheus that it asks."""

    world: World
    load: Prometheus

    def running(self) -> float | None:
        """Requests of all servers, by the query that KEDA makes."""
        triggers = self.world.get("scaledobject", NAME)["spec"]["triggers"]
        (query,) = (it["metadata"]["query"] for it in triggers if it["type"] == "prometheus")
        series = self.load.query(query)
        return float(series[0]["value"][1]) if series else None

    def reported(self, seen: Curve) -> str:
        """For a failed test."""
        world = self.world
        words = [world.kubectl("describe", "scaledobject,hpa"), world.kubectl("get", "pods", "-o", "wide")]
        assert world.cluster
        return "\n".join([seen.printed(), *words, log(world.cluster)])


@pytest.fixture(scope="module")
def scaled(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scaled]:
    """With KEDA, Prometheus and the front."""
    if world.cluster is None:
        pytest.skip("KEDA and Prometheus of a cluster of DEMO_KUBECONFIG are not ours to install")
    folder = tmp_path_factory.mktemp("keda")
    jobs = of_cluster(folder, release=RELEASE, namespace=SYSTEM_NAMESPACE)
    with (
        keda(world.cluster, folder),
        discovered(world.kube, folder),
        prometheus(folder, jobs, layout.ADDRESS) as load,
    ):
        reported = ("autoscaling.enabled=true", f"autoscaling.prometheusAddress={load.url}")
        install(world, *reported, "front.enabled=true", "front.replicas=1")
        world.apply(world.example(NAME, autoscaling=lambda it: it.update(AUTOSCALING)))
        world.ready(NAME)
        wait_until("KEDA has a ScaledObject", lambda: world.get("scaledobjects")["items"], timeout=60)
        yield Scaled(world, load)
        world.delete(NAME)
        wait_until("KEDA has let go of it", lambda: not world.get("scaledobjects")["items"], timeout=60)
        install(world, "autoscaling.enabled=false")
        remove_front(world)


@pytest.fixture
def seen(scaled: Scaled) -> Iterator[Curve]:
    """The number of servers while a test runs."""
    with curve(lambda: dict(scaled.world.get("deployment", NAME, "--show-managed-fields")), scaled.running) as it:
        yield it
        print(f"\n{it.printed()}", flush=True)


def reaches(scaled: Scaled, seen: Curve, wanted: int, ready: int, within: float) -> float:
    """When so many servers were wanted and ready, from now on."""
    since = time.time()

    def found() -> float | None:
        return next((sample.at for sample in seen.since(since) if sample.servers == (wanted, ready)), None)

    try:
        moment = wait_until(f"{wanted} servers wanted, {ready} ready", found, timeout=within)
    except Exception as error:
        raise AssertionError(f"{error}\n{scaled.reported(seen)}") from error
    assert moment
    return moment


def written_by_the_operator(seen: Curve, since: float) -> set[str]:
    """Its field managers that had a say in the number of servers, after the autoscaler had its first: until then the
    number is what was handed over."""
    return {name for sample in seen.since(since) for name in sample.writers if name.startswith(MANAGER)}


def test_the_servers_follow_a_closed_load(scaled: Scaled, seen: Curve, person: Shell) -> None:
    world, moments = scaled.world, [time.time()]
    with users(world, NAME, count=FEW, tokens=TOKENS) as few:
        few.wait_for(20)
        moments.append(time.time())
        with users(world, NAME, count=MORE, tokens=TOKENS, also="more") as more:
            moments.append(reaches(scaled, seen, 2, 2, within=300))
            reported = json.loads(
                person(documented("kubectl get qwen3deployment scaled -o jsonpath='{.status.autoscaling}'"))
            )
            assert reported == {"active": True, "desiredReplicas": 2}
            assert "ScaledObjectReady" in person(documented("kubectl describe scaledobject scaled"))
            assert f"/{CONCURRENCY}" in person(documented("kubectl get hpa keda-hpa-scaled"))
            wait_until("a steady load", lambda: time.time() > moments[-1] + STEADY_SECONDS, timeout=STEADY_SECONDS + 10)
            assert {sample.servers for sample in seen.since(moments[-1])} == {(2, 2)}, seen.printed()
            answers = more.answers()
            moments.append(time.time())
        moments.append(reaches(scaled, seen, 1, 1, within=300))
        wait_until("the end of the other", lambda: len(world.servers(NAME)) == 1, timeout=120)
        few.wait_for(20)
        moments.append(time.time())
        answers += few.answers()
    assert (few.tally["failed"], more.tally["failed"]) == ({}, {}), (few.tally["examples"], more.tally["examples"])
    assert written_by_the_operator(seen, since=moments[2]) == set()
    parts = ("few, one server", "all, one server", "all, two servers", "few, two servers", "few, one server")
    for part, (since, until) in zip(parts, itertools.pairwise(moments), strict=True):
        print(f"{part}: {until - since:.0f} s  {quantiles(answers, since, until)}", flush=True)


def ask(world: World) -> float:
    """One short request to the Service, by whoever answers there; when its answer came."""
    address = world.get("service", NAME)["spec"]["clusterIP"]
    question: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "Count."}], "max_tokens": 4}
    url = f"http://{address}:8000/v1/chat/completions"
    requests.post(url, json=question, timeout=300).raise_for_status()
    return time.time()


def test_one_request_wakes_it_and_the_server_stays_a_while(scaled: Scaled, seen: Curve) -> None:
    """What waited at the front through the start was load, though Prometheus has seen none."""
    world = scaled.world
    world.patch(NAME, {"autoscaling": AUTOSCALING | {"minReplicas": 0}})
    asleep = reaches(scaled, seen, 0, 0, within=300)
    world.condition(NAME, "Ready", "True", reason="ScaledToZero", timeout=60)
    wait_until("no server", lambda: not world.servers(NAME), timeout=90)
    asked, answered = time.time(), ask(world)
    woken = next(sample.at for sample in seen.since(asleep) if sample.wanted)
    gone = reaches(scaled, seen, 0, 0, within=300)
    print(f"awake after {woken - asked:.0f} s, answer after {answered - asked:.0f} s", end=" ", flush=True)
    print(f"asleep again {gone - answered:.0f} s after it", flush=True)
    assert gone - answered > DOWN_SECONDS - POLL_SECONDS - SAMPLE_SECONDS, "KEDA checked once more while it waited"
    assert written_by_the_operator(seen, since=asleep) == set()
