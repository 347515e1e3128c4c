"""What each team may have on this server, and what it has had: requests and tokens of a minute, requests at once."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qwen3_in_engine.server.log import log
from qwen3_in_engine.server.mounted import Mounted

MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class Limit:
    """Of one team. None: no limit."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    max_concurrent: int | None = None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Limit:
        """As spec.auth.limits writes it. Raises ValueError."""
        found = [given.get(name) for name in ("requestsPerMinute", "tokensPerMinute", "maxConcurrent")]
        if not all(n is None or (isinstance(n, int) and n > 0) for n in found):
            raise ValueError(f"a limit is no positive number: {found}")
        return cls(*found)


class Limits:
    """The file with all limits, read again when it changes. One that cannot be read leaves those of before."""

    def __init__(self, file: Path | None, now: Callable[[], float] = time.monotonic) -> None:
        self._file = file
        self._mounted = Mounted(file.parent, now) if file else None
        self._default, self._teams = Limit(), dict[str, Limit]()

    def of(self, team: str) -> Limit:
        """The limits of a team: its own, or else those of all."""
        if self._mounted is not None and self._mounted.changed():
            self._read()
        return self._teams.get(team, self._default)

    def _read(self) -> None:
        assert self._file is not None and self._mounted is not None
        try:
            with self._file.open("rb") as file:
                given = json.loads(file.read(MOST_BYTES))
            default = Limit.of(given.get("default") or {})
            teams = {str(name): Limit.of(limit) for name, limit in (given.get("teams") or {}).items()}
        except (OSError, ValueError, AttributeError) as error:
            log(f"the limits cannot be read, those of before hold: {error!r}")
            self._mounted.forget()
            return
        self._default, self._teams = default, teams
        log(f"limits: {len(teams)} teams have their own, all others {default}")


class Spent:
    """What was had of an allowance of so much a minute: it comes back evenly, never all at once."""

    __slots__ = ("_at", "_spent")

    def __init__(self) -> None:
        self._spent = self._at = 0.0

    def seconds_until(self, room: float, per_minute: int, now: float) -> float:
        """How long until there is room for so much more; 0 where there is."""
        self._spent = max(0.0, self._spent - max(0.0, now - self._at) * per_minute / 60)
        self._at = now
        return max(0.0, self._spent + room - per_minute) * 60 / per_minute

    def spend(self, much: float) -> None:
        """It was had. Tokens are known when they are there: then more may be spent than there is."""
        self._spent += much


@dataclass(frozen=True)
class Refusal:
    """Why a request is not taken now."""

    limit: str
    """Which field of spec.auth.limits."""
    words: str
    retry_seconds: int


class Account:
    """What one team has and has had on this server process."""

    __slots__ = ("_requests", "_tokens", "running")

    def __init__(self) -> None:
        self._requests, self._tokens = Spent(), Spent()
        self.running = 0

    def refusal(self, limit: Limit, now: float) -> Refusal | None:
        """Why its next request is refused. None: it is taken, and counts."""
        if limit.max_concurrent is not None and self.running >= limit.max_concurrent:
            return Refusal("maxConcurrent", f"{limit.max_concurrent} requests at the same time", 1)
        if (most := limit.tokens_per_minute) and (wait := self._tokens.seconds_until(1, most, now)):
            return Refusal("tokensPerMinute", f"{most} tokens a minute", math.ceil(wait))
        if (most := limit.requests_per_minute) and (wait := self._requests.seconds_until(1, most, now)):
            return Refusal("requestsPerMinute", f"{most} requests a minute", math.ceil(wait))
        if limit.requests_per_minute:
            self._requests.spend(1)
        return None

    def charge(self, tokens: int, limit: Limit, now: float) -> None:
        """Count the tokens of an answer."""
        if most := limit.tokens_per_minute:
            self._tokens.seconds_until(0, most, now)  # what came back until now goes first
            self._tokens.spend(tokens)
