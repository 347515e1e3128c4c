"""A Qwen3Batch resolved: the engine as a Qwen3Deployment of the same words would run it, and what each line gets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from qwen3_in_engine.batch_runner.contract import Config
from qwen3_operator.api.batch import Qwen3BatchSpec
from qwen3_operator.api.deployment import Qwen3DeploymentSpec
from qwen3_operator.api.engine import Engine, EngineOptions
from qwen3_operator.api.reasons import Reason
from qwen3_operator.catalog import CatalogEntry, resolve
from qwen3_operator.engine.gpu import Gpu
from qwen3_operator.engine.node_gpus import NodeGpus
from qwen3_operator.engine.offline import engine_arguments
from qwen3_operator.engine.problem import Problem
from qwen3_operator.naming import BATCH_INPUT_DIR, BATCH_OUTPUT_DIR, TEMPLATE_DIR, TEMPLATE_FILE, digest
from qwen3_operator.plan.resolve import make_plan
from qwen3_operator.plan.thinking import FIELD as SERVER_THINKING
from qwen3_operator.plan.types import Plan, Source, Value, Weights
from qwen3_operator.settings import Settings

INPUT_FILE = "input"
"""Name of the input where it comes from a ConfigMap."""


@dataclass(frozen=True)
class BatchPlan:
    """What to run: the engine as for a server, and the runner's configuration."""

    engine: Plan
    runner: Config

    def engine_status(self) -> dict[str, Any]:
        """`status.engine`."""
        return self.engine.engine_status() | {"command": list(self.runner.engine)}


def as_server(spec: Qwen3BatchSpec, deployment: Qwen3DeploymentSpec | None) -> Qwen3DeploymentSpec:
    """The server that has the batch's model, engine and GPUs. `deployment`: the one that deploymentRef names."""
    source = spec.model if deployment is None else deployment.source
    if source is None:
        raise ValueError("a spec with neither model nor deploymentRef passed the API server's rules")
    options: EngineOptions = spec.engine or EngineOptions() if deployment is None else deployment.engine
    shared = {name: getattr(options, name) for name in EngineOptions.model_fields}
    fallback = Qwen3DeploymentSpec(model=source) if deployment is None else deployment
    return Qwen3DeploymentSpec(
        model=source,
        engine=Engine(**shared, thinking=spec.sampling.thinking),
        gpu=spec.gpu or fallback.gpu,
        resources=spec.resources or fallback.resources,
        scheduling=spec.scheduling or fallback.scheduling,
        preflight=spec.preflight,
        pod_template_patch=fallback.pod_template_patch if spec.pod_template_patch is None else spec.pod_template_patch,
    )


def make_batch_plan(
    namespace: str,
    name: str,
    spec: Qwen3BatchSpec,
    server: Qwen3DeploymentSpec,
    weights: Weights,
    settings: Settings,
    nodes: Sequence[NodeGpus] = (),
    template_hash: str = "",
    *,
    gpus: Sequence[Gpu] | None = None,
    gpus_per_node: int | None = None,
) -> BatchPlan:
    """The plan for `spec`, whose model and engine are those of `server` (see `as_server`).

    The other arguments are those of `make_plan`.
    """
    plan = make_plan(
        weights, server, settings, nodes, template_hash, gpus=gpus, gpus_per_node=gpus_per_node, middleware=False
    )
    entry = resolve(server.source.id, weights.facts, server.engine.task)
    problems = [problem for problem in plan.problems if not _of_servers_alone(problem)]
    if entry is not None and entry.task != "generate":
        words = f"{entry.id} is for {entry.task}, and a Qwen3Batch generates text: take another model"
        problems.append(Problem(Reason.NOT_GENERATIVE, words, "spec.model.id"))
    runner = _runner(namespace, name, spec, server, plan, entry, template_hash)
    values = [v for v in plan.values if v.field not in _SERVER_VALUES] + _values(spec, entry, runner)
    engine = replace(
        plan,
        problems=tuple(_in_batch_words(problem, spec) for problem in problems),
        warnings=tuple(_in_batch_words(warning, spec) for warning in plan.warnings),
        values=tuple(values),
    )
    return BatchPlan(engine, runner)


_SERVER_VALUES = {"servedModelNames", "reasoningParser", "toolCallParser", "thinking", "sampling", "startupSeconds"}


