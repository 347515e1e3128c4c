"""Our knowledge of the command line against the parser of a real vLLM (its CPU build, 0.32.0)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from images.vllm_bundle import VLLM_VERSION, bundle

from qwen3_operator.catalog import CatalogEntry, known_ids, lookup
from qwen3_operator.engine.command import ServeOptions, serve_command
from qwen3_operator.engine.flag_table import all_flags, find
from qwen3_operator.engine.flags import check_extra_args
from qwen3_operator.engine.length import resolve_length
from qwen3_operator.engine.parsers import choose_reasoning_parser, choose_tool_parser
from qwen3_operator.engine.version import EngineVersion

pytestmark = pytest.mark.e2e

VERSION = EngineVersion.of(VLLM_VERSION)


@cache
def ask_vllm(lines: str) -> dict[str, Any]:
    """What vLLM's parser says to the lines (a JSON list of word lists)."""
    environment = {**os.environ, "PYTHONPATH": str(bundle()), "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
    script = Path(__file__).parent / "parser_of_vllm.py"
    done = subprocess.run(
        [sys.executable, str(script)], input=lines, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def errors(lines: list[list[str]]) -> list[str | None]:
    said: list[str | None] = ask_vllm(json.dumps(lines))["errors"]
    return said


def everything(entry: CatalogEntry) -> list[str]:
    """The longest line the operator writes for an entry: all it knows switched on."""
    sampling = entry.sampling(thinking=False) or entry.sampling(thinking=True)
    length = resolve_length(entry.extended_length, entry, entry.facts, VERSION)
    mtp = {"method": "mtp", "num_speculative_tokens": 2} if entry.mtp_methods else {}
    options = ServeOptions(
        model_path="/models/m",
        served_model_names=[entry.id.rsplit("/", 1)[-1], "alias"],
        task=entry.task,
        max_model_len=length.max_model_len,
        reasoning_parser=choose_reasoning_parser("auto", entry, VERSION).parser,
        tool_call_parser=choose_tool_parser("auto", entry, VERSION).parser,
        tensor_parallel_size=2,
        pipeline_parallel_size=2,
        enable_expert_parallel=bool(entry.facts and entry.facts.is_moe),
        dtype="bfloat16",
        quantization="fp8",
        kv_cache_dtype="fp8",
        gpu_memory_utilization_percent=92,
        max_num_seqs=256,
        max_num_batched_tokens=8192,
        enable_prefix_caching=False,
        enable_chunked_prefill=True,
        chat_template="/etc/template.jinja",
        default_chat_template_kwargs={"enable_thinking": False} if entry.thinking == "hybrid" else {},
        override_generation_config=sampling.generation_config() if sampling else {},
        hf_overrides={**entry.hf_overrides, **length.hf_overrides},
        speculative_config=mtp,
        lora_modules={"sql": "/adapters/sql"},
        max_lora_rank=16,
        nnodes=2,
        node_rank=1,
        master_addr="10.0.0.1",
        headless=True,
        shutdown_timeout_seconds=30,
        middleware=["reasoning_content.ReasoningContentMiddleware"],
        extra_args=["--enforce-eager", "--kv-cache-memory-bytes", "64M"],
    )
    return serve_command(options, VERSION)[2:]


def test_every_rendered_line_is_accepted() -> None:
    entries = [entry for model_id in known_ids() if (entry := lookup(model_id)) is not None]
    said = errors([everything(entry) for entry in entries])
    assert {entry.id: error for entry, error in zip(entries, said, strict=True) if error} == {}


def test_the_table_of_flags_is_that_of_the_parser() -> None:
    options = ask_vllm(json.dumps([]))["options"]
    unknown = [text for text in options if text.startswith("--") and find(text, VERSION).flag is None]
    invented = [
        text
        for flag in all_flags().values()
        if flag.exists_in(VERSION)
        for text in flag.spellings(VERSION)
        if text not in options
    ]
    assert unknown == []
    assert invented == []


def test_the_arity_is_that_of_the_parser() -> None:
    options = ask_vllm(json.dumps([]))["options"]
    arity = {None: "1", 0: "0", "+": "+", "?": "?"}
    wrong = {
        flag.name: (flag.arity, options[flag.name]["nargs"])
        for flag in all_flags().values()
        if flag.exists_in(VERSION) and arity[options[flag.name]["nargs"]] != flag.arity.replace("bool", "0")
    }
    assert wrong == {}


EXTRA_ARGS = [
    ["--enforce-eager"],
    ["--enforce_eager", "--seed", "-1"],
    ["--seed=7"],
    ["--enforce-eager=false"],
    ["--enforce-eager", "false"],
    ["--no-enforce-eager"],
    ["--no-such-flag"],
    ["--no-such-flag", "value"],
    ["--enable-reasoning"],
    ["--disable-log-requests"],
    ["--no-enable-log-requests"],
    ["--disable-prefix-caching"],
    ["--no_enable_prefix_caching"],
    ["--max-num", "8"],
    ["--gpu-memory-util", "0.9"],
    ["-tp", "2"],
    ["-tp=2"],
    ["-O3"],
    ["-O", "2"],
    ["--block-size", "16"],
    ["--block-size"],
    ["--block-size", "sixteen"],
    ["--max-num-seqs", "1k"],
    ["--max-num-batched-tokens", "8k"],
    ["--max-num-batched-tokens", "1.5K"],
    ["--max-model-len", "32k"],
    ["--max-model-len", "auto"],
    ["--max-model-len", "-1"],
    ["--dtype", "bf16"],
    ["--dtype", "bfloat16"],
    ["--scheduling-policy", "lifo"],
    ["--limit-mm-per-prompt", '{"image": 2}'],
    ["--limit-mm-per-prompt", "{image: 2}"],
    ["--limit-mm-per-prompt.image", "2"],
    ["--hf-overrides.rope_parameters.factor", "4.0"],
    ["--override-generation-config", "{}"],
    ["--default-chat-template-kwargs", "no json"],
    ["--allowed-media-domains", "a.example", "b.example"],
    ["--allowed-origins", '["*"]'],
    ["--cpu-offload-gb", "much"],
    ["--swap-space", "4"],
    ["--task", "embed"],
    ["--headless"],
    ["--grpc=1"],
    ["--safetensors-load-strategy", "prefetch"],
    ["stray"],
]


@pytest.mark.parametrize("args", EXTRA_ARGS, ids=" ".join)
def test_what_we_refuse_vllm_refuses(args: list[str]) -> None:
    said = errors([["/models/m", *line] for line in EXTRA_ARGS])[EXTRA_ARGS.index(args)]
    ours = [problem.message for problem in check_extra_args(args, VERSION, {})]
    assert bool(ours) == (said is not None), (ours, said)
