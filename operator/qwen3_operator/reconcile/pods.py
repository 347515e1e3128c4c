"""What pods say, and for those in trouble what their log and events say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from qwen3_operator.api.conditions import condition_of, shorten
from qwen3_operator.api.times import parse_time
from qwen3_operator.controller import metrics
from qwen3_operator.controller.cluster import Object
from qwen3_operator.controller.kinds import PODS
from qwen3_operator.controller.ownership import is_controlled_by
from qwen3_operator.desired.server import CONTAINER as SERVER_CONTAINER
from qwen3_operator.engine.diagnosis import has_ended
from qwen3_operator.reconcile.context import Context, last_seen
from qwen3_operator.reconcile.watched import BY_JOB, JOB_LABEL, in_namespace
from qwen3_operator.status.jobs import job_result, lacks_pods
from qwen3_operator.status.pods import PodView, is_preempted
from qwen3_operator.status.startup import startup_status

LOG_LINES = 1000
"""vLLM's cause stands above its echoes: up to 150 lines from the end in starts that failed here."""
STARTUP_LINES = 2000
MOST_OF_JOB = 2560
"""Ten for each of 256 shards: a pod that failed stays beside the next."""
MOST_EXAMINED = 3
"""Pods of one owner whose log and events are read: the others mostly say the same."""
REPLACED_WITHIN = timedelta(seconds=10)
"""A ReplicaSet makes another pod for one that ended for good; times are in whole seconds, of several clocks."""
NODE_COMES_WITHIN = timedelta(minutes=15)
"""What the Cluster Autoscaler gives a cloud to bring a node (--max-node-provision-time)."""
MOST_OF_NOTE = 256
"""Characters: it names every node group that was looked at."""
ENDS_WITHIN = timedelta(minutes=1)
"""A pod that is there for longer after its grace does not end: nobody at its node does what it should."""


async def pods_of_job(context: Context, job: Object) -> list[Object]:
    """The pods of a Job: a label alone is no proof.

    The news of a Job's end may come before that of its pods', and what they said is noted once: where not all that are
    known have ended, the API server is asked.
    """
    meta = job["metadata"]

    def ours(pod: Object) -> bool:
        return is_controlled_by(pod, meta["uid"])

    found = context.store.find(PODS, BY_JOB, in_namespace(meta["namespace"], meta["name"]))
    pods = list(filter(ours, found))
    if job_result(job) is None or (pods and all(map(has_ended, pods))):
        return pods
    labels = f"{JOB_LABEL}={meta['name']}"
    return await context.cluster.list(PODS, meta["namespace"], labels=labels, limit=MOST_OF_JOB, only=ours)


async def why_no_pods(context: Context, job: Object) -> str:
    """The API server's words, where it takes no pod of a Job; empty where it does, or has said nothing yet."""
    if not lacks_pods(job):
        return ""
    said = [event for event in await context.events_about(job, "Warning") if event.get("reason") == "FailedCreate"]
    # From the tenth on that names another pod it begins with "(combined from similar events): ".
    return str(said[-1].get("note", "")).partition("Error creating: ")[2] if said else ""


async def views_of(context: Context, pods: Iterable[Object], container: str | None) -> list[PodView]:
    """Pods, newest first, those that are being deleted left out. `container`: whose log says why one ended; None where
    its termination message does."""
    living = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]
    living.sort(key=lambda pod: str(pod["metadata"]["creationTimestamp"]), reverse=True)
    views = [_seen(context, pod) for pod in living]
    for index in range(min(len(views), MOST_EXAMINED)):
        views[index] = await _examine(context, views[index].pod["metadata"]["namespace"], views[index], container)
    return views


def without_replaced(pods: Sequence[Object], now: datetime) -> list[Object]:
    """`pods` of servers without those that ended for good and have a successor that came up: one that its node evicted
    stays for days, and explains why a server is missing only until the pod that replaced it is ready."""
    coming = [pod for pod in pods if not has_ended(pod) and condition_of(pod, "Ready").get("status") != "True"]
    moments = [now, *(_made_at(pod) or now for pod in coming)]

    def explains(pod: Object) -> bool:
        return any(abs(moment - _ended_at(pod, now)) <= REPLACED_WITHIN for moment in moments)

    return [pod for pod in pods if not has_ended(pod) or explains(pod)]


