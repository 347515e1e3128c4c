"""The command line of a server: only flags that exist in that vLLM release, in an order that never changes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from qwen3_operator.api.reasons import Reason
from qwen3_operator.engine.flag_table import has_flag
from qwen3_operator.engine.lora import Lora
from qwen3_operator.engine.problem import Problem
from qwen3_operator.engine.version import EngineVersion

QUIET_ENDPOINTS = ("/health", "/metrics", "/ping")
"""Probed all the time: kept out of the access log."""

OWNED_FLAGS: Mapping[str, str] = {
    "--model": "use spec.model",
    "--revision": "use spec.model.revision",
    "--tokenizer-revision": "use spec.model.revision",
    "--code-revision": "use spec.model.revision",
    "--download-dir": "the model is downloaded before the server starts; use spec.model.storage",
    "--served-model-name": "use spec.engine.servedModelNames",
    "--host": "use spec.engine.host",
    "--port": "use spec.service.port",
    "--uds": "the Service reaches the server by TCP; use spec.service",
    "--config": "every option is a field of the spec or one of extraArgs",
    "--api-key": "use spec.auth, which keeps keys out of the pod's spec",
    "--max-model-len": "use spec.engine.maxModelLen",
    "--reasoning-parser": "use spec.engine.reasoningParser",
    "--enable-reasoning": "use spec.engine.reasoningParser",
    "--tool-call-parser": "use spec.engine.toolCallParser",
    "--enable-auto-tool-choice": "use spec.engine.toolCallParser",
    "--tensor-parallel-size": "use spec.engine.tensorParallelSize",
    "--pipeline-parallel-size": "use spec.engine.pipelineParallelSize",
    "--enable-expert-parallel": "use spec.engine.enableExpertParallel",
    "--nnodes": "use spec.engine.pipelineParallelSize and tensorParallelSize",
    "--node-rank": "use spec.engine.pipelineParallelSize and tensorParallelSize",
    "--master-addr": "use spec.engine.pipelineParallelSize and tensorParallelSize",
    "--headless": "the operator decides which pods answer requests",
    "--dtype": "use spec.engine.dtype",
    "--quantization": "use spec.engine.quantization",
    "--kv-cache-dtype": "use spec.engine.kvCacheDtype",
    "--gpu-memory-utilization": "use spec.engine.gpuMemoryUtilizationPercent",
    "--max-num-seqs": "use spec.engine.maxNumSeqs",
    "--max-num-batched-tokens": "use spec.engine.maxNumBatchedTokens",
    "--enable-prefix-caching": "use spec.engine.enablePrefixCaching",
    "--chat-template": "use spec.engine.chatTemplate",
    "--default-chat-template-kwargs": "use spec.engine.thinking",
    "--override-generation-config": "use spec.engine.sampling",
    "--shutdown-timeout": "use spec.rollout.drainSeconds",
    "--task": "use spec.engine.task",
    "--runner": "use spec.engine.task",
    "--convert": "use spec.engine.task",
}
"""Flags that are not the user's to give in extraArgs, with what to use instead."""


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """What a server is to do, whatever its vLLM release. None and empty: vLLM's own default."""

    model_path: str
    served_model_names: Sequence[str]
    host: str = "0.0.0.0"
    port: int = 8000
    task: str = "generate"
    """generate, embed or rerank."""
    max_model_len: int | None = None
    reasoning_parser: str | None = None
    tool_call_parser: str | None = None
    tensor_parallel_size: int = 1
    pipeline_parallel_size: int = 1
    enable_expert_parallel: bool = False
    nnodes: int = 1
    node_rank: int | str = 0
    """This pod's rank: a number, or ``$(NAME)`` of an environment variable that holds it."""
    master_addr: str | None = None
    headless: bool = False
    """True on the pods of a group that answer no HTTP."""
    dtype: str | None = None
    quantization: str | None = None
    kv_cache_dtype: str | None = None
    gpu_memory_utilization_percent: int | None = None
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    enable_prefix_caching: bool | None = None
    enable_chunked_prefill: bool | None = None
    chat_template: str | None = None
    default_chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    override_generation_config: Mapping[str, Any] = field(default_factory=dict)
    hf_overrides: Mapping[str, Any] = field(default_factory=dict)
    speculative_config: Mapping[str, Any] = field(default_factory=dict)
    lora: Lora | None = None
    """Room for LoRA adapters; None: the server takes none."""
    shutdown_timeout_seconds: int = 0
    middleware: Sequence[str] = ()
    """Import paths of ASGI middleware."""
    probes: Sequence[str] = ()
    """Paths that it answers."""
    extra_args: Sequence[str] = ()


def serve_command(options: ServeOptions, version: EngineVersion) -> list[str]:
    """The words of ``vllm serve PATH ...``; equal input gives equal words. Flags the release lacks are left out."""
    words = ["vllm", "serve", options.model_path]
    for flag, *values in _flags(options, version):
        if has_flag(re.sub("^--no-", "--", flag), version):
            words += [flag, *values]
    return [*words, *options.extra_args]


