"""The operator's release on the real node, with other values for a while."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from demo import ours
from demo.kube import wait_until
from demo.ours import RELEASE
from demo.stage import CHART
from tests.e2e.world import World


def install(world: World, *values: str) -> None:
    """With these values (KEY=VALUE) beside those that it has."""
    _upgrade(world, [word for value in values for word in ("--set", value)])


def install_json(world: World, values: Mapping[str, Any]) -> None:
    """The same with whole sections of the values."""
    _upgrade(world, [word for key, value in values.items() for word in ("--set-json", f"{key}={json.dumps(value)}")])


def remove_front(world: World) -> None:
    """As docs/scale-to-zero.md has it: first no Service leads to it any more."""
    install(world, "front.replicas=0")
    wait_until("no slice leads to the front", lambda: not led_to_the_front(world), timeout=60)
    install(world, "front.enabled=false")


def led_to_the_front(world: World) -> list[str]:
    selector = "endpointslice.kubernetes.io/managed-by=qwen3-operator"
    found = world.kube.get("endpointslices", "-A", "-l", selector)["items"]
    return [it["metadata"]["name"] for it in found if it.get("endpoints")]


def _upgrade(world: World, flags: list[str]) -> None:
    where = [*ours.IN_RELEASE, "--reuse-values", "--wait", "--timeout=120s"]
    world.kube.helm("upgrade", RELEASE, str(CHART), *where, *flags)
