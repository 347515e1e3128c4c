"""Where the real node keeps things. A machine has one at most, so its places and addresses are fixed."""

from pathlib import Path

NAME = "real-0"
BRIDGE = "qwen3cni0"
ADDRESS = "10.244.0.1"  # of the bridge, of the node, and of the cluster's DNS
POD_RANGE = "10.244.0.0/24"
NETWORK = "qwen3-devcluster"  # CNI's name of it
IMAGE = "localhost/devcluster-busybox:1"  # sandboxes, the volume helper, and whoever needs a shell in a test

RUN = Path("/run/qwen3-devcluster")  # short: the paths of Unix sockets are limited to 107 bytes
LOCK = Path("/run/lock/qwen3-devcluster")
CLAIM = RUN / "node.json"  # which cluster holds the node, and what the machine was like before
RECORD = RUN / "processes.json"
CONTAINERD_STATE = RUN / "containerd"
SOCKET = CONTAINERD_STATE / "containerd.sock"

DATA = Path("/var/lib/qwen3-devcluster")
CONTAINERD_ROOT = DATA / "containerd"
KUBELET_ROOT = DATA / "kubelet"
VOLUMES = DATA / "volumes"
CONFIG = DATA / "config"
REGISTRIES = CONFIG / "registries"  # a folder for each name that stands for another registry
LOGS = DATA / "logs"
POD_LOGS = DATA / "pod-logs"
