"""The cause in what Kubernetes says about a pod: its conditions, its containers, its events."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from qwen3_in_engine.server.contract import (
    EXIT_KEYS_UNUSABLE,
    EXIT_WRONG_ANSWERS,
    KEYS_UNUSABLE,
    WRONG_ANSWERS,
)
from qwen3_operator.api.conditions import condition_of
from qwen3_operator.api.reasons import Reason
from qwen3_operator.engine.diagnosis.log import Weight, first_error
from qwen3_operator.engine.diagnosis.patterns import Cause, first_cause, patterns
from qwen3_operator.engine.diagnosis.quota import quota_allows
from qwen3_operator.engine.text import bounded


def diagnose_create_failure(message: str, pods: int = 1) -> Cause:
    """Why the API server refuses the pods of a Deployment or Job (condition ReplicaFailure, event FailedCreate).
    ``pods``: how many are wanted at once, at the least."""
    cause = first_cause("create", message)
    if cause is None:
        # Not the name of the pod: that of the next try is another.
        return Cause(Reason.POD_REFUSED, _A_POD.sub("pods are forbidden:", message), "")
    if cause.reason is Reason.QUOTA_EXCEEDED and quota_allows(message, pods):
        return Cause(Reason.QUOTA_USED_UP, cause.message, "nothing, where what uses it ends; else raise the quota")
    return cause


_A_POD = re.compile(r'^\s{0,8}pods "[^"\n]{0,253}+" is forbidden:')


def diagnose_claim(event: str) -> Cause:
    """Why a claim has no volume, by the newest of its warning events."""
    remedy = "make what is missing, or name another spec.model.storage.storageClassName"
    return first_cause("claim", event) or Cause(Reason.VOLUME_NOT_BOUND, event, remedy)


def diagnose_pod(
    pod: Mapping[str, Any],
    log: str | None = None,
    events: Iterable[str] = (),
    gpus_by_node: Mapping[str, int] | None = None,
) -> Cause | None:
    """Why this pod does not serve, or None when nothing is wrong with it (yet).

    ``pod``: the Pod as JSON. ``log``: last lines of the container that failed.
    ``events``: messages of the pod's events, oldest first.
    ``gpus_by_node``: allocatable GPUs of each node, for the words when no node has enough.
    """
    status = pod.get("status", {})
    events = tuple(events)
    return (
        _lost(pod)
        or _unschedulable(pod, gpus_by_node)
        or _containers(status, log, events)
        or next((cause for event in reversed(events) if (cause := first_cause("event", event))), None)
    )


# --- the pod as a whole


def has_ended(pod: Mapping[str, Any]) -> bool:
    """Whether a pod ended for good: one that serves was evicted or refused by its node then."""
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def _lost(pod: Mapping[str, Any]) -> Cause | None:
    """A pod that its node gave up, or whose node is gone."""
    status = pod.get("status") or {}
    reason, message = status.get("reason", ""), str(status.get("message", "")).strip()
    if reason == "Evicted":
        return Cause(
            Reason.EVICTED,
            f"the node evicted the pod ({message})",
            "free the node's memory or disk, or raise the requests",
        )
    if reason in ("NodeLost", "NodeShutdown", "Terminated") or status.get("phase") == "Unknown":
        return Cause(
            Reason.NODE_LOST, f"the pod's node is gone or shutting down ({message or reason})", "look at the node"
        )
    if reason == "UnexpectedAdmissionError" or reason.startswith("OutOf"):
        return Cause(
            Reason.NODE_REFUSED_POD,
            f"the node refused the pod ({message or reason})",
            "a GPU may have failed or been taken: check the node's device plugin",
        )
    disruption = condition_of(pod, "DisruptionTarget")
    if disruption.get("status") == "True":
        why = disruption.get("message") or disruption.get("reason", "")
        return Cause(
            Reason.DISRUPTED, f"the pod is being removed from its node ({why})", "it comes back where there is room"
        )
    return None


_NODE_REASON = re.compile(r"(\d{1,9}) (?:node\(s\) )?(.+)", re.DOTALL)


def _unschedulable(pod: Mapping[str, Any], gpus_by_node: Mapping[str, int] | None) -> Cause | None:
    """The scheduler's reasons node by node, the one that says most about the cause first."""
    condition = condition_of(pod, "PodScheduled")
    if condition.get("status") != "False":
        return None
    message = bounded(str(condition.get("message", "")))
    if condition.get("reason") == "SchedulingGated":
        return Cause(
            Reason.SCHEDULING_GATED, "a scheduling gate holds the pod back", "whoever set the gate must lift it"
        )
    if condition.get("reason") == "SchedulerError":
        # A conflict with who else wrote the claim, for example: nothing that the nodes or the pod lack.
        return Cause(Reason.SCHEDULER_ERROR, f"the scheduler failed and tries again ({message.strip()})", "")
    whole = first_cause("volume", message)
    if whole is not None:
        return whole
    causes = []
    for count, text in _node_reasons(message):
        rows = enumerate(pattern.cause(text, {"count": _nodes(count)}) for pattern in patterns("scheduling"))
        causes += [(row, cause) for row, cause in rows if cause is not None][:1]
    if not causes:
        return Cause(Reason.UNSCHEDULABLE, message.strip() or "the scheduler has not placed the pod", "")
    causes.sort(key=lambda pair: pair[0])
    main = causes[0][1]
    words = "; ".join(cause.message for _, cause in causes)
    if main.reason is Reason.INSUFFICIENT_GPU and gpus_by_node is not None:
        return _too_few_gpus(pod, words, main.remedy, gpus_by_node)
    return Cause(main.reason, f"no node takes the pod: {words}", main.remedy)


