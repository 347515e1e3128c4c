"""What a server Deployment was made from, written on it: so that what was applied is read from what is there.

While what the user and the model say stays the same, so do the values that were resolved then and the pod template
that came of them: an operator with other defaults restarts nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from qwen3_operator.api import GROUP
from qwen3_operator.api.deployment import Qwen3DeploymentSpec
from qwen3_operator.desired.patch import canonical
from qwen3_operator.engine.version import EngineVersion
from qwen3_operator.naming import digest
from qwen3_operator.plan import Plan, Value, Weights

ANNOTATION = f"{GROUP}/made-from"
Object = Mapping[str, Any]

_OF_SERVERS: Any = {
    **dict.fromkeys(("engine", "gpu", "resources", "scheduling"), True),
    "auth": {"api_key_secret_ref", "keys"},  # limits reach a server that runs
    "rollout": {"drain_seconds"},
    "verify": True,
    "benchmark": True,
}
"""Fields of the spec that reach a pod, beside the model and the patch."""
_OF_ADAPTERS = {"lora_adapters", "max_lora_rank", "max_loras"}
"""Fields that reach a pod by the room that they ask for: adapters come and go in a server that runs."""
_PLAN = ("image", "claim", "command", "max_model_len", "gpus", "cpu", "memory", "shm_size", "startup_seconds",
         "drain_seconds", "pod_annotations")  # fmt: skip
_VALUE = ("field", "value", "reason", "source")
_VALUES = TypeAdapter(list[Value])
_IN_WORK = 64
"""A reconcile asks several times what its servers were made from, and so many at most are in work."""


@dataclass(frozen=True)
class MadeFrom:
    """The annotation. `inputs`: digest of what decides; `plan`: what was resolved; `template`: the pod template;
    `secrets`: digests of Secrets that servers read at their start, as far as the operator may read them."""

    inputs: str
    plan: Plan
    template: dict[str, Any]
    secrets: Mapping[str, str] = field(default_factory=dict)

    def written(self) -> str:
        """As the annotation's text."""
        plan = {name: getattr(self.plan, name) for name in _PLAN} | {"version": str(self.plan.version)}
        values = [{name: getattr(value, name) for name in _VALUE} for value in self.plan.values]
        content: dict[str, Any] = {"inputs": self.inputs, "plan": plan, "values": values, "template": self.template}
        if self.secrets:
            content["secrets"] = dict(self.secrets)
        return json.dumps(content, separators=(",", ":"), ensure_ascii=False)


def inputs_of(spec: Qwen3DeploymentSpec, weights: Weights, template_hash: str) -> str:
    """Digest of all that decides what servers are made from: the spec as far as it reaches a pod, where the weights
    are, the chat template. Defaults count as unset, so that one that is spelled out makes no new servers."""
    said = spec.model_dump(
        mode="json", by_alias=True, exclude_defaults=True, include=_OF_SERVERS, exclude={"engine": _OF_ADAPTERS}
    )
    if not said.get("engine", True):
        del said["engine"]
    if weights.lora is not None:
        said["lora"] = asdict(weights.lora)
    patch = canonical(spec.pod_template_patch) or None
    return digest([spec.source.id, weights.claim, weights.path, said, template_hash, patch], 16)


def made_from(server: Object | None) -> MadeFrom | None:
    """What is written on a Deployment; None where nothing is, or nothing that can be read. Not to be changed: whoever
    asks next has the same."""
    text = ((server or {}).get("metadata", {}).get("annotations") or {}).get(ANNOTATION)
    return _read(text) if text else None


@lru_cache(_IN_WORK)
def _read(text: str) -> MadeFrom | None:
    try:
        content = json.loads(text)
        said = content["plan"]
        plan = Plan(
            **{name: said[name] for name in _PLAN if name != "command"},
            command=tuple(said["command"]),
            version=EngineVersion.of(said["version"]),
            values=tuple(_VALUES.validate_python(content["values"])),
        )
        secrets = {str(name): str(value) for name, value in dict(content.get("secrets") or {}).items()}
        return MadeFrom(str(content["inputs"]), plan, dict(content["template"]), secrets)
    except (ValueError, KeyError, TypeError, RecursionError, ValidationError):
        return None  # by another hand: the servers are made anew from the spec
