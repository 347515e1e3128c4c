"""Have NetworkPolicies enforced on the real node: by kube-router's firewall alone, beside the kubelet and kube-proxy.

It writes iptables rules and IP sets of the pods on this node. Only tests that ask for it start it, and build it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from devcluster import processes, tools
from devcluster.controlplane import SERVICE_RANGE
from devcluster.paths import DevclusterError
from devcluster.realnode import cleanup, layout, node
from devcluster.realnode.packages import FOR_POLICIES, ensure_packages

NAME = "kube-router"
BRIDGED = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
READY_CHAIN = "KUBE-NWPLCY-DEFAULT"


@contextlib.contextmanager
def enforced(kubeconfig: Path) -> Iterator[None]:
    """As long as the block lasts. Afterwards no rule and no set of it is left.

    Raises DevclusterError where the kernel shows iptables nothing of what passes between pods of the bridge.
    """
    if not BRIDGED.exists() or BRIDGED.read_text().strip() != "1":
        raise DevclusterError(f"pods of one bridge answer each other past all rules here: {BRIDGED} has to be 1")
    ensure_packages(FOR_POLICIES)
    command: list[str | Path] = [tools.ensure([NAME])[NAME], *_flags(kubeconfig)]
    try:
        processes.start(NAME, command, layout.LOGS / f"{NAME}.log", layout.RECORD)
        node.wait(NAME, lambda: READY_CHAIN in cleanup.chains("iptables").get("filter", ()))
        yield
    finally:
        _end()


def left() -> list[str]:
    """Chains and sets of policies that are there now and were not before the node."""
    before = node.claimed()
    known = {*before["chains"]["iptables"].get("filter", ()), *before.get("sets", ())}
    chains = cleanup.chains("iptables", cleanup.POLICY_CHAIN_PREFIXES).get("filter", [])
    return sorted({*chains, *cleanup.sets()} - known)


def _flags(kubeconfig: Path) -> list[str]:
    return [
        "--run-firewall=true",
        "--run-router=false",
        "--run-service-proxy=false",
        f"--kubeconfig={kubeconfig}",
        f"--hostname-override={layout.NAME}",
        f"--service-cluster-ip-range={SERVICE_RANGE}",
        "--health-port=0",  # it would listen on every address
        "--v=1",
    ]


def _end() -> None:
    everything = node.processes_of_node()
    processes.stop(it for it in everything if it.name == NAME)
    processes.save(layout.RECORD, [it for it in everything if it.name != NAME])
    before = node.claimed()
    cleanup.remove_chains(before["chains"], cleanup.POLICY_CHAIN_PREFIXES)
    cleanup.remove_sets(before.get("sets", ()))
