"""Plans without a cluster: from a file, and from what the command line says of GPUs and engine."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from qwen3_operator.api.deployment import Qwen3DeploymentSpec
from qwen3_operator.catalog import ConfigError, ModelFacts
from qwen3_operator.commands.read import BadInput, Resource
from qwen3_operator.commands.render import batch_manifests, server_manifests
from qwen3_operator.controller.quantity import quantity
from qwen3_operator.engine.gpu import Gpu
from qwen3_operator.engine.version import EngineVersion
from qwen3_operator.naming import claim_is_others, claim_name, model_name, model_path
from qwen3_operator.plan import Plan, Weights, make_plan
from qwen3_operator.plan.batch import make_batch_plan
from qwen3_operator.settings import Settings

FITS, DOES_NOT_FIT, BAD_INPUT = 0, 1, 2


@dataclass(frozen=True)
class Hardware:
    """What the command line says about GPUs and engine. Empty: not said."""

    gpu: str = ""
    """Name of a GPU, like H100-80GB."""
    gpu_memory: str = ""
    """What torch sees of one GPU, like 79.18Gi."""
    gpus_per_node: int = 8

    def gpus(self) -> list[Gpu] | None:
        """The GPU, or None where nothing was said. Raises BadInput."""
        if self.gpu_memory:
            try:
                return [Gpu.exact(float(quantity(self.gpu_memory)) / 2**30, self.gpu)]
            except ValueError as error:
                raise BadInput(f"--gpu-memory: {error}") from error
        if not self.gpu:
            return None
        if (known := Gpu.named(self.gpu)) is None:
            raise BadInput(f"--gpu: {self.gpu} is not known: give --gpu-memory, like 79.18Gi")
        return [known]


@dataclass(frozen=True)
class Planned:
    """A custom resource of the file, and what it comes to."""

    resource: Resource
    plan: Plan
    """Of a Qwen3Batch, that of its engine: `command` are the words that the runner gives to it."""
    own_manifests: Callable[[], list[dict[str, Any]]]
    """Makes the objects that it has beside the shared model. Raises PatchError."""

    def exit_code(self) -> int:
        """0: servable. 1: does not fit. 2: the spec cannot work."""
        if self.plan.problems:
            return BAD_INPUT
        verdict = self.plan.fit.report.verdict if self.plan.fit.report else "Unknown"
        return DOES_NOT_FIT if verdict == "DoesNotFit" else FITS


def read_facts(path: str | None) -> ModelFacts | None:
    """Facts from a config.json, and from the hf_quant_config.json beside it where there is one. Raises BadInput."""
    if not path:
        return None
    beside = Path(path).with_name("hf_quant_config.json")
    try:
        config = json.loads(Path(path).read_text(encoding="utf-8-sig"))
        files = {"quantization": json.loads(beside.read_text(encoding="utf-8-sig"))} if beside.is_file() else {}
        return ModelFacts.from_config(config, None, files)
    except (OSError, ValueError, ConfigError) as error:
        raise BadInput(f"{path}: {error}") from error


def plan_offline(
    resource: Resource, settings: Settings, hardware: Hardware, facts: ModelFacts | None, version: str | None
) -> Planned:
    """The plan as the operator would make it on that hardware; `version` overrides vLLM's. Raises BadInput."""
    meta, server = resource.meta, of_version(resource.server, version)
    namespace, name, gpus = meta["namespace"], meta["name"], hardware.gpus()
    source = server.source
    model = resource.made_ahead or model_name(source)
    weights = Weights(claim_name(model, source), model_path(source), facts, claim_is_others(source))
    if resource.batch is None:
        plan = make_plan(weights, server, settings, gpus=gpus, gpus_per_node=hardware.gpus_per_node)
        return Planned(resource, plan, partial(server_manifests, namespace, name, server, plan, settings))
    batch = make_batch_plan(
        namespace,
        name,
        resource.batch,
        server,
        weights,
        settings,
        gpus=gpus,
        gpus_per_node=hardware.gpus_per_node,
    )
    engine = replace(batch.engine, command=batch.runner.engine)
    return Planned(resource, engine, partial(batch_manifests, meta, resource.batch, server, batch, settings))


def checked_version(text: str | None) -> str | None:
    """vLLM's version of the command line. Raises BadInput."""
    if text and EngineVersion.parse(text) is None:
        raise BadInput(f"--engine-version: {text} is not a vLLM version such as 0.33.0")
    return text


def of_version(server: Qwen3DeploymentSpec, version: str | None) -> Qwen3DeploymentSpec:
    """The server under another version of vLLM; None: its own."""
    if not version:
        return server
    return server.model_copy(update={"engine": server.engine.model_copy(update={"version": version})})
