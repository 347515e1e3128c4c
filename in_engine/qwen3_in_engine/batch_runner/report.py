"""What a shard says to the outside: progress in its log, metrics, and its last words as termination message."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from qwen3_in_engine.batch_runner.answers import Tally
from qwen3_in_engine.batch_runner.contract import PROGRESS_SECONDS, Stop
from qwen3_in_engine.batch_runner.meter import Meter

TERMINATION_LOG = Path("/dev/termination-log")
LONGEST_WORDS = 4096
"""Bytes that the kubelet takes of a termination message."""
WORDS_SECONDS = 30.0
"""Least time between two lines for a person."""


class Progress:
    """Progress of one shard, since its engine was ready."""

    def __init__(
        self, shard: int, total: int, lines: int, tally: Tally, now: Callable[[], float] = time.monotonic
    ) -> None:
        self.shard, self.total, self.lines, self.tally, self._now = shard, total, lines, tally, now
        self.meter = Meter(now)
        self.running = 0
        """Lines that are with the engine."""
        self._started = self._reported_at = now()
        self._words_at = self._started - WORDS_SECONDS
        self._before, self._tokens_before = tally.finished, tally.completion_tokens

    def counts(self) -> dict[str, Any]:
        """The counts so far, of the shard and of the whole input."""
        tally = self.tally
        return {
            "shard": self.shard,
            "total": self.total,
            "lines": self.lines,
            "done": tally.done,
            "failed": tally.failed,
            "promptTokens": tally.prompt_tokens,
            "completionTokens": tally.completion_tokens,
        }

    def rates(self) -> dict[str, Any]:
        """Rates of this process: tokens as the engine makes them, else those of finished lines."""
        seconds = max(self._now() - self._started, 1e-3)
        lines = (self.tally.finished - self._before) / seconds
        finished_tokens = self.tally.completion_tokens - self._tokens_before
        tokens = self.meter.tokens_per_second() or finished_tokens / seconds
        rates = {"seconds": round(seconds, 1), "tokensPerSecond": round(tokens), "linesPerSecond": round(lines, 3)}
        if (eta := self._eta(lines, tokens, finished_tokens)) is not None:
            rates["etaSeconds"] = round(eta)
        return rates

    def _eta(self, lines_a_second: float, tokens_a_second: float, finished_tokens: int) -> float | None:
        """Seconds to go. What is half done counts, where the engine says how much it has made."""
        to_go = self.total - self.tally.finished
        answered = self.tally.finished - self._before
        if not answered:
            return None
        if self.meter.generated and finished_tokens and tokens_a_second:
            half_done = max(self.meter.generated - finished_tokens, 0)
            return max(to_go * finished_tokens / answered - half_done, 0) / tokens_a_second
        return to_go / lines_a_second

    def report(self, *, force: bool = False) -> None:
        """Print a progress line, where the last is some seconds old."""
        now = self._now()
        if not force and now - self._reported_at < PROGRESS_SECONDS:
            return
        self._reported_at, rates = now, self.rates()
        if force or now - self._words_at >= WORDS_SECONDS:
            self._words_at = now
            print(f"batch: {self.words(rates)}", flush=True)
        say({"event": "progress", "running": self.running} | self.counts() | rates)

    def words(self, rates: dict[str, Any]) -> str:
        """For a person."""
        tally = self.tally
        words = f"{tally.finished:,} of {self.total:,} lines of shard {self.shard} are finished"
        if tally.failed:
            words += f" ({tally.failed:,} with an error)"
        words += f", {self.running:,} are running, {rates['tokensPerSecond']:,} tokens/s"
        if (eta := rates.get("etaSeconds")) is not None:
            words += f", about {_duration(eta)} to go"
        return words

    def metrics(self) -> str:
        """In Prometheus' text format."""
        rates, tally = self.rates(), self.tally
        waiting = self.total - tally.finished - self.running
        states = {"done": tally.done, "failed": tally.failed, "running": self.running, "waiting": max(waiting, 0)}
        lines = ["# HELP qwen3_batch_lines Lines of this shard.", "# TYPE qwen3_batch_lines gauge"]
        lines += [f'qwen3_batch_lines{{shard="{self.shard}",state="{key}"}} {value}' for key, value in states.items()]
        for name, words, value in (
            ("tokens_per_second", "Tokens of answers that are generated in a second.", rates["tokensPerSecond"]),
            ("eta_seconds", "Seconds to go; -1: not known yet.", rates.get("etaSeconds", -1)),
        ):
            lines += [f"# HELP qwen3_batch_{name} {words}", f"# TYPE qwen3_batch_{name} gauge"]
            lines += [f'qwen3_batch_{name}{{shard="{self.shard}"}} {value}']
        return "\n".join([*lines, ""])


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 2:
        return f"{round(seconds)} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def say(event: dict[str, Any]) -> None:
    """One JSON line in the log."""
    print(_text(event).decode(), flush=True)


def last_words(report: dict[str, Any]) -> None:
    """Leave `report` as the container's termination message, and in the log."""
    say({"event": "end"} | report)
    target = Path(os.environ.get("TERMINATION_LOG", TERMINATION_LOG))
    if target.exists():
        target.write_bytes(_fitting(report))


def failure(shard: int, stop: Stop, counts: Mapping[str, Any]) -> dict[str, Any]:
    """The last words of a shard that cannot go on. `counts`: what is finished of it, as far as that is known."""
    return {"result": "Failed", "shard": shard, "reason": stop.reason, "message": stop.message, **counts}


def _fitting(report: dict[str, Any]) -> bytes:
    """`report` as the kubelet takes it: what is cut there can be read by nobody, so its message is shortened."""
    while len(text := _text(report)) > LONGEST_WORDS:
        message = str(report.get("message", ""))
        if not message:
            break
        report = report | {"message": message[: len(message) * 3 // 4]}
    return text


def _text(said: dict[str, Any]) -> bytes:
    """JSON; a name may have half of a character, which cannot be written."""
    return json.dumps(said, ensure_ascii=False).encode(errors="replace")
