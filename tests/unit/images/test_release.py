"""What a release writes into the chart, and which registries speak plain HTTP."""

from __future__ import annotations

import subprocess

import pytest
import yaml
from images.build import BuildError
from images.catalog import IMAGES, REPOSITORY
from images.release import CHART, VALUES, is_here, release, with_image

DIGEST = f"sha256:{'1' * 64}"


@pytest.mark.parametrize(
    ("registry", "here"),
    [
        ("127.0.0.1:5000/team", True),
        ("localhost:5000", True),
        ("localhost/team", True),
        ("[::1]:5000/team", True),
        ("registry.example/team", False),
        ("registry.example:5000", False),
        ("10.0.0.1:5000/team", False),
        ("localhost.example/team", False),
    ],
)
def test_only_a_registry_of_this_machine_speaks_plain_http_unasked(registry: str, here: bool) -> None:
    assert is_here(registry) is here


def test_the_chart_names_the_images_by_digest_and_nothing_else_changes() -> None:
    before = text = (CHART / "values.yaml").read_text()
    for name, key in VALUES.items():
        text = with_image(text, key, f"registry.example/team/qwen3-{name}", DIGEST)
    was, now = yaml.safe_load(before), yaml.safe_load(text)
    for name, key in VALUES.items():
        assert name in IMAGES
        was[key] |= {"repository": f"registry.example/team/qwen3-{name}", "digest": DIGEST}
    assert now == was
    assert text.count("\n") == before.count("\n"), "the comments stay"


def test_values_of_another_shape_are_not_released() -> None:
    with pytest.raises(BuildError, match="no image with an empty repository"):
        with_image("image:\n  repository: x\n", "image", "registry.example/it", DIGEST)


@pytest.mark.parametrize(
    ("pushed", "words"),
    [({"operator": "0.1.0"}, "the digest of operator is '0.1.0'"), ({"hub": DIGEST}, "has no image 'hub'")],
)
def test_what_was_pushed_is_named_by_digest(pushed: dict[str, str], words: str) -> None:
    with pytest.raises(BuildError, match=words):
        release("registry.example/team", pushed=pushed)


def test_the_workflow_releases_these_images() -> None:
    """All that can be tested of it here."""
    workflow = yaml.safe_load((REPOSITORY / ".github/workflows/release.yaml").read_text())
    scripts = [step.get("run", "") for step in workflow["jobs"]["release"]["steps"]]
    loops = [line.strip() for script in scripts for line in script.splitlines() if line.strip().startswith("for image")]
    assert loops == [f"for image in {' '.join(VALUES)}; do"] * 2
    base = workflow["jobs"]["release"]["env"]["BASE"]
    for name in VALUES:
        assert f"ARG BASE_IMAGE={base}\n" in (REPOSITORY / IMAGES[name].dockerfile).read_text()


def test_make_asks_where_to() -> None:
    done = subprocess.run(["make", "-n", "release"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode and "make release REGISTRY=registry.example/team" in done.stderr
