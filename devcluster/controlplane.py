"""The control plane: etcd, kube-apiserver, controller-manager, scheduler and kwok, run side by side by kwokctl."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from devcluster import processes, tools
from devcluster.paths import DevclusterError
from devcluster.simulated import FAKE_NODE
from devcluster.spec import ClusterSpec

SERVICE_RANGE = "10.96.0.0/16"
AUDIT_LOG_MIB = "100000"
"""Never reached: after 100 MiB, its own limit, the API server would begin another file, and requests go uncounted."""
COMPONENTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok-controller")
KWOKCTL_USER = "kwok-admin"
"""Whom the one certificate names that kwokctl makes, for all its components."""
UNLIMITED: list[dict[str, Any]] = [
    {"key": "kube-api-qps", "value": "5000"},
    {"key": "kube-api-burst", "value": "10000"},
]

ALONE: list[dict[str, Any]] = [*UNLIMITED, {"key": "leader-elect", "value": "false"}]
"""Of a component that there is once: on a busy machine it is late with its Lease, and would end."""


class ControlPlane:
    """The control plane of one cluster, its files under `folder`."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        self.home = folder / "clusters" / name  # kwokctl's layout
        self.kubeconfig = self.home / "kubeconfig.yaml"
        self.pki = self.home / "pki"
        self.logs = self.home / "logs"

    def start(self, spec: ClusterSpec, node_address: str | None) -> None:
        """Start all components and wait until the API server answers. `node_address`: of the real node, if any."""
        binaries = tools.ensure(tools.CONTROL_PLANE)
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "kwokctl.yaml"
        config.write_text(yaml.safe_dump(kwokctl_config(spec, binaries, free_ports(6), self.pki, node_address)))
        command = ["create", "cluster", "--config", str(config), "--wait", "120s"]
        command += ["--kubeconfig", str(self.folder / "kubeconfig")]  # or it adds itself to the user's own
        if spec.audit:
            policy = self.folder / "audit-policy.yaml"
            policy.write_text(yaml.safe_dump(audit_policy(spec.audit_users)))
            command += ["--kube-audit-policy", str(policy)]
        done = self._kwokctl(*command)
        dead = [p.name for p in self.processes() if not p.alive()]
        if done.returncode or dead:
            raise DevclusterError(
                f"the control plane did not start{f': {chr(44).join(dead)} ended' if dead else ''}\n"
                f"{done.stderr.strip()[-2000:]}\n"
                + "\n".join(f"--- {name}:\n{processes.tail(self.logs / f'{name}.log')}" for name in dead)
            )

    def stop(self) -> None:
        """End the components by their pids and remove their files. Needs neither kwokctl nor a live API server."""
        processes.stop((p for p in self.processes() if p.alive()), grace=1)  # its data goes anyway
        shutil.rmtree(self.folder, ignore_errors=True)

    def processes(self) -> list[processes.Process]:
        """The components, from kwokctl's pid files. One that is not ours any more counts as ended."""
        found = []
        for name in COMPONENTS:
            pid_file = self.home / "pids" / f"{name}.pid"
            if pid_file.exists():
                pid = int(pid_file.read_text())
                running = processes.current(name, pid) if self._is_ours(pid) else None
                found.append(running or processes.Process(name, pid, -1))
        return found

    @contextlib.contextmanager
    def without(self, component: str) -> Iterator[None]:
        """The component is ended for the length of the block, and started again as it was."""
        (process,) = [p for p in self.processes() if p.name == component]
        command = Path(f"/proc/{process.pid}/cmdline").read_text().rstrip("\0").split("\0")
        processes.stop([process])
        try:
            yield
        finally:
            record = self.folder / "restarted.json"
            again = processes.start(component, command, self.logs / f"{component}.log", record)
            (self.home / "pids" / f"{component}.pid").write_text(str(again.pid))

    @property
    def etcd_url(self) -> str:
        """Where etcd answers, without a password, to this machine alone."""
        config = yaml.safe_load((self.folder / "kwokctl.yaml").read_text())
        return f"http://127.0.0.1:{config['options']['etcdPort']}"

    def _is_ours(self, pid: int) -> bool:
        """Every component names a file under our folder in its command line; a reused pid does not. One that was killed
        has none any more while its memory is given back, and is waited for."""
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return False
        return not words or str(self.home).encode() in words

    def _kwokctl(self, *args: str) -> subprocess.CompletedProcess[str]:
        kwokctl = tools.ensure(["kwokctl"])["kwokctl"]
        env = os.environ | {"KWOK_WORKDIR": str(self.folder), "KWOK_KUBE_VERSION": tools.kubernetes_version()}
        return subprocess.run(
            [str(kwokctl), *args, "--name", self.name], env=env, capture_output=True, text=True, check=False
        )


