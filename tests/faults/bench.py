"""A namespace, the operators that work in it one after another, and what they leave."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.cluster.api import Api
from tests.cluster.installed import Release
from tests.cluster.world import World
from tests.faults.operator_thread import Injector, OperatorThread
from tests.faults.state import differences, state

FULL = os.environ.get("QWEN3_FAULTS") == "full"
"""Every fault point, instead of a sample that keeps the suite short."""
AT_ONCE = 4
QUIET_SECONDS = 1.2
"""Longer than the second after which what is in the way is reconciled again."""
POLL_SECONDS = 0.3
"""Many cases wait at once, and each poll of theirs is seven lists."""
END_SECONDS = 45.0


@dataclass
class Case:
    """One namespace with its operators."""

    bench: Bench
    world: World
    account: Release
    """Whose rights its operators have."""
    operators: list[OperatorThread] = field(default_factory=list)

    def operator(self, hook: Injector | None = None, *, start: bool = True, **settings: Any) -> OperatorThread:
        """One more operator, at work."""
        it = OperatorThread(self.account.kubeconfig, self.world.namespace, hook or Injector(), **settings)
        self.operators.append(it)
        return it.start() if start else it

    def state(self) -> dict[str, Any]:
        """What stands in the namespace."""
        return state(self.bench.api, self.world.namespace)

    def jobs_made(self) -> int:
        """Jobs that the operators have made so far, by the API server's answers: it alone knows whether a write that a
        crash cut off has reached it, and that a second apply of the same Job makes nothing."""
        return sum("/jobs/" in path for operator in self.operators for path in operator.created)

    def wait_quiet(self, operator: OperatorThread, ended: Callable[[], bool], what: str) -> dict[str, Any]:
        """Wait until `ended` and the operator has nothing left to do but to reconcile what is in the way: for a while
        nothing changes, nothing is written, and at the end of it nothing is under way. Returns the state."""
        self.world.wait(ended, what, within=END_SECONDS)
        before: dict[str, Any] | None = self.state()
        since, changes = time.monotonic(), operator.changes
        deadline = time.monotonic() + END_SECONDS
        while time.monotonic() < deadline:
            if operator.changes != changes:
                before, changes = None, operator.changes  # no need to read what is being written
            elif before is None:
                before, since = self.state(), time.monotonic()
            elif time.monotonic() - since >= QUIET_SECONDS and operator.idle:
                state = self.state()
                if state == before and operator.changes == changes:
                    return state
                before, since = state, time.monotonic()
            time.sleep(POLL_SECONDS)
        raise AssertionError(f"no quiet after: {what}\n{self.world.describe()}")

    def wait_state(self, expected: dict[str, Any]) -> None:
        """Wait until the namespace is as the fault-free run left it, and stays so."""

        def as_expected() -> bool:
            found = differences(self.state(), expected)
            assert not found, "\n".join(found[:20])
            return True

        self.world.wait(as_expected, "the state of the fault-free run", within=END_SECONDS)


@dataclass(frozen=True, eq=False)
class Bench:
    """The control plane that all cases share."""

    api: Api
    narrow: Release
    """The chart with `watchNamespaces`: its rights are Roles in each case's namespace."""
    wide: Release
    """The chart without: its rights are those of a ClusterRole."""

    @contextmanager
    def case(self, purpose: str, *, wide: bool = False) -> Iterator[Case]:
        """A namespace for one case; with `wide` rights, they do not go with the namespace."""
        name = f"{purpose[:30]}-{uuid.uuid4().hex[:6]}"
        self.api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        for role in [] if wide else self.narrow.roles_in(name):
            self.api.create(role)
        case = Case(self, World(self.api, name), self.wide if wide else self.narrow)
        try:
            yield case
        finally:
            for operator in case.operators:
                operator.stop()
            for kind in ("Qwen3Deployment", "Qwen3Model"):
                for obj in self.api.list(kind, name):
                    self.api.delete(kind, name, obj["metadata"]["name"])
            self.api.delete("Stage", None, f"download-{name}")
            self.api.delete("Namespace", None, name)

    def each(self, check: Callable[[Any], None], points: Iterable[Any]) -> None:
        """`check` every point, a few at once; an AssertionError names all that failed."""

        def outcome(point: Any) -> str:
            try:
                check(point)
            except Exception as error:
                return f"--- {point}: {type(error).__name__}: {error}"
            return ""

        with ThreadPoolExecutor(AT_ONCE) as pool:
            failed = [words for words in pool.map(outcome, points) if words]
        assert not failed, f"{len(failed)} points failed\n" + "\n".join(failed)


def sample(points: list[Any], wanted: int) -> list[Any]:
    """All points in full mode; otherwise `wanted` of them, evenly spread, first and last included."""
    if FULL or len(points) <= wanted:
        return points
    return [points[round(i * (len(points) - 1) / (wanted - 1))] for i in range(wanted)]
