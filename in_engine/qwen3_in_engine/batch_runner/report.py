"""What a shard says to the outside: progress lines in its log, and its last words as termination message."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from qwen3_in_engine.batch_runner.answers import Tally
from qwen3_in_engine.batch_runner.contract import PROGRESS_SECONDS, Stop

TERMINATION_LOG = Path("/dev/termination-log")
LONGEST_MESSAGE = 3000
"""Characters; the kubelet takes 4096 bytes of termination message in all."""


class Progress:
    """Progress of one shard: a JSON line in the log every few seconds."""

    def __init__(self, shard: int, total: int, lines: int, tally: Tally) -> None:
        self.shard, self.total, self.lines, self.tally = shard, total, lines, tally
        self._started = self._told_at = time.monotonic()
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
        """Rates of this process since its engine was ready."""
        seconds = max(time.monotonic() - self._started, 1e-3)
        lines = (self.tally.finished - self._before) / seconds
        tokens = (self.tally.completion_tokens - self._tokens_before) / seconds
        rates = {"seconds": round(seconds, 1), "tokensPerSecond": round(tokens), "linesPerSecond": round(lines, 3)}
        if lines:
            rates["etaSeconds"] = round((self.total - self.tally.finished) / lines)
        return rates

    def tell(self, *, force: bool = False) -> None:
        """Print a progress line, where the last is some seconds old."""
        now = time.monotonic()
        if force or now - self._told_at >= PROGRESS_SECONDS:
            self._told_at = now
            say({"event": "progress"} | self.counts() | self.rates())


def say(event: dict[str, Any]) -> None:
    """One JSON line in the log."""
    print(json.dumps(event, ensure_ascii=False), flush=True)


def last_words(report: dict[str, Any]) -> None:
    """Leave `report` as the container's termination message, and in the log."""
    say({"event": "end"} | report)
    target = Path(os.environ.get("TERMINATION_LOG", TERMINATION_LOG))
    if target.exists():
        target.write_text(json.dumps(report, ensure_ascii=False), encoding="utf-8")


def failure(shard: int, stop: Stop) -> dict[str, Any]:
    """The last words of a shard that cannot go on."""
    words = stop.message.encode()[:LONGEST_MESSAGE].decode(errors="ignore")
    return {"result": "Failed", "shard": shard, "reason": stop.reason, "message": words}
