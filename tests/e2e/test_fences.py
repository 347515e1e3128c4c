"""The chart's NetworkPolicies, enforced: who reaches whom by real connections on the real node, and who does not.

kube-router enforces them beside the kubelet and kube-proxy. Each table of who is reached is asked again without the
policies, and without what enforces them: then everybody reaches everything.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from demo import questions
from demo.kube import wait_until
from demo.manifests import HUB_NAMESPACE, HUB_PORT, NAMESPACE, SYSTEM_NAMESPACE, namespace
from demo.ours import RELEASE
from devcluster.realnode import layout, policies
from tests.e2e.hub import slow_hub
from tests.e2e.probes import Probe, listener
from tests.e2e.release import install, install_json, remove_front
from tests.e2e.world import EXAMPLE, MODEL, World

from qwen3_operator.naming import batch_labels

pytestmark = pytest.mark.nightly  # kube-router is built in 3 minutes

NAME = "fenced"
PORT, ANOTHER_PORT, OPERATOR_PORT = 8000, 9000, 8080
GATEWAY, MONITORING, ELSEWHERE = (f"qwen3-demo-{name}" for name in ("gateway", "monitoring", "elsewhere"))
UNFENCED = {"hub", "dns", "api", "kubelet", "other namespace", "neighbour"}
"""What a pod without a policy of its own reaches, whatever the servers' namespace has."""


def of(name: str) -> dict[str, Any]:
    """Of a NetworkPolicy: everybody in the namespace."""
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}


def values(api_server_port: int) -> dict[str, Any]:
    """Of the chart, with every fence as tight as it goes here."""
    return {
        "fences": {
            "enabled": True,
            "namespaces": [NAMESPACE],
            "from": [of(GATEWAY)],
            "metricsFrom": [of(MONITORING)],
            "hubPorts": [HUB_PORT],
            "hubTo": [of(HUB_NAMESPACE)],
            "dnsTo": [{"ipBlock": {"cidr": f"{layout.ADDRESS}/32"}}],
        },
        "networkPolicy": {
            "enabled": True,
            "metricsFrom": [of(MONITORING)],
            "apiServerPorts": [443, api_server_port],
        },
        "front": {"enabled": True, "replicas": 1, "metricsFrom": [of(MONITORING)]},
    }


@dataclass(frozen=True)
class Fenced:
    """The node with policies in force, and whom to ask."""

    world: World
    probes: dict[str, Probe]
    engine: contextlib.ExitStack
    """Closed, nobody enforces them any more."""

    def places(self) -> dict[str, str]:
        """Name -> HOST:PORT of everything that takes connections now."""
        found = {
            "hub": f"hub.{HUB_NAMESPACE}.svc:{HUB_PORT}",
            "dns": f"{layout.ADDRESS}:53",
            "api": "kubernetes.default.svc:443",
            "kubelet": f"{layout.ADDRESS}:10250",
            "other namespace": self.probes["elsewhere"].at(HUB_PORT),
            "neighbour": self.probes["neighbour"].at(PORT),
            "batch": self.probes["batch"].at(PORT),
            "operator": self.of_release("operator").at(OPERATOR_PORT),
            "front": self.of_release("front").at(OPERATOR_PORT),
        }
        for pod in self.world.servers(NAME):
            address = pod["status"]["podIP"]
            found |= {
                "service": f"{NAME}.{NAMESPACE}.svc:{PORT}",
                "server": f"{address}:{PORT}",
                "server, another port": f"{address}:{ANOTHER_PORT}",
            }
        return found

    def of_release(self, component: str) -> Probe:
        selector = f"app.kubernetes.io/instance={RELEASE},app.kubernetes.io/component={component}"
        pods = self.world.kube.get("pods", "-n", SYSTEM_NAMESPACE, "-l", selector)["items"]
        (pod,) = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
        return Probe(self.world.kube, SYSTEM_NAMESPACE, pod["metadata"]["name"])

    def server(self) -> Probe:
        (pod,) = self.world.servers(NAME)
        return Probe(self.world.kube, NAMESPACE, pod["metadata"]["name"])

    def everybody(self) -> dict[str, Probe]:
        found = {name: self.of_release(name) for name in ("operator", "front")}
        return self.probes | found | {"server": self.server()}

    def allow(self, who: str, expected: set[str]) -> None:
        """That `who` reaches those, and nothing else but itself."""
        places = {name: address for name, address in self.places().items() if name not in ITSELF.get(who, ())}
        self.everybody()[who].reaches(places, expected)

    def allow_all(self) -> None:
        for who in self.everybody():
            self.allow(who, set(self.places()) - ITSELF.get(who, set()))


ITSELF = {name: {name} for name in ("neighbour", "batch", "operator", "front")} | {
    "elsewhere": {"other namespace"},
    "server": {"service", "server", "server, another port"},
}


