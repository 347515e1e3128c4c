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


def without_spread(template: Mapping[str, Any], name: str, spec: Qwen3DeploymentSpec) -> Mapping[str, Any]:
    """A pod template of now without the default spread of the servers of `name`."""
    if not spread(name, spec):
        return template
    return {**template, "spec": {k: v for k, v in template["spec"].items() if k != "topologySpreadConstraints"}}


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
