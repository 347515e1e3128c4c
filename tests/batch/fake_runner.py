"""The runner with an engine that answers without a model: `python3 fake_runner.py CONFIG`, to be killed at will."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable

from qwen3_in_engine.batch_runner.answers import Answer, Choice
from qwen3_in_engine.batch_runner.contract import Config
from qwen3_in_engine.batch_runner.lines import BadLine, Request
from qwen3_in_engine.batch_runner.run import main


class FakeEngine:
    """Answers a few of the waiting requests at each step, the newest first, so that lines finish out of order."""

    room = 64

    def __init__(self, config: Config) -> None:
        self._held: list[Request] = []
        self._seconds = float(os.environ.get("FAKE_STEP_SECONDS", "0"))

    @property
    def waiting(self) -> int:
        return len(self._held)

    def add(self, request: Request) -> None:
        if len(self._text(request)) > 1000:
            raise BadLine("context_length_exceeded", f"line {request.index + 1}: too long", request.custom_id)
        self._held.append(request)

    def step(self) -> Iterable[tuple[int, Answer]]:
        time.sleep(self._seconds)
        for _ in range(min(5, len(self._held))):
            request = self._held.pop()
            text = self._text(request)
            yield request.index, Answer((Choice(f"answer to {text}", "stop", 3),), text, 2)

    @staticmethod
    def _text(request: Request) -> str:
        return str(request.messages[-1]["content"]) if request.messages else request.prompt


if __name__ == "__main__":
    sys.exit(main(sys.argv, FakeEngine))
