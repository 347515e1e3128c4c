"""A Qwen3Batch resolved: the engine as a Qwen3Deployment of the same words would run it, and what each line gets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from qwen3_in_engine.batch_runner.contract import Config
from qwen3_operator.api.batch import Qwen3BatchSpec
from qwen3_operator.api.deployment import Auth, Qwen3DeploymentSpec, Resources
from qwen3_operator.api.engine import Engine, EngineOptions
from qwen3_operator.api.reasons import Reason
from qwen3_operator.api.source import Scheduling
from qwen3_operator.catalog import CatalogEntry, resolve
from qwen3_operator.engine.batch_command import SOCKET_FLAG, decisive_words, engine_command
from qwen3_operator.engine.flag_table import has_flag
from qwen3_operator.engine.gpu import Gpu
from qwen3_operator.engine.node_gpus import NodeGpus
from qwen3_operator.engine.problem import Problem
from qwen3_operator.naming import BATCH_INPUT_DIR, BATCH_OUTPUT_DIR, digest
from qwen3_operator.plan.resolve import make_plan, served_names
from qwen3_operator.plan.thinking import FIELD as SERVER_THINKING
from qwen3_operator.plan.types import Fit, Plan, Source, Value, Weights
from qwen3_operator.settings import Settings

RUNNING = "Running"
CONCURRENCY = 32
"""Lines that servers which run have at once from a batch that does not say: users wait beside it."""
INPUT_FILE = "input"
"""Name of the input where it comes from a ConfigMap."""


@dataclass(frozen=True)
class BatchPlan:
    """What to run: the engine as for a server, and the runner's configuration."""

    engine: Plan
    runner: Config

    def engine_status(self) -> dict[str, Any]:
        """`status.engine`."""
        if self.runner.url:
            return {}
        return self.engine.engine_status() | {"command": list(self.runner.engine)}


def as_server(spec: Qwen3BatchSpec, deployment: Qwen3DeploymentSpec | None) -> Qwen3DeploymentSpec:
    """The server that has the batch's model, engine and GPUs. `deployment`: the one that deploymentRef names."""
    source = spec.model if deployment is None else deployment.source
    if source is None:
        raise ValueError("a spec with neither model nor deploymentRef passed the API server's rules")
    fallback = Qwen3DeploymentSpec(model=source) if deployment is None else deployment
    runs = spec.target == RUNNING
    return Qwen3DeploymentSpec(
        model=source,
        engine=_engine(spec, deployment),
        gpu=spec.gpu or fallback.gpu,
        # A pod that only asks has nothing in common with the servers.
        resources=spec.resources or (Resources() if runs else fallback.resources),
        scheduling=spec.scheduling or (Scheduling() if runs else fallback.scheduling),
        service=fallback.service,
        auth=_auth(spec, fallback.auth) if runs else None,
        preflight=spec.preflight,
        verify=spec.verify or fallback.verify,
        pod_template_patch=fallback.pod_template_patch
        if spec.pod_template_patch is None and not runs
        else spec.pod_template_patch,
    )


def _auth(spec: Qwen3BatchSpec, servers: Auth | None) -> Auth | None:
    """By which key the servers are asked."""
    return servers if spec.api_key_secret_ref is None else Auth(api_key_secret_ref=spec.api_key_secret_ref)


_NO_ADAPTERS: dict[str, Any] = {"lora_adapters": [], "max_lora_rank": None, "max_loras": None}
"""A batch asks the model itself."""


