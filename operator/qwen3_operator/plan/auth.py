"""Whether a server would ask for the keys of teams, whatever else its spec says: never open by accident."""

from __future__ import annotations

from collections.abc import Iterator

from qwen3_in_engine.server.contract import KEYS_VARIABLE, LIMITS_VARIABLE, VARIABLE
from qwen3_operator.api.deployment import Qwen3DeploymentSpec
from qwen3_operator.api.reasons import Reason
from qwen3_operator.engine.flags import given
from qwen3_operator.engine.problem import Problem
from qwen3_operator.engine.version import EngineVersion
from qwen3_operator.plan.middleware import SINCE

FIELD = "spec.auth.keys"
_VARIABLES = {
    "VLLM_API_KEY": "vLLM would ask for this key beside the team's",
    "VLLM_USE_RUST_FRONTEND": "that front end runs no middleware, and would let everybody in",
}
_OURS = dict.fromkeys((VARIABLE, KEYS_VARIABLE, LIMITS_VARIABLE), "the server is told by it to ask for keys")
_FLAGS = {"--grpc": "gRPC knows no keys", "--grpc-port": "gRPC knows no keys"}
_PROCESSES = ("--api-server-count", "--data-parallel-size")
"""Flags by which a server has several processes that answer."""


def check_auth(spec: Qwen3DeploymentSpec, version: EngineVersion) -> list[Problem]:
    """What keeps the middleware from asking for keys, and warnings about limits."""
    if spec.auth is None or spec.auth.keys is None:
        return []
    found = list(_ways_around(spec, version))
    if spec.auth.limits is not None and (flag := several_processes(spec, version)):
        words = f"{flag} makes several API servers in each pod, and each counts for itself: limits are theirs"
        found.append(Problem(Reason.LIMITS_OF_EACH_PROCESS, words, "spec.auth.limits", "warning"))
    return found


def _ways_around(spec: Qwen3DeploymentSpec, version: EngineVersion) -> Iterator[Problem]:
    if version < SINCE:
        words = (
            f"vLLM {version} does not run the middleware that asks for keys: use {SINCE} or newer, or apiKeySecretRef"
        )
        yield Problem(Reason.UNSUPPORTED_BY_ENGINE, words, FIELD)
    for variable in spec.engine.env:
        unset = variable.value in ("", "0")
        if why := _OURS.get(variable.name) or (not unset and _VARIABLES.get(variable.name)):
            words = f"{FIELD} and {variable.name} in spec.engine.env exclude each other: {why}"
            yield Problem(Reason.KEYS_NOT_ASKED, words, "spec.engine.env")
    for flag, why in _FLAGS.items():
        if given(spec.engine.extra_args, flag, version) is not None:
            words = f"{FIELD} and {flag} in spec.engine.extraArgs exclude each other: {why}"
            yield Problem(Reason.KEYS_NOT_ASKED, words, "spec.engine.extraArgs")


def several_processes(spec: Qwen3DeploymentSpec, version: EngineVersion) -> str:
    """The flag by which a server has several processes that answer; empty where it has one."""
    for flag in _PROCESSES:
        if (values := given(spec.engine.extra_args, flag, version)) and values[0] != "1":
            return flag
    return ""
