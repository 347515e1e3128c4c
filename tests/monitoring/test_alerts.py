"""Each alert fires when it should, and not before: promtool's unit tests of the very file that the chart ships."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from devcluster.debian import program
from tests.monitoring.files import ALERTS, alerts
from tests.monitoring.prometheus import PACKAGE

pytestmark = pytest.mark.cluster  # Prometheus is no program of the unit tests
CASES = Path(__file__).with_name("alerts_test.yaml")


def promtool(*words: str | Path) -> str:
    done = subprocess.run([program(PACKAGE, "usr/bin/promtool"), *words], capture_output=True, text=True, timeout=120)
    assert not done.returncode, done.stdout + done.stderr
    return done.stdout


def test_they_are_rules() -> None:
    assert f"SUCCESS: {len(alerts())} rules found" in promtool("check", "rules", ALERTS)


def test_when_they_fire() -> None:
    assert "SUCCESS" in promtool("test", "rules", CASES)


def test_each_has_a_case() -> None:
    fire = set(re.findall(r'labels: .{alertname="(\w+)"', CASES.read_text()))
    assert fire == {str(rule["alert"]) for rule in alerts()}
