"""How many servers of a Qwen3Deployment there are, where their load decides."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from qwen3_operator.api.base import ApiModel, rule, rules

_ONE = " + ".join(f"(has(self.{name}) ? 1 : 0)" for name in ("concurrency", "queue", "kvCache", "auto"))


class ScalingTarget(ApiModel):
    """The load that a server shall have on the average. More come where there is more, and go where fewer will do."""

    model_config = {
        "json_schema_extra": rules(
            rule(f"{_ONE} == 1", "give one of concurrency, queue, kvCache and auto"),
            rule("!has(self.auto) || self.auto", "auto is true, or left out"),
        )
    }

    concurrency: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """Requests a server has at the same time, those that wait included."""
    queue: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """Requests a server has waiting, because its batch or its KV cache is full."""
    kv_cache: Annotated[int, Field(ge=1, le=90)] | None = None
    """Percent of a server's KV cache in use."""  # above 90, a full cache is within the autoscaler's tolerance of 10 %
    auto: bool | None = None
    """Requests at the same time, as many as spec.benchmark found that a server bears."""


class Autoscaling(ApiModel):
    """Bounds of the number of servers, and the load that decides. Needs KEDA and Prometheus."""

    model_config = {
        "json_schema_extra": rules(
            rule("self.maxReplicas >= self.minReplicas", "maxReplicas must be at least minReplicas")
        )
    }

    min_replicas: Annotated[int, Field(ge=0, le=1000)] = 1
    """Servers at the least. 0: none while nobody asks."""
    max_replicas: Annotated[int, Field(ge=1, le=1000)]
    """Servers at the most."""
    target: ScalingTarget
    """The load that a server shall have."""
    scale_down_delay_seconds: Annotated[int, Field(ge=0, le=3600)] = 300
    """Seconds for which fewer servers must have been enough before one goes. A pause shorter than this ends none."""
