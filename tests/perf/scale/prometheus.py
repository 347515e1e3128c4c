"""What the operator itself counts, from its /metrics."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

PREFIX = "qwen3_operator_"


def reconciles(text: str) -> dict[str, str]:
    """Reconciles of each kind, and how long one took; requests to the API server, and how long one took."""
    sums: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families(text):
        if family.name in (f"{PREFIX}reconcile_seconds", f"{PREFIX}api_request_seconds"):
            for sample in family.samples:
                name = " ".join(sample.labels[key] for key in ("kind", "verb") if key in sample.labels)
                sums.setdefault(name, {})[sample.name.rpartition("_")[2]] = sample.value
    return {
        name: f"{found['count']:.0f}, {1000 * found['sum'] / found['count']:.0f} ms each"
        for name, found in sorted(sums.items())
        if found.get("count")
    }
