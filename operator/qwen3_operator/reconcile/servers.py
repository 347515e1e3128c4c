"""The servers of a Qwen3Deployment: made, rolled out, taken back, and as many as are wanted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from qwen3_in_engine.capacity.contract import Result
from qwen3_operator.api.autoscaling import ScalingTarget
from qwen3_operator.api.conditions import is_current
from qwen3_operator.api.deployment import Qwen3DeploymentSpec
from qwen3_operator.api.reasons import Reason
from qwen3_operator.api.times import parse_time
from qwen3_operator.controller.cluster import ApiError, Object
from qwen3_operator.controller.kinds import CLAIMS, CONFIG_MAPS, DEPLOYMENTS, PODS, SECRETS
from qwen3_operator.controller.ownership import is_controlled_by
from qwen3_operator.desired.autoscaling import is_given_away, servers_wanted
from qwen3_operator.desired.capacity import benchmark_in, capacity_name
from qwen3_operator.desired.disruption import is_of_one_node
from qwen3_operator.desired.drift import holds_all_of
from qwen3_operator.desired.earlier import as_of_earlier, command_in, without_middleware
from qwen3_operator.desired.in_engine import config_map_name, config_map_of, in_engine_config_map
from qwen3_operator.desired.keys import asks_for_keys
from qwen3_operator.desired.made_from import MadeFrom, inputs_of, made_from
from qwen3_operator.desired.patch import PatchError
from qwen3_operator.desired.rollout import (
    RolledBack,
    create_failure,
    is_rolling,
    must_delete_first,
    rolled_back,
)
from qwen3_operator.desired.secrets import read_at_start, with_secrets
from qwen3_operator.desired.server import length_in, server_deployment, server_template
from qwen3_operator.engine.node_gpus import NodeGpus
from qwen3_operator.engine.problem import Problem
from qwen3_operator.naming import QWEN3_DEPLOYMENTS, digest
from qwen3_operator.plan import Plan, Weights
from qwen3_operator.reconcile.adapters import Adapters
from qwen3_operator.reconcile.autoscaling import autoscales, ensure_autoscaler, missing_autoscaler, remove_autoscaler
from qwen3_operator.reconcile.context import refused
from qwen3_operator.reconcile.in_use import claims_of
from qwen3_operator.reconcile.key import key_of
from qwen3_operator.reconcile.reconciliation import Reconciliation
from qwen3_operator.reconcile.references import Reference, find_references
from qwen3_operator.reconcile.rehearsal import AGAIN_SECONDS
from qwen3_operator.reconcile.replica_sets import names_replica_set
from qwen3_operator.reconcile.rollout import Present, failed_rollout, present_servers
from qwen3_operator.reconcile.watched import BY_OWNER, owner_key
from qwen3_operator.status.capacity import CapacityView
from qwen3_operator.status.model_ready import is_stalled, verified_copy
from qwen3_operator.status.pods import PodView

REHEARSE_AFTER_SECONDS = 10.0
"""Age of a Qwen3Deployment from which on somebody waits for its model."""


@dataclass
class Servers(Reconciliation):
    """The Deployment of the servers, and what it mounts."""

    plan: Plan | None = None
    model: Object | None = None
    server: Object | None = None
    """The Deployment, where it is ours."""
    found: Object | None = None
    """What has its name, where none of ours was seen."""
    pods: list[PodView] = field(default_factory=list)
    present: Present | None = None
    """What is known of the servers of the present template. None: there are no others, and none is refused."""
    gpus_by_node: Mapping[str, int] | None = None
    template_hash: str = ""
    warnings: list[Problem] = field(default_factory=list)
    refused: RolledBack | None = None
    scaler: Object | None = None
    replicas_are_given_away: bool = False
    no_autoscaler: Problem | None = None
    """Why nothing can scale the servers, where that is asked for."""
    adapters: Adapters = field(default_factory=Adapters)
    rehearsal_in: float | None = None
    """Seconds until it is asked what the API server would say to the servers."""
    reads_secrets: bool = False
    """Whether a Secret that changes is to make new servers."""
    measured: list[Result] = field(default_factory=list)
    """What servers have measured of themselves, those before included."""

    def server_pods(self) -> list[Object]:
        """Pods of the servers: those of the Deployment's ReplicaSets; a label alone is no proof, nor is a name."""
        return self.context.replica_sets.pods_of(key_of(QWEN3_DEPLOYMENTS, self.obj), self.seeming_pods())

    def seeming_pods(self) -> list[Object]:
        """Pods that are of the servers by what they say themselves: enough to keep a model for what may mount it."""
        owner = owner_key(self._namespace, QWEN3_DEPLOYMENTS.kind, self._name)
        pods = self.context.store.find(PODS, BY_OWNER, owner)
        return [pod for pod in pods if names_replica_set(pod, self._name)]

    async def prove_pods(self) -> None:
        """See which of the pods are of the servers, where one has come of a ReplicaSet that is not known yet."""
        key = key_of(QWEN3_DEPLOYMENTS, self.obj)
        await self.context.replica_sets.learn(self.context.cluster, key, self.server, self.seeming_pods())

    async def _observe_present(self) -> None:
        """See which servers are of the present template, where there are others too, or where some are refused."""
        server = self.server
        if server is None or not is_current(server):
            return
        if create_failure(server) or (is_rolling(server) and self.server_pods()):
            self.present = await present_servers(self.context, server)

    def present_now(self) -> Present | None:
        """What is known of the present template's servers: nothing yet where it was changed just now."""
        return self.present if self.server is None or is_current(self.server) else Present("", "")

    async def _ensure_server(self, spec: Qwen3DeploymentSpec, weights: Weights) -> None:
        """Make or change the servers once the model is there. What is refused changes nothing of what runs."""
        inputs = inputs_of(spec, weights, self.template_hash)
        made = made_from(self.server) or self._unrecorded(spec, weights, inputs)
        kept = made if made is not None and made.inputs == inputs else None
        self._read_refusal(inputs, kept)
        self.plan = self._plan(spec, weights, kept)
        if self.refused is not None and made is not None:
            await self._apply_server(spec, made)
            return
        waits = self.adapters.waits or verified_copy(self.model) is None
        wanted = None
        if not self.problems and self.plan.servable:
            try:
                wanted = kept or self._made_of(spec, inputs, self.plan)
            except PatchError as error:
                self.problems.append(Problem(Reason.INVALID_PATCH, str(error), "spec.podTemplatePatch"))
        if wanted is not None and not waits:
            await self._apply_server(spec, wanted)
            return
        await self._ensure_replicas(spec)
        if wanted is not None and self.server is None and not spec.suspend:
            await self._rehearse(spec, wanted)

    async def _find_server(self) -> None:
        """Ask for the Deployment where none was seen: one that lost our label is shown by no watch. What servers are
        made from, and how many there are, is read from it before anything is applied."""
        if self.server is None:
            self.found = await self.context.observe(DEPLOYMENTS, self._namespace, self._name)
            self.server = self.found if is_controlled_by(self.found, self._uid) else None

    async def _rehearse(self, spec: Qwen3DeploymentSpec, made: MadeFrom) -> None:
        """What the API server will refuse of the first servers is reported while their model is on its way: that may
        take hours. One that was there already, or comes in seconds, is not waited for; one that waits for a person does
        not come, and all that a person has to mend is said at once."""
        since = parse_time(self.obj["metadata"].get("creationTimestamp"))
        age = max(0.0, (self.context.now() - since).total_seconds()) if since is not None else REHEARSE_AFTER_SECONDS
        models = [self.model, *(view.live for view in self.adapters.views)]
        if age < REHEARSE_AFTER_SECONDS and not any(map(is_stalled, models)):
            self.rehearsal_in = REHEARSE_AFTER_SECONDS - age
            return
        replicas = servers_wanted(spec, None)
        wanted = server_deployment(self._namespace, self._name, self._uid, replicas, made, spec.rollout)
        answer = await self.context.rehearsals.ask(
            key_of(QWEN3_DEPLOYMENTS, self.obj),
            digest(wanted, 16),
            self.context.now(),
            lambda: self.context.rehearse(DEPLOYMENTS, wanted),
        )
        if answer.refusal is not None:
            self.problems.append(refused(DEPLOYMENTS, self._name, answer.refusal))
        if not answer.taken:
            self.rehearsal_in = AGAIN_SECONDS

    def _read_refusal(self, inputs: str, kept: MadeFrom | None) -> None:
        """A spec whose servers failed is not tried again until it changes."""
        refused = rolled_back(self.server)
        self.refused = refused if refused is not None and refused.inputs == inputs and kept is None else None
        self._report_refusal()

    def _report_refusal(self) -> None:
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
            self._report_refusal()

    def _plan(self, spec: Qwen3DeploymentSpec, weights: Weights, made: MadeFrom | None) -> Plan:
        """The plan for `spec`: with the values of the servers that were made from it, or with those of now."""
        fresh = self._resolved(spec, weights)
        if made is None:
            return fresh
        judged, length = fresh, made.plan.max_model_len
        if fresh.max_model_len != length:
            judged = self._resolved(spec, weights, chosen_length=length)
        plan = judged.as_made(made.plan, fresh)
        return plan.seen_to_fit() if _serves(self.server) else plan

    def _resolved(
        self, spec: Qwen3DeploymentSpec, weights: Weights, *, chosen_length: int | None = None, middleware: bool = True
    ) -> Plan:
        """What `spec` is resolved into by this operator, on the nodes that there are."""
        return self.context.plans.make(
            weights,
            spec,
            self.context.settings,
            sorted(set(self._nodes(spec).values())),  # the unlike among them
            self.template_hash,
            chosen_length=chosen_length,
            middleware=middleware,
        )

    def _nodes(self, spec: Qwen3DeploymentSpec) -> Mapping[str, NodeGpus]:
        """Nodes that a server may land on: name -> their GPUs."""
        return self.context.nodes.gpus(spec.scheduling.node_selector, spec.gpu.resource_name)

    def _made_of(self, spec: Qwen3DeploymentSpec, inputs: str, plan: Plan) -> MadeFrom:
        """What servers of `plan` are made from. Raises PatchError."""
        return MadeFrom(inputs, plan, server_template(self._name, spec, plan, self.context.settings))

    def _unrecorded(self, spec: Qwen3DeploymentSpec, weights: Weights, inputs: str) -> MadeFrom | None:
        """What servers were made from that an earlier release made, which wrote nothing on them: this spec, where they
        have every value that servers of it would have."""
        if self.server is None or verified_copy(self.model) is None:
            return None
        template = self.server["spec"]["template"]
        plan = self._resolved(spec, weights, chosen_length=length_in(template), middleware=False)
        try:
            made = self._made_of(spec, inputs, plan)
        except PatchError:
            return None
        if not holds_all_of(without_middleware(template), as_of_earlier(made.template, self._name, spec)):
            return None
        return replace(made, template=template, plan=replace(plan, command=command_in(template)))

    async def _ensure_replicas(self, spec: Qwen3DeploymentSpec) -> None:
        """Servers stop when they are to stop, whatever else is wrong; all else stays as it is."""
        if not (spec.suspend or (spec.autoscaling is None and spec.replicas == 0)):
            return
        await self._find_server()
        made = made_from(self.server)
        if made is not None:
            self.refused = self.refused or rolled_back(self.server)
            await self._apply_server(spec, made)

    async def _apply_server(self, spec: Qwen3DeploymentSpec, made: MadeFrom) -> None:
        made = await self._with_secrets(made)
        claims = [self.context.store.get(CLAIMS, self._namespace, claim) for claim in claims_of(made.template["spec"])]
        first = must_delete_first(
            spec.rollout,
            self.server,
            self.server_pods(),
            self.gpus_by_node or {},
            self.context.now(),
            volume_of_one_node=any(map(is_of_one_node, claims)),
            pods_refused=self.present.pods_refused if self.present is not None else "",
        )
        await self._give_replicas_away(spec)
        wanted = server_deployment(
            self._namespace,
            self._name,
            self._uid,
            None if self.replicas_are_given_away else servers_wanted(spec, self.server),
            made,
            spec.rollout,
            delete_first=first,
            refused=self.refused,
        )
        try:
            await self._ensure_middleware(config_map_of(made.template))
            self.server = await self.context.change(DEPLOYMENTS, self.server or self.found, wanted)
        except ApiError as error:
            self.problems.append(refused(DEPLOYMENTS, self._name, error))

    async def _with_secrets(self, made: MadeFrom) -> MadeFrom:
        """What servers are made from as their Secrets are now, where these may be read. Servers that are being replaced
        are not replaced again before that is over: the spec may be what fails."""
        read = read_at_start(made.template)
        if not read or not self.context.settings.read_secrets:
            return made
        self.reads_secrets = True
        wanted = [Reference(SECRETS, name, key, "") for name, key in read]
        found = await find_references(self.context, self._namespace, wanted)
        seen = {f"{it.name}/{it.key}": text for it, text in zip(wanted, found.fingerprints, strict=True) if text}
        return with_secrets(made, seen, restart=self.server is not None and not is_rolling(self.server))

    async def _ensure_middleware(self, called: str) -> None:
        """Have the ConfigMap that the servers mount. One of an earlier release is theirs as it is: it is immutable.

        Nobody watches it: it is read where servers are to mount it, and while one has a node and does not start.
        """
        mounted = config_map_of(self.server["spec"]["template"]) if self.server is not None else ""
        if not called or (called == mounted and not any(map(_is_starting, self.server_pods()))):
            return
        wanted = in_engine_config_map(self._namespace, self._name, self._uid, called)
        if self.server is None:
            await self.context.ensure_new(CONFIG_MAPS, wanted)
            return
        live = await self.context.observe(CONFIG_MAPS, self._namespace, called)
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

    async def _settle_whose_replicas(self, spec: Qwen3DeploymentSpec) -> None:
        """See whether an autoscaler may set the number of servers; where none is to, there is none any more."""
        if not autoscales(spec):
            self.warnings += await remove_autoscaler(self.context, self.obj)
            return
        self.replicas_are_given_away = is_given_away(self.server)
        self.no_autoscaler = missing_autoscaler(self.context)
        if self.no_autoscaler is not None:
            self.warnings.append(self.no_autoscaler)
            if self.context.settings.prometheus_address and self.server and self.server["spec"].get("replicas") == 0:
                self.replicas_are_given_away = False  # KEDA went while there was no server: nothing would wake it

    async def _give_replicas_away(self, spec: Qwen3DeploymentSpec) -> None:
        """Once there are the first servers, their number is the autoscaler's."""
        if self.replicas_are_given_away or not autoscales(spec) or self.no_autoscaler is not None:
            return
        if self._waits_for_target(spec):
            return
        if self.server is not None and is_rolled_out(self.server) and self.server["spec"].get("replicas"):
            replicas = {"replicas": self.server["spec"]["replicas"]}
            self.server = await self.context.hand_over(DEPLOYMENTS, self.server, replicas)
            self.replicas_are_given_away = True

    def capacity_of(self, made: MadeFrom | None) -> CapacityView:
        """What was measured, as servers made from `made` are to be judged by it."""
        benchmark = benchmark_in(made.template) if made is not None else None
        key, image = (benchmark.key, made.plan.image) if benchmark and made else ("", "")
        return CapacityView(key, image, self.measured, capacity_name(self._name))

    def _waits_for_target(self, spec: Qwen3DeploymentSpec) -> bool:
        """Whether the load that a server shall have is one that nobody has measured yet."""
        auto = spec.autoscaling is not None and spec.autoscaling.target.auto
        return bool(auto) and self.capacity_of(made_from(self.server)).target is None

    async def _ensure_autoscaler(self, spec: Qwen3DeploymentSpec) -> None:
        """Once the number of servers was given away, have the ScaledObject that gives it to KEDA."""
        server, made = self.server, made_from(self.server)
        if server is None or made is None or not is_given_away(server):
            return
        if not autoscales(spec) or self.no_autoscaler is not None or self._waits_for_target(spec):
            return
        spec = with_measured_target(spec, self.capacity_of(made).target)
        self.scaler, warnings = await ensure_autoscaler(self.context, self.obj, spec, server, made.plan)
        self.warnings += warnings


def with_measured_target(spec: Qwen3DeploymentSpec, concurrency: int | None) -> Qwen3DeploymentSpec:
    """The spec with what was measured in the place of autoscaling.target.auto."""
    if spec.autoscaling is None or not spec.autoscaling.target.auto:
        return spec
    autoscaling = spec.autoscaling.model_copy(update={"target": ScalingTarget(concurrency=concurrency)})
    return spec.model_copy(update={"autoscaling": autoscaling})


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


def is_rolled_out(server: Object) -> bool:
    """Whether every pod of the Deployment is of its present template and ready."""
    status, wanted = server.get("status") or {}, server["spec"].get("replicas", 1)
    return bool(
        is_current(server)
        and (status.get("replicas") or 0) == wanted
        and (status.get("updatedReplicas") or 0) == wanted
        and (status.get("readyReplicas") or 0) == wanted
    )
