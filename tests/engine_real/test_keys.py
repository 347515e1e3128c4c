"""Keys, accounts and limits of teams in a real vLLM (its CPU build): what is counted is what vLLM's usage says."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.cluster.waiting import wait_until
from tests.engine_real.server import ARGUMENTS, CONFIG, NAME, Server, serving
from tests.unit.in_engine.mounts import Volume

from qwen3_in_engine.server.contract import EXIT_KEYS_UNUSABLE, KEYS_VARIABLE, LIMITS_VARIABLE
from qwen3_in_engine.server.mounted import READ_SECONDS

pytestmark = pytest.mark.e2e

KEYS = {"team-a": "key-of-a", "team-b": "key-of-b", "team-c": "key-of-c"}
QUESTION = [{"role": "user", "content": "Count from 1 to 40."}]
CHAT: dict[str, Any] = {"model": NAME, "messages": QUESTION, "temperature": 0}
COMPLETION: dict[str, Any] = {"model": NAME, "prompt": "ping", "temperature": 0, "max_tokens": 20}
RESPONSE: dict[str, Any] = {"model": NAME, "input": "Count from 1 to 40.", "temperature": 0, "max_output_tokens": 30}
MESSAGE: dict[str, Any] = {"model": NAME, "messages": QUESTION, "temperature": 0, "max_tokens": 30}
WITH_USAGE = {"stream": True, "stream_options": {"include_usage": True}}


@dataclass
class Shared:
    """A server that three teams share."""

    server: Server
    keys: Volume
    limits: Path

    def ask(self, key: str, path: str, body: Any, read: int | None = None) -> tuple[int, dict[str, str], str]:
        """Status, headers and text of a POST. `read`: go away after so many bytes."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=120)
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
        connection.request("POST", path, json.dumps(body), headers)
        response = connection.getresponse()
        text = response.read(read).decode(errors="replace")
        connection.close()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, text

    def metrics(self) -> Iterator[tuple[str, dict[str, str], float]]:
        """Samples of /metrics, which has no key."""
        status, text = self.server.get("/metrics")
        assert status == 200
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                yield sample.name, sample.labels, sample.value

    def counted(self, name: str, **labels: str) -> int:
        found = (v for n, has, v in self.metrics() if n == f"qwen3_team_{name}_total" and labels.items() <= has.items())
        return int(sum(found))

    def tokens(self, team: str) -> tuple[int, int]:
        return self.counted("prompt_tokens", team=team), self.counted("completion_tokens", team=team)


def shared(folder: Path, server: Server, keys: Volume) -> Shared:
    return Shared(server, keys, folder / "limits" / "limits.json")


def mounts(folder: Path) -> tuple[Volume, dict[str, str]]:
    """The volumes of a pod, and the variables that name them."""
    for name in ("keys", "limits"):
        (folder / name).mkdir()
    limits = folder / "limits" / "limits.json"
    limits.write_text("{}")
    return Volume(folder / "keys", KEYS), {KEYS_VARIABLE: str(folder / "keys"), LIMITS_VARIABLE: str(limits)}


@pytest.fixture(scope="module")
def it(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    folder = tmp_path_factory.mktemp("shared")
    keys, variables = mounts(folder)
    with serving(folder, variables=variables) as server:
        server.wait()
        yield shared(folder, server, keys)


def usage_in(text: str) -> tuple[int, int]:
    """What an answer reports, whole or as a stream: the last that it says."""
    parts = [line[5:] for line in text.splitlines() if line.startswith("data:")] or [text]
    prompt = completion = 0
    for part in (json.loads(p) for p in parts if p.strip() != "[DONE]"):
        usage = part.get("usage") or (part.get("response") or part.get("message") or {}).get("usage") or {}
        prompt = usage.get("prompt_tokens", usage.get("input_tokens", prompt)) or prompt
        completion = usage.get("completion_tokens", usage.get("output_tokens", completion)) or completion
    return prompt, completion


REQUESTS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("/v1/chat/completions", CHAT, {}),
    ("/v1/chat/completions", CHAT, WITH_USAGE),
    ("/v1/chat/completions", {**CHAT, "n": 2, "temperature": 0.5}, WITH_USAGE),
    ("/v1/completions", COMPLETION, {}),
    ("/v1/completions", {**COMPLETION, "prompt": ["ping", "ping ping"]}, WITH_USAGE),
    ("/v1/responses", RESPONSE, {}),
    ("/v1/responses", RESPONSE, {"stream": True}),
    ("/v1/messages", MESSAGE, {}),
    ("/v1/messages", MESSAGE, {"stream": True}),
    ("/invocations", CHAT, {}),
]


