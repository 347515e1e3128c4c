"""What Prometheus would find in a cluster. Debian's is built without Kubernetes: it reads this from files."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from demo.kube import DemoError, Kube
from tests.monitoring.scrapes import plain

Object = dict[str, Any]
POLL_SECONDS = 3.0
META = "__meta_kubernetes_"
KINDS = "pods,endpointslices,services"
SERVICE = "kubernetes.io/service-name"


@contextlib.contextmanager
def discovered(kube: Kube, folder: Path) -> Iterator[None]:
    """Until the end of the block `folder` has the targets of each role (pod, endpointslice), as ROLE.json."""
    stop = threading.Event()

    def poll() -> None:
        found = kube.get(KINDS, "-A")["items"]
        for role, groups in (("pod", of_pods(found)), ("endpointslice", of_slices(found))):
            staging = folder / f".{role}"
            staging.write_text(json.dumps(groups))
            staging.rename(folder / f"{role}.json")

    def work() -> None:
        while not stop.wait(POLL_SECONDS):
            with contextlib.suppress(DemoError):  # what was found before stays
                poll()

    poll()
    watcher = threading.Thread(target=work)
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()


def of_pods(found: list[Object]) -> list[Object]:
    """Each named port of each container that has an address."""
    groups = []
    for pod in (it for it in found if it["kind"] == "Pod" and it["status"].get("podIP")):
        meta = pod["metadata"]
        labels = {"namespace": meta["namespace"], "pod_name": meta["name"], "pod_phase": pod["status"]["phase"]}
        labels |= _labels("pod", meta)
        for port in (port for container in pod["spec"]["containers"] for port in container.get("ports", ())):
            one = labels | {"pod_container_port_name": port.get("name", "")}
            groups.append(_group(f"{pod['status']['podIP']}:{port['containerPort']}", one))
    return groups


def of_slices(found: list[Object]) -> list[Object]:
    """Each address of each Service."""
    services = {
        (it["metadata"]["namespace"], it["metadata"]["name"]): it["metadata"] for it in found if it["kind"] == "Service"
    }
    groups = []
    for it in (it for it in found if it["kind"] == "EndpointSlice"):
        namespace = it["metadata"]["namespace"]
        service = services.get((namespace, (it["metadata"].get("labels") or {}).get(SERVICE)), {})
        for end in it.get("endpoints") or ():
            labels = {"namespace": namespace, "pod_name": (end.get("targetRef") or {}).get("name", "")}
            for port in it.get("ports") or ():
                one = labels | {"endpointslice_port_name": port.get("name", "")} | _labels("service", service)
                groups += [_group(f"{address}:{port['port']}", one) for address in end["addresses"]]
    return groups


def _labels(of: str, meta: Object) -> dict[str, str]:
    return {f"{of}_label_{plain(key)}": value for key, value in (meta.get("labels") or {}).items()}


def _group(target: str, labels: dict[str, str]) -> Object:
    return {"targets": [target], "labels": {f"{META}{key}": value for key, value in labels.items()}}
