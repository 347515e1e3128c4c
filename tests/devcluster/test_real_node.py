"""The real node: pods that run, network, names, volumes, images, a restart, and what it leaves behind: nothing."""

import os
import re
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import devcluster
import pytest
from devcluster import processes
from devcluster.paths import DevclusterError
from devcluster.realnode import image, layout
from devcluster.realnode import node as realnode
from tests.devcluster.manifests import claim, pod

pytestmark = pytest.mark.e2e

Wait = Callable[..., None]


# By hand, because the C library in a static busybox resolves no names, and its wget may crash over it.
GET = r"printf 'GET / HTTP/1.0\r\n\r\n'"
ADDRESS_OF_WEB = "nslookup web.default.svc.cluster.local | awk '/^Address: / {print $2}'"
RESOLVE = f"until address=$({ADDRESS_OF_WEB}) && [ $address ]; do sleep 1; done"


class Machine:
    """What of the machine a node changes, to compare before and after."""

    def __init__(self) -> None:
        self.mounts = [m for m in _lines("/proc/self/mountinfo") if "qwen3-devcluster" in m]
        self.interfaces = sorted(name for _, name in socket.if_nameindex())
        self.chains = {family: _chains_and_rules(family) for family in ("iptables", "ip6tables")}
        self.cgroups = sorted(str(p) for p in Path("/sys/fs/cgroup").glob("**/kubepods*"))
        self.forwarding = Path("/proc/sys/net/ipv4/ip_forward").read_text()
        self.commands = sorted(c for c in _commands() if "qwen3-devcluster" in c)
        self.places = [str(p) for p in PLACES if p.exists()]


PLACES = (
    layout.RUN,
    layout.DATA,
    *map(Path, ("/var/lib/kubelet", "/var/log/pods", "/var/log/containers", "/run/netns")),
)


@pytest.fixture(scope="module")
def before() -> Machine:
    return Machine()


@pytest.fixture(scope="module")
def cluster(before: Machine) -> Iterator[devcluster.Cluster]:
    with devcluster.cluster(real_node=True, real_gpus=2, nodes=1) as it:
        yield it


@pytest.fixture(autouse=True)
def empty_namespace(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "cluster" in request.fixturenames:
        cluster = request.getfixturevalue("cluster")
        if cluster.running():
            cluster.kubectl("delete", "pod,pvc", "--all", "--wait=true")
            cluster.kubectl("delete", "service", "web", "--ignore-not-found")


def wait_phase(cluster: devcluster.Cluster, name: str, phase: str = "Succeeded") -> str:
    """The log of a pod once it is in this phase."""
    cluster.kubectl("wait", f"pod/{name}", f"--for=jsonpath={{.status.phase}}={phase}", "--timeout=60s")
    return cluster.kubectl("logs", name)


def test_a_pod_runs_and_answers_logs_and_exec(cluster: devcluster.Cluster) -> None:
    cluster.create([pod("shell", script="echo started; sleep 1000")])
    assert wait_phase(cluster, "shell", "Running") == "started\n"
    assert cluster.kubectl("exec", "shell", "--", "hostname") == "shell\n"


def test_pods_are_given_pretended_gpus_and_wait_for_them(cluster: devcluster.Cluster, eventually: Wait) -> None:
    cluster.create([pod("two", gpus=2)])
    wait_phase(cluster, "two", "Running")
    cluster.create([pod("one", gpus=1, nodeSelector={"kubernetes.io/hostname": layout.NAME})])

    def waits_for_a_gpu() -> None:
        (condition,) = cluster.get("pod", "one")["status"].get("conditions", [{"message": ""}])
        assert "Insufficient nvidia.com/gpu" in condition["message"]

    eventually(waits_for_a_gpu)


def test_a_service_answers_by_name_across_pods(cluster: devcluster.Cluster) -> None:
    serve = "mkdir /tmp/www; echo hello > /tmp/www/index.html; exec httpd -f -p 8000 -h /tmp/www"
    cluster.create(
        [
            pod("web", script=serve, labels={"app": "web"}),
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": "web", "namespace": "default"},
                "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8000}]},
            },
            pod(
                "client",
                script=f"{RESOLVE}; until {GET} | nc $address 80 | grep hello; do sleep 1; done",
                restartPolicy="Never",
            ),
        ]
    )
    assert wait_phase(cluster, "client").endswith("hello\n")


