"""An image's name follows what it is built from."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from images import base, build, catalog
from images.catalog import IMAGES, REPOSITORY, Image


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Image:
    """An image of two files in a repository of its own."""
    for file in ("images/it/Dockerfile", "code/a.py", "code/__pycache__/a.pyc"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(file)
    monkeypatch.setattr(catalog, "REPOSITORY", tmp_path)
    return Image("it", ("code",))


@pytest.mark.parametrize("change", ["images/it/Dockerfile", "code/a.py", "code/new.py"])
def test_another_content_is_another_tag(image: Image, tmp_path: Path, change: str) -> None:
    before = image.reference("base")
    assert image.reference("base") == before
    (tmp_path / change).write_text("other")
    assert image.reference("base") != before


def test_another_base_is_another_tag_and_caches_do_not_count(image: Image, tmp_path: Path) -> None:
    before = image.reference("base")
    (tmp_path / "code/__pycache__/a.pyc").write_text("other")
    assert image.reference("base") == before
    assert image.reference("other base") != before


def test_a_base_that_is_given_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    made = base.key()
    monkeypatch.setenv("BASE_IMAGE", "python:3.11-slim-bookworm")
    assert base.key() != made
    pulled: list[tuple[str, ...]] = []

    def buildah(*words: str) -> subprocess.CompletedProcess[str]:
        pulled.append(words)
        return subprocess.CompletedProcess(words, 0, "sha256:1\n", "")

    monkeypatch.setattr(build, "buildah", buildah)
    assert build.base_image() == "sha256:1"
    assert pulled == [("pull", "--quiet", "python:3.11-slim-bookworm")]


def test_a_version_is_the_tag_and_part_of_the_key() -> None:
    versioned = IMAGES["vllm-cpu"]
    assert versioned.reference("base") == "localhost/qwen3-vllm-cpu:0.32.0"
    assert versioned.key("base") != Image("vllm-cpu", versioned.inputs).key("base")


@pytest.mark.parametrize("name", sorted(IMAGES))
def test_everything_that_a_dockerfile_copies_is_an_input(name: str) -> None:
    lines = (REPOSITORY / IMAGES[name].dockerfile).read_text().splitlines()
    copied = {line.split()[1] for line in lines if line.startswith("COPY ") and "--from" not in line}
    assert copied == set(IMAGES[name].inputs)


@pytest.mark.parametrize(("image", "command"), [("operator", "qwen3-operator"), ("downloader", "qwen3-download")])
def test_an_image_has_the_command_that_the_documents_name(image: str, command: str) -> None:
    text = (REPOSITORY / IMAGES[image].dockerfile).read_text()
    script = REPOSITORY / "images" / image / command
    assert f'ENTRYPOINT ["{command}"]' in text and f"COPY images/{image}/{command} /usr/local/bin/" in text
    assert script.stat().st_mode & 0o111 == 0o111 and "sys.exit(main())" in script.read_text()


def test_only_this_machines_own_release_is_taken_from_its_apt_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "old.list").write_text(
        "# deb http://mirror.example/debian bookworm main\n"
        "deb http://mirror.example/debian bookworm main\n"
        "deb [signed-by=/k.gpg] http://mirror.example/security bookworm-security main\n"
        "deb-src http://mirror.example/debian bookworm main\n"
        "deb http://other.example/tool stable main\n"
    )
    (tmp_path / "new.sources").write_text(
        "Types: deb\nURIs: http://mirror.example/debian\nSuites: bookworm bookworm-updates\nComponents: main\n\n"
        "Types: deb\nURIs: http://other.example/tool\nSuites: nodistro\nComponents: main\n"
    )
    monkeypatch.setattr(base, "APT_SOURCES", (tmp_path,))
    monkeypatch.setattr(base, "codename", lambda: "bookworm")
    assert base.apt_sources() == {
        "base.list": "deb http://mirror.example/debian bookworm main\n"
        "deb [signed-by=/k.gpg] http://mirror.example/security bookworm-security main\n",
        "base.sources": "Types: deb\nURIs: http://mirror.example/debian\nSuites: bookworm bookworm-updates\n"
        "Components: main\n",
    }
