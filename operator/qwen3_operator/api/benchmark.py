"""Measuring what a server can bear, before it has users."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from qwen3_operator.api.base import ApiModel, Text, Time
from qwen3_operator.api.model import Int64


class Benchmark(ApiModel):
    """What a new server measures of itself before it is ready: once for each image, model, GPU and command line."""

    input_tokens: Annotated[int, Field(ge=1, le=1_048_576)] = 1024
    """Tokens of each prompt."""
    output_tokens: Annotated[int, Field(ge=1, le=131_072)] = 256
    """Tokens of each answer."""
    ttft_p95_milliseconds: Annotated[int, Field(ge=10, le=600_000)] = 2000
    """Time to the first token that 95 % of the requests keep: the target. More requests at the same time are tried
    until it is not kept."""
    max_seconds: Annotated[int, Field(ge=30, le=1800)] = 180
    """Seconds that the first server of its kind starts later at the most. The next ones do not measure."""


class CapacityStatus(ApiModel):
    """What a server can bear, as it was measured. Where servers have unlike GPUs: on the slowest."""

    concurrency_at_target: Int64 | None = None
    """Most requests at the same time with which the target was kept. 0: not even one."""
    tokens_per_second: Int64 | None = None
    """Tokens of answers in a second then, all requests together."""
    ttft_p95_milliseconds: Int64 | None = None
    """95th percentile of the time to the first token then."""
    target_milliseconds: Int64 | None = None
    """The target that it was measured for."""
    input_tokens: Int64 | None = None
    """Tokens of each prompt."""
    output_tokens: Int64 | None = None
    """Tokens of each answer."""
    ended_by: Text | None = None
    """target: with more the target was not kept. batch: more do not run at the same time. time, failure: it ended
    before; the figures are the least that a server can bear."""
    gpu: Text | None = None
    """GPU that it was measured on, as vLLM calls it."""
    image: Text | None = None
    """Image that was measured."""
    key: Text | None = None
    """Digest of all that it holds for."""
    measured_at: Time | None = None
    """When it was measured, by the server's clock."""
