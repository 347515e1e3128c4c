"""`kubectl qwen3 plan --users N NAME`: how many servers so many users need, by what a server was measured to bear."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qwen3_operator.plugin.api import Api
from qwen3_operator.plugin.failure import BAD_INPUT, Failure
from qwen3_operator.plugin.find import find
from qwen3_operator.plugin.names import QWEN3_DEPLOYMENTS
from qwen3_operator.plugin.objects import Object, condition, status_of
from qwen3_operator.plugin.show import as_data, clean, print_json, print_notes

AT_LEAST = ("time", "failure")
"""Ends of a measurement that did not come to what a server bears: it is that much, or more."""


@dataclass(frozen=True)
class Need:
    """Servers for so many users, and where the figure is from."""

    name: str
    users: int
    """Requests at the same time."""
    servers: int
    """That are needed."""
    servers_now: int
    """That there are."""
    concurrency_at_target: int
    """Requests that one server bears at the same time."""
    tokens_per_second: int
    """Of one server then."""
    ttft_p95_milliseconds: int
    """Then."""
    target_milliseconds: int
    input_tokens: int
    output_tokens: int
    ended_by: str
    gpu: str
    image: str
    measured_at: str


def run(arguments: argparse.Namespace, api: Api, namespace: str) -> int:
    """Print it. Raises Failure."""
    if arguments.gpus is not None or arguments.config or arguments.gpu or arguments.gpu_memory:
        raise Failure("--users goes by what was measured in the cluster: leave out what says of other GPUs", BAD_INPUT)
    _, obj = find(api, namespace, arguments.name, [QWEN3_DEPLOYMENTS])
    need = need_of(obj, arguments.users)
    if arguments.output == "json":
        print_json(need)
    elif arguments.output == "yaml":
        from qwen3_operator.commands.output import to_yaml

        print(to_yaml(as_data(need)), end="")
    else:
        print("\n".join(in_words(need)))
    print_notes(notes(obj, need))
    return 0


def need_of(obj: Object, users: int) -> Need:
    """What so many users need. Raises Failure where nothing was measured."""
    name, capacity = obj["metadata"]["name"], status_of(obj).get("capacity") or {}
    each = capacity.get("concurrencyAtTarget")
    if each is None:
        raise Failure(f"nobody has measured what a server of {name} bears: {_why_not(obj)}")
    if each == 0:
        raise Failure(
            f"no number of servers of {name} is enough: one request alone has its first token after"
            f" {capacity.get('ttftP95Milliseconds')} ms, and not within {capacity.get('targetMilliseconds')} ms"
            " (spec.benchmark.ttftP95Milliseconds)"
        )
    return Need(
        name=name,
        users=users,
        servers=-(-users // each),
        servers_now=int(status_of(obj).get("readyReplicas") or 0),
        concurrency_at_target=each,
        tokens_per_second=int(capacity.get("tokensPerSecond") or 0),
        ttft_p95_milliseconds=int(capacity.get("ttftP95Milliseconds") or 0),
        target_milliseconds=int(capacity.get("targetMilliseconds") or 0),
        input_tokens=int(capacity.get("inputTokens") or 0),
        output_tokens=int(capacity.get("outputTokens") or 0),
        ended_by=clean(capacity.get("endedBy") or ""),
        gpu=clean(capacity.get("gpu") or ""),
        image=clean(capacity.get("image") or ""),
        measured_at=clean(capacity.get("measuredAt") or ""),
    )


def in_words(need: Need) -> list[str]:
    """The figures, and their source."""
    least = " or more" if need.ended_by in AT_LEAST else ""
    gpu = f" on {need.gpu}" if need.gpu else ""
    servers = f"{need.servers} server{'' if need.servers == 1 else 's'}"
    return [
        f"{servers} for {need.users} users at the same time (ready now: {need.servers_now})",
        f"  one server: {need.concurrency_at_target} users{least}, {need.tokens_per_second} tokens/s,"
        f" first token within {need.ttft_p95_milliseconds} ms (p95; target {need.target_milliseconds} ms)",
        f"  measured:   {need.measured_at}{gpu}, {need.image},"
        f" {need.input_tokens} + {need.output_tokens} tokens a request",
    ]


def notes(obj: Object, need: Need) -> list[str]:
    """What is to be known beside it."""
    autoscaling = obj["spec"].get("autoscaling") or {}
    most, found = autoscaling.get("maxReplicas"), list[str]()
    if isinstance(most, int) and most < need.servers:
        found.append(f"spec.autoscaling.maxReplicas is {most}: the autoscaler makes no more")
    if need.ended_by in AT_LEAST:
        found.append("the measurement ended before a server had all that it bears: raise spec.benchmark.maxSeconds")
    return found


def _why_not(obj: Object) -> str:
    spec: Mapping[str, Any] = obj["spec"]
    if not spec.get("benchmark"):
        return "spec.benchmark is not set"
    accepted = condition(obj, "Accepted")
    if accepted.get("reason") == "AcceptedWithWarnings":
        return clean(accepted.get("message", ""))
    return "its first server is not ready yet" if not status_of(obj).get("readyReplicas") else "ask again in a minute"