def check_options(options: ServeOptions, version: EngineVersion) -> list[Problem]:
    """Options that were asked for and that the release cannot do."""
    needs = (
        (options.default_chat_template_kwargs, "--default-chat-template-kwargs", "spec.engine.thinking"),
        (options.override_generation_config, "--override-generation-config", "spec.engine.sampling"),
        (options.enable_expert_parallel, "--enable-expert-parallel", "spec.engine.enableExpertParallel"),
        (options.speculative_config, "--speculative-config", "spec.engine.speculativeDecoding"),
        (options.nnodes > 1, "--nnodes", "spec.engine.pipelineParallelSize"),
    )
    return [
        Problem(
            Reason.UNSUPPORTED_BY_ENGINE, f"vLLM {version} has no {flag}: use a newer image, or drop {where}", where
        )
        for asked, flag, where in needs
        if asked and not has_flag(flag, version)
    ]


def _flags(options: ServeOptions, version: EngineVersion) -> Iterator[tuple[str, ...]]:
    """Every flag with its values, in the order of the command line."""
    yield "--served-model-name", *options.served_model_names
    yield "--host", options.host
    yield "--port", str(options.port)
    yield from _task(options.task, version)
    yield from _optional("--max-model-len", options.max_model_len)
    yield from _parallelism(options)
    yield from _optional("--dtype", options.dtype)
    yield from _optional("--quantization", options.quantization)
    yield from _optional("--kv-cache-dtype", options.kv_cache_dtype)
    if options.gpu_memory_utilization_percent is not None:
        yield "--gpu-memory-utilization", f"{options.gpu_memory_utilization_percent / 100:.2f}"
    yield from _optional("--max-num-seqs", options.max_num_seqs)
    yield from _optional("--max-num-batched-tokens", options.max_num_batched_tokens)
    yield from _switch("--enable-prefix-caching", options.enable_prefix_caching)
    yield from _switch("--enable-chunked-prefill", options.enable_chunked_prefill)
    if options.reasoning_parser is not None:
        if version < _REASONING_IMPLIED_SINCE:
            yield ("--enable-reasoning",)
        yield "--reasoning-parser", options.reasoning_parser
    if options.tool_call_parser is not None:
        yield ("--enable-auto-tool-choice",)
        yield "--tool-call-parser", options.tool_call_parser
    yield from _optional("--chat-template", options.chat_template)
    yield from _json("--default-chat-template-kwargs", options.default_chat_template_kwargs)
    yield from _json("--override-generation-config", options.override_generation_config)
    yield from _json("--hf-overrides", options.hf_overrides)
    yield from _json("--speculative-config", options.speculative_config)
    if options.lora is not None:
        yield ("--enable-lora",)
        yield "--max-lora-rank", str(options.lora.max_rank)
        yield "--max-loras", str(options.lora.max_loras)
        yield "--max-cpu-loras", str(options.lora.max_cpu_loras)
    for import_path in options.middleware:
        yield "--middleware", import_path
    yield "--disable-access-log-for-endpoints", ",".join([*QUIET_ENDPOINTS, *options.probes])
    if not has_flag("--enable-log-requests", version):  # before that flag, prompts were logged by default
        yield ("--disable-log-requests",)
    if options.shutdown_timeout_seconds:
        yield "--shutdown-timeout", str(options.shutdown_timeout_seconds)


_REASONING_IMPLIED_SINCE = EngineVersion.of("0.9.0")
"""From here on --reasoning-parser alone switches reasoning on; --enable-reasoning was deprecated, and gone in 0.10."""


def _task(task: str, version: EngineVersion) -> Iterator[tuple[str, ...]]:
    if task == "generate":
        return
    if has_flag("--runner", version):
        yield "--runner", "pooling"
    else:
        yield "--task", {"embed": "embed", "rerank": "score"}[task]


def _parallelism(options: ServeOptions) -> Iterator[tuple[str, ...]]:
    if options.tensor_parallel_size > 1:
        yield "--tensor-parallel-size", str(options.tensor_parallel_size)
    if options.pipeline_parallel_size > 1:
        yield "--pipeline-parallel-size", str(options.pipeline_parallel_size)
    if options.enable_expert_parallel:
        yield ("--enable-expert-parallel",)
    if options.nnodes > 1:
        yield "--nnodes", str(options.nnodes)
        yield "--node-rank", str(options.node_rank)
        yield from _optional("--master-addr", options.master_addr)
        if options.headless:
            yield ("--headless",)


def _optional(flag: str, value: str | int | None) -> Iterator[tuple[str, ...]]:
    if value is not None:
        yield flag, str(value)


def _switch(flag: str, value: bool | None) -> Iterator[tuple[str, ...]]:
    if value is not None:
        yield (flag if value else f"--no-{flag.removeprefix('--')}",)


def _json(flag: str, value: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    if value:
        yield flag, json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
