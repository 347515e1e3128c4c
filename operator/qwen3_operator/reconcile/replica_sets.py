"""Which pods are servers of a Qwen3Deployment: proved by their ReplicaSet, and that by its Deployment.

A name proves nothing: what a forged pod says in its log would be the measured capacity by which an autoscaler goes, and
its failure a reason to go back to the servers before. Whoever may write a pod with the uid of a ReplicaSet of ours has
made a pod of that ReplicaSet for Kubernetes, too: its controller counts it, and deletes it or another.

ReplicaSets are not watched: every revision of every Deployment, with what it was made from, would be kept for this
alone. One is read when its first pod is seen, and remembered while it has any; a new process reads each once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from qwen3_operator.controller.cluster import Cluster, Object
from qwen3_operator.controller.kinds import REPLICA_SETS
from qwen3_operator.controller.ownership import controller_of, is_controlled_by
from qwen3_operator.reconcile.key import Key


def names_replica_set(pod: Object, deployment: str) -> bool:
    """Whether a pod says that it is of a ReplicaSet of this Deployment, as far as its name goes."""
    by = _replica_set_of(pod)
    return by.get("kind") == REPLICA_SETS.kind and str(by["name"]).startswith(f"{deployment}-")


class ReplicaSets:
    """uids of ReplicaSets, by the Qwen3Deployment whose pods name them."""

    def __init__(self) -> None:
        self._ours: dict[Key, set[str]] = {}
        """Those that were seen under a Deployment of ours. It stays true when that is gone and the last pods end."""
        self._others: dict[Key, set[tuple[str, str]]] = {}
        """Those that are not under a Deployment, with its uid: one that was orphaned may come to another."""

    async def learn(self, cluster: Cluster, user: Key, server: Object | None, pods: Iterable[Object]) -> None:
        """See whose those are that `pods` name, and are not known yet. Raises ApiError.

        `server`: the Deployment of `user` as it is there.
        """
        named = {str(by["uid"]): str(by["name"]) for by in map(_replica_set_of, pods)}
        self._ours[user] = self._ours.get(user, set()) & named.keys()
        self._others[user] = {known for known in self._others.get(user, ()) if known[0] in named}
        if server is not None:
            uid = server["metadata"]["uid"]
            new = {it for it in named if it not in self._ours[user] and (it, uid) not in self._others[user]}
            names = sorted({named[it] for it in new})
            found = await asyncio.gather(*(_by_name(cluster, user.namespace, name) for name in names))
            for it in new:
                self._note(user, it, found[names.index(named[it])], uid)
        if not named:
            self.forget(user)

    def pods_of(self, user: Key, pods: Iterable[Object]) -> list[Object]:
        """Those of `pods` whose ReplicaSet is known to be of this user."""
        ours = self._ours.get(user, ())
        return [pod for pod in pods if _replica_set_of(pod).get("uid") in ours]

    def forget(self, user: Key) -> None:
        """`user` is gone, or has no pods."""
        self._ours.pop(user, None)
        self._others.pop(user, None)

    def _note(self, user: Key, uid: str, found: Object | None, server: str) -> None:
        same = found is not None and found["metadata"]["uid"] == uid
        if same and is_controlled_by(found, server):
            self._ours[user].add(uid)
        elif not same or controller_of(found or {}) is not None:
            self._others[user].add((uid, server))  # one without a controller may be about to be adopted


def _replica_set_of(pod: Object) -> Mapping[str, Any]:
    return controller_of(pod) or {}


async def _by_name(cluster: Cluster, namespace: str, name: str) -> Object | None:
    """By a list of one: there is no right to get it."""
    found = await cluster.list(REPLICA_SETS, namespace, fields=f"metadata.name={name}", limit=1)
    return found[0] if found else None
