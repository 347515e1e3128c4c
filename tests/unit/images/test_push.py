"""Images go to a registry under names that are known without building them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from images import __main__ as program
from images import base, push
from images.build import Built
from images.catalog import IMAGES, REPOSITORY

REGISTRY = "registry.example/team"
DIGEST = f"sha256:{'1' * 64}"


@pytest.fixture
def buildah(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    """A buildah that only notes its arguments."""
    calls: list[list[str]] = []

    def note(*words: str) -> None:
        calls.append([word for word in words if not word.startswith("--digestfile=")])
        for word in set(words) - set(calls[-1]):
            Path(word.partition("=")[2]).write_text(f"{DIGEST}\n")

    monkeypatch.setattr(push, "buildah", note)
    monkeypatch.setattr(push, "build", lambda name: Built(f"localhost/qwen3-{name}:x", tmp_path / f"{name}.tar"))
    monkeypatch.setattr(push, "bundle", lambda: tmp_path / "vllm")
    monkeypatch.setattr(push, "folder", lambda: tmp_path)
    monkeypatch.setattr("images.build.folder", lambda: tmp_path)
    monkeypatch.setattr(base, "codename", lambda: "bookworm")
    return calls


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr("sys.argv", ["images", "push", *words])
    return program.main()


def test_what_is_named_is_pushed(
    buildah: list[list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, f"{REGISTRY}/", "operator") == 0
    target = f"{REGISTRY}/qwen3-operator:{IMAGES['operator'].key(base.key())}"
    assert buildah == [
        ["pull", "--quiet", f"docker-archive:{tmp_path}/operator.tar"],
        ["push", "--quiet", "--tls-verify=true", "localhost/qwen3-operator:x", f"docker://{target}"],
    ]
    assert capsys.readouterr().out == f"operator\t{target}\n"


def test_all_are_pushed_where_none_is_named_as_the_demo_asks_for_them(
    buildah: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(monkeypatch, REGISTRY, "--insecure") == 0
    pushed = [call for call in buildah if call[0] == "push"]
    assert {call[-1] for call in pushed} == {f"docker://{it}" for it in push.references(REGISTRY).values()}
    assert all("--tls-verify=false" in call for call in pushed)


def test_what_is_pushed_of_vllm_has_it_inside(buildah: list[list[str]], tmp_path: Path) -> None:
    push.push(["vllm-cpu"], REGISTRY)
    _, made, pushed = buildah
    assert made[0] == "bud" and made[-1] == str(tmp_path / "vllm")
    assert pushed[-2:] == ["localhost/qwen3-vllm-cpu:x-whole", f"docker://{REGISTRY}/qwen3-vllm-cpu:0.32.0"]


def test_an_unknown_image_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(monkeypatch, REGISTRY, "nosuch")
    assert "there are downloader, hub, operator, vllm-cpu" in capsys.readouterr().err


def test_make_asks_where_to() -> None:
    done = subprocess.run(["make", "-n", "images-push"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode and "make images-push REGISTRY=registry.example/team" in done.stderr
