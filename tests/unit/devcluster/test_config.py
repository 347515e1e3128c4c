"""What the launcher writes for the programs it starts."""

import ipaddress
import json
import re
import tarfile
import tomllib
from pathlib import Path
from typing import Any

import pytest
from devcluster import controlplane, simulated, stages, tools
from devcluster.paths import DevclusterError
from devcluster.realnode import config, image, layout
from devcluster.spec import ClusterSpec
from devcluster.stages import FakeDownload

BINARIES = {name: Path("/bin") / name for name in tools.CONTROL_PLANE}


def kwokctl(spec: ClusterSpec, node_address: str | None = None) -> dict[str, Any]:
    return controlplane.kwokctl_config(spec, BINARIES, [1, 2, 3, 4, 5, 6], Path("/pki"), node_address)


def arguments(config: dict[str, Any], component: str) -> dict[str, str]:
    patches = {patch["name"]: patch["extraArgs"] for patch in config["componentsPatches"]}
    return {arg["key"]: arg["value"] for arg in patches.get(component, [])}


def test_everything_listens_on_the_loopback_address() -> None:
    config = kwokctl(ClusterSpec())
    assert config["options"]["bindAddress"] == "127.0.0.1"
    assert "bind-address" not in arguments(config, "kube-apiserver")


def test_a_name_stands_for_a_registry_of_this_machine() -> None:
    hosts = tomllib.loads(config.registry_host("https://127.0.0.1:5000", Path("/ca.crt")))
    assert hosts == {"host": {"https://127.0.0.1:5000": {"capabilities": ["pull", "resolve"], "ca": "/ca.crt"}}}
    assert (
        "ca" not in tomllib.loads(config.registry_host("http://127.0.0.1:5000", None))["host"]["http://127.0.0.1:5000"]
    )
    cri = tomllib.loads(config.containerd())["plugins"]["io.containerd.grpc.v1.cri"]
    assert cri["registry"] == {"config_path": str(layout.REGISTRIES)}


@pytest.mark.parametrize("node_address", [None, "10.244.0.1"])
def test_every_cluster_has_addresses_for_thousands_of_services(node_address: str | None) -> None:
    config = kwokctl(ClusterSpec(real_node=node_address is not None), node_address)
    services = ipaddress.ip_network(arguments(config, "kube-apiserver")["service-cluster-ip-range"])
    assert services.num_addresses > 10_000


def test_the_range_of_node_ports_can_be_chosen() -> None:
    assert "service-node-port-range" not in arguments(kwokctl(ClusterSpec()), "kube-apiserver")
    few = kwokctl(ClusterSpec(node_ports="30000-30009"))
    assert arguments(few, "kube-apiserver")["service-node-port-range"] == "30000-30009"


def test_an_api_server_that_is_a_pod_believes_this_one() -> None:
    """Where there is a node for it. It is asked with the certificate of kwokctl's user."""
    assert "requestheader-client-ca-file" not in arguments(kwokctl(ClusterSpec()), "kube-apiserver")
    reported = arguments(kwokctl(ClusterSpec(real_node=True), "10.244.0.1"), "kube-apiserver")
    assert (reported["requestheader-client-ca-file"], reported["requestheader-allowed-names"]) == (
        "/pki/ca.crt",
        "kwok-admin",
    )


def test_the_audit_log_is_one_file_and_can_be_of_some_users_only() -> None:
    assert int(arguments(kwokctl(ClusterSpec(audit=True)), "kube-apiserver")["audit-log-maxsize"]) >= 10_000
    assert controlplane.audit_policy(())["rules"] == [{"level": "Metadata"}]
    theirs, others = controlplane.audit_policy(("jane",))["rules"]
    assert theirs == {"level": "Metadata", "users": ["jane"]}
    assert others == {"level": "None"}


def test_client_limits_are_lifted() -> None:
    for component in ("kube-controller-manager", "kube-scheduler"):
        assert int(arguments(kwokctl(ClusterSpec()), component)["kube-api-qps"]) >= 1000


def test_beside_a_real_node_kwok_leaves_it_to_its_kubelet() -> None:
    config = kwokctl(ClusterSpec(real_node=True), node_address="10.244.0.1")
    assert arguments(config, "kwok-controller")["manage-all-nodes"] == "false"
    assert arguments(config, "kube-apiserver")["advertise-address"] == "10.244.0.1"
    assert "10.96.0.1" in config["options"]["kubeApiserverCertSANs"]


