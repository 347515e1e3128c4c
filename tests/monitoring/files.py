"""The chart's alerts and dashboards, and the queries in them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import yaml
from tests.chart.helm import CHART

ALERTS = CHART / "files" / "monitoring" / "alerts.yaml"
DASHBOARDS = sorted((CHART / "files" / "monitoring" / "dashboards").glob("*.json"))
_THRESHOLD = re.compile(r"\s*(?:==|>=|<=|>|<)\s*[\d.]+")


def alerts() -> list[dict[str, Any]]:
    """The rules of all groups."""
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def panels() -> Iterator[tuple[str, str]]:
    """Every query of every panel and variable, with its place; variables stand for all."""
    for path in DASHBOARDS:
        dashboard = json.loads(path.read_text())
        for panel in dashboard["panels"]:
            for target in panel["targets"]:
                yield f"{path.stem}: {panel['title']} {target['refId']}", _chosen(target["expr"])
        for variable in dashboard["templating"]["list"]:
            if found := re.fullmatch(r"label_values\((.+), (\w+)\)", variable.get("definition", "")):
                yield f"{path.stem}: ${variable['name']}", f"count by ({found[2]}) ({_chosen(found[1])})"


def without_thresholds() -> Iterator[tuple[str, str]]:
    """The expression of each alert with what it compares, and not what it compares with: where that gives data, the
    metrics are there, and the labels of both sides of an `and` are the same."""
    for rule in alerts():
        yield rule["alert"], _THRESHOLD.sub("", rule["expr"]).replace("absent(", "(")


def queries() -> dict[str, str]:
    """Place -> query, of alerts and dashboards."""
    return {**dict(without_thresholds()), **dict(panels())}


def _chosen(query: str) -> str:
    for name, value in {"$__rate_interval": "1m", "$namespace": ".*", "$deployment": ".*"}.items():
        query = query.replace(name, value)
    return query
