"""The command line by release. The golden lines stand in data/commands, one word a line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from qwen3_operator.catalog import known_ids, lookup
from qwen3_operator.engine.command import OWNED_FLAGS, ServeOptions, check_options, serve_command
from qwen3_operator.engine.flag_table import all_flags
from qwen3_operator.engine.flags import check_extra_args
from qwen3_operator.engine.length import resolve_length
from qwen3_operator.engine.lora import Lora
from qwen3_operator.engine.parsers import choose_reasoning_parser, choose_tool_parser
from qwen3_operator.engine.version import EngineVersion

GOLDEN = Path(__file__).parent / "data" / "commands"
VERSIONS = ("0.8.5", "0.10.0", "0.11.1", "0.16.0", "0.18.0", "0.32.0", "0.33.0")


def hybrid(version: EngineVersion) -> ServeOptions:
    """Qwen3-8B, 131072 tokens by YaRN, not thinking by default, on two GPUs, with everything switched on."""
    entry = lookup("Qwen/Qwen3-8B")
    assert entry is not None
    sampling = entry.sampling(thinking=False)
    assert sampling is not None
    length = resolve_length(131072, entry, entry.facts, version)
    return ServeOptions(
        model_path="/models/qwen3-8b",
        served_model_names=["Qwen3-8B", "chat"],
        port=8000,
        max_model_len=length.max_model_len,
        reasoning_parser=choose_reasoning_parser("auto", entry, version).parser,
        tool_call_parser=choose_tool_parser("auto", entry, version).parser,
        tensor_parallel_size=2,
        gpu_memory_utilization_percent=92,
        kv_cache_dtype="fp8",
        max_num_seqs=256,
        enable_prefix_caching=False,
        chat_template="/etc/chat-template/template.jinja",
        default_chat_template_kwargs={"enable_thinking": False},
        override_generation_config=sampling.generation_config(),
        hf_overrides=length.hf_overrides,
        lora=Lora(16, 2),
        shutdown_timeout_seconds=30,
        middleware=["qwen3_in_engine.server.loader.Middleware"],
        extra_args=["--enforce-eager"],
    )


def reranker(version: EngineVersion) -> ServeOptions:
    """Qwen3-Reranker-0.6B as it is."""
    del version
    entry = lookup("Qwen/Qwen3-Reranker-0.6B")
    assert entry is not None
    return ServeOptions(
        model_path="/models/reranker",
        served_model_names=["reranker"],
        task=entry.task,
        max_model_len=8192,
        hf_overrides=entry.hf_overrides,
    )


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("case", [hybrid, reranker])
def test_golden(version: str, case) -> None:  # type: ignore[no-untyped-def]
    release = EngineVersion.of(version)
    golden = (GOLDEN / f"{case.__name__}-{version}.txt").read_text(encoding="utf-8").splitlines()
    assert serve_command(case(release), release) == golden


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("model_id", known_ids())
def test_every_line_of_the_catalogue_holds_only_what_the_release_takes(model_id: str, version: str) -> None:
    entry, release = lookup(model_id), EngineVersion.of(version)
    assert entry is not None
    if release < EngineVersion.of(entry.floor_version):
        return
    options = ServeOptions(
        model_path="/models/m",
        served_model_names=["m"],
        task=entry.task,
        max_model_len=entry.native_length,
        reasoning_parser=choose_reasoning_parser("auto", entry, release).parser,
        tool_call_parser=choose_tool_parser("auto", entry, release).parser,
        hf_overrides=entry.hf_overrides,
        shutdown_timeout_seconds=30,
    )
    words = serve_command(options, release)
    assert words[:3] == ["vllm", "serve", "/models/m"]
    assert check_extra_args(words[3:], release, {}) == []


def test_equal_options_give_equal_lines() -> None:
    release = EngineVersion.of("0.33.0")
    once, again = hybrid(release), hybrid(release)
    shuffled = replace(again, hf_overrides=dict(reversed(list(again.hf_overrides.items()))))
    assert serve_command(once, release) == serve_command(shuffled, release)


def test_a_plain_server_has_a_plain_line() -> None:
    options = ServeOptions(model_path="/models/m", served_model_names=["m"])
    assert serve_command(options, EngineVersion.of("0.33.0")) == [
        *("vllm", "serve", "/models/m", "--served-model-name", "m", "--host", "0.0.0.0", "--port", "8000"),
        *("--disable-access-log-for-endpoints", "/health,/metrics,/ping"),
    ]


def test_a_group_of_nodes() -> None:
    options = ServeOptions(
        model_path="/m",
        served_model_names=["m"],
        tensor_parallel_size=8,
        pipeline_parallel_size=2,
        nnodes=2,
        node_rank="$(LWS_WORKER_INDEX)",
        master_addr="$(LWS_LEADER_ADDRESS)",
        headless=True,
    )
    line = " ".join(serve_command(options, EngineVersion.of("0.33.0")))
    assert (
        "--tensor-parallel-size 8 --pipeline-parallel-size 2 --nnodes 2 --node-rank $(LWS_WORKER_INDEX) "
        "--master-addr $(LWS_LEADER_ADDRESS) --headless" in line
    )


def test_what_a_release_cannot_do_is_reported() -> None:
    release = EngineVersion.of("0.10.0")
    problems = check_options(hybrid(release), release)
    assert [(problem.reason, problem.field) for problem in problems] == [
        ("UnsupportedByEngine", "spec.engine.thinking")
    ]
    assert check_options(hybrid(release), EngineVersion.of("0.33.0")) == []


def test_owned_flags_are_flags() -> None:
    assert set(OWNED_FLAGS) <= set(all_flags())
