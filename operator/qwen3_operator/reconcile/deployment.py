"""Reconciling a Qwen3Deployment: shared model, Service, servers, status."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace

from pydantic import ValidationError

from qwen3_operator.api.deployment import Qwen3DeploymentSpec
from qwen3_operator.api.reasons import Reason
from qwen3_operator.catalog import ConfigError
from qwen3_operator.controller.cluster import ApiError, Object
from qwen3_operator.controller.kinds import CONFIG_MAPS, DEPLOYMENTS, SECRETS, SERVICES
from qwen3_operator.controller.queue import Requeue
from qwen3_operator.controller.store import OWNER
from qwen3_operator.desired.capacity import capacity_name
from qwen3_operator.desired.keys import limits_config_map, limits_name
from qwen3_operator.desired.made_from import made_from
from qwen3_operator.desired.server import CONTAINER
from qwen3_operator.desired.service import server_service
from qwen3_operator.engine.diagnosis import has_ended
from qwen3_operator.engine.problem import Problem
from qwen3_operator.naming import QWEN3_DEPLOYMENTS, QWEN3_MODELS
from qwen3_operator.plan import Weights
from qwen3_operator.reconcile.adapters import ask_servers, ensure_list, find_adapters
from qwen3_operator.reconcile.autoscaling import autoscales
from qwen3_operator.reconcile.capacity import having_reported, hear_results, read_results, to_ask
from qwen3_operator.reconcile.compile_cache import ensure_compile_cache
from qwen3_operator.reconcile.context import Context, refused
from qwen3_operator.reconcile.disruption import ensure_budget
from qwen3_operator.reconcile.front import ensure_front
from qwen3_operator.reconcile.holders import settle
from qwen3_operator.reconcile.in_use import models_in_use
from qwen3_operator.reconcile.key import Key, key_of
from qwen3_operator.reconcile.models import (
    hear_of,
    note_models,
    other_hub,
    referred_model,
    shared_model_for,
    wanted_name,
    weights_of,
)
from qwen3_operator.reconcile.pods import makes_way, newest_startup, views_of, without_replaced
from qwen3_operator.reconcile.reconciliation import observed, together, undecodable
from qwen3_operator.reconcile.references import Reference, find_references
from qwen3_operator.reconcile.requeue import TROUBLE_SECONDS
from qwen3_operator.reconcile.route import Route, ensure_route, remove_route
from qwen3_operator.reconcile.servers import Servers, is_rolled_out
from qwen3_operator.status.accepted import unreadable
from qwen3_operator.status.adapters import ServersView
from qwen3_operator.status.capacity import not_measured
from qwen3_operator.status.deployment import DeploymentView, deployment_status
from qwen3_operator.status.model_ready import source_of, verified_copy
from qwen3_operator.status.pods import is_preempted

STARTING_SECONDS = 10.0
LOG_SECONDS = 0.3
"""How long Ready waits for what the log says of the start: a kubelet may be slow to give it."""
LATE_LOG_SECONDS = 1.0
"""A log that was not there in time is asked for again so soon."""
TEMPLATE_SECONDS = 60.0
"""How often a chat template's ConfigMap, or a Secret that may be read, is read again: nobody watches users' own."""


async def reconcile_deployment(context: Context, key: Key) -> Requeue | float | None:
    """Reconcile one Qwen3Deployment. Returns the seconds after which to reconcile again, None for the resync."""
    obj = observed(context, QWEN3_DEPLOYMENTS, key)
    if obj is None:
        return None
    it = _Reconciliation(context, obj)
    spec = it.read_spec()
    await it.prove_pods()
    if spec is not None:
        await it.act(spec)
        await settle(context, QWEN3_DEPLOYMENTS, obj, it.models_to_keep())
    status = deployment_status(key.name, spec, obj["metadata"]["generation"], obj.get("status") or {}, it.view())
    # The last thing that a reconcile does: after it nothing may fail, for a failure is a write of its own.
    await context.write_status(QWEN3_DEPLOYMENTS, obj, status, it.server_pods())
    return it.requeue_after(spec)


@dataclass
class _Reconciliation(Servers):
    model_name: str = ""
    startup: Object | None = None
    startup_is_late: bool = False
    endpoint: str = ""
    route: Route | None = None
    adapter_servers: ServersView = field(default_factory=ServersView)
    results_live: Object | None = None
    """The ConfigMap with what servers have measured."""
    results_refused: bool = False
    """Whether that one is not there for us."""
    unmeasured: bool = False
    """Whether a server is ready whose log is to be read yet for what it measured."""
    newly_measured: bool = False

    def view(self) -> DeploymentView:
        present = self.present_now()
        return DeploymentView(
            now=self.context.now(),
            plan=self.plan,
            problems=self.problems,
            warnings=self.warnings,
            model=self.model,
            adapters=self.adapters.views if self.adapters.known else None,
            adapter_servers=self.adapter_servers,
            server=self.server,
            pods=self.pods,
            present_template=present.template if present is not None else None,
            pods_refused=present.pods_refused if present is not None else "",
            pods_refused_since=present.since if present is not None else None,
            ending=self._ending(),
            preempted=any(map(is_preempted, self.server_pods())),
            gpus_by_node=self.gpus_by_node,
            startup=self.startup,
            endpoint=self.endpoint,
            namespace=self._namespace,
            route=self.route.live if self.route else None,
            route_problem=self.route.problem if self.route else None,
            pool=self.route.pool if self.route else None,
            running=self._running_meanwhile(),
            scaler=self.scaler,
            capacity=self.capacity_of(made_from(self.server)) if self.measured else None,
        )

    def read_spec(self) -> Qwen3DeploymentSpec | None:
        """The spec; None, and a problem, where it cannot be read."""
        self.server = self.context.own(DEPLOYMENTS, self._namespace, self._name, self._uid)
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
            self._observe_present(),
            self._ensure_model(spec),
            self._ensure_service(spec),
            self._ensure_route(spec),
            self._ensure_budget(spec),
            self._ensure_compile_cache(spec),
            self._ensure_limits(spec),
            self._read_results(spec),
            self._ensure_front(spec),
            self._find_references(spec),
        )
        if self.context.settings.read_cluster:
            self.gpus_by_node = {node: gpus.count for node, gpus in self._nodes(spec).items()}
        if verified_copy(self.model) is not None:
            await self._find_server()
        await self._settle_whose_replicas(spec)
        spec = self._with_source(spec)
        weights = self._weights(spec)
        paths = await self._ensure_adapters(spec, weights)
        if weights is None:
            await self._ensure_replicas(spec)
        else:
            await self._ensure_server(spec, replace(weights, adapters=self.adapters.verified, lora=self.adapters.lora))
        if self.server is None:
            return
        await self._hear_results(spec)
        await self._ensure_autoscaler(spec)
        if self.adapters.views:
            self.adapter_servers = await ask_servers(self.context, self.obj, self.server_pods(), paths)
        if not is_rolled_out(self.server):
            pods = without_replaced(self.server_pods(), self.context.now())
            self.pods = await views_of(self.context, pods, CONTAINER)
            if weights is not None:
                await self._go_back(spec)
        elif self.server["spec"].get("replicas"):
            await self._read_startup()

    def models_to_keep(self) -> set[str]:
        """Names of the models that are wanted, or that servers still run on."""
        held = self.context.store.find(QWEN3_MODELS, OWNER, self._uid)
        makers = [self.server["spec"]["template"]["spec"]] if self.server is not None else []
        makers += [pod["spec"] for pod in self.seeming_pods() if not has_ended(pod)]
        keep = models_in_use(held, makers) | ({self.model_name} if self.model_name else set())
        keep |= self.adapters.models(held)
        if self.server is not None and not is_rolled_out(self.server):
            keep |= {model["metadata"]["name"] for model in held}  # it may have to go back to what served
        note_models(self.context, QWEN3_DEPLOYMENTS, self.obj, keep)
        return keep

    def requeue_after(self, spec: Qwen3DeploymentSpec | None) -> Requeue | float | None:
        """When it is reconciled again, where no watch brings the news."""
        if self.startup_is_late or self.newly_measured:
            return LATE_LOG_SECONDS
        if self.problems or (self.plan is not None and not self.plan.servable):
            return Requeue(TROUBLE_SECONDS, trouble=True)
        if self.pods or self.present is not None:
            # Thousands may wait for a node, and the watch brings that; that a grace is over nobody brings, nor what a
            # ReplicaSet says anew while its Deployment says the same.
            return Requeue(STARTING_SECONDS, trouble=True)
        if self.rehearsal_in is not None:
            return self.rehearsal_in
        if self.adapter_servers.have != self.adapter_servers.ready:
            return Requeue(TROUBLE_SECONDS, trouble=True)  # what they say is in their logs
        if self.unmeasured:
            return Requeue(TROUBLE_SECONDS, trouble=True)  # the same
        in_the_way = [*self.warnings, *([self.route.problem] if self.route and self.route.problem else [])]
        if any(it.retried for it in in_the_way):
            return Requeue(TROUBLE_SECONDS, trouble=True)
        reads = self.reads_secrets or (spec is not None and spec.engine.chat_template is not None)
        return TEMPLATE_SECONDS if reads else None

    def _ending(self) -> int:
        """Servers that end, and whose GPUs another one can have then."""
        return sum(makes_way(self.context, pod) for pod in self.server_pods())

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
        """The spec with the checkpoint that its modelRef stands for; as it is where that cannot be read."""
        source = source_of(self.model) if spec.model is None and self.model is not None else None
        return spec if source is None else spec.model_copy(update={"model": source})

    def _weights(self, spec: Qwen3DeploymentSpec) -> Weights | None:
        """Of the model; None where it is not known which it is, or where it makes no sense: then what runs goes on."""
        if spec.model is None:
            return None
        try:
            return weights_of(self.model, self.model_name, spec.model)
        except ConfigError as error:
            self.problems.append(Problem(Reason.INVALID_MODEL_CONFIG, str(error), "spec.model.id"))
            return None

    async def _ensure_service(self, spec: Qwen3DeploymentSpec) -> None:
        try:
            await self.context.ensure(SERVICES, server_service(self._namespace, self._name, self._uid, spec))
        except ApiError as error:
            self.problems.append(refused(SERVICES, self._name, error))
            return
        domain = self.context.settings.cluster_domain
        self.endpoint = f"http://{self._name}.{self._namespace}.svc.{domain}:{spec.service.port}/v1"

    async def _ensure_route(self, spec: Qwen3DeploymentSpec) -> None:
        if spec.service.gateway is None:
            self.warnings += await remove_route(self.context, self.obj)
        else:
            self.route = await ensure_route(self.context, self.obj, spec)
            self.warnings += self.route.warnings

    async def _ensure_budget(self, spec: Qwen3DeploymentSpec) -> None:
        self.warnings += await ensure_budget(self.context, self.obj, spec, self.server)

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

    async def _read_results(self, spec: Qwen3DeploymentSpec) -> None:
        """What servers have measured of themselves, as it was kept."""
        if spec.benchmark is None:
            return
        try:
            self.results_live, self.measured = await read_results(self.context, self.obj)
        except ApiError as error:
            self.problems.append(refused(CONFIG_MAPS, capacity_name(self._name), error))
            self.results_refused = True

    async def _hear_results(self, spec: Qwen3DeploymentSpec) -> None:
        """What they have measured since, and that an autoscaler waits for it."""
        seen = self.capacity_of(made_from(self.server))
        if spec.benchmark is not None and seen.key and not self.results_refused:
            user, pods, heard = key_of(QWEN3_DEPLOYMENTS, self.obj), self.server_pods(), self.context.results_heard
            reported = heard.of(user, seen.key, pods)
            asked = to_ask(pods, reported, known=bool(seen.own))
            before = len(self.measured)
            self.measured, spoke, problems = await hear_results(
                self.context, self.obj, self.results_live, self.measured, seen.key, asked
            )
            known = bool(self.capacity_of(made_from(self.server)).own)
            reported = having_reported(reported, spoke, asked, known_before=bool(seen.own), known=known)
            heard.note(user, seen.key, [pod for pod in pods if pod["metadata"]["name"] in reported])
            self.problems += problems
            self.newly_measured = len(self.measured) > before
            has_no_middleware = (self._status.get("startup") or {}).get("withoutMiddleware")
            self.unmeasured = len(spoke) < len(asked) if known else bool(asked) and not has_no_middleware
        if autoscales(spec) and self._waits_for_target(spec):
            self.warnings.append(not_measured())

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

    async def _ensure_adapters(self, spec: Qwen3DeploymentSpec, weights: Weights | None) -> dict[str, str]:
        """Have the adapters, and the list of them, which is returned. `weights`: of the model that they are for."""
        base, facts = (self.model, weights.facts) if weights is not None else (None, None)
        made = made_from(self.server)
        self.adapters, problems = await find_adapters(self.context, self.obj, spec, base, facts, made)
        paths, refusals = await ensure_list(self.context, self.obj, self.adapters)
        self.problems += [*problems, *refusals]
        return paths
