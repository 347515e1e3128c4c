"""What servers have said of their LoRA adapters, so that their logs are not read at every reconcile.

Noted by container: one that was started again has none of its adapters before it says so. Held in memory only: a new
process reads the log of every server once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from qwen3_operator.controller.cluster import Object
from qwen3_operator.desired.server import CONTAINER
from qwen3_operator.reconcile.key import Key

Container = tuple[str, str]
"""uid of the pod, and id of the container in it."""


class AdapterWords:
    """Which containers have said that they have every adapter of a list, by Qwen3Deployment."""

    def __init__(self) -> None:
        self._said: dict[Key, tuple[str, frozenset[Container]]] = {}

    def of(self, user: Key, version: str, pods: Iterable[Object]) -> set[str]:
        """Names of those of `pods` that have said it of this `version` of the list."""
        known, said = self._said.get(user, ("", frozenset()))
        return {pod["metadata"]["name"] for pod in pods if known == version and container_of(pod) in said}

    def note(self, user: Key, version: str, pods: Collection[Object]) -> None:
        """Exactly these have said it."""
        if pods:
            self._said[user] = version, frozenset(map(container_of, pods))
        else:
            self.forget(user)

    def forget(self, user: Key) -> None:
        """`user` is gone, or no server of it has said so."""
        self._said.pop(user, None)


def container_of(pod: Object) -> Container:
    """Which life of the server this is."""
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return pod["metadata"]["uid"], next((str(s.get("containerID")) for s in statuses if s.get("name") == CONTAINER), "")