def kwokctl_config(
    spec: ClusterSpec, binaries: dict[str, Path], ports: list[int], pki: Path, node_address: str | None
) -> dict[str, Any]:
    """The KwokctlConfiguration: our binaries and ports, everything on 127.0.0.1, client limits lifted."""
    options: dict[str, Any] = {
        "runtime": "binary",
        "bindAddress": "127.0.0.1",  # else all addresses, and etcd asks nobody for a password
        "enableCRDs": ["Stage"],  # Stages are objects in the API: applied, changed and removed by kubectl
        "etcdBinary": str(binaries["etcd"]),
        "kubeApiserverBinary": str(binaries["kube-apiserver"]),
        "kubeControllerManagerBinary": str(binaries["kube-controller-manager"]),
        "kubeSchedulerBinary": str(binaries["kube-scheduler"]),
        "kwokControllerBinary": str(binaries["kwok"]),
        "kubectlBinary": str(binaries["kubectl"]),
    }
    names = ("etcdPort", "etcdPeerPort", "kubeApiserverPort", "kubeControllerManagerPort", "kubeSchedulerPort")
    options |= dict(zip((*names, "kwokControllerPort"), ports, strict=True))
    # Simulated volumes are provided by the controller-manager itself.
    controller_manager = [*ALONE, {"key": "enable-hostpath-provisioner", "value": "true"}]
    patches: dict[str, list[dict[str, Any]]] = {
        "kube-apiserver": _api_server(spec),
        "kube-controller-manager": controller_manager,
        "kube-scheduler": list(ALONE),
        # Otherwise kwok plays the kubelet for the real node as well, and for one that a test has nobody answer for.
        "kwok-controller": [
            {"key": "manage-all-nodes", "value": "false", "override": True},
            {"key": "manage-nodes-with-annotation-selector", "value": f"{FAKE_NODE}=fake"},
        ],
    }
    if node_address:
        first_service_address = SERVICE_RANGE.split("/")[0].removesuffix(".0") + ".1"
        options["kubeApiserverCertSANs"] = [
            first_service_address,
            node_address,
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
        ]
        patches["kube-apiserver"] += [
            {"key": "kubelet-client-certificate", "value": str(pki / "admin.crt")},
            {"key": "kubelet-client-key", "value": str(pki / "admin.key")},
            {"key": "bind-address", "value": "0.0.0.0", "override": True},  # pods reach it; certificates guard it
            {"key": "advertise-address", "value": node_address},
            *_of_aggregated_servers(pki),
        ]
    return {
        "apiVersion": "config.kwok.x-k8s.io/v1alpha1",
        "kind": "KwokctlConfiguration",
        "options": options,
        "componentsPatches": [{"name": name, "extraArgs": args} for name, args in patches.items()],
    }


def _api_server(spec: ClusterSpec) -> list[dict[str, Any]]:
    """Arguments of every API server. Its own range has room for 254 Services."""
    arguments = [
        {"key": "service-cluster-ip-range", "value": SERVICE_RANGE},
        # Nobody can look up a node's name; a try costs the API server more than a write.
        {"key": "kubelet-preferred-address-types", "value": "InternalIP"},
    ]
    if spec.node_ports:
        arguments.append({"key": "service-node-port-range", "value": spec.node_ports})
    if spec.audit:
        arguments.append({"key": "audit-log-maxsize", "value": AUDIT_LOG_MIB})
    return arguments


def _of_aggregated_servers(pki: Path) -> list[dict[str, Any]]:
    """What an API server that is a pod (of an APIService) believes: whose requests this one hands on, and for whom."""
    arguments = {
        "requestheader-client-ca-file": str(pki / "ca.crt"),
        "requestheader-allowed-names": KWOKCTL_USER,  # it is the one that kwokctl has the API server hand on as
        "requestheader-username-headers": "X-Remote-User",
        "requestheader-group-headers": "X-Remote-Group",
        "requestheader-extra-headers-prefix": "X-Remote-Extra-",
    }
    return [{"key": key, "value": value} for key, value in arguments.items()]


def audit_policy(users: Sequence[str]) -> dict[str, Any]:
    """One line a request of `users` (none: of anybody) when it is answered: who, with which client, what; no bodies."""
    rules: list[dict[str, Any]] = [{"level": "Metadata"}]
    if users:
        rules = [{"level": "Metadata", "users": list(users)}, {"level": "None"}]
    return {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived", "ResponseStarted"],
        "rules": rules,
    }


def read_audit_log(path: Path) -> list[dict[str, Any]]:
    """The requests in an audit log (`verb`, `objectRef`, `user`, `userAgent`, `responseStatus` …), oldest first."""
    return [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on, below the range the kernel hands out to outgoing connections."""
    ports: list[int] = []
    while len(ports) < count:
        port = random.randrange(20000, 32000)
        with socket.socket() as probe:
            if port not in ports and probe.connect_ex(("127.0.0.1", port)) != 0:
                ports.append(port)
    return ports
