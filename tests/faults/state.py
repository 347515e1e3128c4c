"""What stands in a namespace, without what differs from run to run."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from tests.cluster.api import Api

Object = dict[str, Any]
KINDS = ("Qwen3Deployment", "Qwen3Model", "PersistentVolumeClaim", "Job", "Deployment", "Service")
_META = ("uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "namespace", "selfLink")
_SPEC = ("clusterIP", "clusterIPs", "volumeName", "nodeName", "healthCheckNodePort", "nodePort")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_UID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
# A Job's name ends in a hash over the claim's uid, among others.
_JOB = re.compile(r"\b(qwen3-[a-z0-9-]+-[0-9a-f]{8})-[0-9a-f]{8}\b")
# Written by other controllers; the hash of what was applied holds the owner's uid.
_NOTES = re.compile(r"applied-hash$|^(volume|pv)\.|(volume|deployment)\.kubernetes\.io")


def state(api: Api, namespace: str) -> dict[str, Any]:
    """Every object of ours and its children, and how many pods there are of each component."""
    found: dict[str, Any] = {}
    living_uids: set[str] = set()
    for kind in KINDS:  # owners come first
        for obj in api.list(kind, namespace):
            owners = [owner["uid"] for owner in obj["metadata"].get("ownerReferences", [])]
            if owners and living_uids.isdisjoint(owners):
                continue  # the garbage collector's, soon or late
            living_uids.add(obj["metadata"]["uid"])
            found[_plain(f"{kind}/{obj['metadata']['name']}", namespace)] = _plain(_kept(kind, obj), namespace)
    pods = api.list("Pod", namespace)
    living = [p for p in pods if not p["metadata"].get("deletionTimestamp")]
    of = Counter(p["metadata"]["labels"].get("app.kubernetes.io/component", "?") for p in living)
    found["Pods"] = {component: count for component, count in of.items() if component == "server"}
    return found


def differences(one: Any, other: Any, path: str = "") -> list[str]:
    """Where two states differ, for a person."""
    one, other = _by_type(one), _by_type(other)
    if isinstance(one, dict) and isinstance(other, dict):
        keys = sorted(set(one) | set(other))
        return [d for key in keys for d in differences(one.get(key), other.get(key), f"{path}.{key}")]
    return [] if one == other else [f"{path}: {str(one)[:200]} != {str(other)[:200]}"]


def _by_type(value: Any) -> Any:
    """A list of conditions by their types: the difference is in one or two of them."""
    conditions = isinstance(value, list) and bool(value) and all(isinstance(v, dict) and "type" in v for v in value)
    return {v["type"]: v for v in value} if conditions else value


def _kept(kind: str, obj: Object) -> Object:
    meta = {k: v for k, v in obj["metadata"].items() if k not in _META}
    notes = {k: v for k, v in meta.get("annotations", {}).items() if not _NOTES.search(k)}
    meta = meta | {"annotations": notes}
    spec = {k: v for k, v in obj.get("spec", {}).items() if k not in _SPEC}
    if kind == "Service":
        spec["ports"] = [{k: v for k, v in port.items() if k != "nodePort"} for port in spec["ports"]]
    if kind == "Job":
        # The Job controller adds labels with the uid of the Job.
        return {"metadata": {k: meta[k] for k in ("name", "ownerReferences")}, "status": _ended(obj)}
    status = dict(obj.get("status") or {})
    if kind in ("Qwen3Deployment", "Qwen3Model"):
        status.pop("startup", None)
        status.get("download", {}).pop("failures", None)
        return {"metadata": meta, "spec": spec, "status": status}
    if kind == "PersistentVolumeClaim":
        return {"metadata": meta, "spec": spec, "status": {"phase": status.get("phase")}}
    counts = {k: status.get(k, 0) for k in ("replicas", "readyReplicas", "updatedReplicas")}
    return {"metadata": meta, "spec": spec, "status": counts}


def _ended(job: Object) -> Object:
    conditions = job["status"].get("conditions") or []
    return {c["type"]: c["status"] for c in conditions if c["type"] in ("Complete", "Failed")}


def _plain(value: Any, namespace: str) -> Any:
    """Times, uids and the namespace's name as the same word in every run; owners in one order."""
    if isinstance(value, dict):
        return {k: _plain(v, namespace) for k, v in value.items()}
    if isinstance(value, list):
        return (
            sorted((_plain(v, namespace) for v in value), key=str)
            if _owners(value)
            else [_plain(v, namespace) for v in value]
        )
    if isinstance(value, str):
        return _JOB.sub(r"\1-JOB", _UID.sub("UID", _TIME.sub("TIME", value.replace(namespace, "NAMESPACE"))))
    return value


def _owners(value: list[Any]) -> bool:
    return bool(value) and all(isinstance(v, dict) and {"kind", "uid"} <= set(v) for v in value)
