"""`kubectl qwen3 explain`: the plan of a file, or of what is in the cluster, and whether it fits."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from qwen3_operator.api.batch import Qwen3BatchSpec
from qwen3_operator.api.deployment import Qwen3DeploymentSpec
from qwen3_operator.api.model import Qwen3ModelSpec
from qwen3_operator.api.source import ModelSource
from qwen3_operator.catalog import ConfigError, ModelFacts
from qwen3_operator.commands import offline
from qwen3_operator.commands.explain import as_data, print_plan
from qwen3_operator.commands.plans import DOES_NOT_FIT, FITS, Hardware, checked_version, of_version
from qwen3_operator.commands.read import BadInput
from qwen3_operator.controller.kinds import NODES
from qwen3_operator.engine.lora import lora_in
from qwen3_operator.engine.node_gpus import NodeGpus, gpus_of_node
from qwen3_operator.naming import claim_is_others, claim_name, model_name, model_path
from qwen3_operator.plan import Plan, Weights, make_plan
from qwen3_operator.plan.batch import as_server
from qwen3_operator.plan.lora import lora_for
from qwen3_operator.plugin.api import Api, ApiFailure, Object
from qwen3_operator.plugin.failure import BAD_INPUT, Failure
from qwen3_operator.plugin.find import find
from qwen3_operator.plugin.installed import installed
from qwen3_operator.plugin.names import QWEN3_BATCHES, QWEN3_DEPLOYMENTS, QWEN3_MODELS
from qwen3_operator.plugin.show import console
from qwen3_operator.settings import Settings
from qwen3_operator.status.model_ready import verified_copy

MOST_NODES = 5000


@dataclass(frozen=True)
class Live:
    """An object of the cluster with what its plan is made from."""

    obj: Object
    server: Qwen3DeploymentSpec
    """Its spec; of a Qwen3Batch, the server that has its model and engine."""
    model: Object | None
    nodes: Sequence[NodeGpus]
    settings: Settings
    notes: Sequence[str] = ()


def run_offline(arguments: argparse.Namespace) -> int:
    """Without a cluster, as `qwen3-operator explain`. Raises Failure."""
    arguments.command = "explain"
    try:
        return offline.run(arguments, Settings(identity="kubectl-qwen3"))
    except BadInput as error:
        raise Failure(str(error), BAD_INPUT) from error


def run(arguments: argparse.Namespace, api: Api, namespace: str) -> int:
    """The plan of what is in the cluster. Raises Failure."""
    if arguments.gpus is not None or arguments.config:
        raise Failure("--gpus and --config are for a file (-f) or a model (--model)", BAD_INPUT)
    live = observe(api, namespace, arguments.name)
    try:
        hardware, version = (
            Hardware(arguments.gpu, arguments.gpu_memory, arguments.gpus_per_node),
            arguments.engine_version,
        )
        made = plan(live, hardware, checked_version(version))
    except (BadInput, ConfigError) as error:
        raise Failure(str(error), BAD_INPUT) from error
    differs = differences(live, made)
    if arguments.output == "table":
        out = console()
        print_plan(out, f"{live.obj['kind']} {live.obj['metadata']['name']}", made)
        for note in [*live.notes, *differs]:
            out.print(f"({note})", style="yellow")
    else:
        offline.print_data(arguments.output, [as_data(made) | {"notes": [*live.notes, *differs]}])
    verdict = made.fit.report.verdict if made.fit.report else "Unknown"
    return BAD_INPUT if made.problems else DOES_NOT_FIT if verdict == "DoesNotFit" else FITS


def observe(api: Api, namespace: str, name: str) -> Live:
    """The object, its model, the cluster's GPUs and the operator's settings. Raises Failure."""
    kind, obj = find(api, namespace, name, [QWEN3_DEPLOYMENTS, QWEN3_BATCHES])
    notes: list[str] = []
    where = obj["metadata"]["namespace"]
    try:
        spec = _server(api, where, obj) if kind == QWEN3_BATCHES else Qwen3DeploymentSpec.model_validate(obj["spec"])
    except (ValidationError, ValueError) as error:
        raise Failure(f"{name}: this version cannot read its spec: {error}") from error
    named = (obj.get("status") or {}).get("model", {}).get("name") or (spec.model_ref.name if spec.model_ref else "")
    model = api.find(QWEN3_MODELS, where, named) if named else None
    if spec.model is None and model is None:
        raise Failure(f"{name}: Qwen3Model {named} is not there")
    if spec.model is None and model is not None:
        spec = spec.model_copy(update={"model": ModelSource.model_validate(model["spec"])})
    return Live(obj, spec, model, _gpus(api, spec, notes), _settings(api, where, notes), notes)


def _server(api: Api, namespace: str, batch: Object) -> Qwen3DeploymentSpec:
    spec = Qwen3BatchSpec.model_validate(batch["spec"])
    if spec.deployment_ref is None:
        return as_server(spec, None)
    lender = api.find(QWEN3_DEPLOYMENTS, namespace, spec.deployment_ref.name)
    if lender is None:
        raise Failure(f"Qwen3Deployment {spec.deployment_ref.name} is not there")
    lent = Qwen3DeploymentSpec.model_validate(lender["spec"])
    if lent.model is None and lent.model_ref is not None:
        model = api.find(QWEN3_MODELS, namespace, lent.model_ref.name)
        if model is None:
            raise Failure(f"Qwen3Model {lent.model_ref.name} is not there")
        lent = lent.model_copy(update={"model": ModelSource.model_validate(model["spec"])})
    return as_server(spec, lent)


def _gpus(api: Api, spec: Qwen3DeploymentSpec, notes: list[str]) -> list[NodeGpus]:
    try:
        nodes = api.list(NODES, most=MOST_NODES).items
    except ApiFailure as failure:
        if not failure.forbidden:
            raise
        notes.append("you may not read nodes: name the GPU by --gpu")
        return []
    wanted = dict(spec.scheduling.node_selector)
    return gpus_of_nodes(nodes, wanted, spec.gpu.resource_name)


def gpus_of_nodes(nodes: Sequence[Object], wanted: Mapping[str, str], resource: str) -> list[NodeGpus]:
    """The GPUs of the nodes with these labels."""
    found = []
    for node in nodes:
        labels = node["metadata"].get("labels") or {}
        if wanted.items() <= labels.items():
            found.append(gpus_of_node(labels, (node.get("status") or {}).get("allocatable") or {}, resource))
    return [gpus for gpus in found if gpus.count]


def _settings(api: Api, namespace: str, notes: list[str]) -> Settings:
    """The operator's own, where they may be seen."""
    operators = installed(api, namespace) or []
    own = {"identity": "kubectl-qwen3"}
    for it in operators:
        if not it.namespaces or namespace in it.namespaces:
            known = {key: value for key, value in it.settings.items() if key in Settings.model_fields}
            try:
                return Settings.model_validate(known | own)
            except ValidationError:
                break
    notes.append("the operator's settings are not known here: the defaults are taken")
    return Settings.model_validate(own)


