"""The API server takes what the chart makes for the Prometheus Operator, by that project's own CRDs."""

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
def test_the_api_server_takes_them_as_they_are(with_crds: devcluster.Cluster, namespaces: str, tmp_path: Path) -> None:
    found = [m for m in template(*EVERYTHING, *filter(None, [namespaces]), namespace="default") if m["kind"] in KINDS]
    assert {m["kind"] for m in found} == set(KINDS)
    path = tmp_path / "monitoring.yaml"
    path.write_text(yaml.safe_dump_all(found))
    # Strict: a field that the schema does not know is an error.
    said = with_crds.kubectl(
        "apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", str(path), "-o=yaml"
    )
    assert [item["kind"] for item in yaml.safe_load(said)["items"]] == [m["kind"] for m in found]