def test_a_pod_reaches_the_api_server_with_its_token(cluster: devcluster.Cluster) -> None:
    reach = f"{GET} | nc $KUBERNETES_SERVICE_HOST $KUBERNETES_SERVICE_PORT | grep -q '400 Bad Request'"  # it wants TLS
    check = f"{reach} && cat /var/run/secrets/kubernetes.io/serviceaccount/token"
    cluster.create([pod("client", script=check, restartPolicy="Never")])
    token = wait_phase(cluster, "client")
    # An empty kubeconfig, or the administrator's certificate in ours would answer for the token.
    server = cluster.kubectl("config", "view", "-o", "jsonpath={.clusters[0].cluster.server}")
    anonymous = [
        "--kubeconfig=/dev/null",
        f"--server={server}",
        f"--certificate-authority={cluster.control_plane.pki}/ca.crt",
    ]
    who = cluster.kubectl(
        *anonymous, f"--token={token}", "auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"
    )
    assert who == "system:serviceaccount:default:default"


def test_a_volume_outlives_its_pod(cluster: devcluster.Cluster) -> None:
    unprivileged = {"runAsUser": 1000, "runAsNonRoot": True}
    writer = pod(
        "writer", script="echo kept > /data/f", claim="data", restartPolicy="Never", securityContext=unprivileged
    )
    cluster.create([claim("data"), writer])
    wait_phase(cluster, "writer")
    cluster.create([pod("reader", script="cat /data/f", claim="data", restartPolicy="Never")])
    assert wait_phase(cluster, "reader") == "kept\n"


def test_a_loaded_image_runs(cluster: devcluster.Cluster, tmp_path: Path) -> None:
    archive = tmp_path / "image.tar"
    image.write_busybox_image(archive, "localhost/loaded:1")
    assert "localhost/loaded:1" in cluster.load_image(archive)
    manifest = pod("loaded", script="echo from the loaded image", restartPolicy="Never")
    manifest["spec"]["containers"][0]["image"] = "localhost/loaded:1"
    cluster.create([manifest])
    assert wait_phase(cluster, "loaded") == "from the loaded image\n"
    with pytest.raises(DevclusterError, match="no such image archive"):
        cluster.load_image(tmp_path / "absent.tar")


def test_a_restart_ends_containers_and_keeps_volumes_and_gpus(cluster: devcluster.Cluster, eventually: Wait) -> None:
    cluster.create(
        [claim("data"), pod("p", script="echo run >> /data/f; cat /data/f; sleep 1000", claim="data", gpus=1)]
    )
    wait_phase(cluster, "p", "Running")
    cluster.restart_node()

    def ran_again() -> None:
        (container,) = cluster.get("pod", "p")["status"]["containerStatuses"]
        assert (container["restartCount"], container["ready"]) == (1, True)
        assert cluster.kubectl("logs", "p") == "run\nrun\n"

    eventually(ran_again, seconds=60)
    assert cluster.get("node", layout.NAME)["status"]["allocatable"]["nvidia.com/gpu"] == "2"


def test_a_second_real_node_is_refused(cluster: devcluster.Cluster) -> None:
    second = devcluster.Cluster("second")
    with pytest.raises(DevclusterError, match=f"runs on this machine already.*--name {cluster.name}"):
        second.up(devcluster.ClusterSpec(name="second", real_node=True))
    assert not second.workdir.exists()
    assert all(alive for _, _, alive in cluster.status())


def test_after_a_crash_of_everything_up_works_and_down_leaves_nothing(
    cluster: devcluster.Cluster, before: Machine, eventually: Wait
) -> None:
    """The last test of the module: it kills the node's programs while a pod with a volume runs."""
    cluster.create([claim("data"), pod("p", claim="data")])
    wait_phase(cluster, "p", "Running")
    spec = cluster.spec()
    for _, pid, _ in cluster.status():
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: _assert(not cluster.running()))
    assert [m for m in Machine().mounts if "kubelet" in m], "the crash leaves mounts behind, or this test shows nothing"

    cluster.up(spec, owner=processes.current("owner"))
    cluster.create([pod("p")])
    wait_phase(cluster, "p", "Running")
    cluster.down()

    assert vars(Machine()) == vars(before)
    assert realnode.owner() is None


def _assert(condition: bool) -> None:
    assert condition


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def _chains_and_rules(family: str) -> list[str]:
    """Without counters and comments, and without the built-in chains: a table's first use makes those."""
    saved = subprocess.run([f"{family}-save"], capture_output=True, text=True, check=True).stdout
    return [line.split(" [")[0] for line in saved.splitlines() if re.match(r"-A|:\S+ -", line)]


def _commands() -> Iterator[str]:
    for cmdline in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield cmdline.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it has just ended
