"""Who waits for which Qwen3Model, so that news of a model reach them.

Each look notes the model before it reads it: whatever changes after the reading brings an event, and the event finds
the user here. `status.usedBy` tells people; it is written later, and knows no user that has yet to move to the model.
Held in memory only: a new process looks at every user first.
"""

from __future__ import annotations

from collections import defaultdict

from qwen3_operator.reconcile.key import Key


class ModelUsers:
    """Keys of users by the namespace and name of the Qwen3Model."""

    def __init__(self) -> None:
        self._users: defaultdict[tuple[str, str], set[Key]] = defaultdict(set)
        self._models: defaultdict[Key, set[str]] = defaultdict(set)

    def note(self, user: Key, model: str) -> bool:
        """`user` is to hear of `model`. Returns whether it did not yet: what it has read of it may be old news."""
        new = model not in self._models[user]
        self._models[user].add(model)
        self._users[user.namespace, model].add(user)
        return new

    def forget(self, user: Key, model: str = "") -> None:
        """`user` has let go of `model`, or is gone."""
        for name in {model} if model else set(self._models[user]):
            self._models[user].discard(name)
            users = self._users[user.namespace, name]
            users.discard(user)
            if not users:
                del self._users[user.namespace, name]
        if not self._models[user]:
            del self._models[user]

    def of(self, namespace: str, model: str) -> list[Key]:
        """Who is to hear of `model`."""
        return sorted(self._users.get((namespace, model), ()))