def test_tokens_of_three_teams_are_the_sum_of_usage(it: Shared) -> None:
    before = {team: it.tokens(team) for team in KEYS}
    sums = {team: [0, 0] for team in KEYS}
    failures = []

    def use(team: str, rounds: int) -> None:
        for _ in range(rounds):
            for path, body, more in REQUESTS:
                status, _, text = it.ask(KEYS[team], path, {**body, **more})
                prompt, completion = usage_in(text)
                if status != 200 or not prompt or not completion:
                    failures.append((path, status, text[:300]))
                sums[team][0] += prompt
                sums[team][1] += completion

    users = [threading.Thread(target=use, args=(team, rounds)) for rounds, team in enumerate(KEYS, 1)]
    for user in users:
        user.start()
    for user in users:
        user.join()
    assert not failures
    counted = {team: it.tokens(team) for team in KEYS}
    found = {team: [counted[team][i] - before[team][i] for i in (0, 1)] for team in KEYS}
    print({"usage": sums, "counted": found})
    assert found == sums
    assert it.counted("uncounted_requests") == 0


@pytest.mark.parametrize(("path", "body"), [("/v1/chat/completions", CHAT), ("/v1/completions", COMPLETION)])
def test_a_stream_counts_the_same_where_nobody_asks_for_its_usage(it: Shared, path: str, body: Any) -> None:
    reported = usage_in(it.ask(KEYS["team-a"], path, {**body, **WITH_USAGE})[2])
    before = it.tokens("team-b")
    status, _, text = it.ask(KEYS["team-b"], path, {**body, "stream": True})
    assert status == 200
    assert '"usage"' not in text, "the client gets what it asked for, and no more"
    after = it.tokens("team-b")
    assert (after[0] - before[0], after[1] - before[1]) == reported


def test_of_an_aborted_stream_what_was_made_is_counted(it: Shared) -> None:
    prompt, _ = usage_in(it.ask(KEYS["team-a"], "/v1/completions", {**COMPLETION, **WITH_USAGE})[2])
    long = {**COMPLETION, "max_tokens": 1500, "ignore_eos": True, "stream": True}
    before, aborted = it.tokens("team-c"), it.counted("requests", team="team-c", code="aborted")
    it.ask(KEYS["team-c"], "/v1/completions", long, read=600)
    wait_until(
        lambda: it.counted("requests", team="team-c", code="aborted") == aborted + 1, within=30, what="it is counted"
    )
    after = it.tokens("team-c")
    print({"prompt": after[0] - before[0], "completion": after[1] - before[1]})
    assert after[0] - before[0] == prompt
    assert 0 < after[1] - before[1] < 1500
    assert it.counted("uncounted_requests") == 0


def test_paths_that_vllm_leaves_open_ask_for_a_key(it: Shared) -> None:
    for path in ("/invocations", "/v1/completions", "/tokenize"):
        status, headers, text = it.ask("wrong", path, COMPLETION)
        assert (status, headers["www-authenticate"]) == (401, "Bearer")
        assert json.loads(text)["error"]["code"] == "invalid_api_key"
    for path, status in (
        ("/version", 401),
        ("/load", 401),
        ("/openapi.json", 401),
        ("/health", 200),
        ("/metrics", 200),
    ):
        assert it.server.get(path)[0] == status
    assert "qwen3: verified in" in it.server.log, "what the server asked itself needed none"


