"""What the servers of a Qwen3Deployment have measured of themselves: read from their logs, kept in a ConfigMap."""

from __future__ import annotations

from collections.abc import Container, Sequence

from qwen3_in_engine.capacity.contract import Result
from qwen3_operator.controller.cluster import ApiError, Object
from qwen3_operator.controller.kinds import CONFIG_MAPS
from qwen3_operator.desired.capacity import capacity_config_map, capacity_name, results_in, with_result
from qwen3_operator.desired.server import CONTAINER
from qwen3_operator.engine.capacity import result_in_log
from qwen3_operator.engine.problem import Problem
from qwen3_operator.engine.text import bounded_lines
from qwen3_operator.naming import QWEN3_DEPLOYMENTS
from qwen3_operator.reconcile.context import Context, refused
from qwen3_operator.reconcile.pods import is_ready
from qwen3_operator.status.capacity import slower

LOG_LINES = 2000
MOST_LOGS = 3
"""Servers whose logs are read in one reconcile."""


async def read_results(context: Context, owner: Object) -> tuple[Object | None, list[Result]]:
    """The ConfigMap as it is there, and the results in it. Nobody watches ConfigMaps: it is read each time. Raises
    NameTaken, OwnerGoing, ApiError."""
    meta = owner["metadata"]
    live = await context.found(CONFIG_MAPS, capacity_config_map(meta["namespace"], meta["name"], meta["uid"], []))
    return live, results_in(live)


async def hear_results(
    context: Context, owner: Object, live: Object | None, results: list[Result], key: str, pods: Sequence[Object]
) -> tuple[list[Result], set[str], list[Problem]]:
    """The results with what servers of `key` have measured since, whose logs were there, and why it could not be kept.
    `pods`: of the servers to ask."""
    logs = {pod["metadata"]["name"]: await _log(context, pod) for pod in pods[:MOST_LOGS]}
    spoke = {name for name, log in logs.items() if log}
    said = [result_in_log(bounded_lines(log)) for log in logs.values()]
    heard = [it for it in said if it is not None and it.key == key]
    known = {(it.key, it.gpu) for it in results}
    new = [it for it in reversed(heard) if (it.key, it.gpu) not in known]
    if not new:
        return results, spoke, []
    for result in new:
        results = with_result(results, result)
    meta = owner["metadata"]
    try:
        wanted = capacity_config_map(meta["namespace"], meta["name"], meta["uid"], results)
        await context.change(CONFIG_MAPS, live, wanted)
    except ApiError as error:
        return results, spoke, [refused(CONFIG_MAPS, capacity_name(meta["name"]), error)]
    for result in new:
        if (problem := slower(results, result)) is not None:
            about = {"apiVersion": QWEN3_DEPLOYMENTS.api_version, "kind": QWEN3_DEPLOYMENTS.kind, "metadata": meta}
            await context.recorder.say(about, reason=problem.reason, note=problem.message, warning=True)
    return results, spoke, []


def to_ask(pods: Sequence[Object], heard: Container[str], *, known: bool) -> list[Object]:
    """The servers whose logs may have what is not known: the newest ready ones, those first that were not asked yet
    (`heard`: names of those that were). `known`: whether something of their kind is; then only such a one may be on
    another GPU."""
    ready = sorted(filter(is_ready, pods), key=lambda pod: str(pod["metadata"]["creationTimestamp"]), reverse=True)
    if not known:
        return sorted(ready, key=lambda pod: pod["metadata"]["name"] in heard)
    return [pod for pod in ready if pod["metadata"]["name"] not in heard]


def having_reported(
    heard: set[str], spoke: set[str], asked: Sequence[Object], *, known_before: bool, known: bool
) -> set[str]:
    """The servers that need not be asked again. While nothing is `known` that is whoever had its turn. From then on
    each has to be heard, for it may be on another GPU: it was where its log was there (`spoke`)."""
    if not known:
        return heard | {pod["metadata"]["name"] for pod in asked[:MOST_LOGS]}
    return heard | spoke if known_before else spoke


async def _log(context: Context, pod: Object) -> str:
    meta = pod["metadata"]
    return await context.cluster.logs(meta["namespace"], meta["name"], CONTAINER, tail=LOG_LINES)