def test_simulated_nodes_carry_the_labels_of_gpu_feature_discovery() -> None:
    spec = ClusterSpec(nodes=2, gpus_per_node=4, gpu_product="NVIDIA-A10", gpu_memory_mib=23028)
    first, second = simulated.nodes(spec)
    assert [first["metadata"]["name"], second["metadata"]["name"]] == ["sim-0", "sim-1"]
    assert first["status"]["allocatable"]["nvidia.com/gpu"] == "4"
    assert first["metadata"]["labels"]["nvidia.com/gpu.product"] == "NVIDIA-A10"
    assert first["metadata"]["labels"]["nvidia.com/gpu.memory"] == "23028"
    assert first["spec"]["taints"] == []


def test_simulated_nodes_are_tainted_only_beside_a_real_one() -> None:
    (node,) = simulated.nodes(ClusterSpec(nodes=1, real_node=True))
    assert node["spec"]["taints"][0]["effect"] == "NoSchedule"


def test_one_storage_class_is_the_default() -> None:
    marked = [
        c["metadata"]["name"]
        for c in simulated.storage_classes(default=True)
        if c["metadata"]["annotations"].get("storageclass.kubernetes.io/is-default-class") == "true"
    ]
    assert marked == ["simulated"]


def test_a_download_report_becomes_a_template_constant_that_says_the_same() -> None:
    report = {"commit": "abc", "quote": 'a "b" {{ c }}\nd', "name": "千问"}
    stage = stages.pod_complete(FakeDownload(report))
    template = stage["spec"]["steps"][0]["patch"]["template"]
    (constant,) = re.findall(r'\$message := ternary ("(?:[^"\\]|\\.)*")', template)
    assert json.loads(json.loads(constant)) == report


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": "Über"}, "--name"),
        ({"name": "a" * 41}, "--name"),
        ({"nodes": -2}, "--nodes"),
        ({"nodes": 0}, "--real-node"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(DevclusterError, match=words):
        ClusterSpec(**options)


def test_nodes_default_to_one_simulated_or_only_the_real_one() -> None:
    assert ClusterSpec().nodes == 1
    assert ClusterSpec(real_node=True).nodes == 0


def test_containerd_keeps_to_its_own_folders() -> None:
    parsed = tomllib.loads(config.containerd())
    assert parsed["root"].startswith(str(layout.DATA))
    assert parsed["state"].startswith(str(layout.RUN))
    cri = parsed["plugins"]["io.containerd.grpc.v1.cri"]
    assert cri["netns_mounts_under_state_dir"] is True
    assert cri["sandbox_image"] == layout.IMAGE


def test_coredns_forwards_only_where_there_is_somebody_to_forward_to() -> None:
    assert "forward" in config.coredns(Path("k"), "nameserver 192.0.2.1\n")
    assert "forward" not in config.coredns(Path("k"), "# none\n")


def test_the_busybox_image_is_a_docker_archive(tmp_path: Path) -> None:
    image.write_image(tmp_path / "image.tar", "localhost/x:1", program=Path("/bin/true"), applets=["sh", "sleep"])
    with tarfile.open(tmp_path / "image.tar") as tar:
        file = tar.extractfile("manifest.json")
        assert file is not None
        (manifest,) = json.load(file)
        with tarfile.open(fileobj=tar.extractfile(manifest["Layers"][0])) as layer:
            assert layer.getmember("bin/busybox").mode == 0o755
            assert layer.getmember("bin/sleep").linkname == "/bin/busybox"
    assert manifest["RepoTags"] == ["localhost/x:1"]


def test_an_image_of_another_program_has_it_where_its_pod_wants_it(tmp_path: Path) -> None:
    image.write_image(tmp_path / "image.tar", "localhost/x:1", Path("/bin/true"), "/program", user="65532")
    with tarfile.open(tmp_path / "image.tar") as tar:
        config, layer = tar.extractfile("config.json"), tar.extractfile("layer.tar")
        assert config is not None
        reported = json.load(config)["config"]
        assert (reported["Entrypoint"], reported["Cmd"], reported["User"]) == (["/program"], None, "65532"), (
            "a pod may give arguments"
        )
        with tarfile.open(fileobj=layer) as files:
            assert files.getmember("program").mode == 0o755
            libraries = [name for name in files.getnames() if "/libc.so" in name or "/ld-" in name]
            assert len(libraries) == 2, "what it links to, and what loads it"
