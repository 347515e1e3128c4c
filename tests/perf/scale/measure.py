"""One run of the scale benchmark."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import devcluster
import kubernetes.config
import yaml
from tests.cluster.api import Api
from tests.cluster.downloads import COMPLETE
from tests.cluster.operator_process import OperatorProcess

from qwen3_operator.naming import QWEN3_DEPLOYMENTS

CRDS = Path(__file__).parents[3] / "crds"
NAMESPACE = "default"
CREATORS = 16
READY_LIMIT = 600.0
QUIET_SECONDS = 3.0
WRITES = {"create", "update", "patch", "delete", "deletecollection"}
AGENTS = ("qwen3-operator", "kopf")


@dataclass(frozen=True)
class Scale:
    """What is measured: `crs` Qwen3Deployments naming `models` models, then `rest_seconds` of nothing."""

    crs: int
    models: int
    rest_seconds: float


def measure(scale: Scale, folder: Path) -> dict[str, float]:
    """Figures of one run on a fresh cluster; times in seconds, memory in MiB."""
    with devcluster.cluster(nodes=scale.crs // 8 + 4, gpus_per_node=8, audit=True, fake_download_report=COMPLETE) as c:
        c.apply([yaml.safe_load(path.read_text()) for path in sorted(CRDS.glob("*.yaml"))])
        c.kubectl("wait", "crd", "--all", "--for=condition=Established", "--timeout=30s")
        operator = OperatorProcess(c.kubeconfig, folder / "operator.log", identity="bench")
        try:
            operator.start()
            time.sleep(1)
            load = os.getloadavg()[0]
            idle_rss, cpu_before = _rss_mib(operator.pid), _cpu_seconds(operator.pid)
            figures = _apply_all(c, scale) | {"load_before": load}
            _wait_quiet(c)
            writes, reads = _requests(c)
            figures |= {
                "writes_per_cr": writes / scale.crs,
                "reads_per_cr": reads / scale.crs,
                "operator_cpu_s": _cpu_seconds(operator.pid) - cpu_before,
                "rss_idle_mib": idle_rss,
                "rss_end_mib": _rss_mib(operator.pid),
            }
            time.sleep(scale.rest_seconds)
            rest_writes, rest_reads = _requests(c)
            figures |= {"writes_at_rest": rest_writes - writes, "reads_at_rest": rest_reads - reads}
            figures["stop_s"] = operator.stop()
            operator.start()
            _wait_quiet(c, at_least=10)
            again_writes, again_reads = _requests(c)
            figures |= {
                "writes_of_restart": again_writes - rest_writes,
                "reads_of_restart_per_cr": (again_reads - rest_reads) / scale.crs,
                "cpu_of_restart_s": _cpu_seconds(operator.pid),
            }
            return {name: round(value, 3) for name, value in figures.items()}
        finally:
            if operator.running:
                operator.stop()


def _apply_all(c: devcluster.Cluster, scale: Scale) -> dict[str, float]:
    """Create every CR and wait until each is Ready; latencies count from each one's own POST."""
    api = Api(c.kubeconfig)
    posted: dict[str, float] = {}
    ready: dict[str, float] = {}
    done = threading.Event()

    def watch() -> None:
        for obj in _events(c.kubeconfig, done):
            conditions = (obj.get("status") or {}).get("conditions") or []
            if any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions):
                ready.setdefault(obj["metadata"]["name"], time.monotonic())
            if len(ready) == scale.crs:
                done.set()

    def create(number: int) -> None:
        name = f"bench-{number:04}"
        model = {"id": "Qwen/Qwen3-8B", "revision": f"v{number % scale.models}"}
        meta = {"name": name, "namespace": NAMESPACE}
        posted[name] = time.monotonic()
        api.create(
            {"apiVersion": QWEN3_DEPLOYMENTS.api_version, "kind": QWEN3_DEPLOYMENTS.kind}
            | {"metadata": meta, "spec": {"model": model, "engine": {"maxModelLen": 8192}}}
        )

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    started = time.monotonic()
    with ThreadPoolExecutor(CREATORS) as pool:
        list(pool.map(create, range(scale.crs)))
    last_post = time.monotonic()
    if not done.wait(READY_LIMIT):
        raise TimeoutError(f"{len(ready)} of {scale.crs} are Ready after {READY_LIMIT:.0f} s")
    latencies = sorted(ready[name] - posted[name] for name in posted)
    return {
        "all_ready_s": max(ready.values()) - started,
        "all_posted_s": last_post - started,
        "latency_p50_s": latencies[len(latencies) // 2],
        "latency_max_s": latencies[-1],
    }


def _events(kubeconfig: Path, done: threading.Event) -> Iterator[dict[str, object]]:
    """Every version of every Qwen3Deployment, until `done`."""
    client = kubernetes.config.new_client_from_config(str(kubeconfig))
    url = f"{client.configuration.host}{QWEN3_DEPLOYMENTS.path(NAMESPACE)}?watch=true"
    answer = client.rest_client.pool_manager.request("GET", url, preload_content=False, timeout=READY_LIMIT)
    rest = b""
    for chunk in answer.stream(amt=None):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield json.loads(line)["object"]
        if done.is_set():
            answer.close()
            return


def _wait_quiet(c: devcluster.Cluster, at_least: float = 0.0) -> None:
    """Wait until the operator wrote nothing for QUIET_SECONDS, and `at_least` so long."""
    started = changed = time.monotonic()
    writes = _requests(c)[0]
    while time.monotonic() - changed < QUIET_SECONDS or time.monotonic() - started < at_least:
        time.sleep(0.5)
        now = _requests(c)[0]
        if now != writes:
            writes, changed = now, time.monotonic()


def _requests(c: devcluster.Cluster) -> tuple[int, int]:
    """(writes, reads) of the operator so far, leases and watches apart."""
    ours = [
        entry
        for entry in c.requests()
        if str(entry.get("userAgent", "")).startswith(AGENTS)
        and (entry.get("objectRef") or {}).get("resource") not in (None, "leases")
        and entry["verb"] != "watch"
    ]
    writes = sum(entry["verb"] in WRITES for entry in ours)
    return writes, len(ours) - writes


def _cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _rss_mib(pid: int) -> float:
    """Resident memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024
