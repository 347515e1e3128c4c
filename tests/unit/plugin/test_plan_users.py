"""`kubectl qwen3 plan --users N`: servers for so many users, by what was measured."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from tests.unit.plugin import recorded
from tests.unit.plugin.api_server import ApiServer
from tests.unit.plugin.conftest import Shell

BENCHMARK: dict[str, Any] = {"benchmark": {}}
CAPACITY = {
    "concurrencyAtTarget": 48,
    "tokensPerSecond": 2210,
    "ttftP95Milliseconds": 1840,
    "targetMilliseconds": 2000,
    "inputTokens": 1024,
    "outputTokens": 256,
    "endedBy": "target",
    "gpu": "NVIDIA L4",
    "image": "vllm/vllm-openai:v0.33.0",
    "key": "0a1b2c",
    "measuredAt": "2026-11-28T06:00:00Z",
}


def measured(cluster: ApiServer, capacity: dict[str, Any] | None, **spec: Any) -> None:
    cluster.objects = recorded.deployment(**spec)
    deployment = next(it for it in cluster.objects if it["kind"] == "Qwen3Deployment")
    deployment["status"] |= {"capacity": capacity} if capacity else {}


@pytest.mark.parametrize(("users", "servers"), [(1, 1), (48, 1), (49, 2), (500, 11)])
def test_servers_for_so_many_users(cluster: ApiServer, shell: Shell, users: int, servers: int) -> None:
    measured(cluster, CAPACITY, **BENCHMARK)
    code, out, err = shell("plan", "--users", str(users), "chat", "-o", "json")
    found = json.loads(out)
    assert (code, err) == (0, "")
    assert (found["users"], found["servers"]) == (users, servers)
    assert found.items() >= {it: CAPACITY[it] for it in CAPACITY if it != "key"}.items(), "and where it is from"
    assert yaml.safe_load(shell("plan", "--users", str(users), "chat", "-o", "yaml")[1]) == found
    words = shell("plan", "--users", str(users), "chat")[1]
    assert words.startswith(f"{servers} server{'s' if servers > 1 else ''} for {users} users")
    assert "48 users, 2210 tokens/s" in words and "NVIDIA L4, vllm/vllm-openai:v0.33.0, 1024 + 256 tokens" in words


def test_a_measurement_that_ended_before_is_the_least(cluster: ApiServer, shell: Shell) -> None:
    measured(cluster, CAPACITY | {"endedBy": "time"}, **BENCHMARK)
    _, out, err = shell("plan", "--users", "10", "chat")
    assert "48 users or more" in out and "raise spec.benchmark.maxSeconds" in err


def test_what_the_autoscaler_may_not_is_said(cluster: ApiServer, shell: Shell) -> None:
    measured(cluster, CAPACITY, **BENCHMARK, autoscaling={"maxReplicas": 4, "target": {"auto": True}})
    assert "spec.autoscaling.maxReplicas is 4" in shell("plan", "--users", "500", "chat")[2]
    assert shell("plan", "--users", "100", "chat")[2] == ""


@pytest.mark.parametrize(
    ("capacity", "spec", "words"),
    [
        (None, {}, "spec.benchmark is not set"),
        (None, BENCHMARK, "nobody has measured what a server of chat bears"),
        (CAPACITY | {"concurrencyAtTarget": 0}, BENCHMARK, "after 1840 ms, and not within 2000 ms"),
    ],
)
def test_where_nothing_was_measured(
    cluster: ApiServer, shell: Shell, capacity: dict[str, Any] | None, spec: dict[str, Any], words: str
) -> None:
    measured(cluster, capacity, **spec)
    code, out, err = shell("plan", "--users", "10", "chat")
    assert (code, out) == (1, "") and words in err


@pytest.mark.parametrize("more", [[], ["-f", "x.yaml"], ["chat", "--gpu", "L4"], ["chat", "--users", "0"]])
def test_what_cannot_be_meant(cluster: ApiServer, shell: Shell, more: list[str]) -> None:
    measured(cluster, CAPACITY, **BENCHMARK)
    try:
        code = shell("plan", "--users", "10", *more)[0]
    except SystemExit as ended:
        code = int(str(ended.code))
    assert code == 2


def test_the_status_has_it_too(cluster: ApiServer, shell: Shell) -> None:
    measured(cluster, CAPACITY, **BENCHMARK)
    assert "48 requests at a time, 2,210 tokens/s" in shell("status", "chat")[1]
    measured(cluster, None)
    assert "one bears" not in shell("status", "chat")[1]
