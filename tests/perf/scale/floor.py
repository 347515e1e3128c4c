"""The floor: the objects that the operator makes of N Qwen3Deployments, POSTed by a client that decides nothing.

It has no conditions, no Events, no model to wait for and nothing to read. What this costs, the control plane costs on
this machine at this hour; how much more the operator takes is a ratio that holds on another machine as well.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.cluster.api import Api
from tests.perf.scale.watching import Watch

from qwen3_operator.controller.kinds import CLAIMS, CONFIG_MAPS, DEPLOYMENTS, JOBS, SERVICES
from qwen3_operator.naming import MANAGED_BY, MANAGER

Object = dict[str, Any]
CREATORS = 16
OF_A_MODEL = (CLAIMS.kind, JOBS.kind)
OF_A_DEPLOYMENT = (SERVICES.kind, CONFIG_MAPS.kind, DEPLOYMENTS.kind)
VERSIONS = {kind.kind: kind.api_version for kind in (SERVICES, CONFIG_MAPS, DEPLOYMENTS, CLAIMS, JOBS)}
GIVEN_BY_THE_SERVER = {
    SERVICES.kind: ("clusterIP", "clusterIPs"),
    CLAIMS.kind: ("volumeName",),
    JOBS.kind: ("selector",),
}
"""Fields of a spec that a new object cannot have, or not the same."""


def patterns(api: Api, namespace: str, kinds: Sequence[str]) -> list[Object]:
    """What the operator made of one Qwen3Deployment, the only one there, as somebody would write it by hand."""
    ours = f"{MANAGED_BY}={MANAGER}"
    return [as_written(kind, obj) for kind in kinds for obj in api.list(kind, namespace, labelSelector=ours)]


def as_written(kind: str, obj: Object) -> Object:
    """An object without what the API server and controllers added."""
    meta = {key: obj["metadata"][key] for key in ("namespace", "name", "labels") if key in obj["metadata"]}
    written = {"apiVersion": VERSIONS[kind], "kind": kind, "metadata": meta}
    written |= {key: value for key, value in obj.items() if key in ("data", "immutable")}
    if "spec" not in obj:
        return written
    spec = {key: value for key, value in obj["spec"].items() if key not in GIVEN_BY_THE_SERVER.get(kind, ())}
    if kind == JOBS.kind:
        labels = spec["template"]["metadata"].get("labels") or {}
        kept = {key: value for key, value in labels.items() if not key.endswith(("controller-uid", "job-name"))}
        spec |= {"template": spec["template"] | {"metadata": {"labels": kept}}}
    return written | {"spec": spec}


def copies(objects: list[Object], name: str, names: list[str]) -> Iterator[list[Object]]:
    """`objects` again for each of `names`, which takes the place of `name` wherever that stands."""
    text = json.dumps(objects)
    for other in names:
        yield json.loads(text.replace(name, other))


def create(api: Api, groups: Iterator[list[Object]]) -> None:
    """POST groups of objects, 16 groups at a time, each in its order."""

    def post(group: list[Object]) -> None:
        for obj in group:
            api.create(obj)

    with ThreadPoolExecutor(CREATORS) as pool:
        list(pool.map(post, groups))


class Available(Watch):
    """When each Deployment had a ready server first."""

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        super().__init__(kubeconfig, namespace, DEPLOYMENTS)
        self.since: dict[str, float] = {}

    def see(self, obj: Object, now: float) -> None:
        """Note one that is available."""
        if (obj.get("status") or {}).get("readyReplicas"):
            self.since.setdefault(obj["metadata"]["name"], now)


def seconds(api: Api, kubeconfig: Path, namespace: str, crs: int, models: int, limit: float) -> float:
    """From the first POST of the objects of `crs` Qwen3Deployments until all their servers are ready.

    Raises TimeoutError after `limit` seconds.
    """
    of_a_model, of_a_deployment = (patterns(api, namespace, kinds) for kinds in (OF_A_MODEL, OF_A_DEPLOYMENT))
    model = next(obj["metadata"]["name"] for obj in of_a_model if obj["kind"] == CLAIMS.kind)
    name = next(obj["metadata"]["name"] for obj in of_a_deployment if obj["kind"] == DEPLOYMENTS.kind)
    names = [f"floor-{number:05}" for number in range(crs)]
    watch = Available(kubeconfig, namespace)
    watch.start()
    watch.wait(lambda: bool(watch.since), limit)  # the one that is there: from now on nothing is missed
    try:
        began = time.time()
        create(api, copies(of_a_model, model, [f"{model}-{number}" for number in range(models)]))
        create(api, copies(of_a_deployment, name, names))
        if not watch.wait(lambda: watch.since.keys() >= set(names), limit):
            raise TimeoutError(f"{len(watch.since)} of {crs} Deployments have a server after {limit:.0f} s")
    finally:
        watch.close()
    return max(watch.since[name] for name in names) - began
