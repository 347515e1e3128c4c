"""The configuration files of the node's programs (pure: values in, text or objects out)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from devcluster.realnode import layout
from devcluster.spec import ClusterSpec

Manifest = dict[str, Any]
STORAGE_NAMESPACE = "local-path-storage"


def containerd() -> str:
    """containerd's config.toml: every folder is ours, pods' network namespaces included."""
    cri = 'plugins."io.containerd.grpc.v1.cri"'
    return f"""\
version = 2
root = "{layout.CONTAINERD_ROOT}"
state = "{layout.CONTAINERD_STATE}"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
]

[grpc]
address = "{layout.SOCKET}"

[plugins."io.containerd.internal.v1.opt"]
path = "{layout.DATA}/opt"

[{cri}]
sandbox_image = "{layout.IMAGE}"
netns_mounts_under_state_dir = true
# Without CAP_SYS_RESOURCE nobody may lower oom_score_adj, and every sandbox would die trying.
restrict_oom_score_adj = true

[{cri}.registry]
config_path = "{layout.REGISTRIES}"

[{cri}.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[{cri}.containerd.runtimes.runc.options]
SystemdCgroup = false
Root = "{layout.CONTAINERD_STATE}/runc"

[{cri}.cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{layout.CONFIG}/cni"
"""


def registry_host(url: str, certificate: Path | None) -> str:
    """containerd's hosts.toml of a name whose images are at `url`."""
    trusted = f'  ca = "{certificate}"\n' if certificate else ""
    return f'[host."{url}"]\n  capabilities = ["pull", "resolve"]\n{trusted}'


def cni() -> str:
    """The pods' network: a bridge with addresses handed out from a file, and host ports."""
    bridge = {
        "type": "bridge",
        "bridge": layout.BRIDGE,
        "isGateway": True,
        "ipMasq": True,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "dataDir": f"{layout.DATA}/ipam",
            "ranges": [[{"subnet": layout.POD_RANGE}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    return json.dumps({"cniVersion": "1.0.0", "name": layout.NETWORK, "plugins": [bridge, portmap]}, indent=1)


def kubelet(client_ca: Path) -> Manifest:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": layout.ADDRESS,
        "readOnlyPort": 0,
        "healthzBindAddress": "127.0.0.1",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": False},
            "x509": {"clientCAFile": str(client_ca)},
        },
        "authorization": {"mode": "AlwaysAllow"},
        "containerRuntimeEndpoint": f"unix://{layout.SOCKET}",
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": False,
        "failSwapOn": False,
        "enforceNodeAllocatable": [],
        "clusterDNS": [layout.ADDRESS],
        "clusterDomain": "cluster.local",
        "podLogsDir": str(layout.POD_LOGS),
        "volumePluginDir": f"{layout.DATA}/volume-plugins",
        "serializeImagePulls": False,
        # Images are loaded by hand: none may be thrown away, and a fairly full disk is no reason to evict.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
    }


def node_labels(spec: ClusterSpec) -> str:
    """What NVIDIA's GPU feature discovery would write, for the pretended GPUs."""
    if not spec.real_gpus:
        return ""
    labels = {"present": "true", "count": spec.real_gpus, "product": spec.gpu_product, "memory": spec.gpu_memory_mib}
    return ",".join(f"nvidia.com/gpu.{key}={value}" for key, value in labels.items())


def gpu_status(spec: ClusterSpec) -> Manifest:
    """The patch of the node's status that advertises an extended resource without a device plugin."""
    gpus = {"nvidia.com/gpu": str(spec.real_gpus)}
    return {"status": {"capacity": gpus, "allocatable": gpus}}


def kube_proxy(kubeconfig: Path) -> Manifest:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(kubeconfig)},
        "hostnameOverride": layout.NAME,
        "clusterCIDR": layout.POD_RANGE,
        "mode": "iptables",
        # Pods of one bridge would answer each other past the rules where br_netfilter is missing.
        "iptables": {"masqueradeAll": True},
        "conntrack": {"maxPerCore": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
    }


def coredns(kubeconfig: Path, resolv_conf: str) -> str:
    """The Corefile. Other names go to the machine's own resolvers, if it has any."""
    forward = "    forward . /etc/resolv.conf\n" if "nameserver" in resolv_conf else ""
    return f"""\
.:53 {{
    bind {layout.ADDRESS}
    errors
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        kubeconfig {kubeconfig}
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
    }}
{forward}    cache 5
}}
"""


def local_path_config() -> Manifest:
    paths = [{"node": "DEFAULT_PATH_FOR_NON_LISTED_NODES", "paths": [str(layout.VOLUMES)]}]
    return {"nodePathMap": paths}


def local_path_helper() -> Manifest:
    """The pod that makes and removes a volume's folder."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "helper-pod"},
        "spec": {
            "containers": [{"name": "helper-pod", "image": layout.IMAGE, "imagePullPolicy": "IfNotPresent"}],
            "terminationGracePeriodSeconds": 0,
        },
    }


def local_path_manifests() -> list[Manifest]:
    """What the volume provisioner needs in the cluster, and its StorageClass, which is the default."""
    account = {"name": "local-path-provisioner-service-account", "namespace": STORAGE_NAMESPACE}
    config_map = {"name": "local-path-config", "namespace": STORAGE_NAMESPACE}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": STORAGE_NAMESPACE}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account},
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": config_map,
            "data": {
                "config.json": json.dumps(local_path_config()),
                "setup": '#!/bin/sh\nset -eu\nmkdir -m 0777 -p "$VOL_DIR"\n',
                "teardown": '#!/bin/sh\nset -eu\nrm -rf "$VOL_DIR"\n',
                "helperPod.yaml": json.dumps(local_path_helper()),
            },
        },
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {
                "name": "local-path",
                "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
            },
            "provisioner": "rancher.io/local-path",
            "volumeBindingMode": "WaitForFirstConsumer",
            "reclaimPolicy": "Delete",
        },
    ]
