"""What answers must be like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Verify:
    """What a server must be seen to do before it gets users."""

    task: str = "generate"
    """generate, embed or rerank."""
    names: tuple[str, ...] = ()
    """The model's names at the server; the first is the one that is asked."""
    max_model_len: int | None = None
    """Longest sequence in tokens; None: not compared."""
    thinking: str = "unknown"
    """What its chat template can: hybrid, thinking, none or unknown."""
    reasoning_parser: str = ""
    tool_call_parser: str = ""
    """Names of the parsers; empty: none."""
    well_known: bool = False
    """Whether it is one of the authors' own checkpoints, which know the capital of France."""
    prompts: tuple[Mapping[str, Any], ...] = ()
    """`prompt`, `contains` and perhaps `thinking`: what the answer must hold."""

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Verify:
        """From JSON; unknown keys are dropped."""
        known = {f.name for f in fields(cls)}
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in given.items() if key in known
        }
        return cls(**values)
