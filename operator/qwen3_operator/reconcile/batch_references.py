"""What a Qwen3Batch refers to: a Qwen3Deployment, claims, ConfigMaps."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pydantic import ValidationError

from qwen3_operator.api.base import ConfigMapKeyRef
from qwen3_operator.api.batch import ClaimFile, Qwen3BatchSpec
from qwen3_operator.api.conditions import Type, condition_of
from qwen3_operator.api.deployment import Qwen3DeploymentSpec
from qwen3_operator.api.reasons import Reason
from qwen3_operator.controller.cluster import Object
from qwen3_operator.controller.kinds import CLAIMS, CONFIG_MAPS, DEPLOYMENTS
from qwen3_operator.engine.problem import Problem
from qwen3_operator.naming import QWEN3_BATCHES, QWEN3_DEPLOYMENTS, file_on_claim
from qwen3_operator.reconcile.context import Context
from qwen3_operator.reconcile.reconciliation import Reconciliation, undecodable
from qwen3_operator.reconcile.references import Reference, find_references
from qwen3_operator.reconcile.watched import BY_OUTPUT, in_namespace
from qwen3_operator.status.accepted import unreadable


def others_with_output(context: Context, batch: Object, claim: str, path: str) -> list[Object]:
    """Other Qwen3Batches of its namespace whose answers go to the same file."""
    meta = batch["metadata"]
    wanted = in_namespace(meta["namespace"], ":".join(file_on_claim(claim, path)))
    found = context.store.find(QWEN3_BATCHES, BY_OUTPUT, wanted)
    return [other for other in found if other["metadata"]["uid"] != meta["uid"]]


@dataclass
class BatchReferences(Reconciliation):
    """What the spec of a Qwen3Batch refers to: problems where it is not there, or not the batch's to use."""

    def _deployment(self, spec: Qwen3BatchSpec) -> Qwen3DeploymentSpec | None:
        """The spec of the Qwen3Deployment that is referred to; None, and a problem, where it cannot be had."""
        if spec.deployment_ref is None:
            return None
        name, where = spec.deployment_ref.name, "spec.deploymentRef.name"
        found = self.context.store.get(QWEN3_DEPLOYMENTS, self._namespace, name)
        if found is None:
            words = f"Qwen3Deployment {name} does not exist: create it, or name the model here"
            self.problems.append(Problem(Reason.DEPLOYMENT_NOT_FOUND, words, where))
            return None
        problem = undecodable(found)
        if problem is None:
            try:
                return Qwen3DeploymentSpec.model_validate(found["spec"])
            except ValidationError as error:
                problem = unreadable(error.errors())
        self.problems.append(replace(problem, message=f"Qwen3Deployment {name}: {problem.message}", field=where))
        return None

    def _servers_missing(self, name: str) -> Problem | None:
        """Why the servers of the Qwen3Deployment `name` take no lines now; None where they do, or where there is no
        name: the batch has its own engine."""
        if not name:
            return None
        where = "spec.deploymentRef.name"
        found = self.context.store.get(QWEN3_DEPLOYMENTS, self._namespace, name)
        if found is None:
            words = f"Qwen3Deployment {name} does not exist: the lines wait for its servers. Create it"
            return Problem(Reason.DEPLOYMENT_NOT_FOUND, words, where)
        asked = found.get("spec") or {}
        if asked.get("suspend"):
            words = f"Qwen3Deployment {name} is suspended: the lines wait until its spec.suspend is false"
            return Problem(Reason.SERVERS_SUSPENDED, words, where)
        if asked.get("replicas") == 0 and not asked.get("autoscaling"):
            words = f"Qwen3Deployment {name} has spec.replicas 0: the lines wait until it is scaled up"
            return Problem(Reason.SERVERS_SCALED_TO_ZERO, words, where)
        server = self.context.own(DEPLOYMENTS, self._namespace, name, found["metadata"]["uid"])
        if server is not None and _ready(server):
            return None
        ready = condition_of(found, Type.READY)
        why = f" ({ready['reason']}: {ready.get('message', '')})" if ready and ready["status"] != "True" else ""
        words = f"no server of Qwen3Deployment {name} is ready{why}: the lines wait"
        return Problem(Reason.SERVERS_NOT_READY, words, where)

    async def _check(self, spec: Qwen3BatchSpec) -> None:
        """Problems where the input or the output is not there, or the output is somebody else's."""
        if reference := spec.input.config_map_key_ref:
            await self._digest(reference, "spec.input.configMapKeyRef")
        for claim, where in (
            (spec.input.claim, "spec.input.claim.name"),
            (spec.output.claim, "spec.output.claim.name"),
        ):
            if claim and await self.context.observe(CLAIMS, self._namespace, claim.name) is None:
                words = f"PersistentVolumeClaim {claim.name} does not exist: create it"
                self.problems.append(Problem(Reason.CLAIM_NOT_FOUND, words, where))
        if spec.input.claim and _same_file(spec.input.claim, spec.output.claim):
            words = "is the input itself: name another path"
            self.problems.append(Problem(Reason.OUTPUT_IS_INPUT, words, "spec.output.claim.path"))
        self._check_output(spec.output.claim)

    def _check_output(self, output: ClaimFile) -> None:
        """A problem where another Qwen3Batch, made before this one, has the same output."""
        others = others_with_output(self.context, self.obj, output.name, output.path)
        first = min(others, key=_age, default=self.obj)
        if _age(first) < _age(self.obj):
            words = f"{output.name}:{output.path} is the output of Qwen3Batch {first['metadata']['name']}"
            problem = Problem(Reason.OUTPUT_IN_USE, f"{words}: name another path", "spec.output.claim.path")
            self.problems.append(problem)

    async def _template(self, server: Qwen3DeploymentSpec) -> str:
        """Hash of the chat template that replaces the checkpoint's; a problem where it is not there."""
        if server.engine.chat_template is None:
            return ""
        reference = server.engine.chat_template.config_map_key_ref
        return await self._digest(reference, "spec.engine.chatTemplate.configMapKeyRef")

    async def _digest(self, reference: ConfigMapKeyRef, field: str) -> str:
        """Hash of the text under a key of a ConfigMap; a problem where it is not there."""
        wanted = Reference(CONFIG_MAPS, reference.name, reference.key, field)
        found = await find_references(self.context, self._namespace, [wanted])
        self.problems += found.problems
        return found.digests[0]


def _ready(server: Object) -> bool:
    """Whether a server of the Deployment is ready."""
    return bool((server.get("status") or {}).get("readyReplicas"))


def _same_file(a: ClaimFile, b: ClaimFile) -> bool:
    return file_on_claim(a.name, a.path) == file_on_claim(b.name, b.path)


def _age(batch: Object) -> tuple[str, str]:
    """Orders batches by their making."""
    return str(batch["metadata"]["creationTimestamp"]), str(batch["metadata"]["uid"])
