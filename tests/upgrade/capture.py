"""Writes data/objects.json.gz: what a cluster holds when the operator of another state of this repository has done
its work.

    git worktree add OLD c4bbbf7 && make -C OLD setup
    python -m tests.upgrade.capture OLD

Objects stand there as the API server has them: with uid, managedFields, status.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import devcluster
from tests.cluster.api import Api
from tests.cluster.downloads import COMPLETE
from tests.cluster.operator_process import OperatorProcess
from tests.cluster.world import World
from tests.cluster.wrappers import Q3b, Q3d
from tests.crds import crds
from tests.upgrade import objects
from tests.upgrade.golden import FILE, Object, found

READY_SECONDS = 180.0
QUIET_SECONDS = 10.0


def capture(old: Path, folder: Path) -> list[Object]:
    """Every object of the namespace and what belongs to it, once the old operator has nothing left to do."""
    with devcluster.cluster(nodes=4, gpus_per_node=8, fake_download_report=COMPLETE) as cluster:
        cluster.apply(crds(old / "crds"))
        cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=20s")
        api = Api(cluster.kubeconfig)
        api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": objects.NAMESPACE}})
        world = World(api, objects.NAMESPACE)
        operator = OperatorProcess(cluster.kubeconfig, folder / "operator.log")
        operator.command = old / ".venv" / "bin" / "qwen3-operator"
        operator.start()
        _make(world)
        _wait_quiet(world)
        operator.stop()
        return found(api)


def write(items: list[Object], file: Path) -> None:
    """The same objects make the same bytes."""
    text = json.dumps(items, ensure_ascii=False, sort_keys=True, indent=0)
    file.write_bytes(gzip.compress(text.encode(), mtime=0))


def _make(world: World) -> None:
    world.apply(*objects.beside(), *objects.ahead())
    for model in objects.ahead():
        world.wait_ready(model.manifest["metadata"]["name"], "Qwen3Model", within=READY_SECONDS)
    world.apply(*map(_as_then, objects.servers()), *map(_as_then, objects.batches()))
    for server in objects.servers():
        world.wait_ready(server.manifest["metadata"]["name"], within=READY_SECONDS)
    for batch, type in (("finished", "Completed"), ("borrowed", "Completed"), ("running", "Reconciling")):
        world.wait_condition(batch, type, "True", kind="Qwen3Batch", within=READY_SECONDS)
    world.wait(lambda: any(j["status"].get("ready") for j in world.list("Job")), "the batch runs", within=READY_SECONDS)


def _as_then(it: Q3d | Q3b) -> Object:
    """The manifest as it was written at that time: a podTemplatePatch was an object, now it is text."""
    if patch := it.spec.get("podTemplatePatch"):
        it.spec["podTemplatePatch"] = json.loads(patch)
    return it.manifest


def _wait_quiet(world: World) -> None:
    """Nothing was written for a while."""
    seen: dict[str, Any] = {"versions": None, "since": time.monotonic()}

    def quiet() -> bool:
        versions = [o["metadata"]["resourceVersion"] for o in found(world.api)]
        if versions != seen["versions"]:
            seen.update(versions=versions, since=time.monotonic())
        return bool(time.monotonic() - seen["since"] > QUIET_SECONDS)

    world.wait(quiet, "nothing is written", within=READY_SECONDS)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.upgrade.capture", description=__doc__.split("\n\n")[0])
    parser.add_argument("old", type=Path, help="a checkout of the other state, set up")
    old = parser.parse_args().old.resolve()
    with tempfile.TemporaryDirectory() as folder:
        items = capture(old, Path(folder))
    write(items, FILE)
    print(f"{FILE}: {len(items)} objects, {FILE.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