def plan(live: Live, hardware: Hardware, version: str | None) -> Plan:
    """The plan on the cluster's GPUs, or on those of the command line. Raises BadInput, ConfigError."""
    server, source = of_version(live.server, version), live.server.source
    copy: Mapping[str, Any] = verified_copy(live.model) or {}
    facts = None
    if config := copy.get("config"):
        facts = ModelFacts.from_config(config, copy.get("weightsBytes"), copy.get("checkpoint"))
    name = live.model["metadata"]["name"] if live.model else model_name(source)
    theirs = Qwen3ModelSpec.model_validate(live.model["spec"]) if live.model else source
    claim, path = copy.get("claim") or claim_name(name, theirs), copy.get("path") or model_path(theirs)
    made = ((live.obj.get("status") or {}).get("engine") or {}).get("command") or ()
    lora = lora_for(server.engine, (), lora_in([str(word) for word in made]))
    weights = Weights(claim, path, facts, claim_is_others(theirs), lora=lora)
    gpus = hardware.gpus()
    if gpus is None:
        return make_plan(weights, server, live.settings, live.nodes)
    return make_plan(weights, server, live.settings, gpus=gpus, gpus_per_node=hardware.gpus_per_node)


def differences(live: Live, made: Plan) -> list[str]:
    """Where the operator's own plan is another, in words: servers keep what they were made with."""
    entries = ((live.obj.get("status") or {}).get("plan")) or ()
    theirs = {str(entry.get("field")): str(entry.get("value")) for entry in entries}
    ours = {value.field: value.value for value in made.values}
    return [
        f"{name}: the operator has {theirs[name]}, this is {ours[name]}"
        for name in theirs
        if name in ours and theirs[name] != ours[name]
    ]
