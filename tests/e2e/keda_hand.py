"""KEDA's hand: it asks the triggers of a ScaledObject that lead to the front, and scales from zero as they say.

KEDA itself is run by test_keda.py. What it reads, who is asked and who sets the number of servers is as with it.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from demo.kube import DemoError
from tests.e2e.world import World

POLL_SECONDS = 1.0


@contextlib.contextmanager
def keda(world: World, name: str) -> Iterator[None]:
    """Somebody wakes the Qwen3Deployment `name` until the end of the block."""
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(POLL_SECONDS):
            with contextlib.suppress(DemoError):  # it asks again
                if replicas(world, name) == 0 and waiting(world, name) > 0:
                    scale(world, name, 1)

    hand = threading.Thread(target=work)
    hand.start()
    try:
        yield
    finally:
        stop.set()
        hand.join()


def scale(world: World, name: str, count: int) -> None:
    """Through the scale sub-resource of the Deployment."""
    world.kubectl("scale", f"deployment/{name}", f"--replicas={count}")


def replicas(world: World, name: str) -> int:
    """Of the Deployment."""
    return int(world.get("deployment", name)["spec"]["replicas"])


def waiting(world: World, name: str) -> float:
    """What the front's trigger comes to."""
    triggers = world.get("scaledobject", name)["spec"]["triggers"]
    (reported,) = (it["metadata"] for it in triggers if it["type"] == "metrics-api")
    url = urlsplit(reported["url"])
    service, namespace, _ = str(url.hostname).split(".")
    path = f"/api/v1/namespaces/{namespace}/services/{service}:{url.port}/proxy{url.path}"
    answer: dict[str, Any] = json.loads(world.kube.run("get", "--raw", path))
    return float(answer[reported["valueLocation"]])
