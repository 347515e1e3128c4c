"""Starting, recording and ending processes, with real ones."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from devcluster import processes
from devcluster.controlplane import ControlPlane

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)",
]


def test_a_started_process_is_on_record_until_stopped(tmp_path: Path) -> None:
    record = tmp_path / "record.json"
    process = processes.start("sleeper", SLEEP, tmp_path / "log", record)
    assert processes.load(record) == [process]
    assert process.alive()
    processes.stop([process])
    assert not process.alive()


def test_a_process_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    process = processes.start("stubborn", STUBBORN, tmp_path / "log", tmp_path / "record.json")
    while "deaf" not in (tmp_path / "log").read_text():
        assert process.alive()
    processes.stop([process], grace=0.1)
    assert not process.alive()


def test_a_pid_that_another_process_has_by_now_is_left_alone() -> None:
    ourselves = processes.current("us")
    assert ourselves is not None
    before_us = processes.Process("gone", os.getpid(), ourselves.started - 1)
    assert not before_us.alive()
    processes.stop([before_us])  # would end this very test run


def test_restarting_a_name_replaces_its_entry(tmp_path: Path) -> None:
    record = tmp_path / "record.json"
    first = processes.start("sleeper", SLEEP, tmp_path / "log", record)
    processes.stop([first])
    second = processes.start("sleeper", SLEEP, tmp_path / "log", record)
    try:
        assert processes.load(record) == [second]
    finally:
        processes.stop([second])


def test_no_record_is_no_processes(tmp_path: Path) -> None:
    assert processes.load(tmp_path / "none.json") == []


@pytest.mark.parametrize(("lines", "expected"), [(["a", "b", "c"], "b\nc"), ([], "")])
def test_tail(tmp_path: Path, lines: list[str], expected: str) -> None:
    log = tmp_path / "log"
    log.write_text("\n".join(lines))
    assert processes.tail(log, 2) == expected


def test_a_component_that_was_killed_is_waited_for_while_its_memory_is_given_back(tmp_path: Path) -> None:
    """It has no command line any more by which it could be known, and is not gone yet."""
    holds = "x = bytearray(500_000_000); print(flush=True); import time; time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", holds], stdout=subprocess.PIPE) as component:
        assert component.stdout
        component.stdout.readline()
        plane = ControlPlane("one", tmp_path)
        (plane.home / "pids").mkdir(parents=True)
        (plane.home / "pids" / "etcd.pid").write_text(str(component.pid))
        component.kill()
        while Path(f"/proc/{component.pid}/cmdline").read_bytes():
            pass
        plane.stop()
        assert processes.current("etcd", component.pid) is None
