"""Status of a Qwen3Deployment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from qwen3_operator.api.conditions import DEPLOYMENT_TYPES, Type
from qwen3_operator.api.deployment import Qwen3DeploymentSpec
from qwen3_operator.engine.diagnosis import diagnose_create_failure
from qwen3_operator.engine.problem import Problem
from qwen3_operator.naming import server_selector
from qwen3_operator.plan import Plan
from qwen3_operator.status.accepted import set_accepted
from qwen3_operator.status.conditions import Conditions, Idle
from qwen3_operator.status.model_fault import FAULTS, fault_at, is_in_order
from qwen3_operator.status.model_ready import model_condition, set_model_ready, verified_copy
from qwen3_operator.status.pods import PodView, pod_trouble

Object = Mapping[str, Any]


@dataclass(frozen=True)
class DeploymentView:
    """What was seen of a Qwen3Deployment and its children at one moment."""

    now: datetime
    plan: Plan | None = None
    """None: the spec could not be read."""
    problems: Sequence[Problem] = ()
    """What keeps the servers from being made or changed beside the plan's own: a missing Secret, a refused child."""
    model: Object | None = None
    """The Qwen3Model."""
    server: Object | None = None
    """The Deployment."""
    pods: Sequence[PodView] = ()
    """Pods of the servers, newest first; none when all is well."""
    gpus_by_node: Mapping[str, int] | None = None
    startup: Object | None = None
    """`status.startup`, when it is known."""
    endpoint: str = ""
    running: str = ""
    """What serves meanwhile, where the spec is refused."""


def deployment_status(
    name: str, spec: Qwen3DeploymentSpec | None, generation: int, previous: Object, view: DeploymentView
) -> dict[str, Any]:
    """The status of the Qwen3Deployment `name`, from its `previous` status and what was seen."""
    conditions = Conditions(DEPLOYMENT_TYPES)
    fault = fault_at(previous, view.pods, verified_copy(view.model))
    idle = None
    if spec is not None and view.plan is not None:
        set_accepted(conditions, [*view.plan.problems, *view.problems], view.plan.warnings, view.running)
        set_model_ready(conditions, view.model, fault)
        _set_fit(conditions, view.plan, view.running)
        if spec.suspend or spec.replicas == 0:
            words = "spec.suspend is true" if spec.suspend else "spec.replicas is 0"
            idle = Idle(reason="Suspended", message=f"{words}: no server runs")
            conditions.set(Type.SCHEDULED, "Unknown", "Suspended", words)
            conditions.set(Type.AVAILABLE, "False", "Suspended", words)
        elif not any(p.reason for p in view.problems) or view.server is not None:
            _set_servers(conditions, spec, view)
    else:
        set_accepted(conditions, view.problems, (), view.running)
    if conditions.trouble(upto=Type.FITS):
        idle = None  # what is wrong is worth more than that nothing runs
    conditions.summarize("Serving", f"{view.endpoint} answers", idle=idle)
    result: dict[str, Any] = {
        "observedGeneration": generation,
        "conditions": conditions.as_status(dict(previous), generation=generation, now=view.now),
        "selector": ",".join(f"{k}={v}" for k, v in sorted(server_selector(name).items())),
        "replicas": _count(view.server, "replicas"),
        "readyReplicas": _count(view.server, "readyReplicas"),
    }
    if view.endpoint:
        result["endpoint"] = view.endpoint
    _add_model(result, previous, view)
    if fault:
        result["modelFaultAt"] = fault
    if startup := view.startup or previous.get("startup"):
        result["startup"] = dict(startup)
    if view.plan is not None:
        result["engine"] = view.plan.engine_status()
        result["plan"] = [entry.as_status() for entry in view.plan.values]
    return result


def _set_fit(conditions: Conditions, plan: Plan, running: str) -> None:
    fit = plan.fit
    words = f"{fit.message}. {running}" if fit.blocks and running else fit.message
    conditions.set(Type.FITS, fit.status, fit.reason, words, stalled=fit.blocks)


def _set_servers(conditions: Conditions, spec: Qwen3DeploymentSpec, view: DeploymentView) -> None:
    if view.server is None:
        return
    wanted, ready = spec.replicas, _count(view.server, "readyReplicas")
    current = view.server.get("status", {}).get("observedGeneration") == view.server["metadata"].get("generation")
    updated = _count(view.server, "updatedReplicas")
    rolled_out = current and updated >= wanted and _count(view.server, "replicas") == updated
    if ready >= wanted and rolled_out:
        conditions.set(Type.SCHEDULED, "True", "Scheduled", f"{wanted} of {wanted} servers have a node")
        conditions.set(Type.AVAILABLE, "True", "Available", f"{ready} of {wanted} servers are ready")
        return
    unplaced = [pod for pod in view.pods if pod.unplaced]
    placed = sum(pod.placed for pod in view.pods)
    if trouble := pod_trouble(unplaced, view.gpus_by_node):
        conditions.set(Type.SCHEDULED, "False", trouble.reason, trouble.message, stalled=trouble.needs_a_person)
    elif placed >= wanted:
        conditions.set(Type.SCHEDULED, "True", "Scheduled", f"{wanted} of {wanted} servers have a node")
    else:
        conditions.set(Type.SCHEDULED, "Unknown", "Scheduling", f"{placed} of {wanted} servers have a node")
    if words := _refusal(view.server):
        cause = diagnose_create_failure(words)
        remedy = f". To do: {cause.remedy}" if cause.remedy else ""
        conditions.set(Type.AVAILABLE, "False", cause.reason, cause.message + remedy, stalled=True)
    elif other := pod_trouble([pod for pod in view.pods if not pod.unplaced]):
        stalled = other.needs_a_person or (other.reason in FAULTS and is_in_order(verified_copy(view.model)))
        conditions.set(Type.AVAILABLE, "False", other.reason, other.message, stalled=stalled)
    else:
        conditions.set(Type.AVAILABLE, "False", "Starting", _progress(view.server, wanted, current=current))


def _progress(server: Object, wanted: int, *, current: bool) -> str:
    """How far a start or a change of the servers is."""
    ready, updated = _count(server, "readyReplicas"), _count(server, "updatedReplicas")
    if not current:
        return "the change has just begun"
    if updated < wanted:
        return f"{updated} of {wanted} servers are replaced, {ready} are ready"
    if _count(server, "replicas") > updated:
        return f"{_count(server, 'replicas') - updated} servers of before are ending"
    return f"{ready} of {wanted} servers are ready"


def _refusal(server: Object) -> str:
    """Why the API server refuses the pods; empty when it does not."""
    for condition in server.get("status", {}).get("conditions") or []:
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            return str(condition.get("message", ""))
    return ""


def _add_model(result: dict[str, Any], previous: Object, view: DeploymentView) -> None:
    """The copy that is served: the new one once its Qwen3Model is ready, until then the one before."""
    model = view.model
    if model is None:
        return
    name = {"name": model["metadata"]["name"], **({"id": model["spec"]["id"]} if model.get("spec") else {})}
    download = (model.get("status") or {}).get("download")
    if copy := verified_copy(model):
        result["model"] = name | dict(copy)
    else:
        result["model"] = previous.get("model") or name
    if download and model_condition(model).get("status") != "True":
        result["download"] = download


def _count(server: Object | None, key: str) -> int:
    return int((server or {}).get("status", {}).get(key) or 0)
