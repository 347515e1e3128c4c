"""The Debian packages of the real node."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from devcluster.paths import DevclusterError

# A file that each package brings -> the package.
PACKAGES = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "ip": "iproute2",
    "busybox": "busybox-static",
}
FOR_POLICIES = {"ipset": "ipset"}
"""What a node needs besides while it enforces NetworkPolicies."""


def ensure_packages(packages: Mapping[str, str] = PACKAGES) -> None:
    """Install what is missing. Raises DevclusterError that lists it when this is not root, or there is no apt."""
    missing = missing_packages(packages)
    if not missing:
        return
    install = f"apt-get install -y --no-install-recommends {' '.join(missing)}"
    if not shutil.which("apt-get"):
        absent = ", ".join(sorted(_absent(packages)))
        raise DevclusterError(
            f"the real node needs programs that are missing here: {absent}. In Debian they are the packages "
            f"{', '.join(missing)}; there is no apt-get, so install them with your own package manager."
        )
    print(f"devcluster: installing {' '.join(missing)}", flush=True)
    env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    apt = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=600"]
    subprocess.run([*apt, "update"], env=env, capture_output=True, check=False)  # stale lists may still do
    done = subprocess.run(
        [*apt, "install", "-y", "--no-install-recommends", *missing],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise DevclusterError(f"`{install}` failed:\n{done.stderr.strip()[-1500:]}")


def missing_packages(packages: Mapping[str, str] = PACKAGES) -> list[str]:
    return sorted({packages[name] for name in _absent(packages)})


def _absent(packages: Mapping[str, str]) -> list[str]:
    sbin = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    return [f for f in packages if not (Path(f).exists() if f.startswith("/") else shutil.which(f, path=sbin))]
