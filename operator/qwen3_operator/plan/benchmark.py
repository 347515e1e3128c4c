"""What a new server is to measure of itself, and for what the result holds."""

from __future__ import annotations

from collections.abc import Sequence

from qwen3_in_engine.capacity.contract import Benchmark
from qwen3_operator.api.deployment import Qwen3DeploymentSpec
from qwen3_operator.api.reasons import Reason
from qwen3_operator.engine.problem import Problem
from qwen3_operator.naming import digest
from qwen3_operator.plan.types import Value, Weights

FIELD = "spec.benchmark"
CAPACITY_DIR, CAPACITY_FILE = "/etc/qwen3/capacity", "capacity.json"
MARGIN_TOKENS = 16
"""A random prompt may have a few tokens more than it was asked for."""


def plan_benchmark(
    spec: Qwen3DeploymentSpec,
    weights: Weights,
    *,
    image: str,
    command: Sequence[str],
    names: Sequence[str],
    max_model_len: int,
    most: int,
    has_middleware: bool,
    generates: bool,
) -> tuple[Benchmark | None, list[Value], list[Problem]]:
    """The benchmark, how it was resolved, and warnings. `most`: requests of one batch. None: nothing is measured."""
    wanted = spec.benchmark
    if wanted is None:
        return None, [], []
    if not (has_middleware and generates):
        why = "an older vLLM runs without the middleware" if generates else "this model gives no tokens"
        words = f"{FIELD} has no effect: {why}"
        return None, [], [Problem(Reason.BENCHMARK_WITHOUT_EFFECT, words, FIELD, severity="warning")]
    tokens, reason = fitting(wanted.input_tokens, wanted.output_tokens, max_model_len)
    benchmark = Benchmark(
        key=capacity_key(spec, weights, image, command, tokens),
        file=f"{CAPACITY_DIR}/{CAPACITY_FILE}",
        model=command[2],
        name=names[0],
        input_tokens=tokens[0],
        output_tokens=tokens[1],
        ttft_milliseconds=wanted.ttft_p95_milliseconds,
        max_seconds=wanted.max_seconds,
        most=most,
    )
    return benchmark, [Value("benchmark", f"{tokens[0]} + {tokens[1]} tokens", reason, "spec")], []


def capacity_key(
    spec: Qwen3DeploymentSpec, weights: Weights, image: str, command: Sequence[str], tokens: Sequence[int]
) -> str:
    """Digest of all that decides how fast a server is, as far as it is known before there is one: the GPU is seen by
    the server itself."""
    assert spec.benchmark is not None
    variables = [it.model_dump(mode="json", by_alias=True, exclude_none=True) for it in spec.engine.env]
    way = [*tokens, spec.benchmark.ttft_p95_milliseconds]
    said = [spec.pod_template_patch, way]
    return digest([image, weights.path, weights.commit, list(command), variables, *said], 16)


def fitting(input_tokens: int, output_tokens: int, max_model_len: int) -> tuple[tuple[int, int], str]:
    """Both, or less of both in the same proportion where a sequence would be too long; and why."""
    room = max(2, max_model_len - MARGIN_TOKENS)
    if input_tokens + output_tokens <= room:
        return (input_tokens, output_tokens), "prompt and answer of each request, as the spec has them"
    answer = max(1, output_tokens * room // (input_tokens + output_tokens))
    return (room - answer, answer), f"prompt and answer of each request: more do not fit maxModelLen {max_model_len}"
