"""Arguments that a user adds to the command line: read as vLLM's parser would, and checked before it has to."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from qwen3_operator.api.reasons import Reason
from qwen3_operator.engine.flag_table import Flag, Match, all_flags, effective, find, nearest
from qwen3_operator.engine.problem import Problem
from qwen3_operator.engine.version import NEWEST_KNOWN, EngineVersion

EXTRA_ARGS_FIELD = "spec.engine.extraArgs"

_JSON_ONLY_SINCE = EngineVersion.of("0.12.0")
"""Older releases also took `image=2` for some arguments that are JSON now."""


@dataclass(frozen=True)
class Argument:
    """One word of a command line that should be a flag, with the values that follow it."""

    position: int
    name: str
    match: Match
    values: tuple[str, ...] = ()
    attached: bool = False
    """The value was written with ``=``."""
    stray: bool = False
    """Not a flag, and no flag before it takes it as a value."""


def parse(args: Sequence[str], version: EngineVersion) -> Iterator[Argument]:
    """Group words into flags and their values as vLLM's parser of that release does."""
    position = 0
    while position < len(args):
        start, word = position, args[position]
        position += 1
        if not _is_flag(word):
            yield Argument(start, word, Match(None), stray=True)
            continue
        name, equals, value = word.partition("=")
        match = find(name, version)
        if equals:
            yield Argument(start, name, match, (value,), attached=True)
            continue
        greedy = match.flag is None or match.flag.arity == "+"  # the values of an unknown flag cannot be judged
        wanted = len(args) if greedy else position + match.flag.takes_value if match.flag else position
        values = []
        while position < min(wanted, len(args)) and not _is_flag(args[position]):
            values.append(args[position])
            position += 1
        yield Argument(start, name, match, tuple(values))


def given(args: Sequence[str], flag: str, version: EngineVersion) -> tuple[str, ...] | None:
    """The values a command line gives to a flag (the last one counts); None when it does not name the flag."""
    values: tuple[str, ...] | None = None
    for argument in parse(args, version):
        if argument.match.flag is not None and argument.match.flag.name == flag:
            negative = argument.match.flag.arity == "bool" and argument.match.spelling != flag
            values = None if negative else argument.values
    return values


def without(args: Sequence[str], flag: str, version: EngineVersion) -> list[str]:
    """A command line that does not name the flag, nor the values that it gives to it."""
    left: list[str] = []
    for argument in parse(args, version):
        if argument.match.flag is None or argument.match.flag.name != flag:
            words = 1 if argument.attached else 1 + len(argument.values)
            left += args[argument.position : argument.position + words]
    return left


def check_extra_args(
    args: Sequence[str], version: EngineVersion, owned: Mapping[str, str], field: str = EXTRA_ARGS_FIELD
) -> list[Problem]:
    """What is wrong with arguments a user adds to the command line; empty when nothing is.

    ``owned``: flag name -> what to use instead, in words, for every flag that the operator renders itself.
    """
    problems = []
    for argument in parse(args, version):
        where = f"{field}[{argument.position}]"
        if argument.stray:
            message = f"{argument.name!r} follows no flag that takes a value: vLLM would refuse it"
            problems.append(Problem(Reason.UNEXPECTED_ARGUMENT, message, where))
        elif argument.match.flag is None:
            problems.append(_unknown(argument.name, argument.match, version, where))
        elif argument.match.flag.name in owned:
            flag = argument.match.flag.name
            problems.append(Problem(Reason.OWNED_ARGUMENT, f"{flag} is the operator's: {owned[flag]}", where))
        elif (complaint := _check_values(argument, argument.match.flag, version)) is not None:
            problems.append(Problem(Reason.WRONG_ARGUMENT_VALUE, complaint, where))
    return problems


def _is_flag(word: str) -> bool:
    """As argparse sees it: a negative number or a word with a space is a value."""
    return len(word) > 1 and word.startswith("-") and not re.fullmatch(r"-\d+(\.\d*)?|-\.\d+", word) and " " not in word


