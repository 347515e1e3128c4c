"""Status of a Qwen3Deployment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from qwen3_operator.api.conditions import DEPLOYMENT_TYPES, Type, condition_of, is_current
from qwen3_operator.api.deployment import Qwen3DeploymentSpec
from qwen3_operator.api.reasons import Reason
from qwen3_operator.desired.autoscaling import servers_needed, servers_wanted
from qwen3_operator.desired.rollout import is_rolling, makes_room, order, template_hash
from qwen3_operator.desired.route import gateway_endpoint
from qwen3_operator.engine.diagnosis import waits_for_room
from qwen3_operator.engine.problem import Problem
from qwen3_operator.naming import server_selector
from qwen3_operator.plan import Plan
from qwen3_operator.status.accepted import set_accepted
from qwen3_operator.status.adapters import AdapterView, ServersView, adapters_status, set_adapters
from qwen3_operator.status.capacity import CapacityView, capacity_status, capacity_warnings
from qwen3_operator.status.conditions import Before, Conditions, Idle
from qwen3_operator.status.model_fault import FAULTS, fault_at, is_in_order
from qwen3_operator.status.model_ready import model_condition, set_model_ready, verified_copy
from qwen3_operator.status.pods import PodView, pod_trouble, trouble_of_refused
from qwen3_operator.status.route import set_routed
from qwen3_operator.status.without_effect import of_shared_model

Object = Mapping[str, Any]
_NO_ROOM = (Reason.INSUFFICIENT_GPU, Reason.INSUFFICIENT_HOST_RESOURCES)
_MADE_WAY = "a server had to make way for a pod of higher priority (spec.scheduling.priorityClassName is the servers')"


@dataclass(frozen=True)
class DeploymentView:
    """What was seen of a Qwen3Deployment and its children at one moment."""

    now: datetime
    plan: Plan | None = None
    """None: the spec could not be read."""
    problems: Sequence[Problem] = ()
    """What keeps the servers from being made or changed beside the plan's own: a missing Secret, a refused child."""
    warnings: Sequence[Problem] = ()
    """What cannot take effect, beside the plan's own."""
    model: Object | None = None
    """The Qwen3Model."""
    adapters: Sequence[AdapterView] | None = ()
    """None: it is not known which they are, as long as the model is not."""
    adapter_servers: ServersView = field(default_factory=ServersView)
    server: Object | None = None
    """The Deployment."""
    pods: Sequence[PodView] = ()
    """Pods of the servers, newest first, those that are ending left out; none when all is well."""
    present_template: str | None = None
    """pod-template-hash of the present template; None where the servers are all of it."""
    pods_refused: str = ""
    """The API server's words, where it takes no server of the present template."""
    pods_refused_since: datetime | None = None
    ending: int = 0
    """Servers that are ending, and hold their GPUs until then."""
    preempted: bool = False
    """A server is just being ended for a pod of higher priority."""
    gpus_by_node: Mapping[str, int] | None = None
    startup: Object | None = None
    """`status.startup`, when it is known."""
    endpoint: str = ""
    namespace: str = ""
    route: Object | None = None
    """The HTTPRoute, where the spec asks for one."""
    route_problem: Problem | None = None
    """Why there is none."""
    pool: Object | None = None
    """The InferencePool of which an endpoint picker chooses; None: the route leads to the Service."""
    running: str = ""
    """What serves meanwhile, where the spec is refused."""
    scaler: Object | None = None
    """The ScaledObject."""
    capacity: CapacityView | None = None
    """What servers have measured of themselves, where they have."""


