"""What a team may have: requests and tokens of a minute, requests at once; and the file that says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.unit.in_engine.mounts import Clock

from qwen3_in_engine.server.limits import Account, Limit, Limits
from qwen3_in_engine.server.mounted import READ_SECONDS


def refused(account: Account, limit: Limit, now: float) -> tuple[str, int] | None:
    refusal = account.refusal(limit, now)
    return (refusal.limit, refusal.retry_seconds) if refusal else None


def test_requests_of_a_minute_come_back_evenly() -> None:
    account, limit = Account(), Limit(requests_per_minute=6)
    assert [refused(account, limit, 1000.0) for _ in range(7)] == [None] * 6 + [("requestsPerMinute", 10)]
    assert refused(account, limit, 1005.0) == ("requestsPerMinute", 5)
    assert refused(account, limit, 1010.0) is None
    assert refused(account, limit, 1010.0) == ("requestsPerMinute", 10)
    assert [refused(account, limit, 1100.0) for _ in range(7)] == [None] * 6 + [("requestsPerMinute", 10)]


def test_who_does_as_retry_after_says_is_taken() -> None:
    for per_minute in (1, 7, 59, 60, 61, 1000):
        account, limit, now = Account(), Limit(requests_per_minute=per_minute), 1000.0
        for _ in range(3 * per_minute):
            if wait := refused(account, limit, now):
                now += wait[1]
                assert refused(account, limit, now) is None


def test_tokens_are_had_first_and_paid_back() -> None:
    account, limit = Account(), Limit(tokens_per_minute=600)
    assert refused(account, limit, 1000.0) is None
    account.charge(900, limit, 1000.0)
    assert refused(account, limit, 1000.0) == ("tokensPerMinute", 31)
    assert refused(account, limit, 1030.0) == ("tokensPerMinute", 1)
    assert refused(account, limit, 1031.0) is None


def test_a_refused_request_costs_nothing() -> None:
    account, limit = Account(), Limit(requests_per_minute=1, tokens_per_minute=60, max_concurrent=1)
    account.running = 1
    assert refused(account, limit, 1000.0) == ("maxConcurrent", 1)
    account.running = 0
    account.charge(60, limit, 1000.0)
    assert refused(account, limit, 1000.0) == ("tokensPerMinute", 1)
    assert refused(account, limit, 1001.0) is None


def test_a_limit_that_is_raised_counts_at_once() -> None:
    account = Account()
    assert refused(account, Limit(requests_per_minute=1), 1000.0) is None
    assert refused(account, Limit(requests_per_minute=1), 1000.0) is not None
    assert refused(account, Limit(requests_per_minute=2), 1000.0) is None


class File:
    def __init__(self, folder: Path) -> None:
        self.path, self.clock = folder / "limits.json", Clock()
        self.limits = Limits(self.path, self.clock)

    def write(self, content: Any) -> None:
        self.path.write_text(content if isinstance(content, str) else json.dumps(content))
        self.clock.now += READ_SECONDS


def test_a_team_has_its_own_limits_or_those_of_all(tmp_path: Path) -> None:
    file = File(tmp_path)
    file.write({"default": {"requestsPerMinute": 6}, "teams": {"a": {"tokensPerMinute": 60}, "b": {}}})
    of = file.limits.of
    assert (of("a"), of("b"), of("c")) == (Limit(tokens_per_minute=60), Limit(), Limit(requests_per_minute=6))
    file.write({})
    assert of("c") == Limit()


@pytest.mark.parametrize(
    "wrong", ["{", "[]", '{"default": {"maxConcurrent": "4"}}', '{"default": {"maxConcurrent": 0}}', '{"teams": [1]}']
)
def test_a_file_that_cannot_be_read_leaves_those_of_before(tmp_path: Path, wrong: str) -> None:
    file = File(tmp_path)
    file.write({"default": {"maxConcurrent": 4}})
    assert file.limits.of("a") == Limit(max_concurrent=4)
    file.write(wrong)
    assert file.limits.of("a") == Limit(max_concurrent=4)
    file.write({"default": {"maxConcurrent": 5}})
    assert file.limits.of("a") == Limit(max_concurrent=5)


def test_without_a_file_there_are_none() -> None:
    assert Limits(None).of("a") == Limit()
