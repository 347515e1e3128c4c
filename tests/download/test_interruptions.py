"""Kills, two writers, a full disk, a moving branch: the next run goes on at the byte."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hub.process import HubProcess
from tests.download.conftest import MIB, Setup

from qwen3_download.bid import kernel_id

pytestmark = pytest.mark.download
Serve = Callable[..., HubProcess]
KILLS = 50
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts, other users and namespaces need root")


def staged(setup: Setup) -> Path:
    return setup.target.with_name(f".{setup.target.name}.partial")


def sent(hub: HubProcess) -> int:
    """Bytes of files that the hub has sent since its log was cleared."""
    return sum(int(e["sent"]) for e in hub.log("file"))


def wait_for_bytes(hub: HubProcess, at_least: int) -> None:
    until = time.monotonic() + 200
    while sent(hub) < at_least:
        assert time.monotonic() < until, "the download did not begin"
        time.sleep(0.02)


def test_sigterm_keeps_every_byte(setup: Setup, serve: Serve) -> None:
    setup.write(model_1=12 * MIB, model_2=12 * MIB)
    hub = serve("--total-rate", str(8 * MIB))
    process = setup.start()
    wait_for_bytes(hub, 6 * MIB)
    process.send_signal(signal.SIGTERM)
    stopped = setup.finish(process, timeout=30)  # a pod's grace period
    assert (stopped.code, stopped.report["reason"]) == (143, "Stopped")
    setup.assert_untouched()
    before = sent(hub)
    hub.clear_log()
    resumed = setup.run()
    assert resumed.code == 0
    setup.assert_complete()
    assert sent(hub) <= resumed.report["bytes"] - 5 * MIB, "it goes on from what it has"
    # What was on its way in sockets when the connections were closed is the only thing sent twice.
    assert before + sent(hub) <= resumed.report["bytes"] + 16 * MIB


def test_sigterm_as_process_1_during_a_stall(setup: Setup, serve: Serve) -> None:
    setup.write(model=12 * MIB)
    serve().fault({"stallAt": 5 * MIB, "seconds": 900}, on="file", path="model*")
    inside = ["unshare", "--pid", "--fork", "--kill-child", *setup.command()]
    if os.geteuid() != 0:
        inside[1:1] = ["--user", "--map-root-user"]
    process = subprocess.Popen(inside, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    while "progress" not in process.stdout.readline():
        pass
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGTERM)
    process.wait(30)
    assert json.loads((setup.folder / "termination-log").read_text())["exitCode"] == 143
    process.stdout.close()


@pytest.mark.long
def test_sigkill_at_random_moments(setup: Setup, serve: Serve) -> None:
    """Every trial is killed once and then run to the end: all bytes right, no orphans, few bytes fetched twice."""
    setup.write(model_1=9 * MIB + 17, model_2=5 * MIB, model_3=300_000)
    hub = serve("--total-rate", str(24 * MIB))
    total = sum(p.stat().st_size for p in setup.source.iterdir())
    dice = random.Random(6)
    again: list[int] = []
    begin = time.monotonic()
    assert setup.run().code == 0
    whole = time.monotonic() - begin
    for _ in range(KILLS):
        shutil.rmtree(setup.target, ignore_errors=True)
        hub.clear_log()
        process = setup.start()
        time.sleep(dice.uniform(0.3, 1.1) * whole)
        process.kill()
        setup.finish(process)
        result = setup.run()
        assert result.code == 0, result.report
        setup.assert_complete()
        again.append(sum(e["sent"] for e in hub.log("file")) - total)
    print(f"{KILLS} kills: fetched again {sorted(again)[len(again) // 2]} bytes (median), {max(again)} (most)")
    # A connection loses at most the write that was being collected, and what the socket held.
    assert max(again) <= 16 * MIB


def test_a_killed_download_leaves_no_process(setup: Setup, serve: Serve) -> None:
    setup.write(model_1=9 * MIB, model_2=9 * MIB)
    hub = serve("--total-rate", str(6 * MIB))
    process = setup.start()
    wait_for_bytes(hub, 3 * MIB)
    children = processes_of(process.pid)
    assert children
    process.kill()
    killed = setup.finish(process)  # its output ends when nobody is left who could write there
    assert killed.errors == ""
    until = time.monotonic() + 5
    while any(Path(f"/proc/{child}").exists() for child in children):
        assert time.monotonic() < until, "a process goes on without its parent"
        time.sleep(0.02)


@pytest.mark.parametrize("limited", [False, True])
def test_a_process_that_is_killed_is_reported(setup: Setup, serve: Serve, limited: bool) -> None:
    """As by a container's memory limit: the program ends in words, and the next run goes on."""
    setup.write(model_1=9 * MIB, model_2=9 * MIB)
    hub = serve("--total-rate", str(6 * MIB))
    process = setup.start(*(["--limit-rate", "6M"] if limited else []))
    wait_for_bytes(hub, 3 * MIB)
    for child in processes_of(process.pid):
        os.kill(child, signal.SIGKILL)
    result = setup.finish(process, timeout=30)
    assert (result.code, result.report["reason"]) == (143, "Stopped")
    assert "ended from outside" in result.report["message"]
    setup.assert_untouched()
    hub.clear_log()
    assert setup.run().code == 0
    assert sent(hub) <= 16 * MIB, "it goes on from what it has"
    setup.assert_complete()


