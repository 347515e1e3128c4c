"""A namespace is deleted while the operator is at work in it: no refusal is reported, and nothing is left."""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Awaitable, Callable

import pytest
from tests.cluster.api import Api, Refused
from tests.faults.bench import Bench
from tests.faults.operator_thread import Answer, Meanwhile
from tests.faults.scenarios import CR


def end_namespace(api: Api, namespace: str) -> None:
    """Delete it, and wait until the API server takes nothing new there."""
    api.delete("Namespace", None, namespace)
    deadline = time.monotonic() + 10
    probe = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": namespace, "name": "probe"}}
    with contextlib.suppress(Refused):
        while time.monotonic() < deadline:
            api.create(probe, dry_run=True)
            time.sleep(0.05)
        raise AssertionError("the API server still takes new objects")


@pytest.mark.parametrize("child", ["services", "jobs"])
def test_a_namespace_that_goes_is_no_failure(bench: Bench, child: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "qwen3_operator")
    refused: list[str] = []

    async def listening(_: int, send: Callable[[], Awaitable[Answer]]) -> Answer:
        answer = await send()
        if answer[0] == 403:
            refused.append(json.loads(answer[2])["message"])
        return answer

    with bench.case("going", wide=True) as case:
        hook = Meanwhile(f"/{child}/*", lambda: end_namespace(bench.api, case.world.namespace))
        operator = case.operator(hook, start=False)
        operator.fault = listening
        operator.start()
        case.world.apply(CR)
        case.world.wait(lambda: bench.api.get("Namespace", None, case.world.namespace) is None, "the end", within=60)
        case.world.wait(lambda: operator.idle, "rest")
        assert refused and all("being terminated" in message for message in refused)
        assert [r.getMessage() for r in caplog.records if r.name.startswith("qwen3_operator")] == []
        at_the_refusal = next(i for i, write in enumerate(hook.writes) if f"/{child}/" in write)
        assert not [write for write in hook.writes[at_the_refusal:] if write.endswith("/status")], "it was reported"
