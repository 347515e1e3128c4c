"""Has the front stand behind the Service of each Qwen3Deployment that has no server ready."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from qwen3_front.contract import CLUSTERS, SERVICE_LABEL, SLICE_MANAGER, Mode, Notice
from qwen3_front.table import ready_addresses
from qwen3_operator.api.conditions import condition_of
from qwen3_operator.api.deployment import Qwen3DeploymentSpec
from qwen3_operator.api.reasons import Reason
from qwen3_operator.api.times import parse_time
from qwen3_operator.controller.cluster import ApiError
from qwen3_operator.controller.kinds import DEPLOYMENTS, ENDPOINT_SLICES
from qwen3_operator.controller.ownership import is_controlled_by
from qwen3_operator.desired.front import front_slice, slice_name
from qwen3_operator.engine.problem import Problem
from qwen3_operator.naming import QWEN3_DEPLOYMENTS
from qwen3_operator.reconcile.context import Context
from qwen3_operator.reconcile.optional import warning
from qwen3_operator.reconcile.watched import BY_OWNER, owner_key

Object = Mapping[str, Any]


async def ensure_front(context: Context, owner: Object, spec: Qwen3DeploymentSpec, startup: Object) -> list[Problem]:
    """Have the front where it belongs; returns warnings. `startup`: how long the stages of the last start took."""
    if not context.settings.front_service or (pods := context.front.pods) is None:
        return []
    meta = owner["metadata"]
    namespace, name, uid = meta["namespace"], meta["name"], meta["uid"]
    slices = context.store.find(ENDPOINT_SLICES, BY_OWNER, owner_key(namespace, QWEN3_DEPLOYMENTS.kind, name))
    ours = next((it for it in slices if it["metadata"]["name"] == slice_name(name) and is_controlled_by(it, uid)), None)
    ports = context.front.ports
    port = ports.choose(context.store, namespace, name, uid, ours)
    if port is None:
        words = f"all {ports.count} ports of the front are taken: requests are not held (front.ports of the chart)"
        return [Problem(Reason.FRONT_FULL, words, severity="warning")]
    notice = notice_of(spec, context.own(DEPLOYMENTS, namespace, name, uid), owner, startup)
    if not pods.addresses and ours is not None:
        pods = replace(pods, family=str(ours["addressType"]))  # it cannot be changed
    stands_in = not serving(slices, name)
    if not stands_in and notice.mode is not Mode.REFUSE:
        notice = Notice(mode=notice.mode, why="Starting")  # how the start goes is written once there is one
    wanted = front_slice(namespace, name, uid, port=port, fronts=pods, notice=notice, stands_in=stands_in)
    try:
        await context.ensure(ENDPOINT_SLICES, wanted)
    except ApiError as error:
        return [warning(ENDPOINT_SLICES, slice_name(name), error, "")]
    finally:
        ports.made(port, namespace, name)
    return []


def serving(slices: Sequence[Object], name: str) -> bool:
    """Whether a server is ready, by the slices that the cluster makes of the Service: proxies go by the same."""
    for it in slices:
        labels = it["metadata"].get("labels") or {}
        if labels.get(SLICE_MANAGER) == CLUSTERS and labels.get(SERVICE_LABEL) == name and ready_addresses(it):
            return True
    return False


def notice_of(spec: Qwen3DeploymentSpec, server: Object | None, owner: Object, startup: Object) -> Notice:
    """What the front has to know of a deployment."""
    if spec.suspend:
        return Notice(mode=Mode.REFUSE, why="spec.suspend is true")
    scaled = spec.autoscaling
    if scaled is None and spec.replicas == 0:
        return Notice(mode=Mode.REFUSE, why="spec.replicas is 0")
    usual = [startup.get(key) for key in ("scheduledSeconds", "pulledSeconds", "readySeconds")]
    known = [int(it) for it in usual if isinstance(it, int)]
    seconds = sum(known) if known else None
    if scaled is not None and scaled.min_replicas == 0 and server is not None and server["spec"].get("replicas") == 0:
        return Notice(mode=Mode.ASLEEP, why="ScaledToZero", usual_seconds=seconds)
    ready = condition_of(owner, "Ready")
    is_starting = ready.get("status") != "True"
    since = parse_time(ready.get("lastTransitionTime")) if is_starting else None
    return Notice(
        why=str(ready.get("reason") or "") if is_starting else "Starting",
        started=since.timestamp() if since is not None and seconds is not None else None,
        usual_seconds=seconds,
    )