def processes_of(pid: int) -> list[int]:
    """The processes of the connections."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_killed_before_the_tidying_up(setup: Setup, serve: Serve) -> None:
    """The target is there already; the lock of a dead owner and the staging folder are not left for ever."""
    setup.write(model=MIB)
    serve()
    assert setup.run().code == 0
    lock = setup.target.with_name(f".{setup.target.name}.lock")
    record = {"owner": "dead", "host": "here", "pid": 1, "kernel": kernel_id()}
    lock.write_text(json.dumps(record))
    assert setup.run().code == 0
    setup.assert_complete()
    staged(setup).mkdir()
    assert setup.run().code == 0
    setup.assert_complete()


def test_partial_that_was_damaged(setup: Setup, serve: Serve) -> None:
    setup.write(model=12 * MIB)
    hub = serve("--total-rate", str(6 * MIB))
    process = setup.start()
    wait_for_bytes(hub, 5 * MIB)
    process.kill()
    setup.finish(process)
    with (staged(setup) / "files" / "model.safetensors").open("r+b") as stream:
        stream.seek(1000)
        stream.write(b"damaged")
    hub.settings(total_rate=0)
    assert setup.run().code == 0
    setup.assert_complete()


def test_two_pods_at_once(setup: Setup, serve: Serve) -> None:
    setup.write(model_1=9 * MIB, model_2=9 * MIB)
    hub = serve("--total-rate", str(9 * MIB))
    pods = [setup.start() for _ in range(2)]
    results = [setup.finish(pod) for pod in pods]
    assert [r.code for r in results] == [0, 0]
    setup.assert_complete()
    assert sum(e["sent"] for e in hub.log("file")) == results[0].report["bytes"], "only one of them downloaded"
    assert sum(len(r.of("waiting")) > 0 for r in results) == 1


def test_owner_that_was_killed_does_not_block(setup: Setup, serve: Serve) -> None:
    setup.write(model=9 * MIB)
    hub = serve("--total-rate", str(3 * MIB))
    process = setup.start()
    wait_for_bytes(hub, MIB)
    waiting = setup.start()
    time.sleep(1.5)
    process.kill()
    setup.finish(process)
    hub.settings(total_rate=0)
    assert setup.finish(waiting).code == 0
    setup.assert_complete()


@pytest.fixture
def small_volume(setup: Setup) -> Iterator[Path]:
    """A file system of 40 MiB as the volume."""
    volume = setup.folder / "volume"
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", volume], check=True)
    yield volume
    subprocess.run(["umount", volume], check=True)


@needs_root
def test_disk_too_small_is_seen_before_the_first_byte(setup: Setup, serve: Serve, small_volume: Path) -> None:
    setup.write(model=60 * MIB)
    hub = serve()
    result = setup.run()
    assert (result.code, result.report["reason"]) == (12, "DiskFull")
    assert "larger" in result.report["message"]
    assert hub.log("file") == []
    subprocess.run(["mount", "-o", "remount,size=100m", small_volume], check=True)
    assert setup.run().code == 0
    setup.assert_complete()


@needs_root
def test_disk_that_runs_full_and_is_grown(setup: Setup, serve: Serve, small_volume: Path) -> None:
    setup.write(model=20 * MIB)
    hub = serve("--total-rate", str(8 * MIB))
    process = setup.start()
    wait_for_bytes(hub, 4 * MIB)
    other = small_volume / "other"
    other.write_bytes(bytes(28 * MIB))
    result = setup.finish(process)
    assert (result.code, result.report["reason"]) == (12, "DiskFull")
    assert str(setup.target.parent) in result.report["message"]
    before = sum(e["sent"] for e in hub.log("file"))
    subprocess.run(["mount", "-o", "remount,size=100m", small_volume], check=True)
    other.unlink()
    hub.clear_log()
    assert setup.run().code == 0
    setup.assert_complete()
    assert sum(e["sent"] for e in hub.log("file")) < 20 * MIB - before + 6 * MIB


@needs_root
def test_a_volume_that_is_full_to_the_last_byte(setup: Setup, serve: Serve, small_volume: Path) -> None:
    """What is on it can be removed, and a download says how large it would have to be."""
    setup.write(model=20 * MIB)
    serve()
    assert setup.run().code == 0
    with contextlib.suppress(OSError), (small_volume / "other").open("wb", buffering=0) as other:
        while other.write(bytes(4096)):
            pass
    refused = setup.run("--target", str(small_volume / "second")).report
    assert refused["reason"] == "DiskFull" and refused["volumeBytes"] > refused["fileSystemBytes"] == 40 * MIB
    assert setup.run("--remove").report["bytes"] > 20 * MIB
    assert sorted(p.name for p in small_volume.iterdir()) == [".second.partial", "other"]


@needs_root
def test_another_user_on_a_shared_volume(setup: Setup, serve: Serve) -> None:
    """As in a pod with runAsNonRoot and fsGroup: HOME cannot be written, the volume belongs to the group."""
    setup.write(model=6 * MIB)
    serve()
    for path in (setup.folder, *setup.folder.parents):
        if path.name.startswith(("pytest-", "popen-")):
            path.chmod(0o755)
    volume = setup.folder / "volume"
    shutil.chown(volume, group=2000)
    volume.chmod(0o2775)
    setup.folder.chmod(0o777)
    for user in ("1001", "1002"):
        process = subprocess.run(
            ["setpriv", "--reuid", user, "--regid", user, "--groups", "2000", *setup.command()],
            env={"PATH": os.environ["PATH"], "HOME": "/", "TMPDIR": str(setup.folder)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert process.returncode == 0, process.stdout + process.stderr
        if user == "1001":  # the second user repairs what the first one made
            os.truncate(setup.target / "model.safetensors", 1)
            (setup.folder / "termination-log").unlink()
    setup.assert_complete()


def test_branch_that_moves_between_two_tries(setup: Setup, serve: Serve) -> None:
    setup.write(model_1=9 * MIB, model_2=9 * MIB)
    hub = serve("--total-rate", str(6 * MIB))
    process = setup.start()
    wait_for_bytes(hub, 4 * MIB)
    process.kill()
    setup.finish(process)
    kept = setup.source.with_name(setup.source.name + "@before")
    shutil.copytree(setup.source, kept)
    setup.write(model_2=8 * MIB, model_3=MIB)
    hub.settings(total_rate=0)
    assert setup.run().code == 0, "goes on with the commit that it began with"
    shutil.rmtree(setup.source)
    kept.rename(setup.source)
    setup.assert_complete()


def test_commit_that_is_gone_between_two_tries(setup: Setup, serve: Serve) -> None:
    setup.write(model_1=9 * MIB, model_2=9 * MIB)
    hub = serve("--total-rate", str(6 * MIB))
    process = setup.start()
    wait_for_bytes(hub, 15 * MIB)
    process.kill()
    setup.finish(process)
    (setup.source / "model-2.safetensors").unlink()
    setup.write(model_3=MIB)
    hub.settings(total_rate=0)
    hub.clear_log()
    assert setup.run().code == 0
    setup.assert_complete()
    fetched = sum(e["sent"] for e in hub.log("file") if e["path"] == "model-1.safetensors")
    assert fetched < 9 * MIB, "what did not change is not fetched again"


def test_clock_that_jumps(setup: Setup, serve: Serve, tmp_path: Path) -> None:
    """The wall clock leaps by days, back and forth, in the middle of everything."""
    jumps = tmp_path / "jumps"
    jumps.mkdir()
    (jumps / "sitecustomize.py").write_text(
        "import random, time\nreal = time.time\ntime.time = lambda: real() + random.uniform(-1e6, 1e6)\n"
    )
    setup.write(model=12 * MIB)
    hub = serve("--total-rate", str(4 * MIB))
    hub.fault({"dropEvery": 2 * MIB}, on="file", times=3)
    result = setup.run(PYTHONPATH=str(jumps))
    assert result.code == 0
    setup.assert_complete()
    assert 1 < result.report["seconds"] < 10_000
    assert all(e["bytesPerSecond"] < 20 * MIB for e in result.of("progress"))


def test_sigterm_while_the_listing_hangs(setup: Setup, serve: Serve) -> None:
    setup.write(model=MIB)
    hub = serve()
    hub.fault({"delay": 900}, on="listing")
    process = setup.start()
    until = time.monotonic() + 200
    while not hub.log("listing"):
        assert time.monotonic() < until
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert setup.finish(process, timeout=30).code == 143


@needs_root
def test_volume_that_cannot_be_written(setup: Setup, serve: Serve, small_volume: Path) -> None:
    setup.write(model=MIB)
    serve()
    subprocess.run(["mount", "-o", "remount,ro", small_volume], check=True)
    result = setup.run()
    assert (result.code, result.report["reason"]) == (12, "VolumeNotWritable")
    assert "Read-only file system" in result.report["message"] and str(small_volume) in result.report["message"]


def test_termination_message_that_cannot_be_written(setup: Setup, serve: Serve) -> None:
    setup.write(model=MIB)
    serve()
    result = setup.run("--termination-log", str(setup.folder / "no" / "such" / "folder"))
    assert result.code == 0 and "termination message" in result.errors
