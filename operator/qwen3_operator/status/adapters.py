"""The LoRA adapters of a Qwen3Deployment in its status: whether every server has them, and if not, why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from qwen3_operator.api.conditions import Type
from qwen3_operator.api.reasons import Reason
from qwen3_operator.engine.problem import Problem
from qwen3_operator.plan.lora import Adapter
from qwen3_operator.status.conditions import Conditions
from qwen3_operator.status.model_ready import is_stalled, model_condition, verified_copy

Object = Mapping[str, Any]


@dataclass(frozen=True)
class AdapterView:
    """One adapter of the spec."""

    name: str
    model: str
    """Name of its Qwen3Model."""
    live: Object | None
    """The Qwen3Model."""
    adapter: Adapter | None
    """Its verified copy."""
    problem: Problem | None = None
    """Why it cannot be served."""

    @property
    def path(self) -> str:
        """Folder that servers are to load; empty where there is none that they could."""
        return self.adapter.path if self.adapter is not None and self.problem is None else ""


@dataclass(frozen=True)
class ServersView:
    """What the servers say."""

    listed: frozenset[str] = frozenset()
    """Adapters on it."""
    ready: frozenset[str] = frozenset()
    """Names of the pods that are ready."""
    have: frozenset[str] = frozenset()
    """Those of them that have all that is listed."""
    failed: Mapping[str, str] = field(default_factory=dict)
    """Name of an adapter -> why vLLM does not load it."""


@dataclass(frozen=True)
class _Trouble:
    reason: Reason
    words: str
    stalled: bool = False


def set_adapters(
    conditions: Conditions, adapters: Sequence[AdapterView], servers: ServersView | None, *, has_servers: bool
) -> None:
    """Say in Available, or before there are servers in ModelReady, what keeps an adapter from being served. What is
    wrong with the model or the servers themselves counts more. `servers`: None where none is wanted."""
    kind = Type.AVAILABLE if has_servers else Type.MODEL_READY
    found = [trouble for view in adapters if (trouble := _trouble(view, servers))]
    if not found or not conditions.holds(kind):
        return
    worst = next((trouble for trouble in found if trouble.stalled), found[0])
    more = f" (and {len(found) - 1} more: see status.adapters)" if len(found) > 1 else ""
    conditions.set(kind, "False", worst.reason, worst.words + more, stalled=worst.stalled)


def adapters_status(adapters: Sequence[AdapterView], servers: ServersView | None) -> dict[str, Any]:
    """`status.adapters`. `servers`: None where none is wanted."""
    return {"adapters": [_entry(view, _trouble(view, servers)) for view in adapters]} if adapters else {}


def _entry(view: AdapterView, trouble: _Trouble | None) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": view.name, "model": view.model, "ready": trouble is None}
    copy = verified_copy(view.live) or {}
    entry |= {key: copy[key] for key in ("revision", "commit", "bytes") if copy.get(key)}
    if view.adapter is not None and view.adapter.facts.rank:
        entry["rank"] = view.adapter.facts.rank
    return entry | ({"message": trouble.words[:1024]} if trouble else {})


def _trouble(view: AdapterView, servers: ServersView | None) -> _Trouble | None:
    name = f"adapter {view.name}"
    if view.problem is not None:
        return _Trouble(view.problem.reason, view.problem.message, stalled=True)
    if view.adapter is None:
        ready = model_condition(view.live)
        words = f"{name}: Qwen3Model {view.model}: {ready.get('message') or 'nothing is known yet'}"
        return _Trouble(Reason.known(ready.get("reason"), Reason.WAITING), words, is_stalled(view.live))
    if servers is None:
        return None
    if view.name in servers.failed:
        return _Trouble(Reason.ADAPTER_REFUSED, f"{name}: vLLM says: {servers.failed[view.name]}")
    if view.name not in servers.listed or not servers.ready or servers.have != servers.ready:
        words = f"{name}: {len(servers.have)} of {len(servers.ready)} ready servers have said that they have it"
        return _Trouble(Reason.ADAPTERS_PENDING, words)
    return None