def waits_for_room(pod: Mapping[str, Any], gpus_by_node: Mapping[str, int]) -> bool:
    """Whether the scheduler would place the pod once another one ends: not where no node has so many GPUs."""
    condition = condition_of(pod, "PodScheduled")
    if condition.get("status") != "False" or condition.get("reason") != "Unschedulable":
        return False
    reasons = _texts(condition)
    full = any(text.startswith(_SHORT_OF) or text == "Too many pods" or _HELD.search(text) for text in reasons)
    return full and gpus_wanted(pod) <= max(gpus_by_node.values(), default=0)


_SHORT_OF = "Insufficient "
_HELD = re.compile(
    r"anti-affinity rules|free ports for the requested pod ports|ReadWriteOncePod access mode"
    r"|topology spread constraints"
)
"""What one server keeps from another on its node, beside resources."""


def short_of(pod: Mapping[str, Any]) -> set[str]:
    """Resources of which no node, or not each, has enough for the pod, as the scheduler says."""
    condition = condition_of(pod, "PodScheduled")
    return {text.removeprefix(_SHORT_OF) for text in _texts(condition) if text.startswith(_SHORT_OF)}


def _texts(placed: Mapping[str, Any]) -> list[str]:
    """The scheduler's reasons in the condition PodScheduled."""
    return [text for _, text in _node_reasons(bounded(str(placed.get("message", ""))))]


MOST_NODE_REASONS = 64
"""Kinds of reasons that a scheduler has are some twenty."""


def _node_reasons(message: str) -> list[tuple[int, str]]:
    """(nodes, reason) from ``0/4 nodes are available: 1 node(s) had ..., 3 Insufficient ... . preemption: ...``."""
    body = re.split(r"\.?\s{0,8}(?:preemption:|no new claims to deallocate)", message, maxsplit=1)[0]
    _, separator, listed = body.partition("available:")
    parts = re.split(r",\s{0,8}(?=\d{1,9} )", listed.strip(" .")) if separator else []
    found = [_NODE_REASON.fullmatch(part.strip()) for part in parts[:MOST_NODE_REASONS]]
    return [(int(match[1]), match[2]) for match in found if match]


