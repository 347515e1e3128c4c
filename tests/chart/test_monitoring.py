"""What the chart makes for the Prometheus Operator and for Grafana, and which values it refuses."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.chart.helm import HelmError, template
from tests.monitoring.files import ALERTS, DASHBOARDS, alerts

from qwen3_in_engine.batch_runner.contract import METRICS_PORT
from qwen3_operator.desired.service import PORT_NAME
from qwen3_operator.naming import BATCH_LABEL, DEPLOYMENT_LABEL, batch_labels, server_labels

pytestmark = pytest.mark.cluster  # helm is one of its tools

ON = {
    "ServiceMonitor": "metrics.serviceMonitor.enabled=true",
    "PodMonitor": "metrics.podMonitor.enabled=true",
    "PrometheusRule": "metrics.prometheusRule.enabled=true",
    "ConfigMap": "metrics.dashboards.enabled=true",
}


def made(kind: str, *settings: str) -> dict[str, dict[str, Any]]:
    """Name -> object."""
    found = [m for m in template(ON[kind], *settings) if m["kind"] == kind]
    return {m["metadata"]["name"]: m for m in found}


def test_nothing_of_it_by_default() -> None:
    assert not set(ON) & {m["kind"] for m in template()}


def test_the_operators_series_keep_the_namespaces_of_their_objects() -> None:
    (monitor,) = made("ServiceMonitor").values()
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["honorLabels"] is True


def test_the_pods_that_show_metrics_are_found() -> None:
    monitors = made("PodMonitor", "metrics.podMonitor.labels.release=prometheus")
    servers, batches = (monitors[f"demo-qwen3-operator-{name}"] for name in ("servers", "batches"))
    for monitor, labels, port, label, target in (
        (servers, server_labels("chat"), PORT_NAME, DEPLOYMENT_LABEL, "qwen3deployment"),
        (batches, batch_labels("nightly"), "metrics", BATCH_LABEL, "qwen3batch"),
    ):
        assert monitor["metadata"]["labels"]["release"] == "prometheus"
        spec = monitor["spec"]
        assert spec["namespaceSelector"] == {"any": True}
        assert spec["selector"]["matchLabels"].items() <= labels.items()
        (endpoint,) = spec["podMetricsEndpoints"]
        assert endpoint["port"] == port
        source = "__meta_kubernetes_pod_label_" + label.translate(str.maketrans("./-", "___"))
        assert endpoint["metricRelabelings"][0]["replacement"] == "vllm:$1"
        assert endpoint["relabelings"] == [{"sourceLabels": [source], "targetLabel": target}]
    assert METRICS_PORT


def test_only_the_served_namespaces_are_scraped() -> None:
    for monitor in made("PodMonitor", "watchNamespaces={a,b}").values():
        assert monitor["spec"]["namespaceSelector"] == {"matchNames": ["a", "b"]}


def test_the_rule_has_the_alerts_of_the_file() -> None:
    (rule,) = made("PrometheusRule").values()
    assert [alert for group in rule["spec"]["groups"] for alert in group["rules"]] == alerts(), ALERTS


def test_single_alerts_are_changed_or_left_out() -> None:
    of = "metrics.prometheusRule"
    changes = [f"{of}.alerts.Qwen3EndpointDown.for=15m", f"{of}.alerts.Qwen3EndpointDown.labels.team=ml"]
    changes += [f"{of}.alerts.Qwen3GpuIdle.enabled=false", f"{of}.runbookPrefix=https://docs.example/"]
    (rule,) = made("PrometheusRule", *changes).values()
    found = {alert["alert"]: alert for group in rule["spec"]["groups"] for alert in group["rules"]}
    assert {alert["alert"] for alert in alerts()} - set(found) == {"Qwen3GpuIdle"}
    down = found["Qwen3EndpointDown"]
    assert (down["for"], down["labels"]) == ("15m", {"severity": "critical", "team": "ml"})
    assert down["annotations"]["runbook_url"] == "https://docs.example/docs/metrics.md#qwen3endpointdown"


def test_a_dashboard_is_the_file() -> None:
    settings = ("metrics.dashboards.annotations.grafana_folder=Qwen3", "metrics.dashboards.labels.team=ml")
    found = made("ConfigMap", *settings)
    assert len(found) == len(DASHBOARDS) == 3
    uids = set()
    for path in DASHBOARDS:
        it = found[f"demo-qwen3-operator-dashboard-{path.stem}"]
        assert it["metadata"]["labels"].items() >= {("grafana_dashboard", "1"), ("team", "ml")}
        assert it["metadata"]["annotations"] == {"grafana_folder": "Qwen3"}
        assert json.loads(it["data"][f"qwen3-{path.name}"]) == json.loads(path.read_text())
        uids.add(json.loads(path.read_text())["uid"])
    assert len(uids) == 3


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("metrics.podMonitor.interval=soon", "interval"),
        ("metrics.podMonitor.port=8000", "port"),
        ("metrics.prometheusRule.alerts.Qwen3EndpointDown.fro=15m", "fro"),
        ("metrics.prometheusRule.alerts.Qwen3EndpointDown.for=soon", "for"),
        ("metrics.prometheusRule.enabled=true,metrics.prometheusRule.alerts.Down.for=1m", "there is no alert Down"),
        ("metrics.prometheusRule.runbookPrefix=docs", "runbookPrefix"),
        ("metrics.dashboards.enabled=perhaps", "enabled"),
    ],
)
def test_bad_values_are_refused_in_words(setting: str, words: str) -> None:
    with pytest.raises(HelmError, match=words):
        template(setting)
