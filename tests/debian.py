"""Programs of Debian's packages, unpacked into the cache and not installed."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import tempfile
from pathlib import Path

from devcluster.paths import cache_dir


def program(name: str, package: str) -> Path:
    """The program from PATH, from where Debian has it, or from the package."""
    for place in (shutil.which(name), f"/usr/sbin/{name}"):
        if place and Path(place).exists():
            return Path(place)
    target = cache_dir() / f"{package}-debian"
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            _unpack(package, target)
    (found,) = [path for folder in ("bin", "sbin") if (path := target / "usr" / folder / name).exists()]
    return found


def _unpack(package: str, target: Path) -> None:
    download = ["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", package]
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        if subprocess.run(download, cwd=folder, check=False).returncode:
            subprocess.run(["apt-get", "-q", "update"], check=True)
            subprocess.run(download, cwd=folder, check=True)
        (found,) = Path(folder).glob(f"{package}_*.deb")
        unpacked = Path(folder) / "unpacked"
        subprocess.run(["dpkg", "-x", found, unpacked], check=True)
        unpacked.rename(target)