def _nodes(count: int) -> str:
    return f"{count} node" if count == 1 else f"{count} nodes"


def _too_few_gpus(pod: Mapping[str, Any], words: str, remedy: str, gpus_by_node: Mapping[str, int]) -> Cause:
    wanted = gpus_wanted(pod)
    sizes: dict[int, int] = {}
    for gpus in gpus_by_node.values():
        sizes[gpus] = sizes.get(gpus, 0) + 1
    have = (
        ", ".join(f"{_nodes(sizes[gpus])} with {gpus}" for gpus in sorted(sizes, reverse=True)) or "no node has a GPU"
    )
    largest = max(gpus_by_node.values(), default=0)
    if wanted > largest:
        return Cause(
            Reason.INSUFFICIENT_GPU,
            f"the pod needs {_gpus(wanted)} on one node, and no node has so many ({have})",
            f"set tensorParallelSize × pipelineParallelSize to at most {largest}" if largest else "add a GPU node",
        )
    return Cause(
        Reason.INSUFFICIENT_GPU, f"the pod needs {_gpus(wanted, 'free ')} on one node ({have}): {words}", remedy
    )


def _gpus(count: int, kind: str = "") -> str:
    return f"1 {kind}GPU" if count == 1 else f"{count} {kind}GPUs"


def gpus_wanted(pod: Mapping[str, Any]) -> int:
    """GPUs that the pod's containers ask for; they may ask for other devices as well, RDMA for example."""
    wanted = 0
    for container in pod.get("spec", {}).get("containers") or ():
        limits = (container.get("resources") or {}).get("limits") or {}
        wanted += sum(int(value) for name, value in limits.items() if is_gpu(name) and str(value).isdecimal())
    return wanted


def is_gpu(resource: str) -> bool:
    """Whether a resource is GPUs, or shares of them."""
    cause = first_cause("scheduling", f"Insufficient {resource}")
    return cause is not None and cause.reason is Reason.INSUFFICIENT_GPU


# --- its containers


def _containers(status: Mapping[str, Any], log: str | None, events: Sequence[str]) -> Cause | None:
    statuses = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    for container in statuses:
        cause = _container(container, log, events)
        if cause is not None:
            return cause
    return None


def _container(container: Mapping[str, Any], log: str | None, events: Sequence[str]) -> Cause | None:
    state = container.get("state") or {}
    waiting = state.get("waiting") or {}
    reason, message = waiting.get("reason", ""), str(waiting.get("message", ""))
    context = {"image": str(container.get("image", "")), "container": str(container.get("name", ""))}
    if reason in ("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError"):
        return _image(reason, message, context, events)
    if reason in ("CreateContainerConfigError", "CreateContainerError", "RunContainerError"):
        return first_cause("container", message, context) or Cause(
            Reason.of(reason), f"the container cannot be made: {message}", ""
        )
    ended = state.get("terminated")
    if ended is None and reason == "CrashLoopBackOff":
        ended = (container.get("lastState") or {}).get("terminated")
    if ended is None and not container.get("ready") and not container.get("started"):
        ended = (container.get("lastState") or {}).get("terminated")
    if ended is None or (ended.get("reason") == "Completed" and container.get("ready")):
        return None
    return _terminated(ended, container, log, events, context)


def _image(reason: str, message: str, context: Mapping[str, str], events: Sequence[str]) -> Cause:
    """ImagePullBackOff says little; the events before it hold the runtime's words."""
    if reason == "InvalidImageName":
        return Cause(
            Reason.INVALID_IMAGE_NAME, f"{context['image']} is not the name of an image", "correct spec.engine.image"
        )
    if reason == "ErrImageNeverPull":
        return Cause(
            Reason.ERR_IMAGE_NEVER_PULL,
            f"{context['image']} is not on the node, and pulling it is forbidden",
            "load it, or set a pull policy",
        )
    for text in (message, *reversed([event for event in events if "ull" in event])):
        cause = first_cause("image", text, context)
        if cause is not None:
            return cause
    return Cause(
        Reason.IMAGE_PULL_FAILED, f"image {context['image']} cannot be pulled ({message})", "check spec.engine.image"
    )


