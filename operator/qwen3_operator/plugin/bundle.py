"""`kubectl qwen3 bundle`: a tar.gz with what a bug report needs, bounded in size and without secrets.

No Secret is ever asked for, and everything goes through `redact` on its way into the archive.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tarfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from qwen3_operator.controller.kinds import (
    CLAIMS,
    CONFIG_MAPS,
    DEPLOYMENTS,
    DISRUPTION_BUDGETS,
    JOBS,
    PODS,
    REPLICA_SETS,
    SERVICES,
    Kind,
)
from qwen3_operator.plugin import doctor, redact
from qwen3_operator.plugin.api import Api, ApiFailure, Listing, Object
from qwen3_operator.plugin.checks import checks
from qwen3_operator.plugin.failure import Failure
from qwen3_operator.plugin.installed import Installed
from qwen3_operator.plugin.names import KINDS, SELECTOR
from qwen3_operator.plugin.objects import is_ready
from qwen3_operator.plugin.show import as_data
from qwen3_operator.plugin.status import EVENTS

CHILDREN = (DEPLOYMENTS, REPLICA_SETS, JOBS, PODS, SERVICES, CLAIMS, CONFIG_MAPS, DISRUPTION_BUDGETS)
MOST_OBJECTS = 200
"""Of one kind in one namespace."""
MOST_LOGS = 30
"""Containers whose logs are taken."""
LOG_LINES = 5000
LOG_BYTES = 2**20
MOST_BYTES = 48 * 2**20
"""Of all files together, before they are packed."""
_NODE_FIELDS = ("capacity", "allocatable", "conditions", "nodeInfo")


@dataclass
class Archive:
    """Files of a bundle, up to MOST_BYTES; what was left out is written down."""

    folder: str
    stream: BinaryIO
    left_out: list[str] = field(default_factory=list)
    size: int = 0
    files: int = 0

    def __post_init__(self) -> None:
        self._tar = tarfile.open(fileobj=self.stream, mode="w:gz")  # noqa: SIM115 - close() does

    def text(self, name: str, words: str) -> None:
        """A text, redacted."""
        self._add(name, redact.text(words).encode())

    def objects(self, name: str, found: Iterable[Mapping[str, Any]]) -> None:
        """Objects as JSON, redacted; nothing where there are none."""
        if cleaned := [redact.obj(obj) for obj in found]:
            self._add(f"{name}.json", json.dumps(cleaned, indent=1, ensure_ascii=False).encode())

    def data(self, name: str, value: Any) -> None:
        """Our own words about the cluster."""
        self.text(f"{name}.json", json.dumps(as_data(value), indent=1, ensure_ascii=False))

    def close(self) -> None:
        """Finish it."""
        self._tar.close()

    def _add(self, name: str, data: bytes) -> None:
        if self.size + len(data) > MOST_BYTES:
            self.left_out.append(f"{name}: {len(data)} bytes, the bundle has {MOST_BYTES >> 20} MiB at most")
            return
        self.size += len(data)
        self.files += 1
        entry = tarfile.TarInfo(f"{self.folder}/{name}")
        entry.size, entry.mtime, entry.mode = len(data), int(time.time()), 0o600
        self._tar.addfile(entry, io.BytesIO(data))


def run(arguments: argparse.Namespace, api: Api, namespace: str) -> int:
    """Write the bundle. Raises Failure."""
    stamp = api.now.strftime("%Y%m%d-%H%M%S")
    path = Path(arguments.file or f"qwen3-bundle-{stamp}.tar.gz")
    namespaces = _namespaces(api) if arguments.all_namespaces else [namespace]
    try:
        with path.open("xb") as stream:
            path.chmod(0o600)
            archive = Archive(f"qwen3-bundle-{stamp}", stream)
            collect(api, namespaces, archive)
            archive.close()
    except FileExistsError as error:
        raise Failure(f"{path} is there already: name another by --file", 2) from error
    except OSError as error:
        raise Failure(f"{path}: {error.strerror}", 2) from error
    print(path)
    words = f"{archive.files} files, {path.stat().st_size / 2**20:.1f} MiB. Secrets were not read and what looks like a"
    print(f"{words} credential was removed; read it before you send it.", file=sys.stderr)
    for line in archive.left_out[:20]:
        print(f"left out: {line}", file=sys.stderr)
    return 0


def collect(api: Api, namespaces: Sequence[str], archive: Archive) -> None:
    """Everything, the most useful first: what comes last is left out first. Raises Failure."""
    found = doctor.observe(api, namespaces[0])
    archive.data("doctor", checks(found))
    logs = _Logs(api, archive)
    for it in found.operators or ():
        _operator(api, it, archive, logs)
    for namespace in namespaces:
        for kind in KINDS:
            _list(api, kind, namespace, archive)
        pods: list[Object] = []
        for kind in CHILDREN:
            items = _list(api, kind, namespace, archive, labels=SELECTOR)
            pods += items if kind == PODS else ()
        _list(api, EVENTS, namespace, archive)
        logs.of(_most_useful(pods))
    archive.objects("cluster/nodes", map(_node, found.nodes or ()))
    archive.objects("cluster/storageclasses", found.storage_classes or ())
    about = {
        "made": api.now.isoformat(),
        "version": doctor.own_version(),
        "kubernetes": found.kubernetes,
        "namespaces": list(namespaces),
        "leftOut": archive.left_out,
    }
    archive.data("bundle", about)


def _namespaces(api: Api) -> list[str]:
    """Those that have anything of ours, at most 50. Raises Failure."""
    names = {obj["metadata"]["namespace"] for kind in KINDS for obj in api.list(kind).items}
    if not names:
        raise Failure("no namespace has anything of qwen3")
    return sorted(names)[:50]


def _list(api: Api, kind: Kind, namespace: str, archive: Archive, *, labels: str = "") -> list[Object]:
    """Objects of a namespace, into the archive."""
    name = f"{namespace}/{kind.plural}"
    listing = _may(lambda: api.list(kind, namespace, labels=labels, most=MOST_OBJECTS), name, archive)
    if listing is None:
        return []
    if listing.more:
        archive.left_out.append(f"{name}: only the first {MOST_OBJECTS} are there")
    archive.objects(name, listing.items)
    return listing.items


def _may(call: Callable[[], Listing], what: str, archive: Archive) -> Listing | None:
    try:
        return call()
    except ApiFailure as failure:
        archive.left_out.append(f"{what}: {redact.text(str(failure))[:500]}")
        return None


def _operator(api: Api, it: Installed, archive: Archive, logs: _Logs) -> None:
    archive.objects(f"operator/{it.name}", [it.deployment])
    try:
        lease = it.lease(api)
        archive.objects("operator/lease", [lease] if lease else [])
    except ApiFailure as failure:
        archive.left_out.append(f"lease of the operator: {failure}")
    listing = _may(lambda: api.list(PODS, it.namespace, labels=it.pod_selector, most=10), "operator/pods", archive)
    pods = listing.items if listing else []
    archive.objects("operator/pods", pods)
    events = _may(lambda: api.list(EVENTS, it.namespace, most=MOST_OBJECTS), "operator/events", archive)
    archive.objects("operator/events", events.items if events else [])
    logs.of(pods)


class _Logs:
    """Logs of pods, until there are MOST_LOGS of them."""

    def __init__(self, api: Api, archive: Archive) -> None:
        self._api, self._archive, self._left = api, archive, MOST_LOGS

    def of(self, pods: Iterable[Object]) -> None:
        """The logs of every container, and of the one before where it was restarted."""
        for pod in pods:
            status, meta = pod.get("status") or {}, pod["metadata"]
            for container in status.get("containerStatuses") or ():
                name = f"{meta['namespace']}/logs/{meta['name']}-{container['name']}"
                if self._left == 0:
                    self._archive.left_out.append(f"{name}: more than {MOST_LOGS} logs")
                    continue
                self._left -= 1
                self._one(meta, container["name"], f"{name}.log", previous=False)
                if container.get("restartCount"):
                    self._one(meta, container["name"], f"{name}.previous.log", previous=True)

    def _one(self, meta: Object, container: str, name: str, *, previous: bool) -> None:
        try:
            words = self._api.log(
                meta["namespace"], meta["name"], container, lines=LOG_LINES, previous=previous, limit=LOG_BYTES
            )
        except ApiFailure as failure:
            self._archive.left_out.append(f"{name}: {redact.text(str(failure))[:500]}")
            return
        if words:
            self._archive.text(name, words)


def _most_useful(pods: Iterable[Object]) -> list[Object]:
    """Those that are not ready first, and of each kind the newest first."""
    newest = sorted(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp")), reverse=True)
    return sorted(newest, key=is_ready)


def _node(node: Mapping[str, Any]) -> Object:
    """What matters of a node: not its addresses, and not what it has pulled."""
    status = node.get("status") or {}
    meta = {"name": node["metadata"]["name"], "labels": node["metadata"].get("labels") or {}}
    spec = {"taints": (node.get("spec") or {}).get("taints") or []}
    return {"metadata": meta, "spec": spec, "status": {name: status[name] for name in _NODE_FIELDS if name in status}}
