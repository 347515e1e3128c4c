"""docs/gateway.md, as it is written: Envoy Gateway and Envoy before simulated servers.

What is real: the API server, the operator with the chart's rights, Envoy Gateway, Envoy, TLS. The servers are stand-ins
at the addresses of simulated pods.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import devcluster
import pytest
import yaml
from tests.cluster.api import Api
from tests.cluster.downloads import COMPLETE
from tests.cluster.installed import install
from tests.cluster.waiting import wait_until
from tests.cluster.world import World
from tests.crds import crds
from tests.documents.shell import shell
from tests.documents.snippets import ROOT, documented
from tests.gateway import envoy_gateway, modules
from tests.gateway.network import Network
from tests.gateway.page import manifests
from tests.gateway.stand_in import PIECE_SECONDS, PIECES, Servers

pytestmark = [pytest.mark.e2e, pytest.mark.nightly]
HOST, LISTENER = "llm.example", 10443
"""Envoy Gateway has its proxy listen 10,000 higher than a port that wants a privilege."""
DRAIN = json.dumps({"metadata": {"annotations": {"devcluster.qwen3.dev/delete-delay": "8s"}}})
"""A server that gets SIGTERM is there for so long."""
USERS, REQUESTS = 8, 1000
PATHS = {"small": ("/small/v1/chat/completions", {}), "large": ("/v1/chat/completions", {"x-model": "large"})}


@dataclass
class Edge:
    """The Gateway, and a user outside of the cluster."""

    world: World
    servers: Servers
    port: int
    trust: ssl.SSLContext
    keys: dict[str, str]

    def connection(self) -> http.client.HTTPSConnection:
        return _Connection(self.port, self.trust)

    def ask(
        self,
        model: str,
        connection: http.client.HTTPSConnection | None = None,
        *,
        key: str | None = None,
        stream: bool = False,
    ) -> tuple[int, list[dict[str, Any]], list[float]]:
        """Status, what came (one of a whole answer, one a piece of a stream), and when."""
        path, headers = PATHS[model]
        to = connection or self.connection()
        bearer = {"Authorization": f"Bearer {key or self.keys['team-a']}"} if key != "" else {}
        to.request(
            "POST", path, json.dumps({"stream": stream}), headers | bearer | {"Content-Type": "application/json"}
        )
        answer = to.getresponse()
        came, when = [], []
        if stream and answer.status == 200:
            while line := answer.readline():
                if line.startswith(b"data: {"):
                    came.append(json.loads(line.removeprefix(b"data: ")))
                    when.append(time.monotonic())
            return answer.status, came, when
        body = answer.read()
        return answer.status, [json.loads(body)] if answer.status == 200 else [], when


class _Connection(http.client.HTTPSConnection):
    """To HOST, which is a port of 127.0.0.1."""

    def __init__(self, port: int, trust: ssl.SSLContext) -> None:
        super().__init__(HOST, context=trust, timeout=30)
        self._at, self._trust = port, trust

    def connect(self) -> None:
        plain = socket.create_connection(("127.0.0.1", self._at), timeout=30)
        self.sock = self._trust.wrap_socket(plain, server_hostname=HOST)


@pytest.fixture(scope="module")
def cluster() -> Iterator[devcluster.Cluster]:
    with devcluster.cluster(nodes=4, gpus_per_node=8, audit=True, fake_download_report=COMPLETE) as it:
        it.apply(crds())
        it.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=20s")
        yield it


@pytest.fixture(scope="module")
def edge(cluster: devcluster.Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    """All of docs/gateway.md, installed."""
    folder = tmp_path_factory.mktemp("edge")
    api = Api(cluster.kubeconfig)
    api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}})
    world = World(api, "team")
    with Network() as network, envoy_gateway.control_plane(cluster, network, folder):
        operator = install(cluster, folder, "gateway.enabled=true").operator(folder / "operator.log")
        operator.start()
        run = shell(folder / "programs", cluster.kubeconfig, folder=folder)
        cluster.apply(manifests("Namespace"))
        for command in (
            documented(
                "openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=llm.example -addext"
                " subjectAltName=DNS:llm.example -keyout tls.key -out tls.crt"
            ),
            documented("kubectl create secret tls llm-example -n edge --cert=tls.crt --key=tls.key"),
            documented(
                'kubectl create secret generic keys -n edge --from-literal=team-a="$(openssl rand -hex 24)"'
                ' --from-literal=team-b="$(openssl rand -hex 24)"'
            ),
        ):
            run(command)
        cluster.apply(_internal(manifests("GatewayClass", "Gateway", "SecurityPolicy")))
        for manifest in manifests("Qwen3Deployment"):
            if manifest["metadata"]["name"] not in PATHS:
                continue
            manifest["spec"] |= {"replicas": 2, "podTemplatePatch": DRAIN}
            world.apply(manifest)
        servers = Servers(network, api, "team")
        with envoy_gateway.proxy(cluster, network, folder, "public"):
            reported = yaml.safe_load(run("kubectl get secret keys -n edge -o json"))["data"]
            keys = {team: run(f"echo {value} | base64 -d") for team, value in reported.items()}
            trust = ssl.create_default_context(cafile=str(folder / "tls.crt"))
            it = Edge(world, servers, network.lead_in(LISTENER), trust, keys)
            for name in PATHS:
                world.wait_ready(name)
                world.wait_condition(name, "Routed", "True", within=60)
                wait_until(partial(_answers, it, name), within=60, what=f"{name} answers through Envoy")
            yield it
        servers.close()
        operator.stop()


def _internal(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The manifests, and that the Gateway's Service gets no address from outside: nobody gives one here."""
    service = {"type": "Kubernetes", "kubernetes": {"envoyService": {"type": "ClusterIP"}}}
    meta = {"name": "internal", "namespace": envoy_gateway.NAMESPACE}
    proxy = {"apiVersion": "gateway.envoyproxy.io/v1alpha1", "kind": "EnvoyProxy", "metadata": meta}
    for manifest in found:
        if manifest["kind"] == "GatewayClass":
            manifest["spec"]["parametersRef"] = {"group": "gateway.envoyproxy.io", "kind": "EnvoyProxy", **meta}
    return [proxy | {"spec": {"provider": service}}, *found]


