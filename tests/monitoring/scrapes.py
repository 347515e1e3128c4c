"""Scrape configurations as the Prometheus Operator makes them of the chart's monitors: of ports of 127.0.0.1, or of
what is in a cluster."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tests.chart.helm import template

from qwen3_operator.naming import server_labels

Object = dict[str, Any]
_NAMES = [
    {"source_labels": ["__meta_kubernetes_namespace"], "target_label": "namespace"},
    {"source_labels": ["__meta_kubernetes_pod_name"], "target_label": "pod"},
]


def monitors(*settings: str, release: str = "demo", namespace: str = "qwen3-system") -> dict[str, Object]:
    """Name -> what the chart makes, with these settings more."""
    settings = ("metrics.serviceMonitor.enabled=true", "metrics.podMonitor.enabled=true", *settings)
    made = template(*settings, release=release, namespace=namespace)
    found = [m for m in made if m["kind"] in ("ServiceMonitor", "PodMonitor")]
    return {m["metadata"]["name"]: m["spec"] for m in found}


def of_cluster(folder: Path, *settings: str, release: str, namespace: str) -> list[Object]:
    """All that the monitors of that release choose of what is found in a cluster (discovery.py), as often as they say.

    `folder`: where that is written.
    """
    jobs = []
    for name, spec in monitors(*settings, release=release, namespace=namespace).items():
        is_pods = "podMetricsEndpoints" in spec
        (endpoint,) = spec["podMetricsEndpoints" if is_pods else "endpoints"]
        role, of, port = ("pod", "pod", "pod_container") if is_pods else ("endpointslice", "service", "endpointslice")
        where = {"files": [str(folder / f"{role}.json")], "refresh_interval": "5s"}
        chosen = {f"{of}_label_{plain(key)}": value for key, value in spec["selector"]["matchLabels"].items()}
        chosen |= {f"{port}_port_name": endpoint["port"]}
        if not spec.get("namespaceSelector", {}).get("any"):
            chosen["namespace"] = namespace
        found = [*_keep(chosen), *_NAMES, *_rules(endpoint.get("relabelings", []))]
        job = _scrape(name, endpoint) | {"file_sd_configs": [where], "relabel_configs": found}
        jobs.append(job | {"scrape_interval": endpoint["interval"]})
    return jobs


def of_operator(port: int) -> Object:
    """The operator's /metrics, by the ServiceMonitor."""
    (endpoint,) = monitors()["demo-qwen3-operator"]["endpoints"]
    labels = {"namespace": "qwen3-system", "pod": "operator-0"}
    return _job("operator", endpoint, port, labels)


def of_server(port: int, deployment: str, *, namespace: str) -> Object:
    """The /metrics of a server of a Qwen3Deployment, by the PodMonitor."""
    (endpoint,) = monitors()["demo-qwen3-operator-servers"]["podMetricsEndpoints"]
    meta = {f"__meta_kubernetes_pod_label_{plain(key)}": value for key, value in server_labels(deployment).items()}
    return _job("servers", endpoint, port, meta | {"namespace": namespace, "pod": f"{deployment}-1-a"})


def _job(name: str, endpoint: Object, port: int, labels: dict[str, str]) -> Object:
    return _scrape(name, endpoint) | {
        "static_configs": [{"targets": [f"127.0.0.1:{port}"], "labels": labels}],
        "relabel_configs": _rules(endpoint.get("relabelings", [])),
    }


def _scrape(name: str, endpoint: Object) -> Object:
    return {
        "job_name": name,
        "metrics_path": endpoint["path"],
        "honor_labels": endpoint.get("honorLabels", False),
        "metric_relabel_configs": _rules(endpoint.get("metricRelabelings", [])),
    }


def plain(key: str) -> str:
    """A label's key as Prometheus has it."""
    return re.sub("[^a-zA-Z0-9_]", "_", key)


def _keep(chosen: dict[str, str]) -> list[Object]:
    """Only what has these values, and no pod that has ended."""
    ended = {"source_labels": ["__meta_kubernetes_pod_phase"], "regex": "Failed|Succeeded", "action": "drop"}
    kept = {f"__meta_kubernetes_{key}": re.escape(value) for key, value in chosen.items()}
    return [ended, *({"source_labels": [key], "regex": value, "action": "keep"} for key, value in kept.items())]


def _rules(relabelings: list[Object]) -> list[Object]:
    """In the words of Prometheus."""
    words = {"sourceLabels": "source_labels", "targetLabel": "target_label"}
    return [{words.get(key, key): value for key, value in rule.items()} for rule in relabelings]
