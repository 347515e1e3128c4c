"""`python -m devcluster`: start, show and end development clusters."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import time
from dataclasses import fields
from pathlib import Path

from devcluster import tools
from devcluster.clusters import Cluster, all_clusters
from devcluster.paths import DevclusterError, cache_dir
from devcluster.registry import registry
from devcluster.spec import ClusterSpec


def main(argv: list[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    try:
        return int(args.run(args) or 0)
    except DevclusterError as error:
        print(f"devcluster: {error}", file=sys.stderr)
        return 1


def _up(args: argparse.Namespace) -> None:
    spec = ClusterSpec(**{f.name: getattr(args, f.name) for f in fields(ClusterSpec) if f.name in args})
    cluster = Cluster(spec.name)
    tools.ensure(tools.REAL_NODE if spec.real_node else tools.CONTROL_PLANE)
    started = time.monotonic()
    cluster.up(spec)
    print(f"devcluster: {spec.name} is up in {time.monotonic() - started:.1f} s")
    print(f"export KUBECONFIG={cluster.kubeconfig}")


def _down(args: argparse.Namespace) -> None:
    for cluster in all_clusters() if args.all else [Cluster(args.name)]:
        cluster.down()
        print(f"devcluster: {cluster.name} is down")


def _status(args: argparse.Namespace) -> int:
    clusters = all_clusters()
    for cluster in clusters:
        spec = cluster.spec()
        real = f", a real node with {spec.real_gpus} GPUs" if spec.real_node else ""
        print(f"{cluster.name}: {spec.nodes} simulated nodes of {spec.gpus_per_node} GPUs{real}")
        for name, pid, alive in cluster.status():
            print(f"  {name:<26}{pid:>8}  {'running' if alive else 'ENDED'}")
        print(f"  KUBECONFIG={cluster.kubeconfig}")
    if not clusters:
        print("no cluster runs")
    return 0 if all(alive for c in clusters for _, _, alive in c.status()) else 1


def _build(args: argparse.Namespace) -> None:
    for name, path in tools.ensure(args.tools or tools.TOOLS).items():
        print(f"{name}\t{path}")


def _load_image(args: argparse.Namespace) -> None:
    print(Cluster(args.name).load_image(args.archive))


def _restart_node(args: argparse.Namespace) -> None:
    Cluster(args.name).restart_node()


def _registry(args: argparse.Namespace) -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: it has a process to end
    with contextlib.suppress(KeyboardInterrupt), registry(cache_dir() / "registry", args.port) as it:
        print(f"devcluster: a registry at {it.address}; end it with Ctrl-C. What it is given stays.", flush=True)
        signal.pause()


def _kubectl(args: argparse.Namespace) -> None:
    cluster = Cluster(args.name)
    cluster.spec()  # a clear error when there is no such cluster
    kubectl = tools.ensure(["kubectl"])["kubectl"]
    os.execve(kubectl, ["kubectl", *args.args], os.environ | {"KUBECONFIG": str(cluster.kubeconfig)})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m devcluster", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    default = ClusterSpec()

    def command(name: str, run: object, help: str, named: bool = True) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help, description=help)
        sub.set_defaults(run=run)
        if named:
            sub.add_argument("--name", default=default.name, help="which cluster (default: %(default)s)")
        return sub

    up = command("up", _up, "start a cluster and wait until its nodes are Ready")
    up.add_argument("--nodes", type=int, default=-1, help="simulated nodes (default: 1, or 0 beside a real one)")
    up.add_argument(
        "--gpus",
        type=int,
        dest="gpus_per_node",
        default=default.gpus_per_node,
        help="GPUs a simulated node (%(default)s)",
    )
    up.add_argument("--gpu-product", default=default.gpu_product, help="label nvidia.com/gpu.product (%(default)s)")
    up.add_argument(
        "--gpu-memory",
        type=int,
        dest="gpu_memory_mib",
        default=default.gpu_memory_mib,
        metavar="MIB",
        help="label nvidia.com/gpu.memory, MiB (%(default)s)",
    )
    up.add_argument("--real-node", action="store_true", help="also a real node: kubelet, containerd, network, volumes")
    up.add_argument("--real-gpus", type=int, default=default.real_gpus, help="GPUs it pretends to have (%(default)s)")
    up.add_argument("--audit", action="store_true", help="write an audit log of every request")

    down = command("down", _down, "end a cluster; nothing of it stays behind")
    down.add_argument("--all", action="store_true", help="end every cluster of this user")

    command("status", _status, "what runs; exits 1 when a process of a cluster has ended", named=False)

    build = command("build", _build, "build programs into the cache and print where they are", named=False)
    build.add_argument("tools", nargs="*", metavar="TOOL", help=f"default: all of {', '.join(tools.TOOLS)}")

    load_image = command("load-image", _load_image, "import an image archive into the real node's containerd")
    load_image.add_argument("archive", type=Path, help="what `docker save` or `buildah push … docker-archive:` wrote")

    command("restart-node", _restart_node, "what a reboot of the real node does to its pods")

    local = command("registry", _registry, "run a container registry on 127.0.0.1, until Ctrl-C", named=False)
    local.add_argument("--port", type=int, default=5000, help="default: %(default)s")

    kubectl = command("kubectl", _kubectl, "kubectl on a cluster: python -m devcluster kubectl get pods")
    kubectl.add_argument("args", nargs=argparse.REMAINDER)
    return parser


if __name__ == "__main__":
    sys.exit(main())
