"""Scripted faults. A rule says which requests it meets and what happens to them; rules arrive as JSON.

    {"on": "file", "path": "*.safetensors", "times": 2, "skip": 0, "probability": 1.0, "do": {"dropAt": 80000000}}

`on`: `listing`, `file` (the answer that carries the bytes), `revisions`, `any`. `times`: how often it strikes
(absent: always), `skip`: how many matching requests pass first. `do` holds one or more of:

    delay S                 wait S seconds before anything is answered
    status, headers, body   answer with this HTTP status instead (body: text, or an object sent as JSON)
    dropAt N                break the connection when byte N of the file is reached (reset: true sends RST)
    dropEvery N             break it after N bytes of this answer
    stallAt N, seconds S    stop for S seconds at byte N of the file
    flipAt N                send byte N of the file with all bits turned
    lengthLie K             announce K bytes more (or fewer) than there are
    trickle R               send at R bytes/s
    ignoreRange             answer a ranged request with the whole file
    shiftRange K            answer a ranged request from K bytes further on, and say so
    spoilRange              answer a ranged request with all bits turned
    gzip                    encode the answer, whether it was asked for or not
    redirectLoop            answer 302 to the same address
    listing {...}           change the listing: empty, unsuccessful, or add/replace/remove entries
"""

from __future__ import annotations

import fnmatch
import random
import threading
from dataclasses import dataclass, field
from typing import Any

KINDS = ("listing", "file", "revisions", "any")


@dataclass
class Rule:
    """One fault. See the module's text for the fields."""

    do: dict[str, Any]
    on: str = "any"
    path: str = "*"
    times: int | None = None
    skip: int = 0
    probability: float = 1.0
    struck: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.on not in KINDS:
            raise ValueError(f"on: {self.on!r} is none of {', '.join(KINDS)}")

    def meets(self, kind: str, path: str) -> bool:
        return self.on in (kind, "any") and fnmatch.fnmatch(path, self.path)


class Faults:
    """The rules in force, counted under one lock."""

    def __init__(self, seed: int = 0) -> None:
        self._rules: list[Rule] = []
        self._random = random.Random(seed)
        self._lock = threading.Lock()

    def add(self, rule: Rule) -> None:
        with self._lock:
            self._rules.append(rule)

    def clear(self) -> None:
        with self._lock:
            self._rules.clear()

    def struck(self) -> list[int]:
        """How often each rule struck."""
        with self._lock:
            return [rule.struck for rule in self._rules]

    def draw(self, kind: str, path: str) -> dict[str, Any]:
        """What happens to this request: the first rule that strikes, or nothing."""
        with self._lock:
            for rule in self._rules:
                if not rule.meets(kind, path) or (rule.times is not None and rule.struck >= rule.times):
                    continue
                if rule.skip > 0:
                    rule.skip -= 1
                    continue
                if self._random.random() < rule.probability:
                    rule.struck += 1
                    return rule.do
        return {}
