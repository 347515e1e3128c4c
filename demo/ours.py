"""What is the demo's own in a cluster, and what is not: it writes over nothing else and deletes nothing else."""

from __future__ import annotations

import json
from typing import Any

from demo import manifests
from demo.kube import DemoError, Kube
from demo.manifests import MARK, MARK_SELECTOR, SYSTEM_NAMESPACE

RELEASE = "demo-qwen3-operator"
"""The chart names everything after it, as it holds the chart's own name."""
GROUP = "serving.qwen3.dev"
IN_RELEASE = (f"--namespace={SYSTEM_NAMESPACE}",)
INSTEAD = "Give the demo another cluster, or none: without DEMO_KUBECONFIG it makes one for itself."


def refuse_others(kube: Kube, namespaces: tuple[str, ...] = ()) -> None:
    """Raise DemoError when something is there that the demo would write to and did not make. Writes nothing.

    `namespaces`: beside the demo's three.
    """
    for crd in _crds(kube):
        if not _of_our_release(crd):
            raise DemoError(
                f"the CustomResourceDefinition {crd['metadata']['name']} is {_owner(crd)}, not the demo's: another"
                f" qwen3-operator is or was installed here, and the demo would take its objects over. {INSTEAD}"
            )
    wanted = {SYSTEM_NAMESPACE, manifests.NAMESPACE, manifests.HUB_NAMESPACE, *namespaces}
    for kind, names in (("namespace", wanted), ("persistentvolume", {manifests.volume_name(manifests.NAMESPACE)})):
        for found in kube.get(kind)["items"]:
            name = found["metadata"]["name"]
            if name in names and not _is_marked(found):
                raise DemoError(f"the {kind} {name} is there and the demo did not make it. {INSTEAD}")
    if _releases(kube) - _releases(kube, MARK_SELECTOR):
        raise DemoError(f"the release {RELEASE} in {SYSTEM_NAMESPACE} is not the demo's. {INSTEAD}")


def remove(kube: Kube) -> list[str]:
    """Delete what carries the demo's mark; returns what stays, in words."""
    marked = {found["metadata"]["name"] for found in kube.get("namespace", "-l", MARK_SELECTOR)["items"]}
    _delete(kube, "namespace", marked - {SYSTEM_NAMESPACE})  # while the operator can still let go of its claims
    if SYSTEM_NAMESPACE in marked and _releases(kube, MARK_SELECTOR):
        kube.helm("uninstall", RELEASE, *IN_RELEASE, "--wait")
    _delete(kube, "namespace", marked & {SYSTEM_NAMESPACE})
    _delete(kube, "persistentvolume", {v["metadata"]["name"] for v in _list(kube, "persistentvolume")})
    return _remove_crds(kube)


def _remove_crds(kube: Kube) -> list[str]:
    """helm keeps them, and with them another release of the chart would be refused."""
    crds = [crd for crd in _crds(kube) if _of_our_release(crd)]
    used = [
        f"{it['kind']} {it['metadata']['namespace']}/{it['metadata']['name']}"
        for crd in crds
        for it in kube.get(crd["metadata"]["name"], "--all-namespaces")["items"]
    ]
    if used:
        return [f"the CustomResourceDefinitions of {GROUP}, because of {', '.join(used)}"]
    _delete(kube, "customresourcedefinition", {crd["metadata"]["name"] for crd in crds})
    return []


def _crds(kube: Kube) -> list[dict[str, Any]]:
    found = kube.get("customresourcedefinition")["items"]
    return [crd for crd in found if crd["spec"]["group"] == GROUP]


def _of_our_release(found: dict[str, Any]) -> bool:
    return _release_of(found) == (RELEASE, SYSTEM_NAMESPACE)


def _release_of(found: dict[str, Any]) -> tuple[str, str]:
    """(release, namespace) as helm notes it; empty words for what helm did not make."""
    notes = found["metadata"].get("annotations") or {}
    return notes.get("meta.helm.sh/release-name", ""), notes.get("meta.helm.sh/release-namespace", "")


def _owner(found: dict[str, Any]) -> str:
    release, namespace = _release_of(found)
    return f"of helm's release {release} in {namespace}" if release else "not of a release of helm"


def _is_marked(found: dict[str, Any]) -> bool:
    return MARK.items() <= (found["metadata"].get("labels") or {}).items()


def _list(kube: Kube, kind: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = kube.get(kind, "-l", MARK_SELECTOR)["items"]
    return found


def _releases(kube: Kube, selector: str = "") -> set[str]:
    """The demo's release name where a release has it, in any state."""
    words = ["list", *IN_RELEASE, "--all", f"--filter=^{RELEASE}$", "--output=json", f"--selector={selector}"]
    return {release["name"] for release in json.loads(kube.helm(*words))}


def _delete(kube: Kube, kind: str, names: set[str]) -> None:
    if names:
        kube.run("delete", kind, "--ignore-not-found", *sorted(names), timeout=300)