def _unknown(name: str, match: Match, version: EngineVersion, where: str) -> Problem:
    if match.candidates:
        could_be = ", ".join(match.candidates[:6])
        return Problem(
            Reason.AMBIGUOUS_ARGUMENT, f"{name} is ambiguous in vLLM {version}: write one of {could_be}", where
        )
    other = all_flags().get(name.partition(".")[0].replace("_", "-"))
    if other is not None and other.gone is not None and effective(version) >= other.gone:
        replacement = _REPLACEMENTS.get(other.name)
        hint = f"; use {replacement} instead" if replacement else ""
        return Problem(
            Reason.UNKNOWN_ARGUMENT, f"vLLM {version} has no {name}: it was removed in {other.gone}{hint}", where
        )
    if other is not None and other.since is not None and version < other.since:
        return Problem(Reason.UNKNOWN_ARGUMENT, f"vLLM {version} has no {name}: it came with {other.since}", where)
    meant = nearest(name, version)
    hint = f"; did you mean {meant}?" if meant else "; `vllm serve --help=all` lists what it takes"
    return Problem(Reason.UNKNOWN_ARGUMENT, f"vLLM {version} has no {name}{hint}", where)


_REPLACEMENTS = {
    "--enable-reasoning": "spec.engine.reasoningParser",
    "--rope-scaling": "spec.engine.maxModelLen (the operator sets YaRN)",
    "--rope-theta": "--hf-overrides",
    "--task": "--runner and --convert",
    "--guided-decoding-backend": "--structured-outputs-config",
    "--disable-log-requests": "--no-enable-log-requests",
    "--max-seq-len-to-capture": "--max-cudagraph-capture-size",
    "--cuda-graph-sizes": "--cudagraph-capture-sizes",
    "--disable-mm-preprocessor-cache": "--mm-processor-cache-gb 0",
    "--enable-multimodal-encoder-data-parallel": "--mm-encoder-tp-mode data",
    "--override-pooler-config": "--pooler-config",
    "--eplb-window-size": "--eplb-config",
    "--eplb-step-interval": "--eplb-config",
    "--eplb-log-balancedness": "--eplb-config",
    "--num-redundant-experts": "--eplb-config",
}


def _check_values(argument: Argument, flag: Flag, version: EngineVersion) -> str | None:
    if not flag.takes_value:
        if not argument.attached:
            return None
        negative = f" (to turn it off write --no-{flag.name.removeprefix('--')})" if flag.arity == "bool" else ""
        return f"{flag.name} takes no value{negative}"
    if not argument.values:
        optional = flag.arity == "?" or argument.match.spelling.startswith("-O")
        return None if optional else f"{flag.name} needs a value, and none follows"
    if "." in argument.name:  # one key inside a JSON argument: any value
        return None
    for value in argument.values:
        complaint = _complaint(flag, value, version)
        if complaint:
            return f"{flag.name} does not take {value!r}: {complaint}"
    return None


_CHOICES_OF_EVERY_RELEASE = {"--chat-template-content-format", "--dtype", "--scheduling-policy", "--uvicorn-log-level"}
"""The choices were read from the newest release; those of other flags have changed."""


def _complaint(flag: Flag, value: str, version: EngineVersion) -> str | None:
    judged = effective(version) == NEWEST_KNOWN or flag.name in _CHOICES_OF_EVERY_RELEASE
    if flag.choices and judged and value not in flag.choices:
        return f"choose from {', '.join(flag.choices)}"
    if flag.type == "int" and not re.fullmatch(r"[+-]?\d+(_\d+)*", value):
        return "a whole number is needed"
    if flag.type == "size" and not _is_size(value):
        return "a whole number is needed, or one such as 8k (8000) or 8K (8192)"
    if flag.type == "length" and not (_is_size(value) or value in ("auto", "-1")):
        return "a whole number is needed, one such as 32k (32000) or 32K (32768), or auto"
    if flag.type == "float":
        try:
            float(value)
        except ValueError:
            return "a number is needed"
    if flag.type == "json" and effective(version) >= _JSON_ONLY_SINCE:
        try:
            json.loads(value)
        except ValueError as error:
            return f"it is not JSON ({error})"
    return None


def _is_size(value: str) -> bool:
    """vLLM's human_readable_int: 8192, 8k, 8K, 1.5k; an upper-case (binary) suffix takes whole numbers only."""
    return re.fullmatch(r"\d+|\d+(\.\d+)?[kmgt]|\d+[KMGT]", value) is not None
