"""Take away what a real node leaves in the kernel: containers, mounts, interfaces, iptables chains, IP sets, cgroups.

Nothing here needs a program of the node to be alive, so it serves after a crash as well. Every step finds what is
ours by a path, a name or a parent, and leaves the rest of the machine alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

from devcluster.realnode import layout

CHAIN_PREFIXES = ("KUBE-", "CNI-")
POLICY_CHAIN_PREFIXES = ("KUBE-ROUTER-", "KUBE-POD-FW-", "KUBE-NWPLCY-")
"""Those of them that NetworkPolicies become (policies.py)."""
SET_PREFIXES = ("KUBE-SRC-", "KUBE-DST-", "TMP-")
"""Who is on either side of a NetworkPolicy, and what kube-router swaps them with."""
CGROUPS = Path("/sys/fs/cgroup")


def kill_containers() -> None:
    """Kill each container's first process, with which its others die, and the shims of our containerd."""
    shims = _shims()
    for shim in shims:
        for child in _children(shim):
            _kill(child)
    for shim in shims:
        _kill(shim)
    deadline = time.monotonic() + 5
    while any(Path(f"/proc/{pid}").exists() for pid in shims) and time.monotonic() < deadline:
        time.sleep(0.02)
    for address in layout.CONTAINERD_STATE.glob("io.containerd.runtime.v2.task/*/*/address"):
        Path(address.read_text().removeprefix("unix://")).unlink(missing_ok=True)  # the shim's own socket


def unmount(*roots: Path) -> None:
    """Unmount everything at or below the roots, the deepest first."""
    points = [line.split()[4].replace("\\040", " ") for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    ours = [p for p in points if any(Path(p) == root or root in Path(p).parents for root in roots)]
    for point in reversed(ours):  # mountinfo lists a mount after the one it stands on
        subprocess.run(["umount", "-l", point], capture_output=True, check=False)


def remove_interfaces() -> None:
    """The pods' ends on our bridge, and the bridge."""
    show = subprocess.run(["ip", "-j", "link", "show", "master", layout.BRIDGE], capture_output=True, check=False)
    ports = [link["ifname"] for link in json.loads(show.stdout or "[]")]
    for name in (*ports, layout.BRIDGE):
        subprocess.run(["ip", "link", "delete", name], capture_output=True, check=False)


def chains(family: str, prefixes: tuple[str, ...] = CHAIN_PREFIXES) -> dict[str, list[str]]:
    """Table -> chains of kube-proxy, the kubelet, CNI and policies. `family`: iptables or ip6tables."""
    return removable(_save(family), prefixes)


def remove_chains(keep: dict[str, dict[str, list[str]]], prefixes: tuple[str, ...] = CHAIN_PREFIXES) -> None:
    """Remove those chains, and the rules that lead into them, except `keep` (family -> table -> chains)."""
    for family in ("iptables", "ip6tables"):
        script = removal_script(_save(family), keep.get(family, {}), prefixes)
        if script:
            restore = [f"{family}-restore", "--noflush"]
            subprocess.run(restore, input=script, text=True, capture_output=True, check=False)


def removable(saved: str, prefixes: tuple[str, ...] = CHAIN_PREFIXES) -> dict[str, list[str]]:
    """Table -> chains with the prefixes in the output of iptables-save."""
    found: dict[str, list[str]] = {}
    table = ""
    for line in saved.splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith(":") and line[1:].startswith(prefixes):
            found.setdefault(table, []).append(line[1:].split()[0])
    return found


def removal_script(saved: str, keep: dict[str, list[str]], prefixes: tuple[str, ...] = CHAIN_PREFIXES) -> str:
    """An `iptables-restore --noflush` script that takes our chains out of what iptables-save printed; "" for none."""
    script: list[str] = []
    for table, names in removable(saved, prefixes).items():
        gone = set(names) - set(keep.get(table, []))
        if not gone:
            continue
        body = _table_lines(saved, table)
        rules = [line for line in body if line.startswith("-A ")]
        into_ours = [r for r in rules if r.split()[1] not in gone and _target(r) in gone]
        script += [f"*{table}"]
        script += [f"-D {rule.removeprefix('-A ')}" for rule in into_ours]
        script += [f"-F {name}" for name in sorted(gone)]
        script += [f"-X {name}" for name in sorted(gone)]
        script += ["COMMIT"]
    return "".join(f"{line}\n" for line in script)


def sets() -> list[str]:
    """The IP sets of NetworkPolicies. Only a node that enforces some has Debian's ipset."""
    if not shutil.which("ipset"):
        return []
    done = subprocess.run(["ipset", "list", "-name"], capture_output=True, text=True, check=False)
    return [name for name in done.stdout.split() if name.startswith(SET_PREFIXES)]


def remove_sets(keep: Iterable[str]) -> None:
    """Remove those that were not there before the node; the chains that ask them have to be gone."""
    for name in set(sets()) - set(keep):
        subprocess.run(["ipset", "destroy", name], capture_output=True, check=False)


def kubepods_cgroups() -> list[str]:
    """The cgroups under which a kubelet puts its pods, one a hierarchy (cgroup v1) or one (v2)."""
    return [str(p) for p in (CGROUPS / "kubepods", *CGROUPS.glob("*/kubepods")) if p.is_dir()]


def remove_cgroups(keep: Iterable[str]) -> None:
    """Remove those that were not there before the node."""
    for top in set(kubepods_cgroups()) - set(keep):
        for folder, _, _ in os.walk(top, topdown=False):
            with contextlib.suppress(OSError):
                Path(folder).rmdir()


def remove_files() -> None:
    """Our folders, and what kubelet and CNI write at places that nobody can configure."""
    for link in Path("/var/log/containers").glob("*.log"):
        if layout.DATA in link.readlink().parents:
            link.unlink()
    for cached in Path("/var/lib/cni/results").glob("*"):
        if str(layout.CONTAINERD_STATE) in cached.read_text():  # it names the pod's network namespace
            cached.unlink()
    for folder in (layout.DATA, layout.RUN):
        shutil.rmtree(folder, ignore_errors=True)
    for folder in map(Path, ("/var/log/containers", "/var/lib/cni/results", "/var/lib/cni")):
        with contextlib.suppress(OSError):
            folder.rmdir()  # only when empty


def _shims() -> list[int]:
    """Processes of containerd's shim that talk to our socket."""
    found = []
    for cmdline in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            command = cmdline.read_bytes()
            if b"containerd-shim" in command and str(layout.SOCKET).encode() in command:
                found.append(int(cmdline.parent.name))
    return found


def _children(pid: int) -> list[int]:
    found = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [int(child) for child in children.read_text().split()]
    return found


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _save(family: str) -> str:
    done = subprocess.run([f"{family}-save"], capture_output=True, text=True, check=False)
    return done.stdout


def _table_lines(saved: str, table: str) -> list[str]:
    _, _, rest = saved.partition(f"*{table}\n")
    return rest.partition("\nCOMMIT")[0].splitlines()


def _target(rule: str) -> str | None:
    words = rule.split()
    for flag in ("-j", "-g"):
        if flag in words:
            return words[words.index(flag) + 1]
    return None