def is_ready(pod: Object) -> bool:
    """Whether requests reach it, and will."""
    return condition_of(pod, "Ready").get("status") == "True" and not pod["metadata"].get("deletionTimestamp")


def _made_at(pod: Object) -> datetime | None:
    return parse_time(pod["metadata"].get("creationTimestamp"))


def _ended_at(pod: Object, now: datetime) -> datetime:
    """When a pod that ended for good did so: its conditions changed last then."""
    changes = [parse_time(c.get("lastTransitionTime")) for c in pod["status"].get("conditions") or ()]
    return max((change for change in changes if change), default=_made_at(pod) or now)


def makes_way(context: Context, pod: Object) -> bool:
    """Whether a server ends, and holds GPUs that are free for another server then: not where a pod of higher priority
    gets them, and not where nobody ends it, as on a node that is lost."""
    node, until = str(pod["spec"].get("nodeName", "")), parse_time(pod["metadata"].get("deletionTimestamp"))
    return (
        until is not None
        and bool(node)
        and not has_ended(pod)
        and not is_preempted(pod)
        and not context.nodes.is_lost(node)
        and context.now() < until + ENDS_WITHIN
    )


async def newest_startup(context: Context, pods: Sequence[Object], before: Mapping[str, Any]) -> dict[str, Any]:
    """`status.startup` of the newest ready pod; the one `before` where that is still there, so it is read once."""
    ready = [pod for pod in pods if condition_of(pod, "Ready").get("status") == "True"]
    if not ready or any(pod["metadata"]["name"] == before.get("pod") for pod in ready):
        return dict(before)
    newest = max(ready, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))
    meta = newest["metadata"]
    log = await context.cluster.logs(meta["namespace"], meta["name"], SERVER_CONTAINER, tail=STARTUP_LINES)
    startup = startup_status(newest, log)
    for stage, seconds in startup.items():
        if stage.endswith("Seconds"):
            metrics.STARTUP_SECONDS.labels(stage.removesuffix("Seconds")).observe(seconds)
    return startup


def _seen(context: Context, pod: Object) -> PodView:
    now = context.now()
    lost = context.nodes.is_lost(str(pod["spec"].get("nodeName", "")))
    return PodView(pod, lost=lost, age=now - (_made_at(pod) or now))


async def _examine(context: Context, namespace: str, view: PodView, container: str | None) -> PodView:
    if view.failed:
        if container is None or view.pod.get("status", {}).get("phase") == "Succeeded":
            return view
        restarted = not _ended_now(view.pod, container)
        log = await context.cluster.logs(namespace, view.name, container, tail=LOG_LINES, previous=restarted)
        return replace(view, log=log, events=await context.warnings_about(view.pod))
    if view.placed and view.pod.get("status", {}).get("phase") == "Pending":
        return replace(view, events=await context.warnings_about(view.pod))
    if view.unplaced:
        return await _with_autoscaler(context, view)
    return view


async def _with_autoscaler(context: Context, view: PodView) -> PodView:
    """With what the cluster's autoscaler says of a pod that has no node."""
    said = [event for event in await context.events_about(view.pod, "Normal") if event.get("reason") in _ADDS_NODE]
    if not said:
        return view
    at = parse_time(last_seen(said[-1]))
    fresh = at is not None and context.now() < at + NODE_COMES_WITHIN
    words = shorten(str(said[-1].get("note", "")), MOST_OF_NOTE)
    return replace(view, autoscaler=words, node_coming=fresh and _ADDS_NODE[said[-1]["reason"]])


_ADDS_NODE = {"TriggeredScaleUp": True, "NotTriggerScaleUp": False, "Nominated": True}
"""Whether a node comes, by the reason of an Event of the Cluster Autoscaler, or of Karpenter (Nominated)."""


def _ended_now(pod: Mapping[str, Any], container: str) -> bool:
    """Whether the container stands ended, rather than running again or waiting to."""
    statuses = pod.get("status", {}).get("containerStatuses") or []
    return any(c.get("name") == container and "terminated" in (c.get("state") or {}) for c in statuses)
