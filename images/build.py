"""Builds images with buildah into archives that containerd and docker load; what did not change is not built again."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from devcluster.paths import cache_dir

from images import base
from images.catalog import IMAGES, REPOSITORY, Image

PACKAGES = {"nm": "binutils"}
"""Debian packages of tools that are called otherwise."""
CERTIFICATES = Path("/etc/ssl/certs")
KEPT_ARCHIVES = 2
FORWARDED = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_CERT", "PIP_DEFAULT_TIMEOUT")


class BuildError(Exception):
    """An image cannot be built here; the message says why."""


@dataclass(frozen=True)
class Built:
    """An image as pods name it, and the docker-archive that holds it."""

    reference: str
    archive: Path


def build(name: str) -> Built:
    """Build the image unless its inputs are built already. Raises BuildError."""
    image = IMAGES[name]
    reference = image.reference(base.key())
    archive = folder() / f"qwen3-{name}-{image.key(base.key())}.tar"
    with locked():
        if not archive.exists():
            print(f"images: building {reference}", file=sys.stderr, flush=True)
            require_builder("buildah", "mmdebstrap")
            _build(image, base_image(), reference, archive)
            _prune(name)
    return Built(reference, archive)


def _build(image: Image, base_image: str, reference: str, archive: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder()) as temporary:
        context = Path(temporary)
        for file in image.files():
            (context / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / file, context / file)
        arguments = {"BASE_IMAGE": base_image} | {k: os.environ[k] for k in FORWARDED if k in os.environ}
        buildah(
            "bud",
            "--layers",
            "--isolation=chroot",
            f"--volume={CERTIFICATES}:{CERTIFICATES}:ro",  # a proxy's certificate, where this machine trusts one
            *(f"--build-arg={key}={value}" for key, value in arguments.items()),
            f"--file={context / image.dockerfile}",
            f"--tag={reference}",
            str(context),
        )
        _save(reference, archive)


def base_image() -> str:
    """The base in buildah's storage, made when missing; one that is given is pulled."""
    if given := base.given():
        return buildah("pull", "--quiet", given).stdout.strip()
    reference = f"localhost/qwen3-base:{base.key()}"
    if buildah("images", "--quiet", reference, check=False).returncode == 0:
        return reference
    print("images: making the Debian base", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(dir=folder()) as temporary:
        base.make(Path(temporary, "base.tar"))
        Path(temporary, "Dockerfile").write_text("FROM scratch\nADD base.tar /\nENV LANG=C.UTF-8\n")
        buildah("bud", "--quiet", f"--tag={reference}", temporary)
    return reference


def _save(reference: str, archive: Path) -> None:
    staging = archive.with_suffix(".part")
    staging.unlink(missing_ok=True)
    buildah("push", "--quiet", reference, f"docker-archive:{staging}:{reference}")
    staging.rename(archive)


def _prune(name: str) -> None:
    """Keep the newest archives of an image only: two checkouts may take turns."""
    archives = sorted(folder().glob(f"qwen3-{name}-*.tar"), key=lambda file: file.stat().st_mtime)
    for archive in archives[:-KEPT_ARCHIVES]:
        archive.unlink()
        buildah("rmi", f"localhost/qwen3-{name}:{archive.stem.rpartition('-')[2]}", check=False)


def buildah(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run buildah on our own storage. Raises BuildError with its last words unless `check` is off."""
    storage = [f"--root={folder()}/storage", f"--runroot={folder()}/run"]
    done = subprocess.run(["buildah", *storage, *arguments], capture_output=True, text=True)
    if check and done.returncode:
        raise BuildError(f"buildah {arguments[0]} failed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return done


def require_builder(*tools: str) -> None:
    """The same for tools that build images, which takes root."""
    if os.geteuid() != 0:
        raise BuildError("building here needs root; elsewhere: docker build -f images/NAME/Dockerfile .")
    require_tools(*tools)


def require_tools(*tools: str) -> None:
    """Install the tools that are missing where that is possible. Raises BuildError with what to install."""
    missing = [PACKAGES.get(tool, tool) for tool in tools if shutil.which(tool) is None]
    if missing and (os.geteuid() != 0 or shutil.which("apt-get") is None):
        raise BuildError(f"not installed: {', '.join(missing)}")
    if missing:
        apt = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=600"]
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run([*apt, "update"], check=True, env=quiet)
        subprocess.run([*apt, "install", "-y", "--no-install-recommends", *missing], check=True, env=quiet)


def folder() -> Path:
    """Where images and what they are made from are kept."""
    path = cache_dir() / "images"
    path.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def locked() -> Iterator[None]:
    """One build at a time: buildah's storage and the archives are shared by all checkouts of this machine."""
    with (folder() / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
