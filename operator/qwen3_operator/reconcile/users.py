"""Who waits for which Qwen3Model, so that news of a model reach them.

Each reconcile notes the models that it reads: a user may wait for a model that its status does not name yet. Held in
memory only: a new process reconciles every user first.
"""

from __future__ import annotations

from collections import defaultdict

from qwen3_operator.reconcile.key import Key


class ModelUsers:
    """Keys of users by the namespace and name of the Qwen3Model."""

    def __init__(self) -> None:
        self._users: defaultdict[tuple[str, str], set[Key]] = defaultdict(set)
        self._models: defaultdict[Key, set[str]] = defaultdict(set)

    def note(self, user: Key, models: set[str]) -> None:
        """`user` is to hear of exactly these models of its namespace."""
        known = self._models.get(user, set())
        for name in known - models:
            users = self._users[user.namespace, name]
            users.discard(user)
            if not users:
                del self._users[user.namespace, name]
        for name in models - known:
            self._users[user.namespace, name].add(user)
        self._models[user] = set(models)
        if not models:
            del self._models[user]

    def add(self, user: Key, model: str) -> None:
        """`user` is to hear of `model` as well."""
        self.note(user, {*self._models.get(user, ()), model})

    def forget(self, user: Key) -> None:
        """`user` is gone."""
        self.note(user, set())

    def of(self, namespace: str, model: str) -> list[Key]:
        """Who is to hear of `model`."""
        return sorted(self._users.get((namespace, model), ()))

    def models_of(self, user: Key) -> list[str]:
        """The models that `user` is to hear of."""
        return sorted(self._models.get(user, ()))
