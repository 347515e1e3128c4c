"""A real endpoint picker before real servers: deploy/endpoint-picker, as docs/gateway.md has it.

What is real: the API server, the operator with the chart's rights, the CRDs, the picker with the rights of its Role,
Envoy, and two vLLM (the CPU build, with our middleware), which run at the addresses of the simulated pods.
"""

from __future__ import annotations

import contextlib
import json
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import devcluster
import pytest
from tests.cluster.api import Api
from tests.cluster.downloads import COMPLETE
from tests.cluster.installed import install
from tests.cluster.waiting import wait_until
from tests.cluster.world import World
from tests.crds import crds
from tests.crds import install as install_crds
from tests.engine_real.server import NAME, Server, serving
from tests.gateway import modules, picker
from tests.gateway.conversations import Talk, ask, metrics, under_load
from tests.gateway.network import Network
from tests.gateway.page import manifests
from tests.gateway.picker import Picker, Proxy

pytestmark = [pytest.mark.e2e, pytest.mark.nightly]
PORT = 8000
FLAGS = {
    "--reasoning-parser": "qwen3",
    "--tool-call-parser": "hermes",
    "--enable-prefix-caching": "",
    "--kv-cache-memory-bytes": "8M",  # the talks of half of the users, and not of all
}
INSIDE = {"VLLM_HOST_IP": "127.0.0.1"}
TALK = Talk(users=16, questions=8, at_once=4, document=200, question=12)
REQUESTS, USERS = 1000, 8


@dataclass
class Edge:
    """Two servers, the picker (which does not run yet), and the proxy."""

    world: World
    servers: list[Server]
    picker: Picker
    proxy: Proxy

    def cached(self) -> tuple[float, float]:
        """Tokens of prompts that were asked for and that were found in the caches of all servers, until now."""
        found = [metrics(server.get("/metrics")[1]) for server in self.servers]
        asked = sum(it["vllm:prefix_cache_queries_total"] for it in found)
        return asked, sum(it["vllm:prefix_cache_hits_total"] for it in found)

    def talk(self, seed: int) -> dict[str, float]:
        """Hold one talk; returns what became of it."""
        (asked, hit), (by_picker, by_turn) = self.cached(), self.proxy.went()
        TALK.hold(self.proxy.port, NAME, seed)
        (asked_now, hit_now), (by_picker_now, by_turn_now) = self.cached(), self.proxy.went()
        return {
            "requests": TALK.users * TALK.questions,
            "chosen by the picker": by_picker_now - by_picker,
            "in turn": by_turn_now - by_turn,
            "prompt tokens": asked_now - asked,
            "hit rate": round((hit_now - hit) / (asked_now - asked), 3),
        }

    def with_picker(self) -> None:
        """Have it run, and chosen by."""
        if self.picker.process is None:
            self.picker.start()
        wait_until(self.proxy.sees_picker, within=60, showing=lambda: self.picker.log.read_text()[-3000:])


@pytest.fixture(scope="module")
def cluster() -> Iterator[devcluster.Cluster]:
    with devcluster.cluster(nodes=2, gpus_per_node=8, audit=True, fake_download_report=COMPLETE) as it:
        install_crds(it, [*crds(), *modules.gateway_api(), *modules.inference_extension()])
        yield it


@pytest.fixture(scope="module")
def edge(cluster: devcluster.Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    folder = tmp_path_factory.mktemp("edge")
    api = Api(cluster.kubeconfig)
    api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}})
    cluster.apply(m for m in picker.manifests() if m["kind"] not in ("Deployment", "Service"))
    world = World(api, "team")
    operator = install(cluster, folder, "gateway.enabled=true", "gateway.endpointPicker=true").operator(
        folder / "operator.log"
    )
    operator.start()
    with contextlib.ExitStack() as stack:
        stack.callback(operator.stop)
        (chat,) = (m for m in manifests("Qwen3Deployment") if m["metadata"]["name"] == "chat")
        world.apply(chat)
        world.wait_ready("chat")
        network = stack.enter_context(Network())
        addresses = [pod["status"]["podIP"] for pod in world.list("Pod", labelSelector=selector(world))]
        assert len(set(addresses)) == 2
        servers = []
        for address in addresses:
            servers.append(stack.enter_context(at_pod(network, folder / address, address)))
            servers[-1].wait()  # on a machine of few cores two at once would take more than twice as long
        the_picker = Picker(cluster, network, folder)
        stack.callback(the_picker.end)
        the_proxy = stack.enter_context(picker.proxy(network, folder, addresses, PORT))
        it = Edge(world, servers, the_picker, the_proxy)
        wait_until(partial(answers, it), within=60, what="an answer through Envoy")
        yield it


