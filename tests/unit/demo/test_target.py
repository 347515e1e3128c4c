"""Which cluster the demo works on: never one that was not given to it by name."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import demo.__main__ as program
import pytest
from demo import target
from demo.kube import DemoError, Kube
from devcluster import tools

REGISTRY = {"DEMO_REGISTRY": "registry.example/team/"}


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """kubectl and helm that only note how they were called; read it after the call."""
    noted: list[dict[str, Any]] = []

    def run(command: list[Path], **options: Any) -> Any:
        noted.append({"command": [str(word) for word in command], "env": options["env"]})
        return subprocess.CompletedProcess(command, 0, "a-context\n", "")

    monkeypatch.setattr(tools, "ensure", lambda names: {name: tmp_path / name for name in names})
    monkeypatch.setattr(subprocess, "run", run)
    return noted


@pytest.fixture
def config(tmp_path: Path) -> str:
    """A kubeconfig."""
    path = tmp_path / "config"
    path.write_text("{}")
    return str(path)


def test_kubeconfig_is_not_asked(config: str, calls: list[dict[str, Any]]) -> None:
    assert target.given({"KUBECONFIG": config}) is None
    assert target.given_cluster({"KUBECONFIG": config}) is None
    assert calls == []


def test_a_given_cluster_has_its_images_from_the_registry(config: str, calls: list[dict[str, Any]]) -> None:
    given = target.given({"DEMO_KUBECONFIG": config, "KUBECONFIG": "/another"} | REGISTRY)
    assert given is not None
    assert given.kube.kubeconfig == config
    assert given.images["vllm-cpu"] == "registry.example/team/qwen3-vllm-cpu:0.32.0"
    assert {"operator", "downloader", "hub", "vllm-cpu"} <= given.images.keys()
    assert {call["env"]["KUBECONFIG"] for call in calls} == {config}


def test_several_files_are_handed_on_as_they_are(config: str, calls: list[dict[str, Any]]) -> None:
    files = os.pathsep.join(["/missing", config])
    given = target.given_cluster({"DEMO_KUBECONFIG": files})
    assert given is not None
    given.run("get", "pods")
    given.helm("list")
    assert {call["env"]["KUBECONFIG"] for call in calls} == {files}
    assert not [word for call in calls for word in call["command"] if "kubeconfig" in word]


@pytest.mark.usefixtures("calls")
@pytest.mark.parametrize(
    ("environment", "words"),
    [
        (REGISTRY, "DEMO_REGISTRY is for a cluster that DEMO_KUBECONFIG names"),
        ({"DEMO_KUBECONFIG": "CONFIG"}, "make images-push REGISTRY="),
        ({"DEMO_KUBECONFIG": "/missing:/gone"} | REGISTRY, "there is no such file"),
    ],
)
def test_half_a_target_is_refused(config: str, environment: dict[str, str], words: str) -> None:
    with pytest.raises(DemoError, match=words):
        target.given({key: value.replace("CONFIG", config) for key, value in environment.items()})


def test_a_kubeconfig_without_a_context_is_refused(
    config: str, calls: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """kubectl would go to the cluster of the pod it runs in, or to localhost."""

    def run(command: list[Path], **_: Any) -> Any:
        return subprocess.CompletedProcess(command, 1, "", "error: current-context is not set")

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(DemoError, match=r"names no context: .*current-context is not set"):
        target.given_cluster({"DEMO_KUBECONFIG": config})


def test_helm_follows_no_variable_to_another_server(
    calls: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HELM_KUBEAPISERVER", "HELM_KUBECONTEXT", "HELM_KUBETOKEN", "HELM_NAMESPACE"):
        monkeypatch.setenv(name, "another")
    Kube("here").helm("list")
    assert not [name for name in calls[0]["env"] if name.startswith("HELM_")]


class OwnCluster:
    """A development cluster that notes what is done to it."""

    def __init__(self, workdir: Path) -> None:
        self.workdir, self.ended = workdir, False

    def running(self) -> bool:
        return True

    def down(self) -> None:
        self.ended = True


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OwnCluster:
    cluster = OwnCluster(tmp_path)
    monkeypatch.setattr(program, "Cluster", lambda name: cluster)
    monkeypatch.delenv("DEMO_KUBECONFIG", raising=False)
    return cluster


def test_down_ends_the_demos_own_cluster_and_leaves_that_of_kubeconfig(
    own: OwnCluster, config: str, calls: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", config)
    (own.workdir / program.MADE_BY_US).touch()
    program.down()
    assert own.ended and calls == []


@pytest.mark.parametrize("command", ["up", "down"])
def test_a_development_cluster_of_the_same_name_is_refused(
    own: OwnCluster, command: str, calls: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "require_tools", lambda *names: None)
    with pytest.raises(DemoError, match="did not make; end it with: python -m devcluster down --name demo"):
        {"up": program.up, "down": program.down}[command]()
    assert not own.ended and calls == []


def test_the_example_of_a_given_cluster_has_vllm_in_its_image(config: str) -> None:
    from demo.stage import EXAMPLE, example

    assert json.dumps(example()["spec"]["podTemplatePatch"]).count("vllm-cpu") == 3, EXAMPLE
    spec = example({"vllm-cpu": "registry.example/qwen3-vllm-cpu:0.32.0"})["spec"]
    assert spec["engine"]["image"] == "registry.example/qwen3-vllm-cpu:0.32.0"
    assert "podTemplatePatch" not in spec