@pytest.fixture(scope="module")
def fenced(world: World) -> Iterator[Fenced]:
    if world.cluster is None:
        pytest.skip("what enforces policies in a cluster of DEMO_KUBECONFIG is not ours to start and end")
    kube = world.kube
    (port,) = kube.get("endpointslice", "kubernetes", "-n", "default")["ports"]
    where = {"gateway": GATEWAY, "monitoring": MONITORING, "elsewhere": ELSEWHERE}
    where |= {"neighbour": NAMESPACE, "batch": NAMESPACE}
    operator = kube.get("deployment", RELEASE, "-n", SYSTEM_NAMESPACE)
    image = operator["spec"]["template"]["spec"]["containers"][0]["image"]
    labels = {"batch": batch_labels("by-hand")}
    with contextlib.ExitStack() as engine:
        engine.enter_context(world.cluster.enforced_policies())
        try:
            kube.apply(namespace(name) for name in (GATEWAY, MONITORING, ELSEWHERE))
            kube.apply(listener(where[it], it, image, labels.get(it, {}), (PORT, HUB_PORT)) for it in where)
            for it in where:
                kube.run("wait", "pod", it, "-n", where[it], "--for=condition=Ready", "--timeout=60s")
            install_json(world, values(port["port"]))
            yield Fenced(world, {it: Probe(kube, where[it], it) for it in where}, engine)
        finally:
            world.kubectl("delete", "pod", "neighbour", "batch", "--ignore-not-found")
            kube.run("delete", "namespace", GATEWAY, MONITORING, ELSEWHERE, "--ignore-not-found")
            install(world, "fences.enabled=false", "networkPolicy.enabled=false")
            remove_front(world)


def download(fenced: Fenced, model: str, expected: set[str]) -> None:
    """Its Job reaches those while it runs, and ends well."""
    world = fenced.world
    spec = {"id": EXAMPLE["spec"]["model"]["id"], "storage": {"size": "100Mi", "retentionPolicy": "Delete"}}
    kind = {"apiVersion": EXAMPLE["apiVersion"], "kind": "Qwen3Model"}
    with slow_hub(world.kube):
        world.apply({**kind, "metadata": {"name": model}, "spec": spec})
        pod = wait_until("the download", lambda: running_download(world, model), timeout=60)
        Probe(world.kube, NAMESPACE, pod).reaches(fenced.places(), expected)
    world.kubectl("wait", "qwen3model", model, "--for=condition=Ready", "--timeout=90s")


def running_download(world: World, model: str) -> str:
    selector = f"serving.qwen3.dev/model={model},app.kubernetes.io/component=download"
    for pod in world.get("pods", "-l", selector)["items"]:
        if "--list" not in pod["spec"]["containers"][0]["args"] and pod["status"]["phase"] == "Running":
            return str(pod["metadata"]["name"])
    return ""


@pytest.fixture(scope="module")
def weights(fenced: Fenced) -> Iterator[str]:
    """A model that was downloaded inside its fence."""
    download(fenced, NAME, {"hub", "dns"})
    yield NAME
    fenced.world.kubectl("delete", "qwen3model", NAME)


@pytest.fixture(scope="module")
def served(fenced: Fenced, weights: str) -> Iterator[Fenced]:
    """A server that is Ready inside its fence, with something at another port of its pod."""
    manifest = fenced.world.example(NAME)
    del manifest["spec"]["model"]
    manifest["spec"]["modelRef"] = {"name": weights}
    fenced.world.apply(manifest)
    fenced.world.ready(NAME)
    with fenced.server().listening(ANOTHER_PORT):
        yield fenced
    fenced.world.delete(NAME)


def test_a_download_reaches_the_hub_and_dns_alone(fenced: Fenced, weights: str) -> None:
    """Whom it reaches was asked of the Job's own pod while it downloaded; and it came to a good end."""
    assert fenced.world.get("qwen3model", weights)["status"]["model"]["verifiedBy"] == "Hub"


def test_the_main_job_works_inside_the_fences(served: Fenced) -> None:
    asked = {"model": MODEL, "messages": [{"role": "user", "content": questions.FACTORIAL}], "temperature": 0}
    url = f"http://{NAME}.{NAMESPACE}.svc:{PORT}"
    answer = json.loads(served.probes["gateway"].fetch(f"{url}/v1/chat/completions", asked))
    assert "120" in answer["choices"][0]["message"]["content"]
    assert "vllm:" in served.probes["monitoring"].fetch(f"{url}/metrics")
    with served.world.url(NAME) as forwarded:  # through the kubelet, which no policy stops
        questions.chat(forwarded, MODEL)


@pytest.mark.parametrize(
    ("who", "reaches"),
    [
        pytest.param("server", {"dns"}, id="a server: DNS alone"),
        pytest.param("gateway", {*UNFENCED, "service", "server"}, id="whom fences.from names: the servers' port"),
        pytest.param(
            "monitoring",
            {*UNFENCED, "service", "server", "batch", "operator", "front"},
            id="whom metricsFrom names: metrics",
        ),
        pytest.param("elsewhere", UNFENCED - {"other namespace"}, id="another namespace: none of it"),
        pytest.param("neighbour", UNFENCED - {"neighbour"}, id="the same namespace, not named: none of it"),
        pytest.param("batch", {"dns", "service", "server"}, id="a batch: DNS and servers"),
        pytest.param("operator", {"dns", "api"}, id="the operator: DNS and the API server"),
        pytest.param("front", {"dns", "api", "service", "server"}, id="the front: and the servers' port"),
    ],
)
def test_who_reaches_whom(served: Fenced, who: str, reaches: set[str]) -> None:
    served.allow(who, reaches)


def test_without_the_policies_everybody_reaches_everything(served: Fenced) -> None:
    install(served.world, "fences.enabled=false", "networkPolicy.enabled=false")
    served.allow_all()
    download(served, "unfenced", set(served.places()))
    served.world.kubectl("delete", "qwen3model", "unfenced")


def test_without_what_enforces_them_too(served: Fenced) -> None:
    """The last test: it ends kube-router, and nothing of it is left."""
    install(served.world, "fences.enabled=true", "networkPolicy.enabled=true")
    served.allow("server", {"dns"})
    served.engine.close()
    assert policies.left() == []
    served.allow_all()
