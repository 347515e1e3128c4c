"""What servers can bear, in the status of a Qwen3Deployment: what was measured, and what is to be known of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from qwen3_in_engine.capacity.contract import Result
from qwen3_operator.api.reasons import Reason
from qwen3_operator.engine.capacity import before, concurrency_at_target, loss, slowest, step_at_target
from qwen3_operator.engine.problem import Problem

FIELD = "spec.benchmark"


@dataclass(frozen=True)
class CapacityView:
    """What was seen of the measurements of one Qwen3Deployment."""

    key: str
    """Of the servers that are to be there."""
    image: str
    """Of the same."""
    results: Sequence[Result] = ()
    """All that the ConfigMap has, in the order in which they came."""
    config_map: str = ""
    """Its name."""

    @property
    def own(self) -> list[Result]:
        """Of servers with this key."""
        return [it for it in self.results if it.key == self.key]

    @property
    def current(self) -> Result | None:
        """By which these servers are counted; None where none of them was measured."""
        return slowest(self.own)

    @property
    def target(self) -> int | None:
        """Requests that a server shall have at the same time. While the newest servers were not measured, as many as
        those before; None where none ever was. Never 0: one request needs a server."""
        counted = self.current or next((it for it in reversed(self.results) if it.steps), None)
        return None if counted is None else max(1, concurrency_at_target(counted))


def capacity_status(view: CapacityView) -> dict[str, Any]:
    """`status.capacity`; empty where nothing was measured."""
    result = view.current
    step = step_at_target(result) if result is not None else None
    if result is None or step is None:
        return {}
    return {
        "concurrencyAtTarget": concurrency_at_target(result),
        "tokensPerSecond": step.tokens_per_second,
        "ttftP95Milliseconds": step.ttft_milliseconds,
        "targetMilliseconds": result.target_milliseconds,
        "inputTokens": result.input_tokens,
        "outputTokens": result.output_tokens,
        "endedBy": result.ended_by,
        **({"gpu": result.gpu} if result.gpu else {}),
        "image": view.image,
        "key": result.key,
        "measuredAt": result.at,
    }


def capacity_warnings(view: CapacityView) -> list[Problem]:
    """What is to be known of it."""
    result = view.current
    if result is None:
        return [_failed(view, view.own[-1])] if view.own else []
    found = [] if concurrency_at_target(result) else [_below(result)]
    return found + [problem for it in view.own if (problem := slower(view.results, it)) is not None][:1]


def slower(results: Sequence[Result], now: Result) -> Problem | None:
    """That servers of `now` are slower than those before; None where they are not."""
    earlier = before(results, now) if now.steps else None
    steps = loss(earlier, now) if earlier is not None else None
    if earlier is None or steps is None:
        return None
    was, step = steps
    percent = round(100 - 100 * step.tokens_per_second / was.tokens_per_second)
    words = (
        f"the servers are {percent} % slower than those before: {step.tokens_per_second} tokens/s, and"
        f" {was.tokens_per_second} before, with {step.concurrency} requests at the same time; they keep the target with"
        f" {concurrency_at_target(now)}, those before with {concurrency_at_target(earlier)}"
    )
    return Problem(Reason.SERVERS_SLOWER, words, FIELD, severity="warning")


def not_measured() -> Problem:
    """That the autoscaler waits for the figure."""
    words = "autoscaling.target.auto waits until a server was measured: until then the number of servers stays"
    return Problem(Reason.CAPACITY_NOT_MEASURED, words, "spec.autoscaling.target", severity="warning")


def _failed(view: CapacityView, result: Result) -> Problem:
    words = (
        f"what a server can bear was not measured: {result.error or 'there was no time for it'}. To measure it again,"
        f" delete the ConfigMap {view.config_map}, and restart a server"
    )
    return Problem(Reason.BENCHMARK_FAILED, words, FIELD, severity="warning")


def _below(result: Result) -> Problem:
    first = result.steps[0].ttft_milliseconds
    words = (
        f"not even one request keeps the target: its first token comes after {first} ms, and not within"
        f" {result.target_milliseconds} ms"
    )
    return Problem(Reason.CAPACITY_BELOW_TARGET, words, FIELD, severity="warning")