def _of_servers_alone(problem: Problem) -> bool:
    """Whether vLLM lacks a flag that only servers need: the runner renders chats itself."""
    return problem.reason == "UnsupportedByEngine" and problem.field == SERVER_THINKING


def _in_batch_words(problem: Problem, spec: Qwen3BatchSpec) -> Problem:
    """The problem of the server under the field of the batch that it comes from."""
    if problem.field == SERVER_THINKING:
        return replace(problem, field="spec.sampling.thinking")
    if spec.deployment_ref is not None and problem.field.startswith(("spec.model.", "spec.engine.")):
        words = f"Qwen3Deployment {spec.deployment_ref.name}: {problem.field}: {problem.message}"
        return replace(problem, field="spec.deploymentRef.name", message=words)
    return problem


def _runner(
    namespace: str,
    name: str,
    spec: Qwen3BatchSpec,
    server: Qwen3DeploymentSpec,
    plan: Plan,
    entry: CatalogEntry | None,
    template_hash: str,
) -> Config:
    claim, thinking = spec.input.claim, spec.sampling.thinking
    switchable = entry is None or entry.thinking in ("hybrid", "unknown")
    config = Config(
        namespace=namespace,
        name=name,
        fingerprint="",
        input=f"{BATCH_INPUT_DIR}/{claim.path if claim else INPUT_FILE}",
        output=f"{BATCH_OUTPUT_DIR}/{spec.output.claim.path}",
        text=spec.input.format == "Text" and spec.input.prompts is None,
        chat=spec.input.apply_chat_template,
        shards=spec.completions,
        include_prompt=spec.output.include_prompt,
        thinks=thinking == "Enabled" if switchable and thinking != "Default" else None,
        thinks_by_default=entry is not None and entry.thinks_by_default,
        sampling_thinking=_sampling(spec, entry, thinking=True),
        sampling_plain=_sampling(spec, entry, thinking=False),
        seed=spec.sampling.seed,
        chat_template=f"{TEMPLATE_DIR}/{TEMPLATE_FILE}" if server.engine.chat_template else None,
        model_name=server.source.id.split("/")[-1],
        engine=tuple(engine_arguments(plan.command)),
    )
    decisive = config.as_json() | {"engine": [server.source.id, server.source.revision, template_hash]}
    return replace(config, fingerprint=digest({**decisive, "input": "", "output": ""}, 16))


def _sampling(spec: Qwen3BatchSpec, entry: CatalogEntry | None, *, thinking: bool) -> dict[str, Any]:
    """vLLM's SamplingParams of lines that think, or do not: the spec's words, else the authors' advice."""
    advice = entry.sampling(thinking=thinking) if entry else None
    defaults: dict[str, Any] = advice.generation_config() if advice else {}
    fields = {"temperature", "top_p", "top_k", "min_p", "repetition_penalty", "max_tokens", "stop_token_ids"}
    said = spec.sampling.model_dump(include=fields, exclude_none=True)
    said = {k: float(v) if isinstance(v, str) else v for k, v in said.items() if v != []}
    return defaults | said


def _values(spec: Qwen3BatchSpec, entry: CatalogEntry | None, runner: Config) -> list[Value]:
    """What lines get that do not say themselves."""
    said = bool(spec.sampling.model_fields_set - {"thinking", "seed"})
    advised = entry is not None and entry.sampling(thinking=True) is not None
    reason = "set in the spec" if said else "the authors' advice" if advised else "the checkpoint's own"
    if said and advised:
        reason += ", the rest by the authors' advice"
    thinks = runner.thinks_by_default if runner.thinks is None else runner.thinks
    mode = "set in the spec" if runner.thinks is not None else "the model's own way"
    source: Source = "spec" if runner.thinks is not None else "catalogue"
    values = [Value("thinking", "Enabled" if thinks else "Disabled", mode, source)]
    by_mode = (("thinking", runner.sampling_thinking), ("not thinking", runner.sampling_plain))
    for words, sampling in by_mode if entry is None or entry.thinking == "hybrid" else by_mode[not thinks :][:1]:
        text = " ".join(f"{key}={value}" for key, value in sampling.items()) or "generation_config.json"
        values.append(Value(f"sampling, {words}", text, reason, "spec" if said else "catalogue"))
    return values
