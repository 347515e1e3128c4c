"""Reconciling a Qwen3Deployment: shared model, Service, servers, status."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from pydantic import ValidationError

from qwen3_operator.api.deployment import Qwen3DeploymentSpec
from qwen3_operator.api.reasons import Reason
from qwen3_operator.api.source import ModelSource
from qwen3_operator.catalog import ConfigError
from qwen3_operator.controller.cluster import ApiError, Object
from qwen3_operator.controller.kinds import CLAIMS, CONFIG_MAPS, DEPLOYMENTS, PODS, SECRETS, SERVICES
from qwen3_operator.controller.ownership import controller_of, is_controlled_by
from qwen3_operator.controller.queue import Requeue
from qwen3_operator.controller.store import OWNER
from qwen3_operator.desired.disruption import is_of_one_node
from qwen3_operator.desired.drift import holds_all_of
from qwen3_operator.desired.earlier import as_of_earlier, command_in, without_middleware
from qwen3_operator.desired.in_engine import config_map_name, config_map_of, in_engine_config_map
from qwen3_operator.desired.keys import asks_for_keys, limits_config_map, limits_name
from qwen3_operator.desired.made_from import MadeFrom, inputs_of, made_from
from qwen3_operator.desired.patch import PatchError
from qwen3_operator.desired.rollout import RolledBack, is_current, must_delete_first, rolled_back
from qwen3_operator.desired.server import CONTAINER, length_in, server_deployment, server_template
from qwen3_operator.desired.service import server_service
from qwen3_operator.engine.node_gpus import NodeGpus
from qwen3_operator.engine.problem import Problem
from qwen3_operator.naming import QWEN3_DEPLOYMENTS, QWEN3_MODELS
from qwen3_operator.plan import Plan, Weights, make_plan
from qwen3_operator.reconcile.compile_cache import ensure_compile_cache
from qwen3_operator.reconcile.context import Context, refused
from qwen3_operator.reconcile.disruption import ensure_budget
from qwen3_operator.reconcile.front import ensure_front
from qwen3_operator.reconcile.holders import settle
from qwen3_operator.reconcile.in_use import claims_of, models_in_use
from qwen3_operator.reconcile.key import Key
from qwen3_operator.reconcile.models import (
    hear_of,
    note_models,
    other_hub,
    referred_model,
    shared_model_for,
    wanted_name,
    weights_of,
)
from qwen3_operator.reconcile.pods import newest_startup, views_of
from qwen3_operator.reconcile.reconciliation import Reconciliation, observed, together, undecodable
from qwen3_operator.reconcile.references import Reference, find_references
from qwen3_operator.reconcile.requeue import TROUBLE_SECONDS
from qwen3_operator.reconcile.rollout import failed_rollout
from qwen3_operator.reconcile.watched import BY_OWNER, owner_key
from qwen3_operator.status.accepted import unreadable
from qwen3_operator.status.deployment import DeploymentView, deployment_status
from qwen3_operator.status.model_ready import verified_copy
from qwen3_operator.status.pods import PodView

STARTING_SECONDS = 10.0
LOG_SECONDS = 0.3
"""How long Ready waits for what the log says of the start: a kubelet may be slow to give it."""
LATE_LOG_SECONDS = 1.0
"""A log that was not there in time is asked for again so soon."""
TEMPLATE_SECONDS = 60.0
"""How often a chat template's ConfigMap is read again: nobody watches users' ConfigMaps."""


async def reconcile_deployment(context: Context, key: Key) -> Requeue | float | None:
    """Reconcile one Qwen3Deployment. Returns the seconds after which to reconcile again, None for the resync."""
    obj = observed(context, QWEN3_DEPLOYMENTS, key)
    if obj is None:
        return None
    it = _Reconciliation(context, obj)
    spec = it.read_spec()
    if spec is not None:
        await it.act(spec)
    status = deployment_status(key.name, spec, obj["metadata"]["generation"], obj.get("status") or {}, it.view())
    await context.write_status(QWEN3_DEPLOYMENTS, obj, status, it.server_pods())
    if spec is not None:
        await settle(context, QWEN3_DEPLOYMENTS, obj, it.models_to_keep())
    return it.requeue_after(spec)


@dataclass
class _Reconciliation(Reconciliation):
    plan: Plan | None = None
    model: Object | None = None
    model_name: str = ""
    server: Object | None = None
    pods: list[PodView] = field(default_factory=list)
    gpus_by_node: Mapping[str, int] | None = None
    startup: Object | None = None
    startup_is_late: bool = False
    endpoint: str = ""
    template_hash: str = ""
    warnings: list[Problem] = field(default_factory=list)
    refused: RolledBack | None = None

    def view(self) -> DeploymentView:
        return DeploymentView(
            now=self.context.now(),
            plan=self.plan,
            problems=self.problems,
            warnings=self.warnings,
            model=self.model,
            server=self.server,
            pods=self.pods,
            ending=self._ending(),
            gpus_by_node=self.gpus_by_node,
            startup=self.startup,
            endpoint=self.endpoint,
            running=self._running_meanwhile(),
        )

    def read_spec(self) -> Qwen3DeploymentSpec | None:
        """The spec; None, and a problem, where it cannot be read."""
        server = self.context.store.get(DEPLOYMENTS, self._namespace, self._name)
        if is_controlled_by(server, self._uid):
            self.server = server
        if problem := undecodable(self.obj):
            self.problems.append(problem)
            return None
        try:
            return Qwen3DeploymentSpec.model_validate(self.obj["spec"])
        except ValidationError as error:
            self.problems.append(unreadable(error.errors()))
            return None

    async def act(self, spec: Qwen3DeploymentSpec) -> None:
        """Bring model, Service and servers to where they should be, and observe what came of it."""
        await together(
            self._ensure_model(spec),
            self._ensure_service(spec),
            self._ensure_budget(spec),
            self._ensure_compile_cache(spec),
            self._ensure_limits(spec),
            self._ensure_front(spec),
            self._find_references(spec),
        )
        if self.context.settings.read_cluster:
            self.gpus_by_node = {node: gpus.count for node, gpus in self._nodes(spec).items()}
        spec = self._with_source(spec)
        if spec.model is None:  # the model of its modelRef is not there
            await self._ensure_replicas(spec)
            return
        try:
            weights = weights_of(self.model, self.model_name, spec.model)
        except ConfigError as error:
            self.problems.append(Problem(Reason.INVALID_MODEL_CONFIG, str(error), "spec.model.id"))
            await self._ensure_replicas(spec)
            return
        await self._ensure_server(spec, weights)
        if self.server is None:
            return
        if not _rolled_out(self.server):
            self.pods = await views_of(self.context, self.server_pods(), CONTAINER)
            await self._go_back(spec)
        elif self.server["spec"].get("replicas"):
            await self._read_startup()

    def models_to_keep(self) -> set[str]:
        """Names of the models that are wanted, or that servers still run on."""
        held = self.context.store.find(QWEN3_MODELS, OWNER, self._uid)
        makers = [self.server["spec"]["template"]["spec"]] if self.server is not None else []
        makers += [pod["spec"] for pod in self.server_pods()]
        keep = models_in_use(held, makers) | ({self.model_name} if self.model_name else set())
        if self.server is not None and not _rolled_out(self.server):
            keep |= {model["metadata"]["name"] for model in held}  # it may have to go back to what served
        note_models(self.context, QWEN3_DEPLOYMENTS, self.obj, keep)
        return keep

    def requeue_after(self, spec: Qwen3DeploymentSpec | None) -> Requeue | float | None:
        """When it is reconciled again, where no watch brings the news."""
        if self.startup_is_late:
            return LATE_LOG_SECONDS
        if self.problems or (self.plan is not None and not self.plan.servable):
            return Requeue(TROUBLE_SECONDS, trouble=True)
        if self.pods:
            return STARTING_SECONDS
        return TEMPLATE_SECONDS if spec is not None and spec.engine.chat_template else None

    def server_pods(self) -> list[Object]:
        """Pods of the servers: those of the Deployment's ReplicaSets; a label alone is no proof."""
        owner = owner_key(self._namespace, QWEN3_DEPLOYMENTS.kind, self._name)
        pods = self.context.store.find(PODS, BY_OWNER, owner)
        return [pod for pod in pods if _is_of_replica_set(pod, self._name)]

    def _ending(self) -> int:
        """Servers that end and have a node, and its GPUs, until then."""
        return sum(
            bool(pod["metadata"].get("deletionTimestamp") and pod["spec"].get("nodeName")) for pod in self.server_pods()
        )

    async def _read_startup(self) -> None:
        """See what the log says of the start. A kubelet may be slow: Ready does not wait for it."""
        was_ready = any(c["type"] == "Ready" and c["status"] == "True" for c in self._status.get("conditions") or ())
        try:
            async with asyncio.timeout(None if was_ready else LOG_SECONDS):
                before = self._status.get("startup") or {}
                self.startup = await newest_startup(self.context, self.server_pods(), before)
        except TimeoutError:
            self.startup_is_late = True

    async def _ensure_model(self, spec: Qwen3DeploymentSpec) -> None:
        if spec.model is None:
            assert spec.model_ref is not None
            self.model_name = spec.model_ref.name
        else:
            self.model_name = wanted_name(self.context, self.obj, spec.model)
        hear_of(self.context, QWEN3_DEPLOYMENTS, self.obj, self.model_name)
        try:
            if spec.model is None:
                self.model = await referred_model(self.context, QWEN3_DEPLOYMENTS, self.obj, self.model_name)
            else:
                self.model = await shared_model_for(self.context, QWEN3_DEPLOYMENTS, self.obj, spec)
        except ApiError as error:
            self.problems.append(refused(QWEN3_MODELS, self.model_name, error))
        if spec.model is not None and (warning := other_hub(self.context, self.model, spec.model)):
            self.warnings.append(warning)
        if self.model is not None:
            self.model_name = self.model["metadata"]["name"]
        elif spec.model is None:
            words = f"Qwen3Model {self.model_name} does not exist: create it, or name another"
            self.problems.append(Problem(Reason.QWEN3_MODEL_NOT_FOUND, words, "spec.modelRef.name"))

    def _with_source(self, spec: Qwen3DeploymentSpec) -> Qwen3DeploymentSpec:
        """The spec with the checkpoint that its modelRef stands for."""
        if spec.model is not None or self.model is None:
            return spec
        return spec.model_copy(update={"model": ModelSource.model_validate(self.model["spec"])})

    async def _ensure_service(self, spec: Qwen3DeploymentSpec) -> None:
        try:
            await self.context.ensure(SERVICES, server_service(self._namespace, self._name, self._uid, spec))
        except ApiError as error:
            self.problems.append(refused(SERVICES, self._name, error))
            return
        domain = self.context.settings.cluster_domain
        self.endpoint = f"http://{self._name}.{self._namespace}.svc.{domain}:{spec.service.port}/v1"

    async def _ensure_budget(self, spec: Qwen3DeploymentSpec) -> None:
        self.warnings += await ensure_budget(self.context, self.obj, spec)

    async def _ensure_compile_cache(self, spec: Qwen3DeploymentSpec) -> None:
        found = await ensure_compile_cache(self.context, self.obj, spec.engine.compile_cache)
        self.warnings += [problem for problem in found if problem.severity == "warning"]
        self.problems += [problem for problem in found if problem.severity == "error"]

    async def _ensure_front(self, spec: Qwen3DeploymentSpec) -> None:
        startup = self._status.get("startup") or {}
        self.warnings += await ensure_front(self.context, self.obj, spec, startup)

    async def _ensure_limits(self, spec: Qwen3DeploymentSpec) -> None:
        """Have the limits where servers read them. Nobody watches ConfigMaps: it is read each time."""
        if not (spec.auth and spec.auth.keys):
            return
        try:
            wanted = limits_config_map(self._namespace, self._name, self._uid, spec.auth.limits)
            await self.context.ensure(CONFIG_MAPS, wanted)
        except ApiError as error:
            self.problems.append(refused(CONFIG_MAPS, limits_name(self._name), error))

    async def _find_references(self, spec: Qwen3DeploymentSpec) -> None:
        """Problems where a Secret or ConfigMap that the servers need is not there, and the chat template's hash."""
        wanted = []
        if spec.auth and (secret := spec.auth.api_key_secret_ref):
            wanted.append(Reference(SECRETS, secret.name, secret.key, "spec.auth.apiKeySecretRef"))
        if spec.auth and spec.auth.keys:
            wanted.append(Reference(SECRETS, spec.auth.keys.secret_ref.name, "", "spec.auth.keys.secretRef"))
        if spec.engine.chat_template:
            template = spec.engine.chat_template.config_map_key_ref
            where = "spec.engine.chatTemplate.configMapKeyRef"
            wanted.append(Reference(CONFIG_MAPS, template.name, template.key, where))
        found = await find_references(self.context, self._namespace, wanted)
        self.problems += found.problems
        if spec.engine.chat_template:
            self.template_hash = found.digests[-1]

    async def _ensure_server(self, spec: Qwen3DeploymentSpec, weights: Weights) -> None:
        """Make or change the servers once the model is there. What is refused changes nothing of what runs."""
        inputs = inputs_of(spec, weights, self.template_hash)
        made = made_from(self.server) or self._unrecorded(spec, weights, inputs)
        kept = made if made is not None and made.inputs == inputs else None
        self._look_at_refusal(inputs, kept)
        self.plan = self._plan(spec, weights, kept)
        if self.refused is not None and made is not None:
            await self._apply_server(spec, made)
            return
        blocked = bool(self.problems) or not self.plan.servable
        if blocked or verified_copy(self.model) is None:
            await self._ensure_replicas(spec)
            return
        try:
            await self._apply_server(spec, kept or self._made_of(spec, inputs, self.plan))
        except PatchError as error:
            self.problems.append(Problem(Reason.INVALID_PATCH, str(error), "spec.podTemplatePatch"))

    def _look_at_refusal(self, inputs: str, kept: MadeFrom | None) -> None:
        """A spec whose servers failed is not tried again until it changes."""
        refused = rolled_back(self.server)
        self.refused = refused if refused is not None and refused.inputs == inputs and kept is None else None
        self._tell_refusal()

    def _tell_refusal(self) -> None:
        if self.refused is not None:
            words = f"the servers of this spec failed ({self.refused.reason}): {self.refused.message}"
            self.problems.append(Problem(Reason.ROLLED_BACK, words, "spec"))

    async def _go_back(self, spec: Qwen3DeploymentSpec) -> None:
        """Where servers of this spec fail for good, have those of the spec before again."""
        if self.server is None or (self.problems and self.refused is None):
            return
        if (found := await failed_rollout(self.context, self.server, self.pods, self.refused)) is None:
            return
        if spec.auth and spec.auth.keys and not asks_for_keys(found[1].template):
            return  # those before let everybody in
        known = self.refused is not None
        self.refused, before = found
        await self._apply_server(spec, before)
        if not known:
            self._tell_refusal()

    def _plan(self, spec: Qwen3DeploymentSpec, weights: Weights, made: MadeFrom | None) -> Plan:
        """The plan for `spec`: with the values of the servers that were made from it, or with those of now."""
        kinds = self._kinds_of_nodes(spec)
        fresh = make_plan(weights, spec, self.context.settings, kinds, self.template_hash)
        if made is None:
            return fresh
        judged, length = fresh, made.plan.max_model_len
        if fresh.max_model_len != length:
            judged = make_plan(weights, spec, self.context.settings, kinds, self.template_hash, chosen_length=length)
        plan = judged.as_made(made.plan, fresh)
        return plan.seen_to_fit() if _serves(self.server) else plan

    def _nodes(self, spec: Qwen3DeploymentSpec) -> Mapping[str, NodeGpus]:
        """Nodes that a server may land on: name -> their GPUs."""
        return self.context.nodes.gpus(spec.scheduling.node_selector, spec.gpu.resource_name)

    def _kinds_of_nodes(self, spec: Qwen3DeploymentSpec) -> list[NodeGpus]:
        """The unlike among them."""
        return sorted(set(self._nodes(spec).values()))

    def _made_of(self, spec: Qwen3DeploymentSpec, inputs: str, plan: Plan) -> MadeFrom:
        """What servers of `plan` are made from. Raises PatchError."""
        return MadeFrom(inputs, plan, server_template(self._name, spec, plan, self.context.settings))

    def _unrecorded(self, spec: Qwen3DeploymentSpec, weights: Weights, inputs: str) -> MadeFrom | None:
        """What servers were made from that an earlier release made, which wrote nothing on them: this spec, where they
        have every value that servers of it would have."""
        if self.server is None or verified_copy(self.model) is None:
            return None
        template = self.server["spec"]["template"]
        settings, length = self.context.settings, length_in(template)
        kinds = self._kinds_of_nodes(spec)
        plan = make_plan(weights, spec, settings, kinds, self.template_hash, chosen_length=length, middleware=False)
        try:
            made = self._made_of(spec, inputs, plan)
        except PatchError:
            return None
        if not holds_all_of(without_middleware(template), as_of_earlier(made.template, self._name, spec)):
            return None
        return replace(made, template=template, plan=replace(plan, command=command_in(template)))

    async def _ensure_replicas(self, spec: Qwen3DeploymentSpec) -> None:
        """Servers stop when they are to stop, whatever else is wrong; all else stays as it is."""
        made = made_from(self.server)
        if made is not None and (spec.suspend or spec.replicas == 0):
            self.refused = self.refused or rolled_back(self.server)
            await self._apply_server(spec, made)

    async def _apply_server(self, spec: Qwen3DeploymentSpec, made: MadeFrom) -> None:
        replicas = 0 if spec.suspend else spec.replicas
        claims = [self.context.store.get(CLAIMS, self._namespace, claim) for claim in claims_of(made.template["spec"])]
        first = must_delete_first(
            spec.rollout,
            self.server,
            self.server_pods(),
            self.gpus_by_node or {},
            self.context.now(),
            volume_of_one_node=any(map(is_of_one_node, claims)),
        )
        wanted = server_deployment(
            self._namespace,
            self._name,
            self._uid,
            replicas,
            made,
            spec.rollout,
            delete_first=first,
            refused=self.refused,
        )
        try:
            await self._ensure_middleware(config_map_of(made.template))
            self.server = await self.context.ensure(DEPLOYMENTS, wanted)
        except ApiError as error:
            self.problems.append(refused(DEPLOYMENTS, self._name, error))

    async def _ensure_middleware(self, called: str) -> None:
        """Have the ConfigMap that the servers mount. One of an earlier release is theirs as it is: it is immutable.

        Nobody watches it: it is read where servers are to mount it, and while one has a node and does not start.
        """
        mounted = config_map_of(self.server["spec"]["template"]) if self.server is not None else ""
        if not called or (called == mounted and not any(map(_is_starting, self.server_pods()))):
            return
        live = await self.context.observe(CONFIG_MAPS, self._namespace, called)
        wanted = in_engine_config_map(self._namespace, self._name, self._uid, called)
        if live is None or called == config_map_name(self._name):
            await self.context.change(CONFIG_MAPS, live, wanted)

    def _running_meanwhile(self) -> str:
        """What serves although the spec asks for something else; empty where what runs is what is wanted."""
        made = made_from(self.server)
        status = (self.server or {}).get("status") or {}
        if made is None or self.plan is None or not status.get("readyReplicas"):
            return ""
        if not self.problems and self.plan.servable:
            return ""
        plan = made.plan
        return f"Meanwhile {status['readyReplicas']} servers go on: {plan.image}, maxModelLen {plan.max_model_len}"


def _is_of_replica_set(pod: Object, deployment: str) -> bool:
    by = controller_of(pod) or {}
    return by.get("kind") == "ReplicaSet" and str(by["name"]).startswith(f"{deployment}-")


def _is_starting(pod: Object) -> bool:
    """Whether a pod has a node, and its containers were not started yet: its volumes may be what it waits for."""
    return bool(pod["spec"].get("nodeName")) and (pod.get("status") or {}).get("phase") == "Pending"


def _serves(server: Object | None) -> bool:
    """Whether a server of the Deployment's present template is up."""
    status = (server or {}).get("status") or {}
    return (
        server is not None
        and is_current(server)
        and 0 < (status.get("updatedReplicas") or 0) == (status.get("replicas") or 0)
        and (status.get("readyReplicas") or 0) > 0
    )


def _rolled_out(server: Object) -> bool:
    """Whether every pod of the Deployment is of its present template and ready."""
    status, wanted = server.get("status") or {}, server["spec"].get("replicas", 1)
    return bool(
        is_current(server)
        and (status.get("replicas") or 0) == wanted
        and (status.get("updatedReplicas") or 0) == wanted
        and (status.get("readyReplicas") or 0) == wanted
    )