def deployment_status(
    name: str, spec: Qwen3DeploymentSpec | None, generation: int, previous: Object, view: DeploymentView
) -> dict[str, Any]:
    """The status of the Qwen3Deployment `name`, from its `previous` status and what was seen."""
    before = Before(previous, generation, view.now)
    routed = bool(before.condition(Type.ROUTED)) if spec is None else spec.service.gateway is not None
    conditions = Conditions((*DEPLOYMENT_TYPES, *([Type.ROUTED] if routed else [])), before)
    startup = view.startup or previous.get("startup") or {}
    fault = fault_at(previous, view.pods, verified_copy(view.model))
    idle = None
    if spec is None:
        set_accepted(conditions, view.problems, (), view.running)
        conditions.keep((Type.MODEL_READY, Type.FITS, Type.SCHEDULED, Type.AVAILABLE, Type.ROUTED))
    else:
        problems, warnings = _problems(view, startup)
        set_accepted(conditions, problems, warnings, view.running)
        set_model_ready(conditions, view.model, fault)
        _set_fit(conditions, view)
        if gateway := spec.service.gateway:
            set_routed(conditions, view.namespace, gateway, view.route, view.route_problem, view.pool)
        if spec.suspend:
            idle = _set_suspended(conditions)
        elif view.server is not None:
            _set_servers(conditions, spec, view.server, view, preempted=view.preempted or _was_preempted(before))
        if not spec.suspend:
            set_adapters(conditions, view.adapters or (), _asked(spec, view), has_servers=view.server is not None)
    if conditions.trouble(upto=Type.FITS):
        idle = None  # what is wrong is worth more than that nothing runs
    conditions.summarize(*_when_ready(spec, view), idle=idle)
    result: dict[str, Any] = {
        "observedGeneration": generation,
        "conditions": conditions.as_status(previous, generation=generation, now=view.now),
        "selector": ",".join(f"{k}={v}" for k, v in sorted(server_selector(name).items())),
        "replicas": _count(view.server, "replicas"),
        "readyReplicas": _count(view.server, "readyReplicas"),
    }
    if spec is None:
        # What runs goes on as it was, and so does what is known of it.
        counts = {} if view.server is None else {key: result[key] for key in ("replicas", "readyReplicas")}
        return {**result, **previous, **counts, **{key: result[key] for key in ("observedGeneration", "conditions")}}
    if view.endpoint:
        result["endpoint"] = view.endpoint
    if spec.service.gateway and conditions.holds(Type.ROUTED):
        result["gatewayEndpoint"] = gateway_endpoint(spec.service.gateway)
    _add_model(result, spec, previous, view)
    if view.adapters is not None:
        result |= adapters_status(view.adapters, _asked(spec, view))
    elif known := previous.get("adapters"):
        result["adapters"] = known  # they are left as they are
    if fault:
        result["modelFaultAt"] = fault
    if startup:
        result["startup"] = dict(startup)
    if view.capacity is not None and (capacity := capacity_status(view.capacity)):
        result["capacity"] = capacity
    if spec.autoscaling and view.server is not None:
        result["autoscaling"] = _autoscaling(spec, view.server, view.scaler)
    if view.plan is not None:
        result["engine"] = view.plan.engine_status()
        result["plan"] = [entry.as_status() for entry in view.plan.values]
    return result


def _asked(spec: Qwen3DeploymentSpec, view: DeploymentView) -> ServersView | None:
    """What servers say of their adapters; None where none is wanted: then none has to have them."""
    return view.adapter_servers if servers_wanted(spec, view.server) else None


def _autoscaling(spec: Qwen3DeploymentSpec, server: Object, scaler: Object | None) -> dict[str, Any]:
    """`status.autoscaling`: the number that was written on the Deployment, and KEDA's word about the load."""
    found: dict[str, Any] = {"desiredReplicas": servers_wanted(spec, server)}
    active = condition_of(scaler, "Active").get("status")
    return found | ({"active": active == "True"} if active in ("True", "False") else {})


def _set_suspended(conditions: Conditions) -> Idle:
    words = "spec.suspend is true"
    conditions.set(Type.SCHEDULED, "Unknown", Reason.SUSPENDED, words)
    conditions.set(Type.AVAILABLE, "False", Reason.SUSPENDED, words)
    return Idle(reason=Reason.SUSPENDED, message=f"{words}: no server runs")


