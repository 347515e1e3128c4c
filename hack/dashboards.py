"""Grafana dashboards, made from the tables below: each row a panel."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

SOURCE = {"type": "prometheus", "uid": "${datasource}"}
WIDTH = 24
SERVERS = 'namespace=~"$namespace", qwen3deployment=~"$deployment"'
"""The servers of what is chosen; others of vLLM have no such label."""


@dataclass(frozen=True)
class Panel:
    """One panel: `queries` are legend -> PromQL. A table has one query, and a column for each of its labels."""

    title: str
    queries: dict[str, str]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 8
    about: str = ""


@dataclass(frozen=True)
class Dashboard:
    """`variables`: name -> PromQL's label_values(...), each with All."""

    uid: str
    title: str
    variables: dict[str, str]
    panels: list[Panel]


def _of(metric: str, by: str = "namespace, qwen3deployment", *, how: str = "sum") -> str:
    return f"{how} by ({by}) ({metric}{{{SERVERS}}})"


def _rate(metric: str, by: str = "namespace, qwen3deployment") -> str:
    return f"sum by ({by}) (rate({metric}{{{SERVERS}}}[$__rate_interval]))"


def _quantile(quantile: float, metric: str) -> str:
    return f"histogram_quantile({quantile}, {_rate(f'{metric}_bucket', 'le')})"


def _percentiles(title: str, metric: str) -> Panel:
    """Seconds of what a histogram of vLLM's measures."""
    shown = {f"{q * 100:g} of 100": _quantile(q, metric) for q in (0.5, 0.95, 0.99)}
    return Panel(title, shown, unit="s")


_DEPLOYMENT = "{{namespace}}/{{qwen3deployment}}"
_NAMESPACE = {"namespace": "label_values(qwen3_operator_condition, namespace)"}
_ONE = {
    **_NAMESPACE,
    "deployment": 'label_values(qwen3_operator_deployment_replicas{namespace=~"$namespace"}, qwen3deployment)',
}

FLEET = Dashboard(
    uid="qwen3-fleet",
    title="Qwen3 / Fleet",
    variables=_ONE,
    panels=[
        Panel(
            "Operator", {"version {{version}}": "max by (version) (qwen3_operator_build_info)"}, kind="stat", width=4
        ),
        Panel(
            "At work",
            {"": "sum(qwen3_operator_leader)"},
            kind="stat",
            width=4,
            about="Operators that hold the Lease: 1. With 0 nothing is made, changed or mended.",
        ),
        Panel(
            "Servers ready", {"": f"sum(qwen3_operator_deployment_ready_replicas{{{SERVERS}}})"}, kind="stat", width=4
        ),
        Panel("Servers wanted", {"": f"sum(qwen3_operator_deployment_replicas{{{SERVERS}}})"}, kind="stat", width=4),
        Panel("GPUs of servers", {"": f"sum(qwen3_operator_deployment_gpus{{{SERVERS}}})"}, kind="stat", width=4),
        Panel(
            "GPUs of batches",
            {"": 'sum(qwen3_operator_batch_gpus{namespace=~"$namespace"})'},
            kind="stat",
            width=4,
        ),
        Panel(
            "Not ready, and why",
            {"": 'max by (kind, namespace, name, reason) (qwen3_operator_not_ready{namespace=~"$namespace"})'},
            kind="table",
            width=12,
            about="docs/reasons.md has each reason; kubectl describe says more.",
        ),
        Panel(
            "Waiting for a person",
            {
                "": "max by (kind, namespace, name) "
                '(qwen3_operator_condition{type="Stalled", namespace=~"$namespace"}) == 1'
            },
            kind="table",
            width=12,
            about="Stalled: nothing moves until somebody acts.",
        ),
        Panel("Requests in work", {_DEPLOYMENT: _of("vllm:num_requests_running")}),
        Panel("Requests that wait", {_DEPLOYMENT: _of("vllm:num_requests_waiting")}),
        Panel("Tokens generated", {_DEPLOYMENT: _rate("vllm:generation_tokens_total")}, unit="tok/s"),
        Panel("KV cache in use", {_DEPLOYMENT: _of("vllm:kv_cache_usage_perc", how="avg")}, unit="percentunit"),
        Panel(
            "First token, 95 of 100",
            {
                _DEPLOYMENT: "histogram_quantile(0.95, "
                + _rate("vllm:time_to_first_token_seconds_bucket", "namespace, qwen3deployment, le")
                + ")"
            },
            unit="s",
        ),
        Panel(
            "GPUs by deployment",
            {_DEPLOYMENT: _of("qwen3_operator_deployment_gpus", how="max")},
            about="GPUs of servers that have a node, starting and ending ones too.",
        ),
        Panel(
            "Reconciles",
            {"{{kind}} {{result}}": "sum by (kind, result) (rate(qwen3_operator_reconciles_total[$__rate_interval]))"},
            unit="reqps",
        ),
        Panel(
            "Reconcile, 95 of 100",
            {
                "{{kind}}": "histogram_quantile(0.95, sum by (kind, le) "
                "(rate(qwen3_operator_reconcile_seconds_bucket[$__rate_interval])))"
            },
            unit="s",
        ),
        Panel(
            "Requests to the API server",
            {"{{verb}} {{code}}": "sum by (verb, code) (rate(qwen3_operator_api_requests_total[$__rate_interval]))"},
            unit="reqps",
        ),
        Panel("Objects that wait for a worker", {"": "sum(qwen3_operator_queue_length)"}),
        Panel("Lag of the operator's event loop", {"": "max(qwen3_operator_loop_lag_seconds)"}, unit="s"),
        Panel(
            "Memory of the operator",
            {"": "sum(process_resident_memory_bytes * on (instance) group_left () qwen3_operator_leader)"},
            unit="bytes",
        ),
    ],
)

