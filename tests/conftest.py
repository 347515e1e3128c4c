"""What all folders share: tests run several at once (pytest-xdist), each worker with clusters of its own.

Tests that share a module's fixture stay together on one worker. What the workers read of the operator's rights in the
audit logs comes together here: a refusal fails the session, and so does a right that the whole suite did not use.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import cycle, groupby
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from tests.cluster.rights import FOLDER, Ledger

# How long an example takes says how busy the machine is, and nothing of the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

pytest_plugins = ["tests.faults.control_plane"]

TESTS = Path(__file__).parent
MARKS = {
    "cluster": ("cluster",),
    "upgrade": ("cluster",),
    "faults": ("faults", "long"),
    "fuzz": ("faults", "long"),
    "e2e": ("e2e",),
    "gitops": ("e2e", "nightly"),  # its programs take minutes to build
}
"""What everything in a folder needs."""
ON_A_NODE = ("e2e", "distribution", "devcluster/test_real_node.py")
"""What has a real node. A machine has room for one, so one worker has them all."""
ON_THE_BENCH = ("faults", "fuzz")
"""What has the control plane of the faults. Two workers have one each: it costs as much as the tests of a minute."""

LEDGER = pytest.StashKey[Ledger]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[LEDGER] = Ledger()


@pytest.fixture(scope="session")
def ledger(pytestconfig: pytest.Config) -> Ledger:
    """Where a cluster's end writes down what the operator did."""
    return pytestconfig.stash[LEDGER]


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    halves = cycle(("bench 1", "bench 2"))
    for path, of_file in groupby(items, key=lambda item: item.path):
        place = path.relative_to(TESTS) if path.is_relative_to(TESTS) else Path()
        marks = [getattr(pytest.mark, name) for name in MARKS.get(place.parts[0] if place.parts else "", ())]
        together = "node" if any(place.is_relative_to(it) for it in ON_A_NODE) else ""
        benched = any(place.is_relative_to(it) for it in ON_THE_BENCH)
        for item in of_file:
            for mark in marks:
                item.add_marker(mark)
            if group := together or (benched and next(halves)) or ("module" in _scopes(item) and path.stem):
                item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


def pytest_deselected(items: Iterable[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == FOLDER:
            item.config.stash[LEDGER].partial = True


def pytest_collection_finish(session: pytest.Session) -> None:
    if getattr(session.config.option, "loadgroup", False):
        lost = [it for it in session.items if it.get_closest_marker("xdist_group") and "@" not in it.nodeid]
        assert not lost, "pytest-xdist has not marked the groups: each worker would start a cluster for the same file"
    seen = session.config.stash[LEDGER]
    seen.files |= {item.path.name for item in session.items if item.path.parent == FOLDER}
    seen.partial |= any("::" in word for word in session.config.args)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """A worker of pytest-xdist has ended."""
    if plain := getattr(node, "workeroutput", {}).get("ledger"):
        node.config.stash[LEDGER].add(Ledger.from_plain(plain))


def pytest_sessionfinish(session: pytest.Session) -> None:
    seen = session.config.stash[LEDGER]
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["ledger"] = seen.plain()
    elif seen.faults() and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    faults = config.stash[LEDGER].faults()
    if faults:
        terminalreporter.section("the operator's rights")
        for line in faults:
            terminalreporter.write_line(line, red=True)


def _scopes(item: pytest.Item) -> set[str]:
    """Scopes of the fixtures that a test uses."""
    known = getattr(item, "_fixtureinfo", None)
    return {str(definitions[-1].scope) for definitions in known.name2fixturedefs.values()} if known else set()