def test_a_key_is_changed_under_load_and_nobody_notices(it: Shared) -> None:
    key, stop, codes = ["key-of-b"], threading.Event(), Counter[int]()

    def six_more(what: str) -> None:
        begin = codes.total()
        wait_until(lambda: codes.total() >= begin + 6, within=60, what=what)

    def use() -> None:
        while not stop.is_set():
            codes[it.ask(key[0], "/v1/completions", COMPLETION)[0]] += 1

    users = [threading.Thread(target=use) for _ in range(3)]
    for user in users:
        user.start()
    try:
        it.keys.write({**KEYS, "team-b.2": "new-key-of-b"})
        wait_until(lambda: it.ask("new-key-of-b", "/tokenize", COMPLETION)[0] == 200, within=10, what="it is known")
        key[0] = "new-key-of-b"
        six_more("it is used")
        it.keys.write({name: value for name, value in KEYS.items() if name != "team-b"} | {"team-b.2": "new-key-of-b"})
        wait_until(lambda: it.ask("key-of-b", "/tokenize", COMPLETION)[0] == 401, within=10, what="the old one is gone")
        six_more("the new one is used")
    finally:
        stop.set()
        for user in users:
            user.join()
        it.keys.write(KEYS)
        time.sleep(READ_SECONDS + 0.5)
    print(codes)
    assert set(codes) == {200}


def test_limits_reach_a_server_that_runs(it: Shared) -> None:
    it.limits.write_text(json.dumps({"teams": {"team-a": {"requestsPerMinute": 2}, "team-b": {"maxConcurrent": 1}}}))
    time.sleep(READ_SECONDS + 0.5)
    try:
        statuses = [it.ask(KEYS["team-a"], "/v1/completions", COMPLETION)[0] for _ in range(3)]
        status, headers, text = it.ask(KEYS["team-a"], "/v1/completions", COMPLETION)
        assert (statuses, status) == ([200, 200, 429], 429)
        assert 1 <= int(headers["retry-after"]) <= 30
        assert json.loads(text)["error"]["code"] == "rate_limit_exceeded"
        long = {**COMPLETION, "max_tokens": 1500, "ignore_eos": True}

        def gets_in() -> None:
            while it.ask(KEYS["team-b"], "/v1/completions", long)[0] == 429:
                time.sleep(0.05)  # the question below was there at that moment

        user = threading.Thread(target=gets_in)
        user.start()
        wait_until(lambda: it.ask(KEYS["team-b"], "/tokenize", COMPLETION)[0] == 429, within=10, what="it is full")
        assert it.ask(KEYS["team-c"], "/v1/completions", COMPLETION)[0] == 200
        user.join()
        assert it.ask(KEYS["team-b"], "/v1/completions", COMPLETION)[0] == 200
    finally:
        it.limits.write_text("{}")
        time.sleep(READ_SECONDS + 0.5)
    assert it.counted("limited", team="team-a", limit="requestsPerMinute") == 2


def test_no_key_is_in_the_log_or_in_the_metrics(it: Shared) -> None:
    said = it.server.log + it.server.get("/metrics")[1]
    assert "qwen3: team-a POST '/v1/chat/completions' 2xx" in said
    assert "key-of-" not in said


@pytest.mark.nightly
def test_counters_of_several_processes_are_added_up(tmp_path: Path) -> None:
    keys, variables = mounts(tmp_path)
    with serving(tmp_path, CONFIG, {**ARGUMENTS, "--api-server-count": "2"}, variables) as server:
        server.wait()
        it = shared(tmp_path, server, keys)
        wait_until(lambda: it.ask("key-of-a", "/v1/completions", COMPLETION)[0] == 200, within=60, what="it serves")
        before = it.counted("requests", team="team-a", code="2xx"), *it.tokens("team-a")
        reported = [usage_in(it.ask("key-of-a", "/v1/completions", COMPLETION)[2]) for _ in range(12)]
        after = it.counted("requests", team="team-a", code="2xx"), *it.tokens("team-a")
        assert [b - a for a, b in zip(before, after, strict=True)] == [12, *map(sum, zip(*reported, strict=True))]


def test_a_server_without_a_key_that_can_be_used_does_not_listen(tmp_path: Path) -> None:
    keys, variables = mounts(tmp_path)
    keys.write({"team-a": "two words"})
    with serving(tmp_path, variables=variables) as server:
        seen = set()
        while server.process.poll() is None:
            seen.add(server.get("/health")[0])
            time.sleep(0.2)
        assert seen <= {0}
        assert server.process.returncode == EXIT_KEYS_UNUSABLE
        assert "qwen3: KeysUnusable: the Secret of auth.keys has no key" in server.log
