"""How many servers are wanted, and the KEDA ScaledObject that decides it where the load does.

KEDA asks Prometheus for vLLM's own metrics and has a HorizontalPodAutoscaler of its own scale the Deployment: to
ceil(total load / target). docs/autoscaling.md has the reasons of every number here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qwen3_operator.api import GROUP
from qwen3_operator.api.autoscaling import Autoscaling, ScalingTarget
from qwen3_operator.api.deployment import Qwen3DeploymentSpec
from qwen3_operator.desired.child import child_metadata
from qwen3_operator.desired.front import waiting_trigger
from qwen3_operator.engine.capacity import most_seqs

Object = Mapping[str, Any]
SCALED_BY = f"{GROUP}/scaled-by"
"""Annotation of a server Deployment whose replicas are not the operator's: who sets them."""
KEDA = "keda"

POLL_SECONDS = 15
"""How often KEDA checks whether there is any load at all. The HorizontalPodAutoscaler checks as often."""
SCALE_UP_SECONDS = 30
"""More servers must have been wanted at two checks: one scrape alone is no reason for a start that takes minutes."""
AWAKE_SECONDS = 60
"""What a server was started for is seen in Prometheus after a scrape: without a server there is none for so long."""
ONE_GOES_SECONDS = 60
"""One server (or one in ten) goes in so long: the others take over its load, and are measured, before the next goes."""
ROOM_PERCENT = 80
"""A server is not let go where those that stay would be fuller than this."""


def fewest_at_the_start(autoscaling: Autoscaling) -> int:
    """Servers to begin with: one at least, so that a spec that cannot serve fails now, not at the first request."""
    return max(1, autoscaling.min_replicas)


def servers_wanted(spec: Qwen3DeploymentSpec, server: Object | None) -> int:
    """Servers that there are to be. Where an autoscaler decides: what it wrote on the Deployment, and until it does as
    many as there are, within its bounds."""
    if spec.suspend:
        return 0
    if spec.autoscaling is None:
        return spec.replicas
    there = int(((server or {}).get("spec") or {}).get("replicas", 0))
    if is_given_away(server):
        return there
    return min(max(there, fewest_at_the_start(spec.autoscaling)), spec.autoscaling.max_replicas)


def servers_needed(spec: Qwen3DeploymentSpec, wanted: int) -> int:
    """Servers without which the endpoint is not Ready: what an autoscaler wants beside its least is on its way."""
    return wanted if spec.autoscaling is None else min(wanted, fewest_at_the_start(spec.autoscaling))


def is_given_away(server: Object | None) -> bool:
    """Whether the Deployment says that its replicas are an autoscaler's."""
    return SCALED_BY in ((server or {}).get("metadata", {}).get("annotations") or {})


def scaled_object(
    namespace: str,
    name: str,
    uid: str,
    autoscaling: Autoscaling,
    *,
    prometheus: str,
    command: Sequence[str],
    front: str = "",
) -> dict[str, Any]:
    """The ScaledObject of the Qwen3Deployment `name`. `prometheus`: its address; `command`: of the servers; `front`:
    its Service, as NAMESPACE/NAME, where there is one: what waits there wakes a deployment that has no server."""
    least, delay = autoscaling.min_replicas, autoscaling.scale_down_delay_seconds
    queries = _queries(namespace, name, autoscaling.target, most_seqs(command))
    if least == 0:
        queries = {called: (_or_none(query, namespace, name, front), at) for called, (query, at) in queries.items()}
    triggers = [_trigger(called, query, at, prometheus) for called, (query, at) in queries.items()]
    if least == 0 and front:
        triggers.append(waiting_trigger(front, namespace, name, requests_of_one(autoscaling.target, command)))
    return {
        "metadata": child_metadata(namespace, name, uid),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicaCount": least,
            "maxReplicaCount": autoscaling.max_replicas,
            "pollingInterval": POLL_SECONDS,
            "cooldownPeriod": max(delay, AWAKE_SECONDS),
            "initialCooldownPeriod": delay,
            "advanced": {
                "horizontalPodAutoscalerConfig": {
                    "behavior": {
                        "scaleUp": {"stabilizationWindowSeconds": SCALE_UP_SECONDS},
                        "scaleDown": {
                            "stabilizationWindowSeconds": delay,
                            "selectPolicy": "Max",
                            "policies": [
                                {"type": "Pods", "value": 1, "periodSeconds": ONE_GOES_SECONDS},
                                {"type": "Percent", "value": 10, "periodSeconds": ONE_GOES_SECONDS},
                            ],
                        },
                    }
                }
            },
            "triggers": triggers,
        },
    }


def _trigger(called: str, query: str, target: int, prometheus: str) -> dict[str, Any]:
    metadata = {
        "serverAddress": prometheus,
        "query": query,
        "threshold": str(target),
        # No data is no news: a Prometheus that lost the servers must not end them.
        "ignoreNullValues": "false",
    }
    return {"type": "prometheus", "name": called, "metricType": "AverageValue", "metadata": metadata}


def _queries(namespace: str, name: str, target: ScalingTarget, seqs: int) -> dict[str, tuple[str, int]]:
    """Trigger -> PromQL of the load of all servers together, and how much of it one server shall have."""
    series = f'{{namespace="{namespace}",qwen3deployment="{name}"}}'
    running, waiting = f"vllm:num_requests_running{series}", f"vllm:num_requests_waiting{series}"
    # Until 0.9.1 the cache's use has another name; servers of both may be there during a roll-out.
    cache = f"sum(avg by (pod) (vllm:kv_cache_usage_perc{series} or vllm:gpu_cache_usage_perc{series}))"
    if target.concurrency is not None:
        return {"concurrency": (f"sum({running}) + sum({waiting})", target.concurrency)}
    if target.kv_cache is not None:
        return {"kv-cache": (f"100 * {cache}", target.kv_cache)}
    assert target.queue is not None
    # A queue is gone once there are servers enough, which is no reason to let one go: the two below keep those that
    # the others could not replace without one, and never ask for more than there are.
    servers = f"scalar(count(count by (pod) ({running})))"
    held = {
        "batch-full": f"clamp_max(100 * sum({running}) / {seqs * ROOM_PERCENT}, {servers})",
        "kv-cache-full": f"clamp_max(100 * {cache} / {ROOM_PERCENT}, {servers})",
    }
    return {"queue": (f"sum({waiting})", target.queue)} | {called: (query, 1) for called, query in held.items()}


def _or_none(query: str, namespace: str, name: str, front: str) -> str:
    """0 where servers have no load by the operator's own word, for vLLM has no series then: none is ready, and who asks
    waits at the front; without a front, none is wanted. Of a trigger without a value KEDA makes an error: it would not
    see that requests wait all through a start, and end the server right after it."""
    gauge = "ready_replicas" if front else "replicas"
    own = f'qwen3_operator_deployment_{gauge}{{namespace="{namespace}",qwen3deployment="{name}"}}'
    return f"({query}) or sum({own} == 0)"


def requests_of_one(target: ScalingTarget, command: Sequence[str]) -> int:
    """Requests that one server is to have, where they are all that is known of the load: no server runs yet."""
    return target.concurrency or most_seqs(command) + (target.queue or 0)
