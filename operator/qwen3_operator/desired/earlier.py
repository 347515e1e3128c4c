"""What servers of earlier releases had, so that they are known for what they are, and run on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qwen3_operator.api.deployment import Qwen3DeploymentSpec
from qwen3_operator.desired.disruption import spread

_FLAG = ["--middleware", "reasoning_content.ReasoningContentMiddleware"]
_FOLDER = "/etc/qwen3/middleware"
"""The middleware of reasoningContentField, which was a file alone until 2026-11."""


def without_middleware(template: Mapping[str, Any]) -> dict[str, Any]:
    """A pod template of servers without the command's and the environment's words for that middleware."""
    spec = template["spec"]
    return {**template, "spec": {**spec, "containers": [_container(c) for c in spec["containers"]]}}


def as_of_earlier(template: Mapping[str, Any], name: str, spec: Qwen3DeploymentSpec) -> dict[str, Any]:
    """A pod template of now without what servers of `name` had not: the default spread, and claims of others mounted
    read-only as volumes."""
    pod = {**template["spec"], "volumes": [_volume(volume) for volume in template["spec"].get("volumes") or ()]}
    if spread(name, spec):
        del pod["topologySpreadConstraints"]
    return {**template, "spec": pod}


def command_in(template: Mapping[str, Any]) -> tuple[str, ...]:
    """The words by which its servers are started."""
    container = template["spec"]["containers"][0]
    return (*(container.get("command") or ()), *(container.get("args") or ()))


def _container(container: Mapping[str, Any]) -> dict[str, Any]:
    words = list(container.get("args") or ())
    for at in range(len(words) - 1):
        if words[at : at + 2] == _FLAG:
            del words[at : at + 2]
            break
    variables = [_variable(v) for v in container.get("env") or () if v.get("value") != _FOLDER]
    return {**container, "args": words, "env": variables}


def _variable(variable: Mapping[str, Any]) -> dict[str, Any]:
    if variable.get("name") != "PYTHONPATH" or "value" not in variable:
        return dict(variable)
    return {**variable, "value": str(variable["value"]).removesuffix(f":{_FOLDER}")}


def _volume(volume: Mapping[str, Any]) -> dict[str, Any]:
    claim = {k: v for k, v in (volume.get("persistentVolumeClaim") or {}).items() if k != "readOnly"}
    return {**volume, "persistentVolumeClaim": claim} if claim else dict(volume)
