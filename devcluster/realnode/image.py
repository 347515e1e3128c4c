"""Images of one program, like the machine's own busybox, with the libraries that it links to: no registry, no image
builder."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import re
import shutil
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path


def write_busybox_image(archive: Path, reference: str) -> None:
    """The image `reference`, whose default command sleeps (all that a pod's sandbox has to do)."""
    busybox = Path(shutil.which("busybox") or "/bin/busybox")
    applets = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split()
    write_image(archive, reference, busybox, applets=applets, command=["/bin/sleep", "2147483647"])


def write_image(
    archive: Path,
    reference: str,
    program: Path,
    path: str = "/bin/busybox",
    *,
    applets: Sequence[str] = (),
    command: Sequence[str] = (),
    user: str = "",
) -> None:
    """Write a docker-archive with one program at `path`, and its applets in /bin as links to it.

    `command`: what it runs by default; without, it is the entry point, as it is in published images of one program;
    `user`: who runs it, else root.
    """
    layer = _layer({path: program} | linked(program), path, applets)
    default = {"Env": ["PATH=/bin"], "User": user}
    config = {
        "architecture": {"aarch64": "arm64"}.get(platform.machine(), "amd64"),
        "os": "linux",
        "config": {"Cmd": list(command) or None, "Entrypoint": None if command else [path]} | default,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [reference], "Layers": ["layer.tar"]}]
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "w") as tar:
        _add(tar, "config.json", json.dumps(config).encode())
        _add(tar, "layer.tar", layer)
        _add(tar, "manifest.json", json.dumps(manifest).encode())


def linked(program: Path) -> dict[str, Path]:
    """The shared libraries of a program by their paths in the image, its loader among them; none of a static one."""
    listed = subprocess.run(["ldd", program], capture_output=True, text=True).stdout
    return {path: Path(path) for path in re.findall(r"(?:^|=>)\s*(/\S+) \(0x", listed, re.MULTILINE)}


def _layer(files: Mapping[str, Path], path: str, applets: Sequence[str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for folder, mode in (("bin", 0o755), ("tmp", 0o1777), ("etc", 0o755)):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            tar.addfile(entry)
        for name, file in files.items():
            _add(tar, name.lstrip("/"), file.read_bytes(), mode=0o755)
        for applet in applets:
            if applet != Path(path).name:
                link = tarfile.TarInfo(f"bin/{applet}")
                link.type, link.linkname = tarfile.SYMTYPE, path
                tar.addfile(link)
    return buffer.getvalue()


def _add(tar: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    tar.addfile(entry, io.BytesIO(content))
