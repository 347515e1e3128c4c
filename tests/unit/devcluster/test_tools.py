"""Where built programs are kept, and what is said when they cannot be built."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml
from devcluster import golang, tools
from devcluster.paths import DevclusterError
from devcluster.realnode import packages

ROOT = Path(__file__).parents[3]
TOUCH_OUTPUTS = """\
while [ "$1" != -o ]; do shift; done
folder=$2
shift 2
for package; do
  program=${package%/v[0-9]}
  touch "$folder/${program##*/}"
done
"""  # what `go build -o FOLDER/ PACKAGES` leaves


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the go.mod files that a test may change."""
    copy = tmp_path / "go"
    shutil.copytree(tools.MODULES, copy)
    monkeypatch.setattr(tools, "MODULES", copy)
    monkeypatch.setattr(tools, "_go_version", lambda family: "go1.26.0")
    monkeypatch.setenv("QWEN3_CACHE_DIR", str(tmp_path / "cache"))
    return copy


def test_every_tool_is_pinned_by_its_module() -> None:
    for name, tool in tools.TOOLS.items():
        assert tool.package in (tools.MODULES / tool.family / "go.mod").read_text(), name
        assert (tools.MODULES / tool.family / "go.sum").exists(), name


def test_the_oldest_kubernetes_is_the_charts_floor(monkeypatch: pytest.MonkeyPatch) -> None:
    newest, oldest = tools.kubernetes_versions()
    assert tools.kubernetes_version() == newest
    chart = yaml.safe_load((ROOT / "charts" / "qwen3-operator" / "Chart.yaml").read_text())
    minor = oldest[1:].rpartition(".")[0]
    assert chart["kubeVersion"] == f">={minor}.0-0"
    monkeypatch.setenv("QWEN3_KUBERNETES", minor)
    assert tools.kubernetes_version() == oldest
    programs = [tool.package for name, tool in tools.TOOLS.items() if name in tools.CONTROL_PLANE]
    pinned = (tools.module_of("kubernetes") / "go.mod").read_text()
    assert all(package in pinned for package in programs if package.startswith("k8s.io/kubernetes/"))
    assert tools.module_of("etcd").name == "etcd"


def test_versions_of_kubernetes_do_not_share_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "_go_version", lambda family: "go1.26.0")
    newest = tools.folder_of("kubernetes")
    monkeypatch.setenv("QWEN3_KUBERNETES", "1.31")
    assert tools.folder_of("kubernetes") != newest
    assert tools.folder_of("kubernetes").name.startswith("kubernetes-1.31-")


def test_a_kubernetes_that_is_not_pinned_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QWEN3_KUBERNETES", "1.20")
    with pytest.raises(DevclusterError, match=r"1\.20: there is no such version; there are: 1\.36, 1\.31"):
        tools.kubernetes_version()


def test_the_cache_folder_follows_what_decides_the_content(modules: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = tools.folder_of("etcd")
    assert before == tools.folder_of("etcd")
    (modules / "etcd" / "go.sum").write_text("changed")
    changed = tools.folder_of("etcd")
    monkeypatch.setattr(tools, "_go_version", lambda family: "go1.99.0")
    assert len({before, changed, tools.folder_of("etcd")}) == 3


def test_the_cache_folder_follows_programs_of_our_own(modules: Path) -> None:
    before = tools.folder_of("kstatus")
    (modules / "kstatus" / "main.go").write_text("package main\n")
    assert tools.folder_of("kstatus") != before


def test_a_built_tool_is_not_built_again(modules: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    binary = tools.folder_of("etcd") / "etcd"
    binary.parent.mkdir(parents=True)
    binary.touch()
    monkeypatch.setattr(golang, "find_go", lambda: pytest.fail("nothing is to be built"))
    assert tools.ensure(["etcd"]) == {"etcd": binary}


def test_a_failed_build_says_why_and_leaves_nothing(modules: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = modules / "go-that-fails"
    compiler.write_text("#!/bin/sh\necho 'no space left on device' >&2\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setattr(golang, "find_go", lambda: compiler)
    with pytest.raises(DevclusterError, match=r"building etcd failed:\nno space left"):
        tools.ensure(["etcd"])
    assert [p.name for p in tools.folder_of("etcd").iterdir()] == [".lock"]


def test_two_builds_at_once_build_once(modules: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = modules / "go-that-is-slow"
    compiler.write_text(f"#!/bin/sh\necho built >> {modules}/log\nsleep 0.2\n" + TOUCH_OUTPUTS)
    compiler.chmod(0o755)
    monkeypatch.setattr(golang, "find_go", lambda: compiler)
    with ThreadPoolExecutor() as pool:
        first, second = pool.map(tools.ensure, (["etcd"], ["etcd"]))
    assert first == second
    assert first["etcd"].exists()
    assert (modules / "log").read_text() == "built\n"


def test_programs_of_a_family_are_built_together_and_only_those_that_are_missing(
    modules: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = modules / "go-that-prints"
    compiler.write_text(f"#!/bin/sh\necho $# >> {modules}/log\n" + TOUCH_OUTPUTS)
    compiler.chmod(0o755)
    monkeypatch.setattr(golang, "find_go", lambda: compiler)
    tools.ensure(["kwok"])
    made = tools.ensure(["kwokctl", "etcd", "kwok", "kubectl", "kube-scheduler"])
    assert {name: path.name for name, path in made.items()} == {name: name for name in made}
    assert all(path.exists() for path in made.values())
    alone, *others = map(int, (modules / "log").read_text().split())
    assert others == [alone, alone, alone + 1]  # words: kwokctl, etcd, then two of Kubernetes at once


def test_an_unknown_tool_is_named() -> None:
    with pytest.raises(DevclusterError, match="no such tool: etdc"):
        tools.ensure(["etdc"])


def test_an_old_go_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "go"
    old.write_text("#!/bin/sh\necho go version go1.19.8 linux/amd64\n")
    old.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda name: str(old))
    monkeypatch.setattr(golang, "SYSTEM_GO", str(old))
    monkeypatch.setattr(golang, "_install_go", lambda: Path("/from/pypi/go"))
    monkeypatch.setenv("QWEN3_CACHE_DIR", str(tmp_path / "cache"))
    golang.find_go.cache_clear()
    try:
        assert golang.find_go() == Path("/from/pypi/go")
    finally:
        golang.find_go.cache_clear()


def test_missing_packages_are_listed_where_there_is_no_apt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        shutil, "which", lambda name, path=None: None if name in ("runc", "apt-get") else f"/bin/{name}"
    )
    with pytest.raises(DevclusterError, match=r"runc.*no apt-get"):
        packages.ensure_packages()
