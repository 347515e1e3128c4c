"""Reconciling a Qwen3Deployment: shared model, Service, servers, status."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from qwen3_operator.api.deployment import Qwen3DeploymentSpec
from qwen3_operator.controller.cluster import ApiError, Object
from qwen3_operator.controller.kinds import CLAIMS, CONFIG_MAPS, DEPLOYMENTS, SECRETS, SERVICES
from qwen3_operator.desired.compile_cache import cache_claim, cache_claim_name
from qwen3_operator.desired.middleware import middleware_config_map
from qwen3_operator.desired.patch import PatchError
from qwen3_operator.desired.server import CONTAINER, server_deployment
from qwen3_operator.desired.service import server_service
from qwen3_operator.engine.problem import Problem
from qwen3_operator.naming import (
    MIDDLEWARE,
    QWEN3_DEPLOYMENTS,
    QWEN3_MODELS,
    digest,
    model_name,
    server_selector,
)
from qwen3_operator.plan import Plan, make_plan
from qwen3_operator.reconcile.context import Context, invalid_spec, refused
from qwen3_operator.reconcile.key import Key
from qwen3_operator.reconcile.models import shared_model_for, weights_of
from qwen3_operator.reconcile.pods import newest_startup, view_pods
from qwen3_operator.reconcile.reconciliation import Reconciliation, read_live
from qwen3_operator.reconcile.requeue import TROUBLE_SECONDS
from qwen3_operator.reconcile.sharing import release
from qwen3_operator.status.deployment import DeploymentView, deployment_status
from qwen3_operator.status.model_ready import verified_copy
from qwen3_operator.status.pods import PodView

STARTING_SECONDS = 10.0
LOG_SECONDS = 0.3
"""How long Ready waits for what the log says of the start: a kubelet may be slow to give it."""
TEMPLATE_SECONDS = 60.0
"""How often a chat template's ConfigMap is read again: nobody watches users' ConfigMaps."""


async def reconcile_deployment(context: Context, key: Key) -> float | None:
    """Reconcile one Qwen3Deployment. Returns the seconds after which to reconcile again, None for the resync."""
    obj = await read_live(context, QWEN3_DEPLOYMENTS, key)
    if obj is None:
        return None
    it = _Reconciliation(context, obj)
    spec: Qwen3DeploymentSpec | None = None
    try:
        spec = Qwen3DeploymentSpec.model_validate(obj["spec"])
        await it.observe(spec)
    except ValidationError as error:
        it.problems.append(invalid_spec(error.errors()))
    status = deployment_status(key.name, spec, obj["metadata"]["generation"], obj.get("status") or {}, it.view())
    if spec is not None:
        # Before the status, which alone remembers the model before: a crash between the two must not forget it.
        await it.leave_old_model(status)
    await context.write_status(QWEN3_DEPLOYMENTS, obj, status)
    if spec is not None and it.startup_is_late:
        await it.read_startup()
        told = deployment_status(key.name, spec, obj["metadata"]["generation"], status, it.view())
        await context.write_status(QWEN3_DEPLOYMENTS, obj | {"status": status}, told)
    return it.requeue_after(spec, status)


@dataclass
class _Reconciliation(Reconciliation):
    plan: Plan | None = None
    problems: list[Problem] = field(default_factory=list)
    model: Object | None = None
    server: Object | None = None
    pods: list[PodView] = field(default_factory=list)
    gpus_by_node: Mapping[str, int] | None = None
    startup: Object | None = None
    startup_is_late: bool = False
    endpoint: str = ""
    template_hash: str = ""

    def view(self) -> DeploymentView:
        return DeploymentView(
            now=self.context.now(),
            plan=self.plan,
            problems=self.problems,
            model=self.model,
            server=self.server,
            pods=self.pods,
            gpus_by_node=self.gpus_by_node,
            startup=self.startup,
            endpoint=self.endpoint,
        )

    async def observe(self, spec: Qwen3DeploymentSpec) -> None:
        """Bring model, Service and servers to where they should be and see what came of it."""
        await asyncio.gather(
            self._ensure_model(spec),
            self._ensure_service(spec),
            self._ensure_compile_cache(spec),
            self._find_references(spec),
            self._find_server(),
        )
        nodes = await self.context.nodes.gpus(
            self.context.cluster, spec.scheduling.node_selector, spec.gpu.resource_name
        )
        self.gpus_by_node = {node: gpus.count for node, gpus in nodes.items()}
        kinds = sorted(set(nodes.values()))
        self.plan = make_plan(
            weights_of(self.model, spec.model),
            spec,
            self.context.settings,
            kinds,
            self.template_hash,
            chosen_length=self._chosen_length(),
        )
        if self._serves_this_spec():
            self.plan = self.plan.seen_to_fit()
        await self._ensure_server(spec)
        if self.server is not None and not _settled(self.server):
            self.pods = await view_pods(self.context, self._namespace, self._server_labels, CONTAINER)
        elif self.server is not None and self.server["spec"].get("replicas"):
            try:
                async with asyncio.timeout(LOG_SECONDS):
                    await self.read_startup()
            except TimeoutError:
                self.startup_is_late = True

    async def read_startup(self) -> None:
        """See what the log says of the start."""
        before = self._status.get("startup") or {}
        self.startup = await newest_startup(self.context, self._namespace, self._server_labels, before)

    @property
    def _server_labels(self) -> str:
        return ",".join(f"{k}={v}" for k, v in server_selector(self._name).items())

    def requeue_after(self, spec: Qwen3DeploymentSpec | None, status: Object) -> float | None:
        """Seconds until it is reconciled again, where no watch will tell."""
        if self.problems or (self.plan is not None and not self.plan.servable):
            return TROUBLE_SECONDS
        if self.pods:
            return STARTING_SECONDS
        return TEMPLATE_SECONDS if spec is not None and spec.engine.chat_template else None

    async def leave_old_model(self, status: Mapping[str, Any]) -> None:
        """When the servers have moved to another Qwen3Model, let go of the one before."""
        before = (self._status.get("model") or {}).get("name")
        now = (status.get("model") or {}).get("name")
        if before and now and before != now:
            await release(self.context, self._namespace, before, self._uid)
            self.context.users.forget(Key(QWEN3_DEPLOYMENTS.kind, self._namespace, self._name), before)

    async def _ensure_model(self, spec: Qwen3DeploymentSpec) -> None:
        try:
            self.model = await shared_model_for(self.context, QWEN3_DEPLOYMENTS, self.obj, spec)
        except ApiError as error:
            self.problems.append(refused(QWEN3_MODELS, model_name(spec.model), error))

    async def _ensure_service(self, spec: Qwen3DeploymentSpec) -> None:
        try:
            await self.context.ensure(SERVICES, server_service(self._namespace, self._name, self._uid, spec))
        except ApiError as error:
            self.problems.append(refused(SERVICES, self._name, error))
            return
        domain = self.context.settings.cluster_domain
        self.endpoint = f"http://{self._name}.{self._namespace}.svc.{domain}:{spec.service.port}/v1"

    async def _ensure_compile_cache(self, spec: Qwen3DeploymentSpec) -> None:
        cache = spec.engine.compile_cache
        if cache is None or not cache.enabled:
            return
        try:
            await self.context.ensure(CLAIMS, cache_claim(self._namespace, self._name, self._uid, cache))
        except ApiError as error:
            self.problems.append(refused(CLAIMS, cache_claim_name(self._name), error))

    async def _find_references(self, spec: Qwen3DeploymentSpec) -> None:
        """Problems where a Secret or ConfigMap that the servers need is not there."""
        if spec.auth:
            ref = spec.auth.api_key_secret_ref
            if missing := await self.context.missing_key(
                self._namespace, SECRETS, ref.name, ref.key, "spec.auth.apiKeySecretRef"
            ):
                self.problems.append(missing)
        if spec.engine.chat_template:
            template = spec.engine.chat_template.config_map_key_ref
            where = "spec.engine.chatTemplate.configMapKeyRef"
            if missing := await self.context.missing_key(
                self._namespace, CONFIG_MAPS, template.name, template.key, where
            ):
                self.problems.append(missing)
            else:
                config_map = await self.context.cluster.get(CONFIG_MAPS, self._namespace, template.name)
                self.template_hash = digest(((config_map or {}).get("data") or {}).get(template.key))

    def _chosen_length(self) -> int | None:
        """The length of servers that were made from this very spec."""
        status = self._status
        if self.server is None or status.get("observedGeneration") != self.obj["metadata"]["generation"]:
            return None
        length: int | None = (status.get("engine") or {}).get("maxModelLen")
        return length

    def _serves_this_spec(self) -> bool:
        """Whether a server of this very spec is up: then a prediction that it cannot be is beside the point."""
        status, meta = self._status, self.obj["metadata"]
        ready = ((self.server or {}).get("status") or {}).get("readyReplicas") or 0
        return status.get("observedGeneration") == meta["generation"] and ready > 0

    async def _find_server(self) -> None:
        self.server = await self.context.cluster.get(DEPLOYMENTS, self._namespace, self._name)

    async def _ensure_server(self, spec: Qwen3DeploymentSpec) -> None:
        """Make or change the servers once the model is there; what runs meanwhile goes on as it is."""
        assert self.plan is not None
        stops = spec.suspend or spec.replicas == 0
        ready = verified_copy(self.model) is not None
        blocked = bool(self.problems) or not self.plan.servable
        if (blocked or not ready) and not (stops and self.server is not None):
            return
        try:
            if MIDDLEWARE in self.plan.command:
                await self.context.ensure(CONFIG_MAPS, middleware_config_map(self._namespace, self._name, self._uid))
            wanted = server_deployment(self._namespace, self._name, self._uid, spec, self.plan, self.context.settings)
            self.server = await self.context.change(DEPLOYMENTS, self.server, wanted)
        except PatchError as error:
            self.problems.append(Problem("InvalidPatch", str(error), "spec.podTemplatePatch"))
        except ApiError as error:
            self.problems.append(refused(DEPLOYMENTS, self._name, error))


def _settled(server: Object) -> bool:
    """Whether every pod of the Deployment is up to date and ready."""
    status, wanted = server.get("status", {}), server["spec"].get("replicas", 1)
    return bool(
        status.get("observedGeneration") == server["metadata"].get("generation")
        and (status.get("replicas") or 0) == wanted
        and (status.get("updatedReplicas") or 0) == wanted
        and (status.get("readyReplicas") or 0) == wanted
    )
