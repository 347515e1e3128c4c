"""Health of our kinds for Argo CD: as a patch of its ConfigMap, and in the form of its repository's
`resource_customizations`: a Lua file for each kind, and cases of it from objects that the operator's own code made."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from tests.unit.plugin import recorded

from qwen3_operator.commands.output import to_yaml

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "deploy/argo-cd/resource_customizations/serving.qwen3.dev"
HEALTH = FOLDER / "Qwen3Deployment/health.lua"
"""Written by hand; the other kinds have copies."""
CONFIG_MAP = ROOT / "deploy/argo-cd/argocd-cm.yaml"
Object = dict[str, Any]


def argo_cd() -> dict[Path, str]:
    """Path -> text of all files but HEALTH."""
    files = {FOLDER / kind / "health.lua": HEALTH.read_text() for kind in ("Qwen3Model", "Qwen3Batch")}
    files[CONFIG_MAP] = config_map(HEALTH.read_text())
    for kind, cases in _cases().items():
        tests = []
        for name, (health, obj) in cases.items():
            files[FOLDER / kind / f"testdata/{name}.yaml"] = to_yaml(obj)
            message = _message(health, obj)
            tests.append({"healthStatus": {"status": health, "message": message}, "inputPath": f"testdata/{name}.yaml"})
        files[FOLDER / kind / "health_test.yaml"] = to_yaml({"tests": tests})
    return files


def config_map(health: str) -> str:
    """What is to be merged into argocd-cm. Argo CD overlooks a ConfigMap without the label."""
    key = "resource.customizations.health.serving.qwen3.dev_"
    return f"""\
apiVersion: v1
kind: ConfigMap
metadata:
  name: argocd-cm
  namespace: argocd
  labels:
    app.kubernetes.io/part-of: argocd
data:
  {key}Qwen3Deployment: &health |
{textwrap.indent(health, "    ")}\
  {key}Qwen3Model: *health
  {key}Qwen3Batch: *health
"""


def _cases() -> dict[str, dict[str, tuple[str, Object]]]:
    """Kind -> name of a case -> (health in Argo CD's word, object)."""
    ready, of_ready = recorded.deployment()[:2]
    downloading, of_downloading = recorded.deployment(state="downloading", done=recorded.TOTAL // 2)[:2]
    refused = recorded.deployment(engine={"tensorParallelSize": 3})[0]
    suspended = recorded.deployment(suspend=True)[0]
    edited = ready | {"metadata": ready["metadata"] | {"generation": 2}}
    unseen = {"status": {"observedGeneration": 0}}  # the CRDs' default
    fresh = ready | unseen
    meta = recorded.meta("nightly")
    batch = {"apiVersion": ready["apiVersion"], "kind": "Qwen3Batch", "metadata": meta, "spec": {}} | unseen
    return {
        "Qwen3Deployment": {
            "healthy": ("Healthy", ready),
            "progressing": ("Progressing", downloading),
            "degraded": ("Degraded", refused),
            "suspended": ("Suspended", suspended),
            "edited": ("Progressing", edited),
            "new": ("Progressing", fresh),
        },
        "Qwen3Model": {"healthy": ("Healthy", of_ready), "progressing": ("Progressing", of_downloading)},
        "Qwen3Batch": {"new": ("Progressing", batch)},
    }


def _message(health: str, obj: Object) -> str:
    status = obj.get("status", {})
    if status.get("observedGeneration") != obj["metadata"]["generation"]:
        return "waiting for the operator"
    wanted = "Stalled" if health == "Degraded" else "Ready"
    return str(next(it["message"] for it in status["conditions"] if it["type"] == wanted))
