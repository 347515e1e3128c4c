"""What goes with an engine: what its answers must be like, and for a server's middleware how long a step may last and
how to end."""

from __future__ import annotations

from collections.abc import Sequence

from qwen3_in_engine.server.contract import LIVE_PATH, READY_PATH, STARTED_PATH, Config
from qwen3_in_engine.verify.wanted import Verify
from qwen3_operator.api.deployment import Qwen3DeploymentSpec
from qwen3_operator.catalog import CatalogEntry
from qwen3_operator.engine.version import EngineVersion

SINCE = EngineVersion.of("0.16.0")
"""From here on answers have their reasoning in `reasoning` only, which is what the middleware reads and renames."""
PROBES = (STARTED_PATH, LIVE_PATH, READY_PATH)
SETTLE_SECONDS = 10
"""Until every proxy of the cluster has heard that a server is not to be asked any more."""
STALL_SECONDS = 15
STEP_TOKENS = 8192
"""Prompt tokens of one step of the engine, where the spec names no other number: the largest of vLLM's defaults."""
TOKENS_PER_SECOND = 4096
"""So many tokens of a prompt are read in a second by the slowest GPU that is served well."""
MOST_STALL_SECONDS = 22
"""A hang is to be found within 30 s: by then the probes that see it have had their turns."""


def middleware_config(
    spec: Qwen3DeploymentSpec,
    entry: CatalogEntry | None,
    version: EngineVersion,
    max_model_len: int,
    verify: Verify | None,
) -> Config | None:
    """The configuration; None for a version of vLLM that it was not made for."""
    if version < SINCE:
        return None
    chunked = entry is None or entry.task == "generate"
    tokens = (spec.engine.max_num_batched_tokens or STEP_TOKENS) if chunked else max_model_len
    return Config(
        reasoning_content=spec.engine.reasoning_content_field,
        settle_seconds=SETTLE_SECONDS,
        drain_seconds=spec.rollout.drain_seconds,
        stall_seconds=min(MOST_STALL_SECONDS, STALL_SECONDS + tokens // TOKENS_PER_SECOND),
        verify=verify,
    )


def wanted_answers(
    spec: Qwen3DeploymentSpec,
    entry: CatalogEntry | None,
    version: EngineVersion,
    names: Sequence[str],
    max_model_len: int,
    reasoning_parser: str | None,
    tool_call_parser: str | None,
) -> Verify | None:
    """What the engine must be seen to do before it has users, or the first line of a batch; None: it is not asked."""
    if version < SINCE or spec.verify.mode == "Off":
        return None
    return Verify(
        task=entry.task if entry else "generate",
        names=tuple(names),
        # A patch may change the command; what it says then is its author's own.
        max_model_len=None if spec.pod_template_patch else max_model_len,
        thinking=entry.thinking if entry else "unknown",
        reasoning_parser=reasoning_parser or "",
        tool_call_parser=tool_call_parser or "",
        well_known=entry is not None and entry.known,
        prompts=tuple(p.model_dump(exclude_none=True) for p in spec.verify.prompts),
    )
