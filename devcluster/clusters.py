"""A cluster: its control plane, its simulated nodes, and the real node if it has one."""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from devcluster import processes, simulated, stages, tools
from devcluster.client import Client
from devcluster.controlplane import ControlPlane, read_audit_log
from devcluster.paths import DevclusterError, state_dir
from devcluster.realnode import layout, policies
from devcluster.realnode import node as realnode
from devcluster.registry import Registry
from devcluster.spec import ClusterSpec
from devcluster.stages import FakeDownload

READY_SECONDS = 120.0


class Cluster(Client):
    """One development cluster by name. Nothing is started by making the object; `up()` does."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.workdir = state_dir() / name
        self.control_plane = ControlPlane(name, self.workdir / "control-plane")
        super().__init__(self.control_plane.kubeconfig)
        self.audit_log = self.control_plane.logs / "audit.log"
        self._record = self.workdir / "cluster.json"

    def up(self, spec: ClusterSpec, owner: processes.Process | None = None) -> None:
        """Start everything and wait until all nodes are Ready.

        With `owner` the cluster is ended by whoever comes next once that process is gone.
        Raises DevclusterError when it runs already, and when something does not start; then nothing is left behind.
        """
        tools.ensure(tools.REAL_NODE if spec.real_node else tools.CONTROL_PLANE)
        with _state_lock():
            if self.running() or self._being_started():
                raise DevclusterError(
                    f"cluster {self.name!r} runs already; end it with: python -m devcluster down --name {self.name}"
                )
            self.down()  # leftovers of a crash
            self.workdir.mkdir(parents=True)
            self._write_record(spec, owner, launcher=processes.current("launcher"))
        try:
            # One at a time: the controller-manager gives up where the API server is not healthy within 10 s, as it is
            # not where several of them start at once on two cores.
            with _lock(".starting"):
                self._start(spec)
        except BaseException:
            self._keep_logs()
            self.down()
            raise
        self._write_record(spec, owner, launcher=None)

    def down(self) -> None:
        """End what runs of this cluster and remove its files; also after a crash, also when nothing runs."""
        if self.holds_real_node():
            realnode.stop()
        self._remove_simulated_volumes()
        self.control_plane.stop()
        shutil.rmtree(self.workdir, ignore_errors=True)

    def running(self) -> bool:
        """Whether it is up: its start came to an end, and everything it started lives."""
        return bool(self._read_record()) and not self._launcher() and all(alive for _, _, alive in self.status())

    def status(self) -> list[tuple[str, int, bool]]:
        """(name, pid, alive) of every process."""
        found = self.control_plane.processes()
        if self.holds_real_node():
            found += realnode.processes_of_node()
        return [(p.name, p.pid, p.alive()) for p in found]

    def spec(self) -> ClusterSpec:
        """What it was started with."""
        record = self._read_record()
        if not record:
            raise DevclusterError(
                f"there is no cluster {self.name!r}; start it with: python -m devcluster up --name {self.name}"
            )
        return ClusterSpec(**record["spec"])

    def fake_download(
        self, report: dict[str, Any] | str | None = None, *, exit_code: int = 0, seconds: float = 0.0
    ) -> None:
        """From now on, simulated pods of download Jobs end this way, `seconds` after they start."""
        self.apply([stages.pod_complete(FakeDownload(report, exit_code, seconds))])

    def requests(self) -> list[dict[str, Any]]:
        """What the API server answered so far, from the audit log. Needs a cluster made with `audit`."""
        if not self.audit_log.exists():
            raise DevclusterError(f"cluster {self.name!r} writes no audit log; start it with --audit (audit=True)")
        return read_audit_log(self.audit_log)

    def load_image(self, archive: Path) -> str:
        """Import an image archive into the real node; returns what was imported."""
        self._require_real_node()
        return realnode.load_image(archive)

    def pull_from(self, name: str, registry: Registry) -> None:
        """Have the real node pull the images of `name`, like registry.example, from `registry`."""
        self._require_real_node()
        realnode.pull_from(name, registry.url, registry.certificate)

    def restart_node(self) -> None:
        """End kubelet and containerd as a reboot would, with the pods on it, and start them again."""
        self._require_real_node()
        realnode.restart(self.kubeconfig, self.spec())
        self._wait_nodes_ready(self.spec().nodes + 1)

    @contextlib.contextmanager
    def enforced_policies(self) -> Iterator[None]:
        """Have the real node enforce NetworkPolicies as long as the block lasts; else nobody does."""
        self._require_real_node()
        with policies.enforced(self.kubeconfig):
            yield

    def owner(self) -> processes.Process | None:
        """The process without which the cluster is an orphan; None for one that stays until `down`."""
        return _process(self._read_record().get("owner"))

    def holds_real_node(self) -> bool:
        """Whether the machine's one real node is this cluster's."""
        return realnode.owner() == str(self.workdir)

    def _start(self, spec: ClusterSpec) -> None:
        if spec.real_node:
            realnode.prepare(self.workdir)
        self.control_plane.start(spec, layout.ADDRESS if spec.real_node else None)
        self.create(_base_manifests(spec))
        if spec.real_node:
            realnode.start(self, self.control_plane.pki, spec)
        self._wait_nodes_ready(spec.nodes + spec.real_node)

    def _being_started(self) -> bool:
        launcher = self._launcher()
        return launcher is not None and launcher.alive()

    def _launcher(self) -> processes.Process | None:
        """The process that is starting the cluster, or was when it died."""
        return _process(self._read_record().get("launcher"))

    def _write_record(
        self, spec: ClusterSpec, owner: processes.Process | None, launcher: processes.Process | None
    ) -> None:
        entries = {"owner": owner, "launcher": launcher}
        record = {"spec": asdict(spec)} | {key: asdict(value) for key, value in entries.items() if value}
        self._record.write_text(json.dumps(record, indent=1))

    def _read_record(self) -> dict[str, Any]:
        return dict(json.loads(self._record.read_text())) if self._record.exists() else {}

    def _require_real_node(self) -> None:
        if not self.holds_real_node():
            raise DevclusterError(f"cluster {self.name!r} has no real node; start it with --real-node")

    def _wait_nodes_ready(self, count: int) -> None:
        self.kubectl("wait", "node", "--all", "--for=condition=Ready", f"--timeout={READY_SECONDS:.0f}s")
        found = len(self.get("nodes")["items"])
        if found != count:
            raise DevclusterError(f"{found} nodes instead of {count} came up")

    def _remove_simulated_volumes(self) -> None:
        """The controller-manager makes an empty folder a simulated volume, at a fixed place; ask it which."""
        if not any(p.name == "kube-apiserver" and p.alive() for p in self.control_plane.processes()):
            return
        with contextlib.suppress(DevclusterError, subprocess.TimeoutExpired, json.JSONDecodeError):
            for volume in self.get("pv", "--request-timeout=5s")["items"]:
                path = Path(volume["spec"].get("hostPath", {}).get("path", ""))
                if path.match("/tmp/hostpath_pv/*"):
                    shutil.rmtree(path, ignore_errors=True)

    def _keep_logs(self) -> None:
        """Logs to read after a start that failed; the next failure overwrites it."""
        target = state_dir() / "failed-start-logs"
        shutil.rmtree(target, ignore_errors=True)
        with contextlib.suppress(OSError, shutil.Error):
            shutil.copytree(self.control_plane.logs, target)
            if self.holds_real_node() and layout.LOGS.exists():
                shutil.copytree(layout.LOGS, target, dirs_exist_ok=True)
            print(f"devcluster: the logs of the failed start are in {target}", file=sys.stderr)


@contextlib.contextmanager
def cluster(
    *,
    nodes: int = -1,
    gpus_per_node: int = 8,
    audit: bool = False,
    fake_download_report: dict[str, Any] | None = None,
    **options: Any,
) -> Iterator[Cluster]:
    """A cluster for the length of a `with` block; `options` are the other fields of ClusterSpec.

    Without a `name` it gets one of its own, so that any number run side by side. It does not outlive this process
    for long: the next `cluster()` ends those whose process died without ending them.
    """
    end_orphans()
    spec = ClusterSpec(
        name=options.pop("name", f"t{uuid.uuid4().hex[:8]}"),
        nodes=nodes,
        gpus_per_node=gpus_per_node,
        audit=audit,
        fake_download_report=fake_download_report,
        **options,
    )
    it = Cluster(spec.name)
    it.up(spec, owner=processes.current("owner"))
    try:
        yield it
    finally:
        it.down()


def all_clusters() -> list[Cluster]:
    """Every cluster with files under the state folder, running or not."""
    return [Cluster(path.parent.name) for path in sorted(state_dir().glob("*/cluster.json"))]


def end_orphans() -> None:
    """End clusters whose owner is gone."""
    with _state_lock():
        for it in all_clusters():
            owner = it.owner()
            if owner and not owner.alive():
                it.down()


def _state_lock() -> contextlib.AbstractContextManager[None]:
    """One launcher at a time decides what runs and what is left over."""
    return _lock(".lock")


@contextlib.contextmanager
def _lock(name: str) -> Iterator[None]:
    """One process of this user at a time."""
    state_dir().mkdir(parents=True, exist_ok=True)
    with (state_dir() / name).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _process(entry: dict[str, Any] | None) -> processes.Process | None:
    return processes.Process(**entry) if entry else None


def _base_manifests(spec: ClusterSpec) -> list[dict[str, Any]]:
    return [
        *stages.all_stages(FakeDownload(spec.fake_download_report)),
        *simulated.nodes(spec),
        *simulated.storage_classes(default=not spec.real_node),
    ]
