"""Another revision: what a folder beside the target has already is linked, verified, and not fetched."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hub.process import HubProcess
from tests.download.conftest import MIB, Setup

pytestmark = pytest.mark.download
Serve = Callable[..., HubProcess]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")


@pytest.fixture
def repinned(setup: Setup, serve: Serve) -> HubProcess:
    """The folder `before` of revision v1 on the volume; the branch has another README and one more file."""
    setup.write(model_1=9 * MIB + 5, model_2=6 * MIB)
    (setup.source / "README.md").write_text("one")
    shutil.copytree(setup.source, setup.source.with_name(setup.source.name + "@v1"))
    hub = serve()
    assert setup.run("--revision", "v1", "--target", str(before(setup))).code == 0
    (setup.source / "README.md").write_text("another")
    hub.clear_log()
    return hub


def before(setup: Setup) -> Path:
    return setup.target.with_name("before")


def fetched(hub: HubProcess) -> set[str]:
    return {e["path"] for e in hub.log("file")}


def assert_complete(setup: Setup) -> None:
    for path in setup.source.iterdir():
        assert (setup.target / path.name).read_bytes() == path.read_bytes(), path
    assert sorted(p.name for p in setup.target.parent.iterdir()) == ["before", "model"]


def test_only_what_changed_is_fetched(setup: Setup, repinned: HubProcess) -> None:
    result = setup.run()
    assert result.code == 0, result.report
    assert fetched(repinned) == {"README.md"}
    assert (result.report["keptFiles"], result.report["fetchedFiles"]) == (3, 1)
    assert result.report["keptBytes"] > 15 * MIB
    (kept,) = result.of("kept")
    assert kept["files"] == 3
    assert_complete(setup)
    name = "model-1.safetensors"
    assert (setup.target / name).stat().st_ino == (before(setup) / name).stat().st_ino, "no room of its own"
    assert setup.run("--remove", "--revision", "v1", "--target", str(before(setup))).report["bytes"] < MIB
    assert setup.run("--verify").code == 0, "the files outlive the other name"


def test_progress_is_of_all_files(setup: Setup, repinned: HubProcess) -> None:
    repinned.settings(total_rate=2 * MIB)
    setup.write(model_3=6 * MIB)
    result = setup.run()
    assert result.code == 0
    progress = result.of("progress")
    assert progress and {e["bytesTotal"] for e in progress} == {result.report["bytes"]}
    assert progress[-1]["bytesDone"] > 15 * MIB, "what is kept counts"


def test_a_damaged_file_beside_is_fetched_and_left_alone(setup: Setup, repinned: HubProcess) -> None:
    damaged = before(setup) / "model-2.safetensors"
    with damaged.open("r+b") as stream:
        stream.write(b"damaged")
    content = damaged.read_bytes()
    assert setup.run().code == 0
    assert fetched(repinned) == {"README.md", "model-2.safetensors"}
    assert_complete(setup)
    assert damaged.read_bytes() == content, "what is fetched is not written into the file of the other folder"


@pytest.mark.parametrize("marker", ["nothing", "{}", '{"files": {"../../secret": {"size": 1, "sha256": "a"}}}'])
def test_folders_of_others_are_no_obstacle(setup: Setup, repinned: HubProcess, marker: str) -> None:
    others = setup.target.parent / "photos"
    others.mkdir()
    (others / ".complete.json").write_text(marker)
    (setup.target.parent / "link").symlink_to(before(setup))
    assert setup.run().code == 0
    assert fetched(repinned) == {"README.md"}


def test_killed_at_any_moment(setup: Setup, repinned: HubProcess) -> None:
    """What is linked is never written to, whenever it ends: the folder before stays as it is."""
    kept = {p.name: p.read_bytes() for p in before(setup).iterdir()}
    setup.write(model_3=2 * MIB)
    repinned.settings(total_rate=4 * MIB)
    begin = time.monotonic()
    assert setup.run().code == 0
    whole = time.monotonic() - begin
    for trial in range(12):
        shutil.rmtree(setup.target, ignore_errors=True)
        process = setup.start()
        time.sleep(whole * (0.4 + 0.05 * trial))
        process.kill()
        setup.finish(process)
        assert {p.name: p.read_bytes() for p in before(setup).iterdir()} == kept
    result = setup.run()
    assert result.code == 0
    assert_complete(setup)


def test_killed_between_the_moves(setup: Setup, repinned: HubProcess) -> None:
    """All is verified and lies together, but the rename is missing."""
    staging = setup.target.with_name(".model.partial")
    shutil.copytree(before(setup), staging / "whole", copy_function=os.link)
    (staging / "whole" / ".complete.json").unlink()
    (staging / "whole" / "README.md").unlink()
    (staging / "whole" / "README.md").write_text("another")
    shutil.rmtree(before(setup))
    assert setup.run().code == 0
    assert fetched(repinned) == set()
    setup.assert_complete()


@pytest.fixture
def no_links(setup: Setup, repinned: HubProcess) -> Iterator[None]:
    """The folder before is on a file system of its own, beside the target."""
    there = before(setup).rename(setup.folder / "elsewhere")
    before(setup).mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", before(setup)], check=True)
    shutil.copytree(there, before(setup), dirs_exist_ok=True)
    yield
    subprocess.run(["umount", before(setup)], check=True)


@needs_root
def test_copied_where_links_do_not_work(setup: Setup, repinned: HubProcess, no_links: None) -> None:
    damaged = before(setup) / "model-2.safetensors"
    with damaged.open("r+b") as stream:
        stream.write(b"damaged")
    result = setup.run()
    assert result.code == 0, result.report
    assert fetched(repinned) == {"README.md", "model-2.safetensors"}
    assert result.report["keptFiles"] == 2
    assert_complete(setup)


def test_a_repair_takes_what_is_there_too(setup: Setup, repinned: HubProcess) -> None:
    assert setup.run().code == 0
    repinned.clear_log()
    (setup.target / "model-1.safetensors").unlink()
    assert setup.run().code == 0
    assert fetched(repinned) == set()
    assert_complete(setup)


def test_other_patterns_are_another_copy(setup: Setup, serve: Serve) -> None:
    """Half of the files counted as all of them once; now each copy says what it was asked for."""
    setup.write(model_1=MIB, model_2=MIB)
    hub = serve()
    assert setup.run("--allow", "config.json,model-1*").code == 0
    result = setup.run()
    assert (result.code, result.report["reason"]) == (2, "Usage")
    assert "was made with --allow config.json,model-1*, and no patterns is asked for" in result.report["message"]
    assert setup.run("--allow", "model-1*", "--allow", "config.json").code == 0, "in another order"
    hub.clear_log()
    whole = setup.run("--target", str(setup.target.with_name("whole")))
    assert (whole.code, whole.report["files"], fetched(hub)) == (0, 3, {"model-2.safetensors"})


def test_the_marker_says_what_was_asked_for_and_listed(setup: Setup, serve: Serve) -> None:
    setup.write(model=MIB)
    (setup.source / "notes.md").write_text("notes")
    hub = serve()
    assert setup.run("--ignore", "*.md").code == 0
    path = setup.target / ".complete.json"
    marker = json.loads(path.read_text())
    assert (marker["allow"], marker["ignore"]) == ([], ["*.md"])
    assert marker["listing"].startswith("sha256:")
    old = {key: value for key, value in marker.items() if key not in ("allow", "ignore", "listing")}
    path.write_text(json.dumps(old))
    hub.clear_log()
    assert setup.run().code == 0, "a marker of before says nothing about patterns"
    assert hub.log() == []
