"""The ConfigMap that carries our middleware into vLLM's image."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from qwen3_in_engine.server.contract import LIVE_PATH, READY_PATH, STARTED_PATH
from qwen3_operator.desired.child import child_metadata
from qwen3_operator.desired.modules import items, texts
from qwen3_operator.desired.service import PORT_NAME
from qwen3_operator.naming import digest
from qwen3_operator.plan.middleware import SETTLE_SECONDS

PACKAGE = "qwen3_in_engine.server"
MEASURING = "qwen3_in_engine.capacity"
"""What is mounted beside it where servers measure themselves: it is in the ConfigMap of all."""
IN_ENGINE_DIR = "/etc/qwen3/in-engine"
VOLUME = "in-engine"
COMMAND = ("/bin/sh", "-c", f'PYTHONPATH="{IN_ENGINE_DIR}${{PYTHONPATH:+:$PYTHONPATH}}" exec "$0" "$@"')
"""Before the words of the server: a variable of the pod would take the place of the image's own PYTHONPATH."""
STARTUP_PERIOD, PERIOD, TIMEOUT, KILL_SECONDS = 2, 3, 10, 5
"""Seconds of the probes. The middleware's own clock says what hangs; one that gives no answer at all has longer."""
PRE_STOP = f"{IN_ENGINE_DIR}/{PACKAGE.replace('.', '/')}/pre_stop.py"


def in_engine_config_map(namespace: str, name: str, uid: str, called: str) -> dict[str, Any]:
    """The ConfigMap `called` so, of the Qwen3Deployment `name`. Servers that run keep the one that they were started
    with: its name holds a hash of the sources."""
    return {
        "metadata": child_metadata(namespace, name, uid, called),
        "immutable": True,
        "data": texts(PACKAGE, MEASURING),
    }


def config_map_name(name: str) -> str:
    """Name of the ConfigMap with today's sources for the Qwen3Deployment `name`."""
    return f"{name}-in-engine-{_sources_digest()}"


@cache
def _sources_digest() -> str:
    return digest(texts(PACKAGE, MEASURING), 6)


def config_map_of(template: Mapping[str, Any]) -> str:
    """Name of the ConfigMap that a pod template of servers mounts; empty where it has no middleware."""
    volumes = template["spec"].get("volumes") or ()
    return next((str(v["configMap"]["name"]) for v in volumes if v.get("name") == VOLUME and "configMap" in v), "")


def volume(name: str, *, measures: bool) -> dict[str, Any]:
    """The volume of the pod, with each module at the path by which the others import it. `measures`: whether its server
    measures itself."""
    found = items(PACKAGE, MEASURING) if measures else items(PACKAGE)
    return {"name": VOLUME, "configMap": {"name": config_map_name(name), "items": found}}


def probes(startup_seconds: int) -> dict[str, Any]:
    """The probes that the middleware answers. A hung engine is out of the endpoints and restarted within 30 s."""
    return {
        "startupProbe": _probe(STARTED_PATH, period=STARTUP_PERIOD, failures=-(-startup_seconds // STARTUP_PERIOD)),
        "readinessProbe": _probe(READY_PATH, period=PERIOD, failures=2),
        # Nothing of a hung engine is worth waiting for.
        "livenessProbe": _probe(LIVE_PATH, period=PERIOD, failures=2) | {"terminationGracePeriodSeconds": KILL_SECONDS},
    }


def _probe(path: str, *, period: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": PORT_NAME, "scheme": "HTTP"},
        "periodSeconds": period,
        "timeoutSeconds": TIMEOUT,
        "failureThreshold": failures,
    }


def pre_stop(port: int, drain_seconds: int) -> dict[str, Any]:
    """The hook that lets the clients go elsewhere before vLLM gets SIGTERM. An image without python3 only waits."""
    drain = f"python3 {PRE_STOP} {port} {SETTLE_SECONDS} {SETTLE_SECONDS + drain_seconds}"
    return {"exec": {"command": ["/bin/sh", "-c", f"{drain} || sleep {SETTLE_SECONDS}"]}}
