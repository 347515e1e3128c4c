"""What each team used, as counters on vLLM's own /metrics.

They are in the registry that vLLM shows, by the client that it uses: with several API server processes
(--api-server-count) that client adds them up.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from prometheus_client import Counter

from qwen3_in_engine.server.usage import Tokens

STRANGER = ""
"""The team of a request without a key that is known: no key of a Secret has this name."""


class Accounts:
    """The counters."""

    def __init__(self) -> None:
        self._requests = Counter(
            "qwen3_team_requests", "Requests of a team, by the class of their status, or aborted", ["team", "code"]
        )
        self._prompt = Counter("qwen3_team_prompt_tokens", "Prompt tokens of a team, as vLLM's usage", ["team"])
        self._completion = Counter(
            "qwen3_team_completion_tokens", "Completion tokens of a team, as vLLM's usage", ["team"]
        )
        self._limited = Counter(
            "qwen3_team_limited",
            "Requests of a team that were refused, by the limit that was reached",
            ["team", "limit"],
        )
        self._uncounted = Counter(
            "qwen3_team_uncounted_requests", "Answers of a team whose tokens are not known", ["team"]
        )

    def show(self, teams: Iterable[str]) -> None:
        """Have a zero for each: a rate begins there."""
        for team in teams:
            for counter in (self._prompt, self._completion, self._uncounted):
                counter.labels(team)
            self._requests.labels(team, "2xx")

    def request(self, team: str, code: str) -> None:
        """A request that is over. `code`: the class of its status, like 2xx, or aborted."""
        self._requests.labels(team, code).inc()

    def limited(self, team: str, limit: str) -> None:
        """A request that was refused."""
        self._limited.labels(team, limit).inc()
        self.request(team, "4xx")

    def tokens(self, team: str, tokens: Tokens | None) -> None:
        """What an answer used; None: not known."""
        if tokens is None:
            self._uncounted.labels(team).inc()
            return
        self._prompt.labels(team).inc(tokens.prompt)
        self._completion.labels(team).inc(tokens.completion)


@cache
def accounts() -> Accounts:
    """Those of this process: a registry takes each name once."""
    return Accounts()
