"""The API server takes what the chart makes for the Prometheus Operator, by that project's own CRDs, and the fences."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import devcluster
import pytest
import yaml
from devcluster.golang import environment, find_go
from tests.chart.helm import template

PIN = Path(__file__).parents[1] / "monitoring" / "crds"
MODULE = "github.com/prometheus-operator/prometheus-operator"
KINDS = ("PodMonitor", "PrometheusRule", "ServiceMonitor")
EVERYTHING = (
    "metrics.serviceMonitor.enabled=true",
    "metrics.podMonitor.enabled=true",
    "metrics.prometheusRule.enabled=true",
    "metrics.prometheusRule.alerts.Qwen3EndpointDown.for=15m",
)


@pytest.fixture(scope="module")
def with_crds(cluster: devcluster.Cluster) -> devcluster.Cluster:
    """The cluster with the CRDs of the pinned release."""
    get = [str(find_go()), "mod", "download", "-json", MODULE]
    done = subprocess.run(get, cwd=PIN, env=environment(), capture_output=True, text=True, check=True)
    folder = Path(json.loads(done.stdout)["Dir"]) / "example" / "prometheus-operator-crd"
    crds: list[Any] = [
        yaml.safe_load((folder / f"monitoring.coreos.com_{kind.lower()}s.yaml").read_text()) for kind in KINDS
    ]
    cluster.apply(crds)
    cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
    cluster.kubectl("api-resources", "--cached=false")
    return cluster


@pytest.mark.parametrize("namespaces", ["", "watchNamespaces={default}"])
def test_the_api_server_takes_the_monitors_and_alerts(
    with_crds: devcluster.Cluster, namespaces: str, tmp_path: Path
) -> None:
    found = [m for m in template(*EVERYTHING, *filter(None, [namespaces]), namespace="default") if m["kind"] in KINDS]
    assert {m["kind"] for m in found} == set(KINDS)
    assert taken(with_crds, found, tmp_path) == [m["kind"] for m in found]


def test_the_api_server_takes_the_fences(cluster: devcluster.Cluster, tmp_path: Path) -> None:
    gateway = "[0].namespaceSelector.matchLabels.name=gateway"
    settings = [f"fences.{name}{gateway}" for name in ("metricsFrom", "hubTo", "dnsTo")]
    found = [
        m for m in template("fences.enabled=true", "fences.namespaces={default}", *settings) if "Network" in m["kind"]
    ]
    assert taken(cluster, found, tmp_path) == ["NetworkPolicy"] * 3


def taken(cluster: devcluster.Cluster, manifests: list[dict[str, Any]], folder: Path) -> list[str]:
    """Kinds of what the API server would store; a field that a schema does not know is an error."""
    path = folder / "manifests.yaml"
    path.write_text(yaml.safe_dump_all(manifests))
    flags = ("--server-side", "--dry-run=server", "--validate=strict", "-o=yaml")
    return [item["kind"] for item in yaml.safe_load(cluster.kubectl("apply", *flags, "-f", str(path)))["items"]]
