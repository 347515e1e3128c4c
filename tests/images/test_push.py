"""A real buildah pushes to a registry. It needs root, as every build does; the images are made from scratch."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from images import build, push
from images.build import Built, buildah, require_builder
from tests.images.registry import Registry, registry

MODIFIED = 1_000_000_000
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
    with registry() as it:
        yield it
    buildah("rmi", "--all", "--force")


def test_the_registry_has_what_the_demo_asks_for(there: Registry) -> None:
    team = f"{there.address}/team"
    pushed = push.push(["operator", "vllm-cpu"], team, insecure=True)
    assert pushed == {name: push.references(team)[name] for name in pushed}
    assert {f"{there.address}/{name}" for name in there.manifests} == set(pushed.values())


def test_vllm_is_inside(there: Registry) -> None:
    push.push(["vllm-cpu"], there.address, insecure=True)
    layers = json.loads(there.manifests["qwen3-vllm-cpu:0.32.0"])["layers"]
    with tarfile.open(fileobj=io.BytesIO(there.blobs[layers[-1]["digest"]])) as archive:
        assert archive.getmember("opt/vllm/vllm.py").mtime == MODIFIED, "or its .pyc counts as stale"