def _when_ready(spec: Qwen3DeploymentSpec | None, view: DeploymentView) -> tuple[Reason, str]:
    """Reason and message of Ready where nothing is in the way.

    No servers are as ready as three where none are wanted: an autoscaler's zero is no fault to kstatus or an alert,
    as it is none of a Deployment with 0 replicas. `suspend` is a person's word that nothing shall be served.
    """
    if spec is not None and servers_wanted(spec, view.server) == 0:
        why = "nobody asks" if spec.autoscaling else "spec.replicas is 0"
        return Reason.SCALED_TO_ZERO, f"{why}: no server runs, and none is wanted"
    return Reason.SERVING, f"{view.endpoint} answers"


def _problems(view: DeploymentView, startup: Object) -> tuple[list[Problem], list[Problem]]:
    """What keeps the servers from being made or changed, and what cannot take effect."""
    problems = view.plan.problems if view.plan else ()
    warnings = view.plan.warnings if view.plan else ()
    beside = [*view.warnings, *of_shared_model(view.model), *_without_middleware(startup)]
    beside += capacity_warnings(view.capacity) if view.capacity is not None else []
    return [*problems, *view.problems], [*warnings, *beside]


def _without_middleware(startup: Object) -> list[Problem]:
    """That the newest server runs without our middleware: it serves, and that is all."""
    if not (why := startup.get("withoutMiddleware")):
        return []
    words = f"server {startup.get('pod')} runs without the operator's middleware ({why}): its answers are not verified,"
    words += " a hang is not found, and requests may be lost when it ends"
    return [Problem(Reason.MIDDLEWARE_NOT_LOADED, words, "spec.engine.image", severity="warning")]


def _set_fit(conditions: Conditions, view: DeploymentView) -> None:
    if view.plan is None:
        return
    fit = view.plan.fit
    words = f"{fit.message}. {view.running}" if fit.blocks and view.running else fit.message
    conditions.set(Type.FITS, fit.status, fit.reason, words, stalled=fit.blocks)


def _was_preempted(before: Before) -> bool:
    """Whether the status says that a server had to make way: once its pod is gone nothing else does."""
    same = before.status.get("observedGeneration") == before.generation
    return same and before.condition(Type.SCHEDULED).get("reason") == Reason.PREEMPTED


def _set_servers(
    conditions: Conditions, spec: Qwen3DeploymentSpec, server: Object, view: DeploymentView, *, preempted: bool
) -> None:
    wanted, ready = servers_wanted(spec, server), _count(server, "readyReplicas")
    needed = servers_needed(spec, wanted)
    current = is_current(server)
    updated = _count(server, "updatedReplicas")
    rolled_out = current and updated >= needed and _count(server, "replicas") == updated
    if wanted == 0:
        _set_no_servers(conditions, server, gone=current and _count(server, "replicas") == 0)
        return
    telling = _telling(view)
    unplaced = [pod for pod in telling if pod.unplaced]
    placed = sum(pod.placed and not pod.over for pod in view.pods)
    if ready >= needed and rolled_out:
        scheduled = wanted if ready >= wanted else max(ready, placed)
        why_fewer = pod_trouble(unplaced, view.gpus_by_node)
        more = f"; {why_fewer.message}" if why_fewer and ready < wanted else ""
        conditions.set(Type.SCHEDULED, "True", Reason.SCHEDULED, f"{scheduled} of {wanted} servers have a node{more}")
        conditions.set(Type.AVAILABLE, "True", Reason.AVAILABLE, f"{ready} of {wanted} servers are ready")
        return
    trouble = pod_trouble(unplaced, view.gpus_by_node)
    if trouble and (words := _room_to_come(spec, server, view, unplaced)):
        conditions.set(Type.SCHEDULED, "Unknown", Reason.SCHEDULING, words)
    elif trouble and preempted and trouble.reason in _NO_ROOM:
        conditions.set(Type.SCHEDULED, "False", Reason.PREEMPTED, f"{_MADE_WAY}. {trouble.message}")
    elif trouble:
        conditions.set_trouble(Type.SCHEDULED, trouble)
    elif placed >= wanted:
        conditions.set(Type.SCHEDULED, "True", Reason.SCHEDULED, f"{wanted} of {wanted} servers have a node")
    elif preempted:
        words = f"{_MADE_WAY}: {placed} of {wanted} servers have a node"
        conditions.set(Type.SCHEDULED, "False", Reason.PREEMPTED, words)
    else:
        conditions.set(Type.SCHEDULED, "Unknown", Reason.SCHEDULING, f"{placed} of {wanted} servers have a node")
    if view.pods_refused:
        conditions.set_trouble(Type.AVAILABLE, trouble_of_refused(view.pods_refused, view.pods_refused_since, wanted))
    elif other := pod_trouble([pod for pod in telling if not pod.unplaced]):
        stalled = other.needs_a_person or (other.reason in FAULTS and is_in_order(verified_copy(view.model)))
        conditions.set(Type.AVAILABLE, "False", other.reason, other.message, stalled=stalled, since=other.since)
    else:
        conditions.set(Type.AVAILABLE, "False", Reason.STARTING, _progress(server, wanted, current=current))


