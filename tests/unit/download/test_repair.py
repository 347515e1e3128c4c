"""A repair that gets another commit than the folder was made from: the hub has that one no more."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qwen3_download import download as download_module
from qwen3_download import marker, staging
from qwen3_download.download import Download, Options
from qwen3_download.errors import Failure, Reason
from qwen3_download.listing import Listing, RemoteFile
from qwen3_download.marker import FileRecord, Marker
from qwen3_download.progress import Progress

COMMITS = {"master": "a" * 40, "v2": "b" * 40, "v3": "c" * 40}
SHARD, INDEX = "model-00001-of-00001.safetensors", "model.safetensors.index.json"


def weights(size: int) -> bytes:
    header = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(size)


def record(data: bytes) -> FileRecord:
    return FileRecord(len(data), hashlib.sha256(data).hexdigest())


def folder(at: Path, revision: str, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (at / name).parent.mkdir(parents=True, exist_ok=True)
        (at / name).write_bytes(data)
    Marker("a/b", revision, COMMITS[revision], {name: record(data) for name, data in files.items()}).write(at)
    return at


OLD = {"config.json": b"{}", INDEX: json.dumps({"weight_map": {"w": SHARD}}).encode(), SHARD: weights(4)}
NEW = {"config.json": b"{ }", "model.safetensors": weights(8)}


class World:
    """A damaged target, and beside it, so that nothing has to be fetched, what the hub has now."""

    def __init__(self, at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.target = at / "model"
        self._monkeypatch = monkeypatch
        folder(self.target, "master", OLD)
        (self.target / "config.json").write_bytes(b"")

    def rewritten(self, revision: str, files: dict[str, bytes]) -> None:
        """The branch is this now, and the hub has no other commit."""
        folder(self.target.with_name(revision), revision, files)
        commit = COMMITS[revision]
        listed = tuple(RemoteFile(name, record(data).size, record(data).sha256) for name, data in sorted(files.items()))

        def resolve(hub: Any, asked: str, *_: Any) -> Listing:
            if asked not in ("master", commit):
                raise Failure(Reason.REVISION_NOT_FOUND, "gone")
            return Listing(commit, commit, listed)

        self._monkeypatch.setattr(download_module, "resolve", resolve)

    def run(self) -> str:
        """The commit that it has then."""
        options = Options(model="a/b", revision="master", endpoint="http://127.0.0.1:9", target=self.target)
        return str(Download(options, Progress(as_json=True), threading.Event()).run()["commit"])

    @property
    def files(self) -> dict[str, bytes]:
        paths = [p for p in self.target.rglob("*") if p.is_file() and p.name != marker.NAME]
        return {p.relative_to(self.target).as_posix(): p.read_bytes() for p in paths}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


def test_it_leaves_nothing_of_the_one_before(world: World) -> None:
    world.rewritten("v2", NEW)
    assert world.run() == COMMITS["v2"]
    assert world.files == NEW, "vLLM would load both, or by the old index the old ones"


def test_what_others_put_there_stays(world: World) -> None:
    (world.target / "notes.txt").write_bytes(b"mine")
    world.rewritten("v2", NEW)
    world.run()
    assert world.files == NEW | {"notes.txt": b"mine"}


class Killed(BaseException):
    pass


@pytest.mark.parametrize("moment", range(8))
def test_killed_at_any_moment_of_it(world: World, monkeypatch: pytest.MonkeyPatch, moment: int) -> None:
    """By then the branch was rewritten once more: what there is may be of both."""
    calls = []

    def counted(do: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            if any(world.target in (it, *getattr(it, "parents", ())) for it in arguments):
                calls.append(arguments)
                if len(calls) > moment:
                    raise Killed
            return do(*arguments, **named)

        return call

    world.rewritten("v2", NEW | {"2_Dense/model.safetensors": weights(2)})
    with monkeypatch.context() as patch:
        for of, name in ((Path, "unlink"), (Path, "replace"), (Marker, "write")):
            patch.setattr(of, name, counted(getattr(of, name)))
        patch.setattr(staging.Staging, "remove", lambda _: None)
        with pytest.raises(Killed):
            world.run()
    shutil.rmtree(world.target.with_name("v2"))
    world.rewritten("v3", NEW)
    assert world.run() == COMMITS["v3"]
    assert world.files == NEW and not (world.target / "2_Dense").exists()


@pytest.mark.parametrize(("old", "new"), [("a", "a/b"), ("a/b", "a")])
def test_a_file_may_be_a_folder_now(world: World, old: str, new: str) -> None:
    shutil.rmtree(world.target)
    folder(world.target, "master", OLD | {old: b"old"})
    (world.target / "config.json").write_bytes(b"")
    world.rewritten("v2", NEW | {new: b"new"})
    world.run()
    assert world.files == NEW | {new: b"new"}


def test_a_marker_that_leads_out_of_its_folder_is_none(world: World) -> None:
    outside = world.target.with_name("outside")
    outside.write_bytes(b"x")
    done = json.loads((world.target / marker.NAME).read_text())
    done["files"]["../outside"] = {"size": 1, "sha256": "0" * 64}
    (world.target / marker.NAME).write_text(json.dumps(done))
    world.rewritten("v2", NEW)
    with pytest.raises(Failure, match=r"has no \.complete\.json"):
        world.run()
    assert outside.exists()
