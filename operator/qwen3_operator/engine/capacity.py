"""What servers have measured of themselves: as they write it, and what follows from it."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from qwen3_in_engine.capacity.contract import FAILURE, LINE, LONGEST_WORDS, MOST_STEPS, Result, Step
from qwen3_in_engine.capacity.sweep import fast_enough
from qwen3_operator.api.times import parse_time
from qwen3_operator.engine.text import LONGEST_LINE

MOST = 10**9
"""Of any figure: none is larger."""
SLOWER_PERCENT = 10
FEWEST_SEQS = 256
"""Requests in vLLM's batch where --max-num-seqs is not given: the least of its defaults (1,024 on large GPUs)."""
_KEY = re.compile(r"[0-9a-f]{1,64}")
_ENDS = ("target", "batch", "time", FAILURE)
_MARK = f"qwen3: {LINE} "


def most_seqs(command: Sequence[str]) -> int:
    """Requests that a server computes at a time, as far as its command line says."""
    for flag, value in itertools.pairwise(command):
        if flag == "--max-num-seqs" and value.isdecimal() and len(value) < 9:
            return max(1, int(value))
    return FEWEST_SEQS


def result_of(given: Any) -> Result | None:
    """A result as a pod reported it or a ConfigMap has it; None where it is not one that could be true."""
    if not isinstance(given, Mapping):
        return None
    numbers: list[Any] = [given.get(name) for name in ("inputTokens", "outputTokens", "targetMilliseconds", "seconds")]
    steps = given.get("steps")
    texts = {name: given.get(name, "") for name in ("key", "gpu", "at", "endedBy", "error")}
    if not all(map(_is_figure, numbers)) or not all(isinstance(text, str) for text in texts.values()):
        return None
    if not isinstance(steps, list) or len(steps) > MOST_STEPS or not all(map(_is_step, steps)):
        return None
    if not _KEY.fullmatch(texts["key"]) or texts["endedBy"] not in _ENDS or not _is_time(texts["at"]):
        return None
    return Result(
        key=texts["key"],
        gpu=_words(texts["gpu"], 64),
        at=texts["at"],
        input_tokens=numbers[0],
        output_tokens=numbers[1],
        target_milliseconds=numbers[2],
        seconds=numbers[3],
        ended_by=texts["endedBy"],
        steps=tuple(Step(*step) for step in steps),
        error=_words(texts["error"], LONGEST_WORDS),
    )


def result_in_log(lines: Iterable[str]) -> Result | None:
    """The last result that a server wrote; None where there is none."""
    found = None
    for line in lines:
        _, mark, words = line[:LONGEST_LINE].partition(_MARK)
        if mark and words.startswith("{"):
            try:
                found = result_of(json.loads(words)) or found
            except (ValueError, RecursionError):
                continue
    return found


def concurrency_at_target(result: Result) -> int:
    """Most requests at the same time with which the target was kept; 0: not even one."""
    return fast_enough(result.steps, result.target_milliseconds)


def step_at_target(result: Result) -> Step | None:
    """What was measured then; where not even one request kept it, the first step. None where there is no step."""
    most = concurrency_at_target(result)
    return next((step for step in result.steps if step.concurrency == most), next(iter(result.steps), None))


def slowest(results: Iterable[Result]) -> Result | None:
    """The result by which servers are counted, where their GPUs are unlike; one that failed does not count."""
    return min((it for it in results if it.steps), key=concurrency_at_target, default=None)


def before(results: Sequence[Result], now: Result) -> Result | None:
    """What was measured in the same way on the same GPU before `now`, of other servers. `results`: in their order."""
    earlier = results[: results.index(now)]
    same = (it for it in reversed(earlier) if it.key != now.key and it.steps and _way(it) == _way(now))
    return next(same, None)


def loss(earlier: Result, now: Result) -> tuple[Step, Step] | None:
    """The steps of both, where the later one makes so many tokens less that it is reported; None where it does not.

    Compared with the same number of requests, the most that both were asked and the earlier could bear: how many that
    are may differ from one measurement to the next by a quarter, for nothing.
    """
    theirs = {step.concurrency: step for step in earlier.steps}
    most = max(1, concurrency_at_target(earlier))
    both = [step for step in now.steps if step.concurrency in theirs and step.concurrency <= most]
    if not both:
        return None
    step = max(both, key=lambda it: it.concurrency)
    was = theirs[step.concurrency]
    slower = 100 * step.tokens_per_second < (100 - SLOWER_PERCENT) * was.tokens_per_second
    return (was, step) if slower else None


def _way(result: Result) -> tuple[Any, ...]:
    return result.gpu, result.input_tokens, result.output_tokens, result.target_milliseconds


def _is_figure(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST


def _is_step(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(map(_is_figure, value)) and value[0] > 0


def _is_time(text: str) -> bool:
    try:
        return 0 < len(text) <= 64 and parse_time(text) is not None
    except ValueError:
        return False


def _words(text: str, most: int) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text[:most]).split())
