"""The objects of data/objects.json.gz, and the way of such objects into a cluster's etcd as they are."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import devcluster
import requests
from tests.cluster.api import Api
from tests.upgrade.objects import NAMESPACE

from qwen3_operator.controller.kinds import (
    CLAIMS,
    CONFIG_MAPS,
    DEPLOYMENTS,
    JOBS,
    PODS,
    REPLICA_SETS,
    SECRETS,
    SERVICES,
    Kind,
)
from qwen3_operator.naming import QWEN3_BATCHES, QWEN3_DEPLOYMENTS, QWEN3_MODELS

Object = dict[str, Any]
FILE = Path(__file__).parent / "data" / "objects.json.gz"

VOLUMES = Kind("v1", "PersistentVolume", "persistentvolumes")
OURS = (
    *(QWEN3_DEPLOYMENTS, QWEN3_MODELS, QWEN3_BATCHES),
    *(DEPLOYMENTS, REPLICA_SETS, PODS, SERVICES, CLAIMS, JOBS, CONFIG_MAPS, SECRETS),
)
CUSTOM = tuple(kind.kind for kind in (QWEN3_DEPLOYMENTS, QWEN3_MODELS, QWEN3_BATCHES))
KINDS = {kind.kind: kind for kind in (*OURS, VOLUMES)}
_TIME = re.compile(r"\b(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)((?:\.\d+)?Z)")


def load() -> list[Object]:
    """The golden objects."""
    items: list[Object] = json.loads(gzip.decompress(FILE.read_bytes()))
    return items


def found(api: Api) -> list[Object]:
    """What stands in the namespace, and its volumes, in an order that stays."""
    items: list[Object] = []
    for kind in KINDS.values():
        listed = api.request("GET", kind.path(None if kind == VOLUMES else NAMESPACE))["items"]
        belongs = _is_of_namespace if kind == VOLUMES else _is_made_here
        items += [{**item, "apiVersion": kind.api_version, "kind": kind.kind} for item in listed if belongs(item)]
    return sorted(items, key=lambda it: (it["kind"], it["metadata"]["name"]))


def is_expired(it: Object) -> bool:
    """Whether it is a finished Job whose time to live is over."""
    if it["kind"] != "Job" or "completionTime" not in it["status"]:
        return False
    lives = timedelta(seconds=it["spec"]["ttlSecondsAfterFinished"])
    return datetime.fromisoformat(it["status"]["completionTime"]) + lives < datetime.now(UTC)


def of_expired(it: Object, items: list[Object]) -> bool:
    """Whether it went with such a Job: its pod."""
    expired = {job["metadata"]["uid"] for job in items if is_expired(job)}
    return bool(expired & {owner["uid"] for owner in it["metadata"].get("ownerReferences", [])})


def aged(items: list[Object], age: timedelta) -> list[Object]:
    """The objects as if the last of them had been written `age` ago; all times keep their distances."""
    text = json.dumps(items, ensure_ascii=False)
    newest = max(datetime.fromisoformat(match[1]) for match in _TIME.finditer(text))
    shift = datetime.now(UTC).replace(tzinfo=None, microsecond=0) - age - newest

    def later(match: re.Match[str]) -> str:
        return (datetime.fromisoformat(match[1]) + shift).isoformat() + match[2]

    moved: list[Object] = json.loads(_TIME.sub(later, text))
    return moved


def restore(cluster: devcluster.Cluster, items: Iterable[Object]) -> None:
    """Put the objects into etcd with their uids, owners and status, which no request to the API server could give them.

    The controllers are not there meanwhile: they would see owners before what they own, and make it anew.
    """
    with cluster.control_plane.without("kube-controller-manager"):
        for item in items:
            _put(cluster.control_plane.etcd_url, _key(item), _stored(item))


def _is_made_here(item: Object) -> bool:
    """What every namespace has is made anew in the next one."""
    return bool(item["metadata"]["name"] != "kube-root-ca.crt")


def _is_of_namespace(item: Object) -> bool:
    return bool(item["spec"].get("claimRef", {}).get("namespace") == NAMESPACE)


def _key(item: Object) -> str:
    """Where the API server keeps an object."""
    kind, meta = KINDS[item["kind"]], item["metadata"]
    group = kind.api_version.partition("/")[0]
    folder = {"Service": "services/specs"}.get(kind.kind, kind.plural)
    parts = [group] if group.endswith(".dev") else []  # a custom resource
    return "/".join(["/registry", *parts, folder, *filter(None, [meta.get("namespace"), meta["name"]])])


def _stored(item: Object) -> str:
    """An object as the API server writes it: its resourceVersion is etcd's own."""
    meta = {key: value for key, value in item["metadata"].items() if key != "resourceVersion"}
    return json.dumps(item | {"metadata": meta}, ensure_ascii=False)


def _put(etcd: str, key: str, value: str) -> None:
    body = {name: base64.b64encode(text.encode()).decode() for name, text in (("key", key), ("value", value))}
    requests.post(f"{etcd}/v3/kv/put", json=body, timeout=10).raise_for_status()