def _terminated(
    ended: Mapping[str, Any],
    container: Mapping[str, Any],
    log: str | None,
    events: Sequence[str],
    context: Mapping[str, str],
) -> Cause | None:
    exit_code = int(ended.get("exitCode", 0))
    if exit_code == EXIT_WRONG_ANSWERS:
        got = bounded(str(ended.get("message") or "")).removeprefix(f"{WRONG_ANSWERS}: ")
        return Cause(Reason.ANSWERS_WRONG, f"the server does not answer as its model: {got}", _WRONG_ANSWERS)
    if exit_code == EXIT_KEYS_UNUSABLE:
        why = bounded(str(ended.get("message") or "")).removeprefix(f"{KEYS_UNUSABLE}: ")
        return Cause(Reason.KEYS_UNUSABLE, f"the server cannot ask for keys, and lets nobody in: {why}", _NO_KEYS)
    if ended.get("reason") == "OOMKilled":
        return Cause(
            Reason.OUT_OF_HOST_MEMORY,
            f"container {context['container']} used more memory than its limit and was killed",
            "raise spec.resources.limits.memory; /dev/shm counts against it",
        )
    if ended.get("reason") in ("ContainerCannotRun", "StartError"):
        message = str(ended.get("message", ""))
        return first_cause("container", message, context) or Cause(
            Reason.CONTAINER_CANNOT_RUN, message, "check spec.engine.image"
        )
    killed = next(
        (cause for event in reversed(events) if "probe, will be" in event and (cause := first_cause("event", event))),
        None,
    )
    text = "\n".join(part for part in (log, str(ended.get("message") or "")) if part)
    known = first_cause("log", text)
    if known is not None:
        return known
    if killed is not None:
        return killed
    if exit_code == 0:  # vLLM's server leaves with 0 when its engine dies, and on SIGTERM
        return _engine_died(text, container)
    by_code = _by_exit_code(exit_code, context["container"])
    # What the engine says, then the signal that ended the process, and only then what else looks like an error.
    return first_error(text, Weight.ENGINE) or (exit_code in _EXIT_CODES and by_code) or first_error(text) or by_code


def _engine_died(text: str, container: Mapping[str, Any]) -> Cause | None:
    if "EngineDeadError" not in text and not container.get("restartCount"):
        return None
    said = first_error(text, Weight.ENGINE)
    why = f" ({said.message.removeprefix('the server failed: ')})" if said else ""
    return Cause(
        Reason.ENGINE_DIED,
        f"the server ended by itself: its engine process died{why}",
        "read the previous log (kubectl logs --previous); it is restarted",
    )


_WRONG_ANSWERS = "correct what it names (spec.verify.mode Off serves all the same)"
_NO_KEYS = "put a key into the Secret of spec.auth.keys; a middleware that is not loaded is told in the pod's log"
_EXIT_CODES = {
    134: (Reason.ABORTED, "was aborted (SIGABRT), often a CUDA or NCCL assertion"),
    137: (Reason.KILLED, "was killed (SIGKILL), by the node or because it did not end in time"),
    139: (Reason.SEGMENTATION_FAULT, "crashed (segmentation fault)"),
    143: (Reason.TERMINATED, "was asked to end (SIGTERM)"),
}


def _by_exit_code(exit_code: int, container: str) -> Cause:
    reason, words = _EXIT_CODES.get(exit_code, (Reason.SERVER_FAILED, f"ended with exit code {exit_code}"))
    return Cause(reason, f"container {container} {words}", "read the previous log (kubectl logs --previous)")
