"""The images of this repository, and what each is built from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
IGNORED = ("__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache")

BASE_PACKAGES = ("ca-certificates", "libgomp1", "libnuma1", "libstdc++6", "python3", "python3-venv")
"""Debian packages of the base file system; the three libraries are what vLLM's CPU build links to."""


@dataclass(frozen=True)
class Image:
    """One image: a Dockerfile and the files of the repository that it copies."""

    name: str
    inputs: tuple[str, ...]
    version: str = ""
    """Tag for those images that people write into manifests; the others are tagged by content."""

    @property
    def dockerfile(self) -> str:
        return f"images/{self.name}/Dockerfile"

    def files(self) -> Iterator[Path]:
        """Every file that the image is made from, relative to the repository, in a stable order."""
        for root in (self.dockerfile, *self.inputs):
            path = REPOSITORY / root
            found = sorted(path.rglob("*")) if path.is_dir() else [path]
            for file in found:
                if file.is_file() and not any(part in IGNORED for part in file.parts):
                    yield file.relative_to(REPOSITORY)

    def key(self, base: str) -> str:
        """Content hash of the inputs and of the base: 12 hexadecimal digits. Raises FileNotFoundError."""
        digest = hashlib.sha256(f"{base}\0{self.version}".encode())
        for file in self.files():
            mode = (REPOSITORY / file).stat().st_mode & 0o111
            digest.update(f"\0{file}\0{mode}\0".encode() + (REPOSITORY / file).read_bytes())
        return digest.hexdigest()[:12]

    def reference(self, base: str, registry: str = "localhost") -> str:
        """Name by which pods ask for it."""
        return f"{registry}/qwen3-{self.name}:{self.version or self.key(base)}"


IMAGES = {
    image.name: image
    for image in (
        Image(
            "operator",
            (
                "images/operator/qwen3-operator",
                "requirements/operator.lock",
                "operator/qwen3_operator",
                "in_engine/qwen3_in_engine",
                "front/qwen3_front",
            ),
        ),
        Image(
            "downloader",
            ("images/downloader/qwen3-download", "downloader/requirements.lock", "downloader/qwen3_download"),
        ),
        Image("hub", ("hub", "tests/data/tiny-qwen3")),
        Image("vllm-cpu", ("images/vllm-cpu/vllm",), version="0.32.0"),
    )
}
