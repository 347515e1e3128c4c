"""Our knowledge of the command line against the parser of a real vLLM (its CPU build, 0.32.0)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any, Literal

import pytest
from images.vllm_bundle import VLLM_VERSION, bundle

from qwen3_operator.catalog import CatalogEntry, ModelFacts, known_ids, lookup, resolve
from qwen3_operator.engine.command import ServeOptions, serve_command
from qwen3_operator.engine.flag_table import all_flags, find
from qwen3_operator.engine.flags import check_extra_args
from qwen3_operator.engine.length import resolve_length
from qwen3_operator.engine.lora import Lora
from qwen3_operator.engine.parsers import choose_reasoning_parser, choose_tool_parser, parser_names
from qwen3_operator.engine.version import EngineVersion

pytestmark = pytest.mark.e2e

VERSION = EngineVersion.of(VLLM_VERSION)

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

LENGTHS = [8192, 40960, 65536, 131072]
CHECKPOINT = Path(__file__).parents[1] / "data" / "tiny-qwen3"
"""A tiny Qwen3 with the positions of the real ones (40960)."""


def length_line(length: int) -> list[str]:
    """The line for a length, from the checkpoint's own config.json."""
    facts = ModelFacts.from_config(json.loads((CHECKPOINT / "config.json").read_text(encoding="utf-8")))
    entry = resolve("Qwen/Qwen3-8B", facts)
    assert entry is not None
    plan = resolve_length(length, entry, facts, VERSION)
    options = ServeOptions(
        model_path=str(CHECKPOINT),
        served_model_names=["m"],
        max_model_len=plan.max_model_len,
        hf_overrides=plan.hf_overrides,
    )
    return serve_command(options, VERSION)[2:]


@cache
def ask_vllm(question: str) -> dict[str, Any]:
    """What parser_of_vllm.py answers inside vLLM's environment (JSON in, JSON out)."""
    environment = {**os.environ, "PYTHONPATH": str(bundle()), "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
    script = Path(__file__).parent / "parser_of_vllm.py"
    done = subprocess.run(
        [sys.executable, str(script)], input=question, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def asked() -> dict[str, Any]:
    """One question for all tests: starting vLLM's code takes half a minute."""
    entries = [entry for model_id in known_ids() if (entry := lookup(model_id)) is not None]
    lines = [*(everything(entry) for entry in entries), *(["/models/m", *args] for args in EXTRA_ARGS)]
    return ask_vllm(json.dumps({"parse": lines, "configure": [length_line(length) for length in LENGTHS]}))


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
        lora=Lora(max_rank=16, max_loras=2),
        nnodes=2,
        node_rank=1,
        master_addr="10.0.0.1",
        headless=True,
        shutdown_timeout_seconds=30,
        middleware=["qwen3_in_engine.server.loader.Middleware"],
        extra_args=["--enforce-eager", "--kv-cache-memory-bytes", "64M"],
    )
    return serve_command(options, VERSION)[2:]


def test_every_rendered_line_is_accepted() -> None:
    ids = [model_id for model_id in known_ids() if lookup(model_id)]
    said = asked()["errors"][: len(ids)]
    assert {model_id: error for model_id, error in zip(ids, said, strict=True) if error} == {}


def test_the_table_of_flags_is_that_of_the_parser() -> None:
    options = asked()["nargs"]
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
    options = asked()["nargs"]
    arity = {None: "1", 0: "0", "+": "+", "?": "?"}
    wrong = {
        flag.name: (flag.arity, options[flag.name])
        for flag in all_flags().values()
        if flag.exists_in(VERSION) and arity[options[flag.name]] != flag.arity.replace("bool", "0")
    }
    assert wrong == {}


@pytest.mark.parametrize("kind", ["reasoning", "tool"])
def test_the_parsers_are_those_of_vllm(kind: Literal["reasoning", "tool"]) -> None:
    assert list(parser_names(kind, VERSION)) == asked()[kind]


@pytest.mark.parametrize("length", LENGTHS)
def test_vllm_serves_the_length_that_yarn_is_rendered_for(length: int) -> None:
    assert asked()["lengths"][LENGTHS.index(length)] == length


@pytest.mark.parametrize("args", EXTRA_ARGS, ids=" ".join)
def test_what_we_refuse_vllm_refuses(args: list[str]) -> None:
    said = asked()["errors"][EXTRA_ARGS.index(args) - len(EXTRA_ARGS)]
    ours = [problem.message for problem in check_extra_args(args, VERSION, {})]
    assert bool(ours) == (said is not None), (ours, said)
