"""What kustomize makes of deploy/ is what helm installs."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest
from devcluster import tools
from images.release import manifest
from tests.chart.helm import CHART, IMAGES, loaded, template

pytestmark = pytest.mark.cluster  # kubectl and helm are of its tools
DEPLOY = CHART.parents[1] / "deploy"
HELMS = ("app.kubernetes.io/managed-by", "helm.sh/chart", "helm.sh/resource-policy")


def by_name(manifests: list[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    """The objects without helm's marks, and their variables in one order: a patch puts its own before the others."""
    found = {}
    for it in manifests:
        for part in (it["metadata"], (it["spec"].get("template", {}) if "spec" in it else {}).get("metadata", {})):
            for kind in ("labels", "annotations"):
                kept = {key: value for key, value in part.pop(kind, {}).items() if key not in HELMS}
                part |= {kind: kept} if kept else {}
        for container in it["spec"]["template"]["spec"]["containers"] if it["kind"] == "Deployment" else ():
            container["env"].sort(key=lambda variable: variable["name"])
        found[it["kind"], it["metadata"]["name"]] = it
    return found


def test_the_overlay_is_the_chart_with_these_images() -> None:
    kubectl = tools.ensure(["kubectl"])["kubectl"]
    words = [str(kubectl), "kustomize", str(DEPLOY / "example")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rendered = by_name(loaded(done.stdout))
    del rendered["Namespace", "qwen3-system"]
    assert rendered == by_name(template(release="qwen3-operator"))


def test_the_manifest_for_kubectl_is_the_chart_and_has_nothing_of_helm() -> None:
    text = manifest(CHART, *IMAGES)
    assert not [mark for mark in ("helm", "Helm") if mark in text]
    found = by_name(loaded(text))
    assert found.pop(("Namespace", "qwen3-system"))
    assert found == by_name(template(release="qwen3-operator"))
