"""Texts and the causes they stand for. The data are patterns.yaml."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

import yaml

from qwen3_operator.api.reasons import Reason
from qwen3_operator.engine.text import bounded


@dataclass(frozen=True)
class Cause:
    """Why a pod does not serve. ``message``: what happened; ``remedy``: what to change."""

    reason: Reason
    message: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.message}: {self.remedy}" if self.remedy else self.message


@dataclass(frozen=True)
class Pattern:
    """One row of patterns.yaml."""

    reason: Reason
    match: re.Pattern[str]
    message: str
    remedy: str
    seen: str

    def cause(self, text: str, context: Mapping[str, str] | None = None) -> Cause | None:
        """The cause, when the text matches; named groups and ``context`` fill the words."""
        match = self.match.search(text)
        if match is None:
            return None
        words = _Words({**(context or {}), **{key: value or "" for key, value in match.groupdict().items()}})
        return Cause(self.reason, self.message.format_map(words).strip(), self.remedy.format_map(words))


class _Words(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return f"the {key}"


@cache
def patterns(section: str) -> tuple[Pattern, ...]:
    """The rows of one section of patterns.yaml, in order."""
    text = resources.files("qwen3_operator.engine.diagnosis").joinpath("patterns.yaml").read_text(encoding="utf-8")
    data = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return tuple(
        Pattern(Reason.of(row["reason"]), re.compile(row["match"]), row["message"], row["remedy"], row["seen"])
        for row in data[section]
    )


def first_cause(section: str, text: str, context: Mapping[str, str] | None = None) -> Cause | None:
    """The cause of the first pattern of a section that matches, or None."""
    searched = bounded(text)
    return next((cause for pattern in patterns(section) if (cause := pattern.cause(searched, context))), None)
