"""What was there before the new operator came, what is there after it, and what was asked of the API server."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Any

from tests.cluster.api import Api
from tests.cluster.operator_process import OperatorProcess
from tests.cluster.waiting import wait_until
from tests.upgrade import golden
from tests.upgrade.golden import Object
from tests.upgrade.objects import NAMESPACE

RECONCILES = re.compile(r'^qwen3_operator_reconciles_total\{kind="(\w+)",result="(\w+)"\} (\S+)$', re.MULTILINE)
ROUNDS = 3
"""So often at least, on the average, has each object been reconciled when the operator counts as idle."""
QUIET_SECONDS = 5.0
WITHIN_SECONDS = 120.0
WRITES = ("create", "update", "patch", "delete", "deletecollection")


@dataclass(frozen=True)
class Takeover:
    """`golden`: as they were put into etcd. `before`: with Kubernetes' controllers at work on them. `after`: with the
    new operator at work. `requests`: the audit log, where the operator is `user`."""

    golden: list[Object]
    before: list[Object]
    after: list[Object]
    requests: list[Object]
    user: str

    def pairs(self, *kinds: str) -> list[tuple[Object, Object]]:
        """(before, after) of every object of these kinds; the same by its uid. An AssertionError where one went."""
        after = {it["metadata"]["uid"]: it for it in self.after}
        old = [it for it in self.before if it["kind"] in kinds]
        gone = [f"{it['kind']} {it['metadata']['name']}" for it in old if it["metadata"]["uid"] not in after]
        assert not gone, f"gone or made anew: {gone}"
        assert old, f"nothing of {kinds} is on file"
        return [(it, after[it["metadata"]["uid"]]) for it in old]

    def new(self, *kinds: str) -> list[str]:
        """Names of the objects of these kinds that were not there before."""
        before = {it["metadata"]["uid"] for it in self.before}
        found = [it for it in self.after if it["kind"] in kinds and it["metadata"]["uid"] not in before]
        return [f"{it['kind']} {it['metadata']['name']}" for it in found]

    def writes(self) -> list[tuple[str, str, str]]:
        """(verb, resource, name) of what the operator wrote; a patch that made its object counts as "create"."""
        found = []
        for it in self.requests:
            about, code = it.get("objectRef") or {}, it["responseStatus"]["code"]
            if it["user"]["username"] == self.user and code < 400 and it["verb"] in WRITES:
                verb = "create" if code == 201 else it["verb"]
                parts = filter(None, [about["resource"], about.get("subresource")])
                found.append((verb, "/".join(parts), about.get("name", "")))
        return found


def wait_idle(operator: OperatorProcess, api: Api) -> None:
    """Until every object was reconciled several times without an error and nothing is written any more."""
    wanted = {kind: ROUNDS * len(api.list(kind, NAMESPACE)) for kind in golden.CUSTOM}
    last: dict[str, Any] = {"versions": None, "since": time.monotonic()}

    def idle() -> bool:
        counts: dict[str, float] = dict.fromkeys(golden.CUSTOM, 0)
        for kind, result, count in RECONCILES.findall(operator.http("/metrics")[1]):
            assert result != "error", f"{kind}: {result}"
            counts[kind] += float(count) if result == "ok" else 0
        versions = [it["metadata"]["resourceVersion"] for it in golden.found(api)]
        if versions != last["versions"]:
            last.update(versions=versions, since=time.monotonic())
        assert all(counts[kind] >= wanted[kind] for kind in wanted), (counts, wanted)
        return bool(time.monotonic() - last["since"] > QUIET_SECONDS)

    wait_until(idle, within=WITHIN_SECONDS, what="the operator is idle", showing=operator.log_tail)


def wait_controllers(api: Api, items: list[Object]) -> None:
    """Until the controllers are at work: the garbage collector has removed what it should, and Jobs whose time is over
    are gone."""
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "no-such", "uid": "00000000-0000-0000-0000-000000000000"}
    meta = {"name": "orphan", "namespace": NAMESPACE, "ownerReferences": [owner]}
    api.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta})
    wait_until(lambda: api.get("ConfigMap", NAMESPACE, "orphan") is None, within=60, what="garbage is collected")
    expired = {it["metadata"]["uid"] for it in items if golden.is_expired(it)}
    wait_until(
        lambda: not expired & {job["metadata"]["uid"] for job in api.list("Job", NAMESPACE)},
        within=60,
        what="finished Jobs are removed",
    )
