"""Resolving a spec into a plan, value by value, in the order in which one follows from another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from qwen3_operator.api.deployment import Qwen3DeploymentSpec
from qwen3_operator.api.engine import Engine
from qwen3_operator.api.reasons import Reason
from qwen3_operator.catalog import CatalogEntry, ModelFacts, not_served_reason, resolve
from qwen3_operator.controller.quantity import gibibytes
from qwen3_operator.engine.capacity import most_seqs
from qwen3_operator.engine.command import OWNED_FLAGS, ServeOptions, check_options, serve_command
from qwen3_operator.engine.compatibility import check_format, check_version
from qwen3_operator.engine.flags import check_extra_args, given, without
from qwen3_operator.engine.gpu import Gpu
from qwen3_operator.engine.hardware import check_gpu
from qwen3_operator.engine.host import host_resources, startup_budget_seconds
from qwen3_operator.engine.length import DEFAULT_LENGTH, LengthPlan, resolve_length
from qwen3_operator.engine.lora import Lora, adapter_bytes
from qwen3_operator.engine.memory import predict
from qwen3_operator.engine.node_gpus import NodeGpus
from qwen3_operator.engine.parallelism import check_parallelism
from qwen3_operator.engine.parsers import ParserChoice, by_version, choose_reasoning_parser, choose_tool_parser
from qwen3_operator.engine.problem import Problem
from qwen3_operator.engine.version import NEWEST_KNOWN, EngineVersion
from qwen3_operator.engine.weights import Sharding
from qwen3_operator.naming import MIDDLEWARE, MODELS_DIR, TEMPLATE_DIR, TEMPLATE_FILE
from qwen3_operator.plan.auth import check_auth
from qwen3_operator.plan.benchmark import plan_benchmark
from qwen3_operator.plan.endpoint import check_endpoint
from qwen3_operator.plan.lora import LORA_FLAGS, check_adapters, check_lora, lora_for
from qwen3_operator.plan.middleware import PROBES, middleware_config, wanted_answers
from qwen3_operator.plan.overrides import merged, read_overrides, speaks_of_length
from qwen3_operator.plan.preflight import candidate_gpus, judge, load_on
from qwen3_operator.plan.shares import check_shares
from qwen3_operator.plan.thinking import request_defaults
from qwen3_operator.plan.types import Plan, Source, Value, Weights
from qwen3_operator.settings import Settings

_ALLOW_LONG = "VLLM_ALLOW_LONG_MAX_MODEL_LEN"
TEMPLATE_ANNOTATION = "serving.qwen3.dev/chat-template-hash"


def served_names(spec: Qwen3DeploymentSpec) -> list[str]:
    """The names by which a server of `spec` is asked for its model."""
    return spec.engine.served_model_names or [spec.source.id.split("/")[-1]]


def make_plan(
    weights: Weights,
    spec: Qwen3DeploymentSpec,
    settings: Settings,
    nodes: Sequence[NodeGpus] = (),
    template_hash: str = "",
    *,
    chosen_length: int | None = None,
    gpus: Sequence[Gpu] | None = None,
    gpus_per_node: int | None = None,
    middleware: bool = True,
) -> Plan:
    """The plan for `spec`, served from `weights`.

    `nodes`: the GPUs of nodes that a server may land on.
    `template_hash`: of the chat template's text, so that a changed template makes new servers. `chosen_length`: what
    was chosen for the servers that run from this spec; nodes that come and go do not change it. `gpus` and
    `gpus_per_node`: what is known of the GPUs other than by nodes. `middleware`: whether the engine has an API server,
    which runs ours.
    """
    engine = spec.engine
    image, known_version, values = _image(spec, settings)
    version = known_version or NEWEST_KNOWN
    entry = resolve(spec.source.id, weights.facts, engine.task)
    known_facts = entry.facts if entry else None
    found = (
        _check_model(spec) + check_endpoint(spec.source, settings) + list(check_version(known_version, image, entry))
    )
    found += check_format(spec.source.id, weights.facts, named=engine.quantization)
    own_overrides, overrides_problems = read_overrides(engine.hf_overrides)
    found += overrides_problems
    task = entry.task if entry else engine.task or "generate"
    if task != "generate" or engine.task is not None:
        values.append(Value("task", task, *_source_of_task(engine.task, entry)))

    reasoning, tools = _parsers(spec, entry, version)
    for label, choice in (("reasoningParser", reasoning), ("toolCallParser", tools)):
        values.append(Value(label, choice.parser or "none", choice.reason, choice.source))
        found += choice.problems

    sharding = Sharding(engine.tensor_parallel_size, engine.pipeline_parallel_size, engine.enable_expert_parallel)
    if known_facts is not None:
        found += check_parallelism(known_facts, version, sharding)
    if gpus is None:
        gpus = candidate_gpus(spec, nodes)
        found += check_shares(spec, nodes, version)
    legal = not any(p.severity == "error" for p in found)
    if known_facts is not None and gpus:
        # On the most capable one: what only some nodes cannot do is the scheduler's to avoid.
        own = bool(engine.image)
        seen = (check_gpu(known_facts, gpu, version, engine.dtype, own_image=own) for gpu in gpus)
        fewest: list[Problem] = min(seen, key=len)
        found += fewest
    lora = weights.lora or lora_for(engine, weights.adapters, None)
    length = _length(spec, entry, known_facts, version, sharding, gpus if legal else [], chosen_length, lora)
    values.append(Value("maxModelLen", str(length.max_model_len), length.reason, length.source))
    found += length.problems
    fit = judge(
        spec,
        known_facts if legal else None,
        gpus,
        version,
        sharding,
        length.max_model_len,
        length.max_position,
        gpus_per_node or max((node.gpus for node in nodes), default=8),
        pooling=entry is not None and entry.task != "generate",
        lora=lora,
    )

    defaults = request_defaults(engine, entry)
    values += defaults.values
    found += defaults.problems
    names = served_names(spec)
    said = bool(engine.served_model_names)
    reason = "set in the spec" if said else "last part of the model's id"
    values.append(Value("servedModelNames", " ".join(names), reason, "spec" if said else "operator"))

    speculative, speculative_problems = _speculative(spec, entry, version)
    found += speculative_problems
    wanted = wanted_answers(spec, entry, version, names, length.max_model_len, reasoning.parser, tools.parser)
    server = middleware_config(spec, entry, version, length.max_model_len, wanted) if middleware else None
    options = ServeOptions(
        model_path="/".join(part for part in (MODELS_DIR, weights.path) if part),
        served_model_names=names,
        host=engine.host or settings.engine_host,
        task=task,
        max_model_len=length.max_model_len,
        reasoning_parser=reasoning.parser,
        tool_call_parser=tools.parser,
        tensor_parallel_size=engine.tensor_parallel_size,
        pipeline_parallel_size=engine.pipeline_parallel_size,
        enable_expert_parallel=engine.enable_expert_parallel,
        dtype=engine.dtype,
        quantization=engine.quantization,
        kv_cache_dtype=engine.kv_cache_dtype,
        gpu_memory_utilization_percent=engine.gpu_memory_utilization_percent,
        max_num_seqs=engine.max_num_seqs,
        max_num_batched_tokens=engine.max_num_batched_tokens,
        enable_prefix_caching=engine.enable_prefix_caching,
        chat_template=f"{TEMPLATE_DIR}/{TEMPLATE_FILE}" if engine.chat_template else None,
        default_chat_template_kwargs=defaults.chat_template_kwargs,
        override_generation_config=defaults.generation_config,
        hf_overrides=merged({**(entry.hf_overrides if entry else {}), **length.hf_overrides}, own_overrides),
        speculative_config=speculative,
        lora=lora,
        shutdown_timeout_seconds=spec.rollout.drain_seconds,
        middleware=[MIDDLEWARE] if server else [],
        probes=PROBES if server else (),
        extra_args=without(engine.extra_args, "--api-key", version),  # it is refused, and shown in no status
    )
    found += check_auth(spec, version) if middleware else []
    found += check_lora(spec, names, version)
    checked = check_adapters(spec, weights.adapters, known_facts)
    found += [problem for name in sorted(checked) for problem in checked[name]]
    found += check_extra_args(engine.extra_args, version, {**OWNED_FLAGS, **(LORA_FLAGS if lora else {})})
    found += check_options(options, version)

    command = tuple(serve_command(options, version))
    benchmark, decided, doubts = plan_benchmark(
        spec,
        weights,
        image=image,
        command=command,
        names=names,
        max_model_len=length.max_model_len,
        most=most_seqs(command),
        has_middleware=server is not None,
        generates=task == "generate",
    )
    values += decided
    found += doubts if middleware else []

    size_bytes = entry.weights_bytes if entry else None
    adapters = max(len(engine.lora_adapters), lora.max_loras) if lora else 0
    more = adapters * adapter_bytes(known_facts, lora.max_rank) if lora and known_facts else 0
    host, startup = host_resources(size_bytes, sharding, int(more)), startup_budget_seconds(size_bytes)
    size = f"{size_bytes / 2**30:.1f} GiB of weights" if size_bytes else "weights of unknown size"
    kept = f", and {adapters} adapters" if adapters else ""
    values += _lora_values(engine, lora)
    values += [
        Value("resources.requests.cpu", str(host.cpu), f"{sharding.world_size} GPU(s)", "operator"),
        Value("resources.requests.memory", gibibytes(host.memory_bytes), f"the process, and {size}{kept}", "operator"),
        Value("startupSeconds", str(startup), f"the longest start that is no failure, for {size}", "operator"),
    ]
    return Plan(
        image=image,
        version=version,
        claim=weights.claim,
        claim_is_others=weights.claim_is_others,
        command=command,
        max_model_len=length.max_model_len,
        gpus=sharding.world_size,
        cpu=str(host.cpu),
        memory=gibibytes(host.memory_bytes),
        shm_size=gibibytes(host.shm_bytes),
        startup_seconds=startup,
        drain_seconds=spec.rollout.drain_seconds,
        server=server.as_text() if server else "",
        benchmark=benchmark.as_text() if benchmark else "",
        verify=wanted,
        fit=fit,
        values=tuple(values),
        problems=tuple(p for p in found if p.severity == "error"),
        warnings=tuple(p for p in found if p.severity == "warning"),
        pod_annotations={TEMPLATE_ANNOTATION: template_hash} if template_hash else {},
    )


def _check_model(spec: Qwen3DeploymentSpec) -> list[Problem]:
    if why := not_served_reason(spec.source.id):
        return [Problem(Reason.MODEL_NOT_SERVED, f"vLLM does not serve {spec.source.id}: {why}", "spec.model.id")]
    return []


def _source_of_task(said: str | None, entry: CatalogEntry | None) -> tuple[str, Source]:
    if said is not None:
        return "set in the spec", "spec"
    if entry is None or entry.known:
        return "what the catalogue says of it", "catalogue"
    return "what the checkpoint's files say, or the model that it is a copy of", "checkpoint"


def _image(spec: Qwen3DeploymentSpec, settings: Settings) -> tuple[str, EngineVersion | None, list[Value]]:
    engine = spec.engine
    if engine.image:
        image, values = engine.image, [Value("image", engine.image, "set in the spec", "spec")]
    else:
        image = settings.engine_image
        values = [Value("image", image, "the operator's setting", "settings")]
    if engine.version:
        values.append(Value("version", engine.version, "set in the spec", "spec"))
        return image, EngineVersion.of(engine.version), values
    if not engine.image and settings.engine_version:
        values.append(Value("version", settings.engine_version, "the operator's setting", "settings"))
        return image, EngineVersion.of(settings.engine_version), values
    version = EngineVersion.from_image(image)
    reason = "the image's tag" if version else f"the tag of {image} tells none: the newest known is assumed"
    return image, version, [*values, Value("version", str(version or NEWEST_KNOWN), reason, "operator")]


def _parsers(
    spec: Qwen3DeploymentSpec, entry: CatalogEntry | None, version: EngineVersion
) -> tuple[ParserChoice, ParserChoice]:
    engine = spec.engine
    if entry is None:
        return _parser_before_download(engine.reasoning_parser), _parser_before_download(engine.tool_call_parser)
    reasoning_plugin = given(engine.extra_args, "--reasoning-parser-plugin", version) is not None
    tool_plugin = given(engine.extra_args, "--tool-parser-plugin", version) is not None
    return (
        choose_reasoning_parser(engine.reasoning_parser, entry, version, has_plugin=reasoning_plugin),
        choose_tool_parser(engine.tool_call_parser, entry, version, has_plugin=tool_plugin),
    )


def _parser_before_download(requested: str) -> ParserChoice:
    if requested in ("auto", "none"):
        return ParserChoice(None, "decided when the checkpoint's config.json is known")
    return ParserChoice(requested, "set in the spec", "spec")


def _length(
    spec: Qwen3DeploymentSpec,
    entry: CatalogEntry | None,
    facts: ModelFacts | None,
    version: EngineVersion,
    sharding: Sharding,
    gpus: Sequence[Gpu],
    chosen: int | None,
    lora: Lora | None,
) -> LengthPlan:
    requested, own_way = spec.engine.max_model_len, _own_way(spec, version)
    if requested is None and chosen is not None:
        kept = LengthPlan(chosen, "")
        if entry is not None:
            kept = resolve_length(chosen, entry, facts, version, own_way=own_way)
        return replace(kept, reason="as chosen when the servers were made for this spec", source="gpu")
    if entry is None:
        reason = "set in the spec" if requested else "a careful default until the checkpoint's config.json is known"
        return LengthPlan(requested or DEFAULT_LENGTH, reason, "spec" if requested else "catalogue")
    tokens = None
    if requested is None and facts is not None and gpus:
        load = load_on(spec, facts, gpus[-1], version, sharding, pooling=entry.task != "generate", lora=lora)
        memory = predict(load)
        tokens = memory.longest(memory.margin_gib)
    return resolve_length(requested, entry, facts, version, tokens, own_way)


def _own_way(spec: Qwen3DeploymentSpec, version: EngineVersion) -> str:
    """What of the spec says how the model gets beyond its length, in words; empty where nothing does."""
    engine = spec.engine
    if engine.hf_overrides and speaks_of_length(engine.hf_overrides):
        return "spec.engine.hfOverrides"
    if given(engine.extra_args, "--hf-overrides", version) is not None:
        return "--hf-overrides of spec.engine.extraArgs"
    if any(variable.name == _ALLOW_LONG and variable.value not in (None, "", "0") for variable in engine.env):
        return f"{_ALLOW_LONG} of spec.engine.env"
    return ""


def _lora_values(engine: Engine, lora: Lora | None) -> list[Value]:
    if lora is None:
        return []
    needs, all_use = "what the adapters need, or needed when servers were made", "for most uses: each takes GPU memory"
    shown = (
        ("maxLoraRank", lora.max_rank, engine.max_lora_rank, needs),
        ("maxLoras", lora.max_loras, engine.max_loras, all_use),
    )
    return [
        Value(field, str(value), "set in the spec" if said else why, "spec" if said else "operator")
        for field, value, said, why in shown
    ]


def _speculative(
    spec: Qwen3DeploymentSpec, entry: CatalogEntry | None, version: EngineVersion
) -> tuple[Mapping[str, Any], list[Problem]]:
    wanted = spec.engine.speculative_decoding
    if wanted is None or entry is None:
        return {}, []
    method = by_version(entry.mtp_methods, version)
    if method is None:
        words = f"{entry.id} has no multi-token-prediction layers that vLLM {version} can use: remove the field"
        return {}, [Problem(Reason.SPECULATIVE_DECODING_NOT_APPLICABLE, words, "spec.engine.speculativeDecoding")]
    return {"method": method, "num_speculative_tokens": wanted.num_speculative_tokens}, []
