"""Programs of Debian packages that are unpacked into the cache, and not installed."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import tempfile
from pathlib import Path

from devcluster.paths import DevclusterError, cache_dir


def program(package: str, path: str) -> Path:
    """The program at `path` of the package: what the machine has at that place, on PATH, or what the package brings.

    Raises DevclusterError where there is none to be had.
    """
    for place in (shutil.which(Path(path).name), f"/{path}"):
        if place and Path(place).exists():
            return Path(place)
    target = cache_dir() / f"{package}-debian"
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            _unpack(package, target)
    return target / path


def _unpack(package: str, target: Path) -> None:
    if not shutil.which("apt-get"):
        raise DevclusterError(f"{package} is not installed, and there is no apt-get to fetch Debian's")
    download = ["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", package]
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        try:
            if subprocess.run(download, cwd=folder, capture_output=True, check=False).returncode:
                subprocess.run(["apt-get", "-q", "update"], capture_output=True, text=True, check=True)
                subprocess.run(download, cwd=folder, capture_output=True, text=True, check=True)
        except subprocess.CalledProcessError as error:
            raise DevclusterError(f"Debian's {package} cannot be fetched: {error.stderr.strip()[-800:]}") from error
        (found,) = Path(folder).glob(f"{package}_*.deb")
        unpacked = Path(folder) / "unpacked"
        subprocess.run(["dpkg", "-x", found, unpacked], check=True)
        unpacked.rename(target)
