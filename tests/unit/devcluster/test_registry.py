"""A registry that cannot start says why. That it works, tests/images and tests/distribution show."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from devcluster import debian
from devcluster.paths import DevclusterError
from devcluster.registry import Registry, registry


def test_a_port_that_is_taken_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian, "program", lambda *_: Path("/bin/true"))
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(DevclusterError, match=f"port {port} is taken"), registry(tmp_path, port):
            pass


def test_one_that_ends_at_once_shows_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "docker-registry"
    program.write_text("#!/bin/sh\necho no space left >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(debian, "program", lambda *_: program)
    with pytest.raises(DevclusterError, match=r"(?s)does not start.*no space left"), registry(tmp_path / "content"):
        pass


def test_where_it_is() -> None:
    assert Registry(5000).url == "http://127.0.0.1:5000"
    assert Registry(5000, Path("ca.crt")).url == "https://127.0.0.1:5000"


def test_a_program_that_the_machine_has_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "some-registry"
    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert debian.program("package", "usr/bin/some-registry") == program


def test_without_apt_it_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("QWEN3_CACHE_DIR", str(tmp_path / "cache"))
    with pytest.raises(DevclusterError, match="package is not installed, and there is no apt-get"):
        debian.program("package", "usr/bin/some-registry")