def _answers(edge: Edge, model: str) -> bool:
    try:
        return edge.ask(model)[0] == 200
    except OSError as error:
        raise AssertionError(str(error)) from error


def test_one_hostname_has_two_models(edge: Edge) -> None:
    for model, path in (("small", "/v1/chat/completions"), ("large", "/v1/chat/completions")):
        status, (seen,), _ = edge.ask(model)
        assert (status, seen["model"], seen["path"]) == (200, model, path), "the server sees no prefix"


def test_where_it_is_said(edge: Edge, cluster: devcluster.Cluster, tmp_path: Path) -> None:
    kubeconfig = yaml.safe_load(cluster.kubeconfig.read_text())
    for context in kubeconfig["contexts"]:
        context["context"]["namespace"] = "team"
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(kubeconfig))
    run = shell(tmp_path / "programs", tmp_path / "kubeconfig")
    words = documented("kubectl get q3d small -o jsonpath='{.status.gatewayEndpoint}'")
    assert run(words) == "llm.example/small/v1"
    routed = edge.world.condition("large", "Routed")
    assert routed["message"] == "Gateway edge/public leads here from llm.example/v1 with the header x-model: large"


def test_keys_are_asked_for_at_the_gateway(edge: Edge) -> None:
    assert edge.ask("small", key="")[0] == 401
    assert edge.ask("large", key="another")[0] == 401
    _, (seen,), _ = edge.ask("small", key=edge.keys["team-b"])
    assert (seen["team"], seen["key"]) == ("team-b", None), "the server sees the team, and no key"


@pytest.mark.parametrize(
    "path", ["/small/metrics", "/metrics", "/small/v1x", "/small/tokenize", "/v1/chat/completions"]
)
def test_other_paths_lead_nowhere(edge: Edge, path: str) -> None:
    to = edge.connection()
    to.request("GET", path, headers={"Authorization": f"Bearer {edge.keys['team-a']}"})
    assert to.getresponse().status == 404


