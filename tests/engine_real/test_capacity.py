"""A real vLLM (its CPU build) measures itself by vLLM's own benchmark before it is ready.

tests/e2e/test_capacity.py has the second server, which finds the result and does not.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.engine_real.server import ARGUMENTS, CHECKPOINT, NAME, STARTUP_SECONDS, Server, serving
from tests.unit.in_engine.mounts import Volume

from qwen3_in_engine.capacity.contract import VARIABLE, Benchmark
from qwen3_in_engine.server.contract import KEYS_VARIABLE, LIMITS_VARIABLE, READY_PATH
from qwen3_operator.engine.capacity import concurrency_at_target, result_in_log

pytestmark = pytest.mark.e2e

KEY, BATCH, SECONDS = "key-of-a", 4, 240
MEASURING = (503, "its capacity is being measured")


def environment(folder: Path, **given: Any) -> dict[str, str]:
    """Of a server that asks for the keys of a team which may have one request a minute."""
    (folder / "keys").mkdir()
    (folder / "limits").mkdir()
    Volume(folder / "keys", {"team-a": KEY})
    limits = folder / "limits" / "limits.json"
    limits.write_text(json.dumps({"default": {"requestsPerMinute": 1, "maxConcurrent": 1}}))
    reported: dict[str, Any] = {
        "key": "c1",
        "file": str(folder / "capacity.json"),
        "model": str(CHECKPOINT),
        "name": NAME,
        "input_tokens": 64,
        "output_tokens": 16,
        "ttft_milliseconds": 600_000,
        "max_seconds": SECONDS,
        "most": 256,
    }
    benchmark = Benchmark(**reported | given).as_text()
    return {VARIABLE: benchmark, KEYS_VARIABLE: str(folder / "keys"), LIMITS_VARIABLE: str(limits)}


def until_ready(server: Server) -> Iterator[tuple[int, str]]:
    """What its readiness said, until it was ready."""
    until = time.monotonic() + STARTUP_SECONDS + SECONDS
    while (said := server.get(READY_PATH))[0] != 200:
        assert server.process.poll() is None, server.log[-3000:]
        assert time.monotonic() < until, server.log[-3000:]
        yield said
        time.sleep(0.2)


def counted(server: Server) -> float:
    """Requests and tokens of anybody, and of those without a key."""
    _, text = server.get("/metrics")
    samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
    assert any(s.name.startswith("vllm:") for s in samples)
    return sum(s.value for s in samples if s.name.startswith("qwen3_team_") and s.name.endswith("_total"))


def test_it_measures_itself_before_it_is_ready(tmp_path: Path) -> None:
    arguments = ARGUMENTS | {"--max-num-seqs": str(BATCH)}
    with serving(tmp_path, arguments=arguments, variables=environment(tmp_path)) as server:
        seen, empty = set(), False
        for said in until_ready(server):
            seen.add(said)
            empty = empty or (said == MEASURING and server.get("/metrics") == (200, ""))
        log = server.log
        result = result_in_log(log.splitlines())
        print(result)
        assert result is not None and not result.error
        assert MEASURING in seen and empty, "neither users nor an autoscaler see anything of it"
        assert [step.concurrency for step in result.steps] == [1, 2, 4] and result.ended_by == "batch"
        assert concurrency_at_target(result) == BATCH, "the engine's own batch, and not what the spec says"
        assert all(step.tokens_per_second > 0 and step.ttft_milliseconds > 0 for step in result.steps)
        assert result.seconds < SECONDS
        assert counted(server) == 0 and " 429 " not in log, "it is no team's, and no limit holds for it"
        assert KEY not in log and "POST /v1/completions" not in log


def test_a_benchmark_that_fails_makes_a_server_that_serves(tmp_path: Path) -> None:
    variables = environment(tmp_path, model="/no/such/checkpoint")
    with serving(tmp_path, variables=variables) as server:
        for _ in until_ready(server):
            pass
        result = result_in_log(server.log.splitlines())
        print(result)
        assert result is not None and result.error and not result.steps
        assert result.ended_by == "failure" and KEY not in server.log
