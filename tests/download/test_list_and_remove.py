"""`--list` and `--remove`: what a download would fetch, and how what it made goes again."""

from __future__ import annotations

import errno
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hub.process import HubProcess
from tests.download.conftest import MIB, Setup

pytestmark = pytest.mark.download
Serve = Callable[..., HubProcess]


def test_list_says_what_a_download_fetches(setup: Setup, serve: Serve) -> None:
    setup.write(model=2 * MIB)
    (setup.source / "model.gguf").write_bytes(b"x" * MIB)
    serve()
    listed = setup.run("--list")
    assert listed.code == 0 and not any(setup.target.parent.iterdir())
    assert setup.run().code == 0
    there = [p for p in setup.target.rglob("*") if p.is_file() and p.name != ".complete.json"]
    assert (listed.report["files"], listed.report["bytes"]) == (len(there), sum(p.stat().st_size for p in there))
    assert len(listed.report["commit"]) == 40
    fewer = setup.run("--list", "--ignore", "*.json")
    assert (fewer.code, fewer.report["reason"]) == (20, "InvalidRepository")
    assert setup.run("--list", "--revision", "v9").report["reason"] == "RevisionNotFound"


def test_list_waits_for_the_hub(setup: Setup, serve: Serve) -> None:
    setup.write(model=MIB)
    hub = serve()
    hub.fault({"status": 503}, on="listing", times=5)  # the client tries 4 times itself
    result = setup.run("--list")
    assert result.code == 0 and result.of("retry")
    hub.fault({"status": 503}, on="listing")
    result = setup.run("--list", "--give-up-after", "1")
    assert (result.code, result.report["reason"]) == (30, "HubUnavailable")


def test_remove_takes_the_folder_and_nothing_else(setup: Setup, serve: Serve) -> None:
    setup.write(model=MIB)
    serve()
    volume = setup.target.parent
    for name in ("model", "other"):
        assert setup.run("--target", str(volume / name)).code == 0
    # What an interrupted run of the same revision left.
    partial = volume / ".model.partial"
    partial.mkdir()
    plan = {"model": "Qwen/Qwen3-test", "revision": "master", "commit": "0" * 40}
    (partial / "plan.json").write_text(json.dumps(plan))
    result = setup.run("--remove")
    assert result.code == 0 and result.report["bytes"] < MIB, "the other copy has the same weights"
    assert [p.name for p in volume.iterdir()] == ["other"]
    assert setup.run("--remove").report["bytes"] == 0, "gone already"
    assert setup.run("--remove", "--target", str(volume / "other")).report["bytes"] > MIB
    assert not any(volume.iterdir())


def test_a_removal_that_was_killed_is_finished(setup: Setup, serve: Serve) -> None:
    """At any moment of it: the name goes first, and what is left has a name that says whose it is."""
    setup.write(model=MIB)
    serve()
    volume = setup.target.parent
    half = volume / ".model.removing"
    half.mkdir()  # the marker went before the rest
    (half / "model.safetensors").write_bytes(b"x" * 1000)
    (half / "link").symlink_to(setup.source)
    result = setup.run("--remove")
    assert (result.code, result.report["bytes"] >= 1000) == (0, True)
    assert not any(volume.iterdir()) and setup.source.is_dir()
    half.mkdir()
    assert setup.run().code == 0, "a rollback to it"
    setup.assert_complete()
    half.mkdir()
    assert setup.run().code == 0, "complete, and tidied up"
    setup.assert_complete()


def test_killed_while_it_removes(setup: Setup, serve: Serve) -> None:
    setup.write(**{f"model_{number}": 20_000 for number in range(400)})
    serve()
    for delay in (0.2, 0.25, 0.3, 0.35, 0.4):
        if not setup.target.exists():
            assert setup.run().code == 0
        process = setup.start("--remove")
        time.sleep(delay)
        process.kill()
        setup.finish(process)
    assert setup.run("--remove").code == 0
    assert not any(setup.target.parent.iterdir())


def test_a_file_that_a_pod_has_open_is_waited_for(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    """NFS keeps it in its folder under another name, which cannot be removed."""
    from qwen3_download.errors import Failure
    from qwen3_download.staging import Staging

    staging = Staging(setup.target)
    staging.removing.mkdir()
    kept = staging.removing / ".nfs0001"
    kept.write_bytes(b"x")
    unlink = Path.unlink

    def busy(path: Path, missing_ok: bool = False) -> None:
        if path == kept:
            raise OSError(errno.EBUSY, "Device or resource busy", str(path))
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", busy)
    with pytest.raises(Failure, match="still open in a pod") as caught:
        staging.free(threading.Event())
    assert caught.value.exit_code == 30
    monkeypatch.undo()
    assert staging.free(threading.Event()) == 1 and not staging.removing.exists()


def test_remove_refuses_what_is_not_ours(setup: Setup, serve: Serve) -> None:
    setup.write(model=MIB)
    serve()
    volume = setup.target.parent
    assert setup.run().code == 0
    (volume / "link").symlink_to(setup.target)
    (volume / "photos").mkdir()
    (volume / "photos" / "cat.jpg").write_bytes(b"cat")
    for arguments in (
        ("--revision", "v2"),
        ("--model", "Qwen/Other"),
        ("--target", str(volume / "link")),
        ("--target", str(volume / "photos")),
        ("--target", str(volume / ".." / "volume")),
    ):
        result = setup.run("--remove", *arguments)
        assert (result.code, result.report["reason"]) == (2, "Usage"), arguments
    assert sorted(p.name for p in volume.iterdir()) == ["link", "model", "photos"]
    assert (volume / "photos" / "cat.jpg").read_bytes() == b"cat"
    assert setup.run("--existing").code == 0


def test_a_marker_pins_the_commit_that_is_checked(setup: Setup, serve: Serve) -> None:
    """The branch moved on since the folder was filled: the hub still knows the commit."""
    setup.write(model=MIB)
    serve()
    assert setup.run().code == 0
    commit = setup.run("--list").report["commit"]
    (setup.source.parent / f"{setup.source.name}@{commit}").mkdir()
    for path in setup.source.iterdir():
        (setup.source.parent / f"{setup.source.name}@{commit}" / path.name).write_bytes(path.read_bytes())
    setup.write(model=2 * MIB)
    result = setup.run("--existing")
    assert (result.code, result.report["verifiedBy"], result.report["commit"]) == (0, "hub", commit)


def test_too_small_a_volume_is_reported_in_bytes(setup: Setup, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    from qwen3_download.errors import Failure
    from qwen3_download.listing import RemoteFile
    from qwen3_download.partial import PartialFile
    from qwen3_download.report import failure_report
    from qwen3_download.staging import MARGIN, Staging

    usage = type(shutil.disk_usage("/"))(1000 * MIB, 990 * MIB, 10 * MIB)
    monkeypatch.setattr("qwen3_download.staging.shutil.disk_usage", lambda _: usage)
    file = RemoteFile("model.safetensors", 500 * MIB, "0" * 64)
    folder = Path(setup.folder)
    with pytest.raises(Failure) as caught:
        Staging(folder / "m").check_space([PartialFile(file, folder / "data", folder / "state")])
    assert failure_report(caught.value)["volumeBytes"] == (990 + 500) * MIB + MARGIN
