"""Pushes the images to a registry, for clusters whose nodes pull what they run."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from images import base
from images.build import build, buildah, folder, locked
from images.catalog import IMAGES
from images.vllm_bundle import MOUNT_PATH, bundle

WITH_VLLM = "vllm-cpu"
"""The image that needs vLLM in a folder of the node; what is pushed has it inside instead (2.8 GB)."""


def references(registry: str) -> dict[str, str]:
    """What `push` calls each image in `registry` (like registry.example/team). Builds and asks nothing."""
    return {name: image.reference(base.key(), registry) for name, image in IMAGES.items()}


def push(names: Iterable[str], registry: str, *, insecure: bool = False) -> dict[str, str]:
    """Build the images where they changed and push them; returns their references. Raises BuildError.

    buildah reads the credentials of `buildah login` and `docker login`. `insecure`: the registry speaks plain HTTP, or
    has a certificate that nobody signed.
    """
    pushed = {name: references(registry)[name] for name in names}
    for name, target in pushed.items():
        push_as(name, target, insecure=insecure)
    return pushed


def push_as(name: str, target: str, *, insecure: bool = False) -> str:
    """Build the image where it changed and push it under the name `target`; returns its digest in the registry."""
    built = build(name)
    whole = bundle() if name == WITH_VLLM else None
    with locked(), tempfile.TemporaryDirectory(dir=folder()) as temporary:
        buildah("pull", "--quiet", f"docker-archive:{built.archive}")  # a cache may hold the archives alone
        source = _with_vllm(built.reference, whole) if whole else built.reference
        print(f"images: pushing {target}", file=sys.stderr, flush=True)
        digest = Path(temporary, "digest")
        options = [f"--digestfile={digest}", f"--tls-verify={str(not insecure).lower()}"]
        buildah("push", "--quiet", *options, source, f"docker://{target}")
        return digest.read_text().strip()


def _with_vllm(reference: str, vllm: Path) -> str:
    """The image with the folder at the place where pods mount it otherwise."""
    tag = f"{reference}-whole"
    with tempfile.TemporaryDirectory(dir=folder()) as temporary:
        dockerfile = Path(temporary, "Dockerfile")
        dockerfile.write_text(f"FROM {reference}\nCOPY . {MOUNT_PATH}\n")
        buildah("bud", "--quiet", "--isolation=chroot", f"--file={dockerfile}", f"--tag={tag}", str(vllm))
    return tag