DEPLOYMENT = Dashboard(
    uid="qwen3-deployment",
    title="Qwen3 / One deployment",
    variables=_ONE,
    panels=[
        Panel("Ready", {"": f"sum(qwen3_operator_deployment_ready_replicas{{{SERVERS}}})"}, kind="stat", width=4),
        Panel("Wanted", {"": f"sum(qwen3_operator_deployment_replicas{{{SERVERS}}})"}, kind="stat", width=4),
        Panel("GPUs", {"": f"sum(qwen3_operator_deployment_gpus{{{SERVERS}}})"}, kind="stat", width=4),
        Panel(
            "Conditions",
            {"": 'max by (kind, name, type) (qwen3_operator_condition{namespace=~"$namespace", name=~"$deployment"})'},
            kind="table",
            width=12,
        ),
        Panel(
            "Requests",
            {
                "in work": _of("vllm:num_requests_running", "namespace"),
                "wait": _of("vllm:num_requests_waiting", "namespace"),
            },
        ),
        Panel("Ended", {"{{finished_reason}}": _rate("vllm:request_success_total", "finished_reason")}, unit="reqps"),
        Panel(
            "Tokens",
            {
                "prompt": _rate("vllm:prompt_tokens_total", "namespace"),
                "generated": _rate("vllm:generation_tokens_total", "namespace"),
            },
            unit="tok/s",
        ),
        _percentiles("First token", "vllm:time_to_first_token_seconds"),
        _percentiles("Between tokens", "vllm:inter_token_latency_seconds"),
        _percentiles("Whole request", "vllm:e2e_request_latency_seconds"),
        Panel(
            "Where a request's time goes, 95 of 100",
            {
                "queue": _quantile(0.95, "vllm:request_queue_time_seconds"),
                "prompt": _quantile(0.95, "vllm:request_prefill_time_seconds"),
                "answer": _quantile(0.95, "vllm:request_decode_time_seconds"),
            },
            unit="s",
        ),
        Panel("KV cache in use", {"{{pod}}": _of("vllm:kv_cache_usage_perc", "pod", how="max")}, unit="percentunit"),
        Panel(
            "Preemptions",
            {"{{pod}}": _rate("vllm:num_preemptions_total", "pod")},
            unit="reqps",
            about="Requests whose KV cache was taken away and computed anew: the cache is too small for the load.",
        ),
        Panel(
            "Prefix cache hits",
            {
                "": f"{_rate('vllm:prefix_cache_hits_total', 'namespace')}"
                f" / {_rate('vllm:prefix_cache_queries_total', 'namespace')}"
            },
            unit="percentunit",
            about="Share of prompt tokens that were computed before; nothing is shown while nobody asks.",
        ),
        Panel(
            "Lengths, 95 of 100",
            {
                "prompt": _quantile(0.95, "vllm:request_prompt_tokens"),
                "answer": _quantile(0.95, "vllm:request_generation_tokens"),
            },
        ),
        Panel("In work by server", {"{{pod}}": _of("vllm:num_requests_running", "pod")}),
        Panel(
            "Engine steps by server",
            {"{{pod}}": _rate("vllm:iteration_tokens_total_count", "pod")},
            unit="ops",
            about="0 while requests are in work: the engine hangs.",
        ),
    ],
)