def _telling(view: DeploymentView) -> list[PodView]:
    """Servers whose trouble counts: those of the present template, and what passes by itself of those before. What
    needed a person there was the spec before, which was edited."""

    def counts(pod: PodView) -> bool:
        trouble = pod_trouble([pod]) if template_hash(pod.pod) != view.present_template else None
        return trouble is None or not (trouble.reason.needs_person or trouble.reason in FAULTS)

    return list(view.pods) if view.present_template is None else list(filter(counts, view.pods))


def _room_to_come(spec: Qwen3DeploymentSpec, server: Object, view: DeploymentView, unplaced: Sequence[PodView]) -> str:
    """Whose place a server without a node will have; empty where no server makes way for it."""
    gpus = view.gpus_by_node or {}
    if not all(waits_for_room(pod.pod, gpus) for pod in unplaced):
        return ""
    if view.ending:
        return f"a new server waits for the GPUs of {view.ending} that are ending"
    others = [pod.pod for pod in view.pods if not pod.lost and not pod.over]
    replaces = spec.rollout.strategy == "Auto" and is_rolling(server)
    if replaces and all(makes_room(others, pod.pod, gpus) for pod in unplaced):
        return "no node has room for a new server beside those before: one of these goes first"
    return ""


def _set_no_servers(conditions: Conditions, server: Object, *, gone: bool) -> None:
    """Scheduled and Available where no server is wanted."""
    words = "no server is wanted"
    conditions.set(Type.SCHEDULED, "True", Reason.SCALED_TO_ZERO, words)
    if gone:
        conditions.set(Type.AVAILABLE, "True", Reason.SCALED_TO_ZERO, words)
    else:
        conditions.set(Type.AVAILABLE, "False", Reason.STOPPING, f"{words}: {_count(server, 'replicas')} are ending")


def _progress(server: Object, wanted: int, *, current: bool) -> str:
    """How far a start or a change of the servers is."""
    ready, updated = _count(server, "readyReplicas"), _count(server, "updatedReplicas")
    if not current:
        return "the change has just begun"
    if is_rolling(server):
        return f"{updated} of {wanted} servers are replaced ({order(server)}), {ready} are ready"
    return f"{ready} of {wanted} servers are ready"


def _add_model(result: dict[str, Any], spec: Qwen3DeploymentSpec, previous: Object, view: DeploymentView) -> None:
    """The copy that is served: the new one once its Qwen3Model is ready, until then the one before."""
    model, served = view.model, previous.get("model") if view.server is not None else None
    if model is None:
        if known := served or ({"id": spec.model.id} if spec.model else None):
            result["model"] = known
        return
    name = {"name": model["metadata"]["name"], **({"id": model["spec"]["id"]} if model.get("spec") else {})}
    download = (model.get("status") or {}).get("download")
    copy = verified_copy(model)
    result["model"] = name | dict(copy) if copy else served or name
    if download and model_condition(model).get("status") != "True":
        result["download"] = download


def _count(server: Object | None, key: str) -> int:
    return int((server or {}).get("status", {}).get(key) or 0)