def test_a_stream_is_not_held_back(edge: Edge) -> None:
    """Each piece comes when it was written, not all of them at the end."""
    for model in PATHS:
        status, pieces, when = edge.ask(model, stream=True)
        assert status == 200 and [p["piece"] for p in pieces] == list(range(PIECES))
        assert when[-1] - when[0] > PIECE_SECONDS * (PIECES - 1) * 0.6


def test_a_roll_out_behind_it_loses_nothing(edge: Edge) -> None:
    """Users of both models, half of them with streams, while the servers of both are replaced."""
    tally: Counter[str] = Counter()
    failures: list[str] = []
    lock, first = threading.Lock(), dict(edge.servers.answered)

    def user(number: int) -> None:
        connection = edge.connection()
        for turn in range(REQUESTS // USERS):
            model, stream = ("small", "large")[number % 2], bool(turn % 2)
            try:
                status, came, _ = edge.ask(model, connection, stream=stream)
                whole = len(came) == (PIECES if stream else 1)
                good = status == 200 and whole and all(piece["model"] == model for piece in came)
                words = "" if good else f"{model} stream={stream}: {status}, {len(came)} pieces"
            except (OSError, http.client.HTTPException, ValueError) as error:
                words = f"{model} stream={stream}: {type(error).__name__}: {error}"
                connection = edge.connection()
            with lock:
                tally["failed" if words else "answered"] += 1
                failures.extend([words] if words else [])

    users = [threading.Thread(target=user, args=(number,)) for number in range(USERS)]
    for it in users:
        it.start()
    edge.world.wait(lambda: tally["answered"] >= 4 * USERS, "every user is at work")
    for name in PATHS:
        edge.world.set_spec(name, engine={"maxModelLen": 4096})
    for name in PATHS:
        edge.world.wait(partial(_replaced, edge.world, name), f"{name} is replaced", within=60)
    under_load = any(it.is_alive() for it in users)
    for it in users:
        it.join()
    new = {pod for pod, count in edge.servers.answered.items() if pod not in first}
    print(json.dumps({"requests": REQUESTS, **tally, "servers before": len(first), "new ones": len(new)}), flush=True)
    assert under_load, "the roll-out was over before the load"
    assert len(new) >= 4, "the new servers have answered"
    assert (tally["answered"], failures) == (REQUESTS // USERS * USERS, [])


def _replaced(world: World, name: str) -> bool:
    status = world.must("Deployment", name)["status"]
    counts = [status.get(key) or 0 for key in ("replicas", "updatedReplicas", "readyReplicas")]
    return world.is_ready(name) and counts == [2, 2, 2]


def test_a_gateway_that_does_not_let_it_in_is_reported(edge: Edge, cluster: devcluster.Cluster) -> None:
    """Its own words, in the condition; the servers are as ready as before."""
    (gateway,) = manifests("Gateway")
    (listener,) = gateway["spec"]["listeners"]
    closed = {"namespaces": {"from": "Same"}}
    cluster.apply([gateway | {"spec": gateway["spec"] | {"listeners": [listener | {"allowedRoutes": closed}]}}])
    reported = edge.world.wait_condition("small", "Routed", "False", reason="RouteNotAccepted", within=30)
    assert "NotAllowedByListeners" in reported["message"]
    assert edge.world.is_ready("small")
    assert "gatewayEndpoint" not in edge.world.must("Qwen3Deployment", "small")["status"]
    cluster.apply([gateway])
    edge.world.wait_condition("small", "Routed", "True", within=30)


def test_it_goes_with_the_field(edge: Edge) -> None:
    edge.world.set_spec("large", service={"gateway": None})
    edge.world.wait(lambda: edge.world.get("HTTPRoute", "large") is None, "the route is gone")
    wait_until(lambda: edge.ask("large")[0] == 404, within=30)
    assert edge.ask("small")[0] == 200
    assert edge.world.condition("large", "Routed") == {}


def test_envoy_is_the_one_that_is_said() -> None:
    """The page names the releases."""
    page = (ROOT / "docs" / "gateway.md").read_text(encoding="utf-8")
    version = subprocess.run([modules.envoy(), "--version"], capture_output=True, text=True, check=True).stdout
    assert "/1.39.1/" in version and "Envoy 1.39.1" in page
    assert "github.com/envoyproxy/gateway v1.9.1" in (modules.PIN / "go.mod").read_text()
