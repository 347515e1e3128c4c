"""What an engine makes, token by token: read from vLLM's own metrics."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

PROMPT, GENERATED = "vllm:prompt_tokens_total", "vllm:generation_tokens_total"
WINDOW_SECONDS = 60.0
"""Rates are of so much time."""


class Meter:
    """Tokens of one engine for the lines."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._seen: deque[tuple[float, float]] = deque()
        self.generated = 0.0
        self.moved_at = now()
        """When it was last seen to do anything."""
        self._prompt, self._read_at = 0.0, now()
        self._before = 0.0

    def begin(self, text: str) -> None:
        """Count from these metrics on: what was made before was for no line."""
        self._before = totals(text).get(GENERATED, 0.0)

    def read(self, text: str) -> None:
        """Take in the metrics as text."""
        found = totals(text)
        if not found:
            return
        now, prompt = self._now(), found.get(PROMPT, 0.0)
        generated = max(found.get(GENERATED, 0.0) - self._before, 0.0)
        if prompt != self._prompt or generated != self.generated:
            self.moved_at = now
        self._prompt, self.generated = prompt, generated
        if generated:
            if not self._seen:
                self._seen.append((self._read_at, 0.0))
            self._seen.append((now, generated))
        self._read_at = now
        while len(self._seen) > 2 and now - self._seen[0][0] > WINDOW_SECONDS:
            self._seen.popleft()

    def touch(self) -> None:
        """Something was answered."""
        self.moved_at = self._now()

    def tokens_per_second(self) -> float:
        """Tokens generated a second, of the last minute."""
        if len(self._seen) < 2:
            return 0.0
        (began, first), (ended, last) = self._seen[0], self._seen[-1]
        return max(last - first, 0.0) / max(ended - began, 1e-3) if ended > began else 0.0


def totals(text: str) -> dict[str, float]:
    """Sums of the two counters over all engines, from Prometheus' text format."""
    found: dict[str, float] = {}
    for line in text.splitlines():
        if line.startswith((PROMPT, GENERATED)):
            name, _, rest = line.partition("{") if "{" in line else line.partition(" ")
            if name in (PROMPT, GENERATED):
                try:
                    found[name] = found.get(name, 0.0) + float(rest.rpartition("}")[2].split()[0])
                except (ValueError, IndexError):
                    continue
    return found
