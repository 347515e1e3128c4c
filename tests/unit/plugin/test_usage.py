"""`kubectl qwen3 usage`: the servers' own counters, added up."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.documents.snippets import documented
from tests.unit.plugin import recorded
from tests.unit.plugin.api_server import ApiServer
from tests.unit.plugin.conftest import Shell

KEYS: dict[str, Any] = {"auth": {"keys": {"secretRef": {"name": "teams"}}}}


def metrics(answered: int, prompt: int, completion: int) -> str:
    """What a server's /metrics says, among much else."""
    return f"""\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{{engine="0"}} 1.0
# HELP qwen3_team_requests_total Requests of a team
# TYPE qwen3_team_requests_total counter
qwen3_team_requests_total{{code="2xx",team="team-a"}} {answered}.0
qwen3_team_requests_total{{code="4xx",team="team-a"}} 1.0
qwen3_team_requests_total{{code="4xx",team=""}} 2.0
qwen3_team_requests_created{{code="2xx",team="team-a"}} 1.7e9
qwen3_team_prompt_tokens_total{{team="team-a"}} {prompt}.0
qwen3_team_completion_tokens_total{{team="team-a"}} {completion}.0
"""


@pytest.fixture
def keyed(cluster: ApiServer) -> ApiServer:
    """Two servers of one Qwen3Deployment that asks for keys, and one that asks for none."""
    cluster.objects = [*recorded.deployment(**KEYS), *recorded.deployment("open")]
    spec = recorded.spec_of(**KEYS)
    cluster.objects.append(recorded.server_pod("chat", spec, number=1))
    pods = [o["metadata"]["name"] for o in cluster.objects if o["kind"] == "Pod" and o["metadata"]["name"] < "d"]
    cluster.logs = {f"{pods[0]}:8000": metrics(3, 100, 40), f"{pods[1]}:8000": metrics(4, 50, 10)}
    return cluster


def test_it_is_the_sum_of_the_servers(keyed: ApiServer, shell: Shell) -> None:
    code, out, err = shell("usage", "-o", "json")
    stranger, team = json.loads(out)
    assert (code, err) == (0, "")
    assert (stranger["team"], stranger["refused"], stranger["answered"]) == ("", 4, 0)
    assert (team["name"], team["team"], team["answered"], team["refused"]) == ("chat", "team-a", 7, 2)
    assert (team["promptTokens"], team["completionTokens"]) == (150, 50)
    _, out, _ = shell(*documented("kubectl qwen3 usage chat").split()[2:])
    assert out.splitlines()[0].split()[:4] == ["NAMESPACE", "NAME", "TEAM", "ANSWERED"]
    assert "(no key)" in out and "150" in out


def test_a_server_that_does_not_report_is_named(keyed: ApiServer, shell: Shell) -> None:
    keyed.allows = lambda verb, resource, namespace: resource != "pods/proxy"
    code, out, err = shell("usage", "chat")
    assert (code, out) == (0, "")
    assert err.count("is not counted: pods/proxy is forbidden") == 2


def test_what_asks_for_no_keys(keyed: ApiServer, shell: Shell) -> None:
    code, _, err = shell("usage", "open")
    assert code == 1 and "spec.auth.keys is not set" in err
    keyed.objects = recorded.deployment("open")
    assert "nothing asks for keys of teams" in shell("usage")[2]
