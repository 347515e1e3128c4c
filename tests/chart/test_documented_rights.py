"""docs/security.md lists the operator's rights as the chart gives them, with all that is optional."""

from __future__ import annotations

import re
from collections import defaultdict

import pytest
from tests.chart.helm import template
from tests.documents.snippets import ROOT

pytestmark = pytest.mark.cluster  # helm is one of its tools

OPTIONAL = (
    "gateway.enabled=true",
    "gateway.endpointPicker=true",
    "autoscaling.enabled=true",
    "autoscaling.prometheusAddress=http://prometheus:9090",
    "front.enabled=true",
    "rbac.aggregateToDefaultRoles=false",  # rights of users
)
Rights = dict[str, set[str]]
"""Resource -> verbs."""


def given() -> Rights:
    rights: Rights = defaultdict(set)
    roles = [it for it in template(*OPTIONAL) if it["kind"] in ("Role", "ClusterRole")]
    for rule in (rule for role in roles for rule in role["rules"]):
        for resource in rule["resources"]:
            rights[resource] |= set(rule["verbs"])
    return rights


def documented_rights(page: str) -> Rights:
    rights: Rights = {}
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    for resources, verbs in re.findall(r"^\| ((?:`[a-z0-9/]+`(?:, )?)+) \| ([a-z, ]+) \|", text, re.MULTILINE):
        rights |= {resource: set(verbs.split(", ")) for resource in re.findall(r"`([^`]+)`", resources)}
    return rights


@pytest.mark.parametrize("page", ["security.md", "security.zh-CN.md"])
def test_the_table_has_what_the_chart_gives_and_nothing_else(page: str) -> None:
    assert documented_rights(page) == given()