_MODELS = 'namespace=~"$namespace"'
DOWNLOADS = Dashboard(
    uid="qwen3-downloads",
    title="Qwen3 / Downloads and starts",
    variables=_NAMESPACE,
    panels=[
        Panel("Under way", {"": f"count(qwen3_operator_download_bytes{{{_MODELS}}})"}, kind="stat", width=6),
        Panel("Complete", {"": 'sum(qwen3_operator_downloads_total{result="complete"})'}, kind="stat", width=6),
        Panel(
            "Failed",
            {"": 'sum(qwen3_operator_downloads_total{result="failed"})'},
            kind="stat",
            width=6,
            about="Jobs that failed; they are made anew.",
        ),
        Panel("Fetched in all", {"": "sum(qwen3_operator_downloaded_bytes_total)"}, kind="stat", unit="bytes", width=6),
        Panel(
            "Progress",
            {
                "{{namespace}}/{{qwen3model}}": "max by (namespace, qwen3model) "
                f"(qwen3_operator_download_bytes{{{_MODELS}}})"
                f" / max by (namespace, qwen3model) (qwen3_operator_download_size_bytes{{{_MODELS}}})"
            },
            unit="percentunit",
            width=12,
            about="Of the models that are being fetched: a line ends when the copy is verified.",
        ),
        Panel(
            "Rate", {"all": "sum(rate(qwen3_operator_downloaded_bytes_total[$__rate_interval]))"}, unit="Bps", width=12
        ),
        Panel(
            "Models that are not ready",
            {"": f'max by (namespace, name, reason) (qwen3_operator_not_ready{{kind="Qwen3Model", {_MODELS}}})'},
            kind="table",
            width=12,
        ),
        Panel(
            "Seconds of a download",
            {
                f"{q * 100:g} of 100": f"histogram_quantile({q}, sum by (le) (qwen3_operator_download_seconds_bucket))"
                for q in (0.5, 0.95)
            },
            unit="s",
            width=12,
            about="Of all downloads since the operator started.",
        ),
        Panel(
            "Seconds of a server's start, by stage",
            {
                "{{stage}}": "sum by (stage) (qwen3_operator_server_startup_seconds_sum)"
                " / sum by (stage) (qwen3_operator_server_startup_seconds_count)"
            },
            unit="s",
            width=12,
            about="Mean of all starts since the operator started.",
        ),
        Panel(
            "Seconds of a server's start, 95 of 100",
            {
                "{{stage}}": "histogram_quantile(0.95, sum by (stage, le) "
                "(qwen3_operator_server_startup_seconds_bucket))"
            },
            unit="s",
            width=12,
        ),
    ],
)

DASHBOARDS = {"fleet": FLEET, "deployment": DEPLOYMENT, "downloads": DOWNLOADS}


def dashboards() -> dict[str, str]:
    """Name of each dashboard -> its JSON."""
    return {name: json.dumps(_dashboard(it), indent=1, ensure_ascii=False) + "\n" for name, it in DASHBOARDS.items()}


def _dashboard(it: Dashboard) -> dict[str, Any]:
    variables: list[dict[str, Any]] = [
        {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
    ]
    variables += [
        {
            "name": name,
            "type": "query",
            "datasource": SOURCE,
            "definition": query,
            "query": {"query": query, "refId": "Variable"},
            "includeAll": True,
            "allValue": ".*",
            "multi": True,
            "refresh": 2,
            "sort": 1,
        }
        for name, query in it.variables.items()
    ]
    return {
        "uid": it.uid,
        "title": it.title,
        "tags": ["qwen3"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": variables},
        "links": [{"type": "dashboards", "tags": ["qwen3"], "title": "Qwen3", "asDropdown": True, "includeVars": True}],
        "panels": _placed(it.panels),
    }


def _placed(panels: list[Panel]) -> list[dict[str, Any]]:
    """The panels from left to right, row by row."""
    made, x, y, row = [], 0, 0, 0
    for number, panel in enumerate(panels, 1):
        height = 4 if panel.kind == "stat" else 8
        if x + panel.width > WIDTH:
            x, y, row = 0, y + row, 0
        made.append(_panel(number, panel) | {"gridPos": {"x": x, "y": y, "w": panel.width, "h": height}})
        x, row = x + panel.width, max(row, height)
    return made


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    table = panel.kind == "table"
    targets = [
        {"refId": chr(ord("A") + i), "datasource": SOURCE, "expr": query, "legendFormat": legend or "__auto"}
        | ({"format": "table"} if table else {})
        | ({"instant": True} if table or panel.kind == "stat" else {})
        for i, (legend, query) in enumerate(panel.queries.items())
    ]
    least = {"min": 0} if panel.kind == "timeseries" else {}
    made: dict[str, Any] = {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "datasource": SOURCE,
        "targets": targets,
        "fieldConfig": {"defaults": {"unit": panel.unit, **least}, "overrides": []},
    }
    if panel.about:
        made["description"] = panel.about
    if table:
        made["transformations"] = [{"id": "organize", "options": {"excludeByName": {"Time": True}}}]
    return made
