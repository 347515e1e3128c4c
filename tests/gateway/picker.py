"""deploy/endpoint-picker as the kubelet would start it: the picker with the rights of its Role, and its Envoy."""

from __future__ import annotations

import contextlib
import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import devcluster
import yaml
from devcluster import tools
from tests.cluster.installed import as_account
from tests.documents.snippets import ROOT
from tests.gateway import modules
from tests.gateway.envoy_gateway import self_contained
from tests.gateway.network import Network, clean_root

Object = dict[str, Any]
MANIFEST = ROOT / "deploy" / "endpoint-picker" / "picker.yaml"
HEALTH, ADMIN, PROXY = 9003, 19000, 8081


def manifests() -> list[Object]:
    """All of it."""
    return list(yaml.safe_load_all(MANIFEST.read_text(encoding="utf-8")))


def _one(kind: str, name: str) -> Object:
    (found,) = (m for m in manifests() if (m["kind"], m["metadata"]["name"]) == (kind, name))
    return dict(found)


class Picker:
    """The picker's process, which may be killed and started again."""

    def __init__(self, cluster: devcluster.Cluster, network: Network, folder: Path) -> None:
        self._network, self._folder = network, folder
        program = tools.ensure(["epp"])["epp"]
        kubeconfig = as_account(cluster, "team", "picker", folder / "picker.kubeconfig")
        config = yaml.safe_load(kubeconfig.read_text())
        (server,) = {c["cluster"]["server"] for c in config["clusters"]}
        network.lead_out(urlsplit(server).port or 443)
        self._root = clean_root(folder / "root", program)
        (self._root / "kubeconfig").write_text(self_contained(config))
        (self._root / "config").mkdir()
        for name, text in _one("ConfigMap", "picker")["data"].items():
            (self._root / "config" / name).write_text(text)
        (container,) = _one("Deployment", "picker")["spec"]["template"]["spec"]["containers"]
        self._words = ["/epp", *container["args"]]
        self._running: contextlib.ExitStack | None = None
        self.process: subprocess.Popen[bytes] | None = None
        self.log = folder / "picker.log"

    def start(self) -> None:
        """Start it; it is ready once the proxy says so."""
        self._running = contextlib.ExitStack()
        inside = {"KUBECONFIG": "/kubeconfig", "NAMESPACE": "team"}
        started = self._network.process(*self._words, log=self.log, root=self._root, environment=inside)
        self.process = self._running.enter_context(started)

    def end(self) -> None:
        """Have no process."""
        if self._running:
            self._running.close()
        self._running = self.process = None


class Stats:
    """What a proxy counts. `admin`: URL of its Envoy's administration."""

    def __init__(self, admin: str) -> None:
        self._admin = admin

    def of(self, pattern: str) -> dict[str, int]:
        """Counters of Envoy whose names match."""
        with urllib.request.urlopen(f"{self._admin}/stats?format=json&filter={pattern}", timeout=10) as answer:
            found = json.loads(answer.read())["stats"]
        return {it["name"]: it["value"] for it in found if "name" in it}

    def went(self) -> tuple[int, int]:
        """Requests whose server the picker chose, and those that went to any."""
        found = self.of(r"cluster\.(picked\.upstream_rq_total|servers\.upstream_rq_retry)$")
        return found.get("cluster.picked.upstream_rq_total", 0), found.get("cluster.servers.upstream_rq_retry", 0)

    def sees_picker(self) -> bool:
        """Whether the picker is healthy, as it sees it."""
        try:
            return self.of(r"cluster\.picker\.membership_healthy") == {"cluster.picker.membership_healthy": 1}
        except (urllib.error.URLError, OSError) as error:
            raise AssertionError(str(error)) from error


class Proxy(Stats):
    """The proxy, seen from outside of its network."""

    def __init__(self, network: Network) -> None:
        self.port = network.lead_in(PROXY)
        super().__init__(f"http://127.0.0.1:{network.lead_in(ADMIN)}")


@contextlib.contextmanager
def proxy(network: Network, folder: Path, servers: Sequence[str], port: int) -> Iterator[Proxy]:
    """The proxy by its ConfigMap. There are no names of Services here: `servers` stand for theirs, one after the other
    as kube-proxy would give them, and the picker is at 127.0.0.1."""
    config = yaml.safe_load(_one("ConfigMap", "picker-proxy")["data"]["envoy.yaml"])
    clusters = {cluster["name"]: cluster for cluster in config["static_resources"]["clusters"]}
    _, service = clusters["servers"]["load_assignment"]["endpoints"]
    assert service["lb_endpoints"] == [_endpoint("chat", port)]
    service["lb_endpoints"] = [_endpoint(address, port) for address in servers]
    (the_picker,) = clusters["picker"]["load_assignment"]["endpoints"]
    assert the_picker["lb_endpoints"] == [_endpoint("picker", 9002)]
    the_picker["lb_endpoints"] = [_endpoint("127.0.0.1", 9002)]
    (folder / "envoy.yaml").write_text(yaml.safe_dump(config))
    # One worker: each would go round by itself.
    words = ["--config-path", str(folder / "envoy.yaml"), "--concurrency", "1", "--disable-hot-restart"]
    with network.process(modules.envoy(), *words, log=folder / "envoy.log") as process:
        yield Proxy(network)
        assert process.poll() is None, f"Envoy has ended\n{(folder / 'envoy.log').read_text()[-3000:]}"


def _endpoint(address: str, port: int) -> Object:
    return {"endpoint": {"address": {"socket_address": {"address": address, "port_value": port}}}}