def _engine(spec: Qwen3BatchSpec, deployment: Qwen3DeploymentSpec | None) -> Engine:
    """The engine of the server. What a Qwen3Deployment sets for its own users (thinking, sampling) is not lent: it is
    the batch's to say."""
    if deployment is not None:
        own = {
            "thinking": spec.sampling.thinking,
            "sampling": None,
            "compile_cache": None,
            "resolve": "",
            **_NO_ADAPTERS,
        }
        return deployment.engine.model_copy(update=own)
    options = spec.engine or EngineOptions()
    shared = {name: getattr(options, name) for name in EngineOptions.model_fields}
    return Engine(**shared, thinking=spec.sampling.thinking)


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
    commit: str = "",
    gpus: Sequence[Gpu] | None = None,
    gpus_per_node: int | None = None,
) -> BatchPlan:
    """The plan for `spec`, whose model and engine are those of `server` (see `as_server`).

    `commit`: of the verified copy. The other arguments are those of `make_plan`.
    """
    plan = make_plan(
        weights, server, settings, nodes, template_hash, gpus=gpus, gpus_per_node=gpus_per_node, middleware=False
    )
    entry = resolve(server.source.id, weights.facts, server.engine.task)
    problems = [problem for problem in plan.problems if not _of_servers_alone(problem)]
    if spec.target != RUNNING and not has_flag(SOCKET_FLAG, plan.version):
        words = f"vLLM {plan.version} has no {SOCKET_FLAG}, by which a batch asks it: use a newer image"
        problems.append(Problem(Reason.UNSUPPORTED_BY_ENGINE, words, "spec.engine.image"))
    if server.auth and server.auth.keys:
        words = "the servers have a key for each team (auth.keys): name one that the batch may use"
        problems.append(Problem(Reason.KEY_MISSING, words, "spec.apiKeySecretRef"))
    runner = _runner(namespace, name, spec, server, plan, entry, [template_hash, commit])
    values = [v for v in plan.values if v.field not in _SERVER_VALUES] + _values(spec, entry, runner)
    engine = replace(
        plan,
        problems=tuple(_in_batch_words(problem, spec) for problem in problems),
        warnings=tuple(_in_batch_words(warning, spec) for warning in plan.warnings),
        values=tuple(values),
    )
    if runner.url:
        words = f"the servers of Qwen3Deployment {spec.deployment_ref.name if spec.deployment_ref else ''} run already"
        engine = replace(engine, image=settings.downloader_image, fit=Fit("Unknown", Reason.NOT_CHECKED, words))
    return BatchPlan(engine, runner)


_SERVER_VALUES = {"thinking", "sampling"}


def _of_servers_alone(problem: Problem) -> bool:
    """Whether vLLM lacks a flag that only servers need: each line of a batch says itself whether it thinks."""
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
    identity: Sequence[str],
) -> Config:
    """`identity`: what decides the answers beside the spec and the command line."""
    claim, thinking, runs = spec.input.claim, spec.sampling.thinking, spec.target == RUNNING
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
        task=entry.task if entry else server.engine.task or "generate",
        vocabulary=entry.facts.vocab_size if entry and entry.facts else None,
        models=tuple(dict.fromkeys([*served_names(server), server.source.id])),
        any_model=spec.input.model == "Any",
        engine=() if runs else tuple(engine_command(plan.command)),
        url=_url(namespace, spec, server) if runs else "",
        concurrency=(spec.concurrency or CONCURRENCY) if runs else None,
        startup_seconds=plan.startup_seconds,
        stall_seconds=spec.stall_seconds,
        verify=None if runs else plan.verify,  # servers that run have been asked
    )
    return replace(config, fingerprint=_fingerprint(config, server, plan, identity))


_NOT_DECISIVE = {
    *("input", "output", "engine", "url", "concurrency", "startup_seconds", "stall_seconds", "vocabulary"),
    "verify",
}
"""Fields of the configuration that change no answer."""


def _fingerprint(config: Config, server: Qwen3DeploymentSpec, plan: Plan, identity: Sequence[str]) -> str:
    """Of what decides the answers. The length counts where the spec says it: else it depends on the day's nodes."""
    engine = [] if config.url else decisive_words(plan.command)
    said = [server.source.id, server.source.revision, server.engine.max_model_len, server.engine.extra_args]
    decisive = {key: value for key, value in config.as_json().items() if key not in _NOT_DECISIVE}
    return digest([decisive, said, engine, bool(config.url), *identity], 16)


def _url(namespace: str, spec: Qwen3BatchSpec, server: Qwen3DeploymentSpec) -> str:
    """Of the Service of the Qwen3Deployment."""
    assert spec.deployment_ref is not None
    return f"http://{spec.deployment_ref.name}.{namespace}.svc:{server.service.port}"


def _sampling(spec: Qwen3BatchSpec, entry: CatalogEntry | None, *, thinking: bool) -> dict[str, Any]:
    """What lines get that think, or do not: the spec's words, else the authors' advice. Servers that run have defaults
    of their own."""
    advice = entry.sampling(thinking=thinking) if entry and spec.target != RUNNING else None
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
