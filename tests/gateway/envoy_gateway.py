"""Envoy Gateway against a test's API server, and Envoy as the kubelet would start it for the pod that it asks for."""

from __future__ import annotations

import base64
import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import devcluster
import yaml
from devcluster import tools
from tests.cluster.waiting import wait_until
from tests.gateway import modules
from tests.gateway.network import Network, clean_root

NAMESPACE = "envoy-gateway-system"
XDS = f"envoy-gateway.{NAMESPACE}.svc.cluster.local"
CONFIG = {
    "apiVersion": "gateway.envoyproxy.io/v1alpha1",
    "kind": "EnvoyGateway",
    "gateway": {"controllerName": "gateway.envoyproxy.io/gatewayclass-controller"},
    "admin": {"address": {"host": "127.0.0.1", "port": 19100}},  # Envoy has these two ports, in the same network here
    "telemetry": {"metrics": {"prometheus": {"disable": True}}},
    "provider": {
        "type": "Kubernetes",
        "kubernetes": {"leaderElection": {"disable": True}, "proxyTopologyInjector": {"disabled": True}},
    },
}
INSIDE = {"KUBECONFIG": "/kubeconfig", "ENVOY_GATEWAY_NAMESPACE": NAMESPACE}


@contextlib.contextmanager
def control_plane(cluster: devcluster.Cluster, network: Network, folder: Path) -> Iterator[None]:
    """Envoy Gateway, with rights of an administrator. Its log: `folder`/envoy-gateway.log."""
    program = tools.ensure(["envoy-gateway"])["envoy-gateway"]
    cluster.apply([*modules.gateway_api(), *modules.envoy_gateway()])
    cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
    cluster.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}])
    kubeconfig = cluster.kubeconfig.read_text()
    (server,) = {c["cluster"]["server"] for c in yaml.safe_load(kubeconfig)["clusters"]}
    network.lead_out(urlsplit(server).port or 443)
    root = clean_root(folder / "root", program)
    (root / "kubeconfig").write_text(self_contained(yaml.safe_load(kubeconfig)))
    (root / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    network.run("/envoy-gateway", "certgen", "--disable-topology-injector", root=root, environment=INSIDE)
    _write(_data(cluster, "secret", "envoy-gateway"), root / "certs")
    words = ("/envoy-gateway", "server", "--config-path", "/config.yaml")
    log = folder / "envoy-gateway.log"
    with network.process(*words, log=log, root=root, environment=INSIDE) as process:
        yield
        assert process.poll() is None, f"Envoy Gateway has ended\n{log.read_text()[-3000:]}"


@contextlib.contextmanager
def proxy(
    cluster: devcluster.Cluster, network: Network, folder: Path, gateway: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Envoy, started by the words of the pod template that Envoy Gateway has made for the Gateway."""
    chosen = f"--selector=gateway.envoyproxy.io/owning-gateway-name={gateway}"

    def made() -> Any:
        found = yaml.safe_load(cluster.kubectl("get", "deployments", "-n", NAMESPACE, chosen, "-o", "yaml"))
        return found["items"]

    (deployment,) = wait_until(made, within=60, what=f"a proxy for the Gateway {gateway}")
    pod = deployment["spec"]["template"]["spec"]
    (container,) = (c for c in pod["containers"] if c["name"] == "envoy")
    (mounted,) = (v["configMap"]["name"] for v in pod["volumes"] if v["name"] == "sds")
    certs, sds = folder / "certs", folder / "sds"
    _write(_data(cluster, "secret", "envoy"), certs)
    _write(_data(cluster, "configmap", mounted), sds)
    places = {
        "/certs/": f"{certs}/",
        "/sds/": f"{sds}/",
        "$(ENVOY_POD_NAME)": "envoy",
        f"{XDS}.": XDS,
        XDS: "127.0.0.1",
    }
    for path in sds.iterdir():
        path.write_text(_replaced(path.read_text(), places))
    words = [_replaced(word, places) for word in container["args"]]
    with network.process(modules.envoy(), *words, log=folder / "envoy.log") as process:
        yield process


def _replaced(text: str, places: dict[str, str]) -> str:
    for before, after in places.items():
        text = text.replace(before, after)
    return text


def _data(cluster: devcluster.Cluster, kind: str, name: str) -> dict[str, str]:
    found = yaml.safe_load(cluster.kubectl("get", kind, name, "-n", NAMESPACE, "-o", "yaml"))["data"]
    if kind == "secret":
        return {key: base64.b64decode(value).decode() for key, value in found.items()}
    return dict(found)


def _write(files: dict[str, str], folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)


def self_contained(kubeconfig: dict[str, Any]) -> str:
    """The kubeconfig with what it names as files inside."""
    for part in [c["cluster"] for c in kubeconfig["clusters"]] + [u["user"] for u in kubeconfig["users"]]:
        for key in ("certificate-authority", "client-certificate", "client-key"):
            if path := part.pop(key, None):
                part[f"{key}-data"] = base64.b64encode(Path(path).read_bytes()).decode()
    return yaml.safe_dump(kubeconfig)
