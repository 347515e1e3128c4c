"""The keys of the teams: which are known, when, and what is said of those that are not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.unit.in_engine.mounts import Clock, Volume

from qwen3_in_engine.server.keys import LONGEST_KEY, Keys, NoKeys
from qwen3_in_engine.server.mounted import READ_SECONDS

Headers = list[tuple[bytes, bytes]]


def bearer(key: str) -> Headers:
    return [(b"authorization", f"Bearer {key}".encode())]


def test_a_team_is_known_by_each_of_its_keys(tmp_path: Path) -> None:
    Volume(tmp_path, {"team-a": "one\n", "team-a.2": "two", "team_b": "three"})
    keys = Keys(tmp_path)
    assert [keys.team_of(bearer(k)) for k in ("one", "two", "three")] == ["team-a", "team-a", "team_b"]
    assert keys.teams == {"team-a", "team_b"}


@pytest.mark.parametrize(
    "headers",
    [
        [],
        bearer(""),
        bearer("ONE"),
        bearer("one two"),
        bearer("on"),
        [(b"authorization", b"one")],
        [(b"authorization", b"Basic one")],
        [(b"x-api-key", b" ")],
        [(b"cookie", b"Bearer one")],
    ],
)
def test_strangers_are_nobody(tmp_path: Path, headers: Headers) -> None:
    Volume(tmp_path, {"a": "one"})
    assert Keys(tmp_path).team_of(headers) is None


def test_a_key_comes_in_the_header_of_either_api(tmp_path: Path) -> None:
    Volume(tmp_path, {"a": "one"})
    keys = Keys(tmp_path)
    assert keys.team_of([(b"authorization", b"bearer  one")]) == "a"
    assert keys.team_of([(b"x-api-key", b"one")]) == "a"
    assert keys.team_of([*bearer("none"), (b"x-api-key", b"one")]) == "a"


def test_a_key_is_changed_while_both_are_known(tmp_path: Path) -> None:
    clock = Clock()
    volume = Volume(tmp_path, {"a": "old"})
    keys = Keys(tmp_path, clock)

    def known() -> list[str | None]:
        clock.now += READ_SECONDS
        return [keys.team_of(bearer("old")), keys.team_of(bearer("new"))]

    assert known() == ["a", None]
    volume.write({"a": "old", "a.2": "new"})
    assert known() == ["a", "a"]
    volume.write({"a.2": "new"})
    assert known() == [None, "a"]
    volume.write({})
    assert known() == [None, None]


def test_the_folder_is_read_so_often_and_no_more(tmp_path: Path) -> None:
    clock = Clock()
    volume = Volume(tmp_path, {"a": "old"})
    keys = Keys(tmp_path, clock)
    volume.write({"a": "new"})
    clock.now += READ_SECONDS / 2
    assert keys.team_of(bearer("new")) is None
    clock.now += READ_SECONDS / 2
    assert keys.team_of(bearer("new")) == "a"


def test_a_folder_without_the_kubelets_link_is_read_too(tmp_path: Path) -> None:
    clock = Clock()
    (tmp_path / "a").write_text("old")
    keys = Keys(tmp_path, clock)
    (tmp_path / "a").write_text("newer")
    clock.now += READ_SECONDS
    assert keys.team_of(bearer("newer")) == "a"


@pytest.mark.parametrize("wrong", ["", " \n", "two words", "two\nlines", "a" * (LONGEST_KEY + 1)])
def test_nobody_gets_in_where_no_key_can_be_used(tmp_path: Path, wrong: str) -> None:
    Volume(tmp_path, {"a": wrong})
    with pytest.raises(NoKeys):
        Keys(tmp_path)


def test_an_empty_secret_and_a_missing_folder_let_nobody_in(tmp_path: Path) -> None:
    Volume(tmp_path, {})
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(NoKeys):
            Keys(folder)


def test_the_log_has_names_and_no_key(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Volume(tmp_path, {"team-a": "sesame", "team-b": "sesame", "team-c": "open sesame", ".d": "sesame-d"})
    keys = Keys(tmp_path)
    assert keys.team_of(bearer("sesame")) == "team-a"
    said = capfd.readouterr().err
    assert "team-b is not used: team-a has the same" in said
    assert "team-c is not used: it has a space" in said
    assert ".d is not used: its name has no team" in said
    assert "1 keys are known, of team-a" in said
    assert "sesame" not in said


def test_a_volume_that_cannot_be_read_leaves_the_keys_of_before(tmp_path: Path) -> None:
    clock = Clock()
    volume = Volume(tmp_path, {"a": "one"})
    keys = Keys(tmp_path, clock)
    away = tmp_path.with_name("away")
    tmp_path.rename(away)
    clock.now += READ_SECONDS
    assert keys.team_of(bearer("one")) == "a"
    away.rename(tmp_path)
    volume.write({"a": "two"})
    clock.now += READ_SECONDS
    assert keys.team_of(bearer("two")) == "a"
    assert os.readlink(tmp_path / "..data") == "..2"  # noqa: PTH115
