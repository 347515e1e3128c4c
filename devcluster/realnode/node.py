"""Start, restart and end the real node."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from devcluster import processes, tools
from devcluster.client import Client
from devcluster.paths import DevclusterError
from devcluster.realnode import cleanup, config, layout
from devcluster.realnode.image import write_busybox_image
from devcluster.realnode.packages import ensure_packages
from devcluster.spec import ClusterSpec

IP_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
START_SECONDS = 120.0


def prepare(owned_by: Path) -> None:
    """Claim the machine's one real node for the cluster of that folder, its Debian packages installed.

    Raises DevclusterError when this is not root, packages are missing, or another cluster's node runs.
    """
    if os.geteuid() != 0:
        raise DevclusterError("a real node needs root (mounts, network, cgroups); without --real-node, none is needed")
    ensure_packages()
    with _lock():
        if (other := owner()) and any(p.alive() for p in processes_of_node()):
            raise DevclusterError(
                f"a real node runs on this machine already, for the cluster in {other}; a machine has one at most. "
                f"End it with: python -m devcluster down --name {Path(other).name}"
            )
        stop()  # leftovers of a crash
        layout.RUN.mkdir()
        layout.CLAIM.write_text(
            json.dumps(
                {
                    "owner": str(owned_by),
                    "ip_forward": IP_FORWARD.read_text().strip(),
                    "chains": {family: cleanup.chains(family) for family in ("iptables", "ip6tables")},
                    "sets": cleanup.sets(),
                    "cgroups": cleanup.kubepods_cgroups(),
                    "var_lib_kubelet": Path("/var/lib/kubelet").exists(),
                }
            )
        )


def owner() -> str | None:
    """The folder of the cluster that holds the real node; None when there is none."""
    return claimed().get("owner")


def claimed() -> dict[str, Any]:
    """Who has the node, and what the machine was like before; empty where there is none."""
    try:
        return dict(json.loads(layout.CLAIM.read_text()))
    except FileNotFoundError:
        return {}


def processes_of_node() -> list[processes.Process]:
    return processes.load(layout.RECORD)


def start(client: Client, pki: Path, spec: ClusterSpec) -> None:
    """Start the node's programs and wait until it is registered, with its GPUs; `pki` holds the cluster's ca.crt."""
    _write_config(client.kubeconfig, pki)
    _make_bridge()
    _start_containerd()
    load_image(layout.CONFIG / "busybox.tar")
    _start_kubelet(client.kubeconfig, spec)
    client.apply(config.local_path_manifests())
    _start_helpers(client.kubeconfig)
    wait("the node to register", lambda: bool(client.kubectl("get", "node", layout.NAME, check=False)))
    patch = json.dumps(config.gpu_status(spec))
    client.kubectl("patch", "node", layout.NAME, "--subresource=status", "--type=merge", "-p", patch)


def stop() -> None:
    """End the node and put the machine back; also after a crash, also when there is nothing."""
    claim = claimed()
    processes.stop(processes_of_node(), grace=2)
    cleanup.kill_containers()
    cleanup.unmount(layout.RUN, layout.DATA)
    cleanup.remove_interfaces()
    if claim:
        cleanup.remove_chains(claim["chains"])
        cleanup.remove_sets(claim.get("sets", ()))
        cleanup.remove_cgroups(claim["cgroups"])
        with contextlib.suppress(OSError):
            IP_FORWARD.write_text(claim["ip_forward"])
        if not claim["var_lib_kubelet"]:
            shutil.rmtree("/var/lib/kubelet", ignore_errors=True)  # the device plugin socket has a fixed place
    cleanup.remove_files()


def restart(kubeconfig: Path, spec: ClusterSpec) -> None:
    """What a reboot does to a node: kubelet, containerd and every container end, volumes and images stay."""
    going = {"kubelet", "containerd"}
    processes.stop([p for p in processes_of_node() if p.name in going], grace=2)
    cleanup.kill_containers()
    cleanup.unmount(layout.CONTAINERD_STATE, layout.KUBELET_ROOT, layout.CONTAINERD_ROOT)
    shutil.rmtree(layout.CONTAINERD_STATE, ignore_errors=True)
    _start_containerd()
    _start_kubelet(kubeconfig, spec)


def load_image(archive: Path) -> str:
    """Import a docker-archive or OCI archive for the kubelet; returns what ctr says it imported."""
    if not archive.is_file():
        raise DevclusterError(f"{archive}: no such image archive")
    return _ctr("images", "import", str(archive))


def pull_from(name: str, url: str, certificate: Path | None) -> None:
    """Have the node pull the images of the registry `name` from `url`, from now on."""
    hosts = layout.REGISTRIES / name / "hosts.toml"
    hosts.parent.mkdir(parents=True, exist_ok=True)
    hosts.write_text(config.registry_host(url, certificate))


def _write_config(kubeconfig: Path, pki: Path) -> None:
    files: dict[str, str | dict[str, Any]] = {
        "containerd.toml": config.containerd(),
        "cni/10-devcluster.conflist": config.cni(),
        "kubelet.yaml": config.kubelet(pki / "ca.crt"),
        "kube-proxy.yaml": config.kube_proxy(kubeconfig),
        "Corefile": config.coredns(kubeconfig, Path("/etc/resolv.conf").read_text()),
        "local-path.json": json.dumps(config.local_path_config()),
        "local-path-helper.yaml": config.local_path_helper(),
    }
    for name, content in files.items():
        path = layout.CONFIG / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    write_busybox_image(layout.CONFIG / "busybox.tar", layout.IMAGE)


def _make_bridge() -> None:
    """The bridge has to stand, with the node's address, before the kubelet and CoreDNS bind to it."""
    address = f"{layout.ADDRESS}/{layout.POD_RANGE.split('/')[1]}"
    for command in (
        ["ip", "link", "add", layout.BRIDGE, "type", "bridge"],
        ["ip", "address", "add", address, "dev", layout.BRIDGE],
        ["ip", "link", "set", layout.BRIDGE, "up"],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise DevclusterError(f"`{' '.join(command)}` failed: {done.stderr.strip()}")
    IP_FORWARD.write_text("1")


def _start_containerd() -> None:
    _start("containerd", ["containerd", "--config", layout.CONFIG / "containerd.toml"])
    wait("containerd", lambda: subprocess.run(_ctr_command("version"), capture_output=True).returncode == 0)


def _start_kubelet(kubeconfig: Path, spec: ClusterSpec) -> None:
    command: list[str | Path] = [tools.ensure(["kubelet"])["kubelet"], "--config", layout.CONFIG / "kubelet.yaml"]
    command += ["--kubeconfig", kubeconfig, "--hostname-override", layout.NAME, "--node-ip", layout.ADDRESS]
    command += ["--root-dir", layout.KUBELET_ROOT, "--cert-dir", layout.KUBELET_ROOT / "pki"]
    if labels := config.node_labels(spec):
        command += ["--node-labels", labels]
    _start("kubelet", command)


def _start_helpers(kubeconfig: Path) -> None:
    """What runs as pods elsewhere: services, names and volumes. As processes they need no images."""
    binaries = tools.ensure(["kube-proxy", "coredns", "local-path-provisioner"])
    _start("kube-proxy", [binaries["kube-proxy"], "--config", layout.CONFIG / "kube-proxy.yaml"])
    _start("coredns", [binaries["coredns"], "-conf", layout.CONFIG / "Corefile"])
    provisioner: list[str | Path] = [binaries["local-path-provisioner"], "start", "--kubeconfig", kubeconfig]
    provisioner += ["--config", layout.CONFIG / "local-path.json", "--namespace", config.STORAGE_NAMESPACE]
    provisioner += ["--helper-image", layout.IMAGE, "--helper-pod-file", layout.CONFIG / "local-path-helper.yaml"]
    provisioner += ["--service-account-name", "local-path-provisioner-service-account"]
    _start("local-path-provisioner", provisioner)


def _start(name: str, command: list[str | Path]) -> None:
    processes.start(name, command, layout.LOGS / f"{name}.log", layout.RECORD)


def _ctr(*args: str) -> str:
    done = subprocess.run(_ctr_command(*args), capture_output=True, text=True, check=False)
    if done.returncode:
        raise DevclusterError(f"ctr {' '.join(args)}: {done.stderr.strip()}")
    return done.stdout.strip()


def _ctr_command(*args: str) -> list[str]:
    return ["ctr", "--address", str(layout.SOCKET), "--namespace", "k8s.io", *args]


def wait(what: str, done: Callable[[], bool]) -> None:
    """Poll until `done`. Raises DevclusterError with a log when a program of the node has ended, or time is up."""
    deadline = time.monotonic() + START_SECONDS
    while not done():
        for process in processes_of_node():
            if not process.alive():
                log = layout.LOGS / f"{process.name}.log"
                raise DevclusterError(f"{process.name} ended while waiting for {what}:\n{processes.tail(log)}")
        if time.monotonic() > deadline:
            raise DevclusterError(f"gave up waiting for {what} after {START_SECONDS:.0f} s; logs: {layout.LOGS}")
        time.sleep(0.1)


@contextlib.contextmanager
def _lock() -> Iterator[None]:
    """One launcher at a time decides who has the node."""
    layout.LOCK.parent.mkdir(exist_ok=True)
    with layout.LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
