"""A real buildah pushes to a real registry. It needs root, as every build does; the images are made from scratch."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import devcluster.registry
import pytest
import requests
from devcluster.registry import Registry
from images import build, push
from images.build import Built, buildah, require_builder

MODIFIED = 1_000_000_000
MANIFESTS = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"
pytestmark = pytest.mark.e2e


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """A registry, and archives of small images with the names of ours; buildah's storage has none of them."""
    require_builder("buildah")
    monkeypatch.setattr(build, "folder", lambda: tmp_path)
    monkeypatch.setattr(push, "folder", lambda: tmp_path)
    monkeypatch.setattr(push, "bundle", lambda: tmp_path / "vllm")
    (tmp_path / "vllm").mkdir()
    (tmp_path / "vllm" / "vllm.py").write_text("")
    os.utime(tmp_path / "vllm" / "vllm.py", (MODIFIED, MODIFIED))

    def small(name: str) -> Built:
        built = Built(f"localhost/test-{name}:1", tmp_path / f"{name}.tar")
        (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
        buildah("bud", "--quiet", f"--file={tmp_path}/Dockerfile", f"--tag={built.reference}", str(tmp_path))
        buildah("push", "--quiet", built.reference, f"docker-archive:{built.archive}:{built.reference}")
        buildah("rmi", built.reference)
        return built

    monkeypatch.setattr(push, "build", small)
    with devcluster.registry.registry(tmp_path / "registry") as it:
        yield it
    buildah("rmi", "--all", "--force")


def test_the_registry_has_what_the_demo_asks_for(there: Registry) -> None:
    team = f"{there.address}/team"
    pushed = push.push(["operator", "vllm-cpu"], team, insecure=True)
    assert pushed == {name: push.references(team)[name] for name in pushed}
    names = asked(there, "_catalog").json()["repositories"]
    tags = {
        f"{there.address}/{name}:{tag}" for name in names for tag in asked(there, f"{name}/tags/list").json()["tags"]
    }
    assert tags == set(pushed.values())


def test_what_is_pushed_is_known_by_its_digest(there: Registry) -> None:
    digest = push.push_as("operator", f"{there.address}/team/qwen3-operator:7", insecure=True)
    for name in (digest, "7"):
        assert asked(there, f"team/qwen3-operator/manifests/{name}").headers["Docker-Content-Digest"] == digest


def test_vllm_is_inside(there: Registry) -> None:
    push.push(["vllm-cpu"], there.address, insecure=True)
    layers = asked(there, "qwen3-vllm-cpu/manifests/0.32.0").json()["layers"]
    layer = asked(there, f"qwen3-vllm-cpu/blobs/{layers[-1]['digest']}").content
    with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
        assert archive.getmember("opt/vllm/vllm.py").mtime == MODIFIED, "or its .pyc counts as stale"


def asked(there: Registry, path: str) -> requests.Response:
    """What the registry answers."""
    answer = requests.get(f"{there.url}/v2/{path}", headers={"Accept": MANIFESTS}, timeout=10)
    answer.raise_for_status()
    return answer
