"""Which servers have reported something in their logs, so that the logs are not read at every reconcile.

Noted by container: one that was started again has to report it anew. Held in memory only: a new process reads the
log of every server once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from qwen3_operator.controller.cluster import Object
from qwen3_operator.desired.server import CONTAINER
from qwen3_operator.reconcile.key import Key

Container = tuple[str, str]
"""uid of the pod, and id of the container in it."""


class Heard:
    """Which containers have reported one thing, by Qwen3Deployment and the version of that thing."""

    def __init__(self) -> None:
        self._heard: dict[Key, tuple[str, frozenset[Container]]] = {}

    def of(self, user: Key, version: str, pods: Iterable[Object]) -> set[str]:
        """Names of those of `pods` that have reported it in this `version`."""
        known, heard = self._heard.get(user, ("", frozenset()))
        return {pod["metadata"]["name"] for pod in pods if known == version and _container(pod) in heard}

    def note(self, user: Key, version: str, pods: Collection[Object]) -> None:
        """Exactly these have reported it."""
        if pods:
            self._heard[user] = version, frozenset(map(_container, pods))
        else:
            self.forget(user)

    def forget(self, user: Key) -> None:
        """`user` is gone, or no server of it has reported it."""
        self._heard.pop(user, None)


def _container(pod: Object) -> Container:
    """Which life of the server this is."""
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return pod["metadata"]["uid"], next((str(s.get("containerID")) for s in statuses if s.get("name") == CONTAINER), "")