def selector(world: World) -> str:
    """Of the pool."""
    labels = world.must("InferencePool", "chat")["spec"]["selector"]["matchLabels"]
    return ",".join(f"{key}={value}" for key, value in labels.items())


@contextlib.contextmanager
def at_pod(network: Network, folder: Path, address: str) -> Iterator[Server]:
    """A vLLM at the address of a simulated pod."""
    folder.mkdir()
    with serving(
        folder,
        arguments=FLAGS,
        variables=INSIDE,
        within=network.words,
        address=(address, PORT),
        reached_by=network.lead_in(PORT, address),
    ) as server:
        yield server


def answers(edge: Edge) -> bool:
    return bool(ask(edge.proxy.port, NAME, [{"role": "user", "content": "ping"}])["usage"])


def test_the_route_leads_to_the_proxy(edge: Edge) -> None:
    (rule,) = edge.world.must("HTTPRoute", "chat")["spec"]["rules"]
    (backend,) = rule["backendRefs"]
    assert (backend["kind"], backend["name"], backend["port"]) == ("Service", "picker-proxy", picker.PROXY)


def test_nobody_but_the_picker_leads_a_request(edge: Edge) -> None:
    """The header leads to any address, like Envoy's own administration. While no picker sets it, nobody does."""
    assert edge.picker.process is None
    before = edge.proxy.went()
    theirs = {"x-gateway-destination-endpoint": f"127.0.0.1:{picker.ADMIN}"}
    ask(edge.proxy.port, NAME, [{"role": "user", "content": "ping"}], headers=theirs)
    assert edge.proxy.went() == (before[0], before[1] + 1)


def test_prefixes_are_found_in_the_caches(edge: Edge) -> None:
    """The same load in turn and by the picker, side by side; each has texts of its own."""
    assert edge.picker.process is None
    in_turn = edge.talk(seed=1)
    edge.with_picker()
    picked = edge.talk(seed=2)
    print(json.dumps({"in turn": in_turn, "picked": picked}, indent=1), flush=True)
    assert in_turn["in turn"] == picked["chosen by the picker"] == in_turn["requests"]
    assert picked["hit rate"] > in_turn["hit rate"] + 0.15


def test_a_picker_that_is_killed_loses_no_request(edge: Edge) -> None:
    edge.with_picker()
    first = edge.proxy.went()

    def kill() -> None:
        assert edge.picker.process
        edge.picker.process.send_signal(signal.SIGKILL)

    def start_again() -> None:
        edge.picker.end()
        edge.picker.start()

    failures = under_load(edge.proxy.port, NAME, REQUESTS, USERS, {REQUESTS // 3: kill, 2 * REQUESTS // 3: start_again})
    by_picker, by_turn = (now - before for now, before in zip(edge.proxy.went(), first, strict=True))
    reported = {"requests": REQUESTS, "lost": len(failures), "chosen by the picker": by_picker, "in turn": by_turn}
    print(json.dumps(reported), flush=True)
    assert failures == []
    assert by_turn > REQUESTS // 5, "without it they went in turn"
    assert by_picker > REQUESTS // 4, "with it, it chose"


def test_a_picker_that_hangs_loses_no_request(edge: Edge) -> None:
    edge.with_picker()
    assert edge.picker.process

    def send(number: signal.Signals) -> None:
        assert edge.picker.process
        edge.picker.process.send_signal(number)

    pause, go_on = partial(send, signal.SIGSTOP), partial(send, signal.SIGCONT)
    failures = under_load(edge.proxy.port, NAME, 200, USERS, {40: pause, 160: go_on})
    assert failures == []
