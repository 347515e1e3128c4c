"""The alerts and dashboards as files: each alert is complete and documented, each name is one that there is."""

from __future__ import annotations

import re

import pytest
from tests.documents.snippets import ROOT
from tests.monitoring import vllm_exporter
from tests.monitoring.files import alerts, queries

PAGE = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
_METRIC = re.compile(r"\bvllm:\w+|\bqwen3_operator_\w+")


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: str(rule["alert"]))
def test_an_alert_says_what_to_do(rule: dict[str, dict[str, str]]) -> None:
    name, annotations = str(rule["alert"]), rule["annotations"]
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert annotations["summary"] and "kubectl " in annotations["description"]
    assert annotations["runbook_url"] == f"docs/metrics.md#{name.lower()}"
    section = PAGE.partition(f"### {name}\n\n")[2]
    assert section.startswith(f"*{rule['labels']['severity']}.*"), "docs/metrics.md says another severity, or nothing"


def test_every_runbook_has_an_alert() -> None:
    reported = re.findall(r"^### (Qwen3\w+)$", PAGE, re.MULTILINE)
    assert reported == sorted(reported, key=[str(rule["alert"]) for rule in alerts()].index)


@pytest.mark.parametrize("version", vllm_exporter.BY_VERSION)
def test_every_version_of_vllm_has_the_metrics(version: str) -> None:
    known = vllm_exporter.samples(version)
    for place, query in queries().items():
        used = {name for name in _METRIC.findall(query) if name.startswith("vllm:")}
        assert used <= known, f"{place}: vLLM {version} has no {used - known}"


def test_servers_of_others_are_left_out() -> None:
    for place, query in queries().items():
        for selector in re.findall(r"vllm:\w+(\{[^}]*\})?", query):
            assert "qwen3deployment" in selector, f"{place}: {query}"
