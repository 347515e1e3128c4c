"""What a server has that asks for the keys of teams: the Secret as a folder, and the limits as a ConfigMap beside it.

The kubelet brings changes of both to servers that run. Nobody but the kubelet and the server reads the Secret.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from qwen3_in_engine.server.contract import KEYS_VARIABLE, LIMITS_VARIABLE
from qwen3_operator.api.deployment import Auth, AuthLimits, Limits
from qwen3_operator.desired.child import child_metadata

KEYS_DIR, LIMITS_DIR = "/etc/qwen3/keys", "/etc/qwen3/limits"
LIMITS_FILE = "limits.json"
KEYS_VOLUME, LIMITS_VOLUME = VOLUMES = ("keys", "limits")


def limits_name(name: str) -> str:
    """Name of the ConfigMap with the limits for the Qwen3Deployment `name`."""
    return f"{name}-limits"


def limits_config_map(namespace: str, name: str, uid: str, limits: AuthLimits | None) -> dict[str, Any]:
    """The ConfigMap. It is there without limits too: those that come later reach the servers that run."""
    return {
        "metadata": child_metadata(namespace, name, uid, limits_name(name)),
        "data": {LIMITS_FILE: _text(limits or AuthLimits())},
    }


def volumes(name: str, auth: Auth | None) -> list[dict[str, Any]]:
    """Of the pod."""
    if auth is None or auth.keys is None:
        return []
    return [
        {"name": KEYS_VOLUME, "secret": {"secretName": auth.keys.secret_ref.name}},
        {"name": LIMITS_VOLUME, "configMap": {"name": limits_name(name)}},
    ]


def asks_for_keys(template: Mapping[str, Any]) -> bool:
    """Whether servers of a pod template ask for keys of teams."""
    return any(v.get("name") == KEYS_VOLUME and "secret" in v for v in template["spec"].get("volumes") or ())


def mounts(auth: Auth | None) -> list[dict[str, Any]]:
    """Of the container. As folders: the kubelet never changes a file that is mounted by itself."""
    if auth is None or auth.keys is None:
        return []
    return [
        {"name": KEYS_VOLUME, "mountPath": KEYS_DIR, "readOnly": True},
        {"name": LIMITS_VOLUME, "mountPath": LIMITS_DIR, "readOnly": True},
    ]


def variables(auth: Auth | None) -> list[dict[str, Any]]:
    """Environment variables by which the middleware asks for keys."""
    if auth is None or auth.keys is None:
        return []
    return [
        {"name": KEYS_VARIABLE, "value": KEYS_DIR},
        {"name": LIMITS_VARIABLE, "value": f"{LIMITS_DIR}/{LIMITS_FILE}"},
    ]


def _text(limits: AuthLimits) -> str:
    teams = {team.name: _limits(team) for team in limits.teams}
    return json.dumps({"default": _limits(limits.default), "teams": teams}, sort_keys=True)


def _limits(limits: Limits) -> dict[str, Any]:
    return limits.model_dump(by_alias=True, exclude_none=True, exclude={"name"})
