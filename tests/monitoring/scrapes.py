"""Scrape configurations as the Prometheus Operator makes them of the chart's monitors, but of ports of 127.0.0.1."""

from __future__ import annotations

import re
from typing import Any

from tests.chart.helm import template

from qwen3_operator.naming import server_labels

Object = dict[str, Any]


def monitors() -> dict[str, Object]:
    """Name -> what the chart makes."""
    settings = ("metrics.serviceMonitor.enabled=true", "metrics.podMonitor.enabled=true")
    found = [m for m in template(*settings) if m["kind"] in ("ServiceMonitor", "PodMonitor")]
    return {m["metadata"]["name"]: m["spec"] for m in found}


def of_operator(port: int) -> Object:
    """The operator's /metrics, by the ServiceMonitor."""
    (endpoint,) = monitors()["demo-qwen3-operator"]["endpoints"]
    labels = {"namespace": "qwen3-system", "pod": "operator-0"}
    return _job("operator", endpoint, port, labels)


def of_server(port: int, deployment: str, *, namespace: str) -> Object:
    """The /metrics of a server of a Qwen3Deployment, by the PodMonitor."""
    (endpoint,) = monitors()["demo-qwen3-operator-servers"]["podMetricsEndpoints"]
    meta = {
        f"__meta_kubernetes_pod_label_{re.sub('[^a-zA-Z0-9_]', '_', key)}": value
        for key, value in server_labels(deployment).items()
    }
    return _job("servers", endpoint, port, meta | {"namespace": namespace, "pod": f"{deployment}-1-a"})


def _job(name: str, endpoint: Object, port: int, labels: dict[str, str]) -> Object:
    return {
        "job_name": name,
        "metrics_path": endpoint["path"],
        "honor_labels": endpoint.get("honorLabels", False),
        "static_configs": [{"targets": [f"127.0.0.1:{port}"], "labels": labels}],
        "relabel_configs": _rules(endpoint.get("relabelings", [])),
        "metric_relabel_configs": _rules(endpoint.get("metricRelabelings", [])),
    }


def _rules(relabelings: list[Object]) -> list[Object]:
    """In the words of Prometheus."""
    words = {"sourceLabels": "source_labels", "targetLabel": "target_label"}
    return [{words.get(key, key): value for key, value in rule.items()} for rule in relabelings]
