"""deploy/endpoint-picker as it stands, in pods of the real node, before two real servers: who loses what.

tests/gateway/test_endpoint_picker.py counts what the picker is good for. With `-s` it prints the requests of each part.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
from demo import manifests
from demo.kube import wait_until
from devcluster import tools
from devcluster.realnode import image
from images.vllm_bundle import bundle
from tests.crds import install as install_crds
from tests.crds import remove
from tests.documents.shell import Shell
from tests.documents.snippets import documented
from tests.e2e.release import install
from tests.e2e.world import MODEL, World
from tests.gateway import modules, page, picker
from tests.load.clients import Ask, Tally, use

from qwen3_operator.reconcile.pods import is_ready

pytestmark = pytest.mark.nightly  # the picker is built in minutes, and a proxy takes one to end

TEAM, CHAT = "team", "chat"
SERVERS = f"serving.qwen3.dev/deployment={CHAT},app.kubernetes.io/component=server"
USERS, TOKENS = 6, 48
Object = dict[str, Any]
Stat = TypeVar("Stat")


@dataclass(frozen=True)
class Edge:
    """Two servers, the picker and two proxies in the namespace of the file."""

    world: World

    def get(self, *words: str) -> Any:
        return self.world.kube.get("-n", TEAM, *words)

    def kubectl(self, *words: str, timeout: float = 130) -> str:
        return self.world.kube.run("-n", TEAM, *words, timeout=timeout)

    def pods(self, selector: str) -> list[str]:
        """Names of those that are ready."""
        return [it["metadata"]["name"] for it in self.get("pods", "-l", selector)["items"] if is_ready(it)]

    def stats(self, read: Callable[[picker.Stats], Stat]) -> list[Stat]:
        """What is read of each proxy that there is."""
        found = []
        for pod in self.pods("app=picker-proxy"):
            with self.world.kube.port_forward(TEAM, f"pod/{pod}", picker.ADMIN) as url:
                found.append(read(picker.Stats(url)))
        return found

    def went(self) -> tuple[int, int]:
        """Requests whose server the picker chose, and those that went to any."""
        found = self.stats(picker.Stats.went)
        return sum(picked for picked, _ in found), sum(in_turn for _, in_turn in found)

    def until_it_picks(self) -> None:
        """Each proxy checks the picker's health once a second."""
        wait_until("the proxies see it", lambda: all(self.stats(picker.Stats.sees_picker)), timeout=60)

    @contextlib.contextmanager
    def load(self) -> Iterator[Tally]:
        """Users of the proxies' Service, until the end of the block: no request of theirs may be lost."""
        address = self.get("service", "picker-proxy")["spec"]["clusterIP"]
        tally, stop, users = use(address, picker.PROXY, USERS, Ask(MODEL, TOKENS))
        try:
            wait_until("an answer", lambda: tally.ok >= USERS, timeout=90)
            yield tally
        finally:
            stop.set()
            for user in users:
                user.join(150)
        print(json.dumps(tally.as_json()), flush=True)
        assert not tally.failures, tally.examples


def bring_images(world: World, folder: Path) -> None:
    """The programs under the names that the file has, as a registry would have them."""
    programs = {"picker": (tools.ensure(["epp"])["epp"], "/epp"), "picker-proxy": (modules.envoy(), "/envoy")}
    assert world.cluster
    for manifest in picker.manifests():
        if manifest["kind"] == "Deployment":
            (container,) = manifest["spec"]["template"]["spec"]["containers"]
            archive = folder / "image.tar"
            image.write_image(archive, container["image"], *programs[manifest["metadata"]["name"]], user="65532")
            world.cluster.load_image(archive)
            archive.unlink()


def chat(world: World) -> Object:
    """The Qwen3Deployment of docs/gateway.md with the tiny model."""
    (documented_one,) = (m for m in page.manifests("Qwen3Deployment") if m["metadata"]["name"] == CHAT)
    spec = world.tiny["spec"] | {key: documented_one["spec"][key] for key in ("replicas", "service")}
    spec["resources"] = {"requests": {"cpu": "100m", "memory": "1Gi"}}  # the node has two cores
    return {**world.tiny, "metadata": {"name": CHAT, "namespace": TEAM}, "spec": spec}


@pytest.fixture(scope="module")
def edge(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    if world.cluster is None:
        pytest.skip("the CRDs and the images of a cluster of DEMO_KUBECONFIG are not ours to install")
    foreign = [*modules.gateway_api(), *modules.inference_extension()]
    bring_images(world, tmp_path_factory.mktemp("images"))
    install_crds(world.cluster, foreign)
    try:
        install(world, "gateway.enabled=true", "gateway.endpointPicker=true")
        world.kube.apply([manifests.namespace(TEAM), *manifests.vllm_volume(TEAM, bundle()), chat(world)])
        it = Edge(world)
        wait_until("two servers", lambda: len(it.pods(SERVERS)) == 2, timeout=420)
        yield it
    finally:
        world.kube.run("delete", "namespace", TEAM, "--ignore-not-found", timeout=180)
        world.kube.run("delete", "pv", manifests.volume_name(TEAM), "--ignore-not-found")
        install(world, "gateway.enabled=false", "gateway.endpointPicker=false")
        remove(world.cluster.kubectl, *(it["metadata"]["name"] for it in foreign))


def test_the_file_as_it_stands_runs_and_every_request_goes_where_the_picker_chose(edge: Edge, person: Shell) -> None:
    person(documented("kubectl apply -f deploy/endpoint-picker/picker.yaml"))
    for name in ("picker", "picker-proxy"):
        edge.kubectl("rollout", "status", f"deployment/{name}", "--timeout=120s")
    edge.until_it_picks()
    before = edge.went()
    with edge.load() as tally:
        wait_until("requests", lambda: tally.ok >= 40, timeout=120)
    picked, in_turn = (now - was for now, was in zip(edge.went(), before, strict=True))
    print(f"chosen by the picker {picked}, in turn {in_turn}", flush=True)
    assert (picked, in_turn) == (tally.ok, 0)


def test_a_picker_whose_pod_is_killed_loses_nothing(edge: Edge) -> None:
    before = edge.went()
    with edge.load() as tally:
        edge.kubectl("delete", "pod", "-l", "app=picker", "--grace-period=0", "--force")
        wait_until("the next one", lambda: edge.pods("app=picker"), timeout=60)
        edge.until_it_picks()
    picked, in_turn = (now - was for now, was in zip(edge.went(), before, strict=True))
    print(f"chosen by the picker {picked}, in turn {in_turn}", flush=True)
    assert in_turn > 0 and picked > 0 and picked + in_turn == tally.ok


def test_a_server_that_goes_loses_nothing(edge: Edge) -> None:
    """The picker sees that it is not ready as a Service does."""
    with edge.load():
        going = edge.pods(SERVERS)[0]
        edge.kubectl("delete", "pod", going, timeout=150)
        wait_until("two servers", lambda: len(edge.pods(SERVERS)) == 2, timeout=300)
    assert going not in edge.pods(SERVERS)


def test_a_proxy_that_goes_loses_nothing(edge: Edge) -> None:
    """Its users keep their connections: they are asked to make new ones before it ends."""
    with edge.load() as tally:
        going = edge.pods("app=picker-proxy")[0]
        since = time.monotonic()
        edge.kubectl("delete", "pod", going, timeout=150)
        print(f"{going} gone after {time.monotonic() - since:.0f} s", flush=True)
        done = tally.ok
        wait_until("more answers", lambda: tally.ok > done + USERS, timeout=60)
    assert len(edge.pods("app=picker-proxy")) == 2
