"""Which way the progress of a download goes to the operator: what one read costs by each.

`python -m tests.perf.progress` needs the one real node of the development cluster (root) and writes figures.json. The
pod's log has as many lines as a download of eleven hours.
"""

from __future__ import annotations

import json
import statistics
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import devcluster
from tests.cluster.api import Api

ROUNDS = 200
LINES = 20_000
LINE = json.dumps(
    {"event": "progress", "bytesDone": 8_012_345_678, "bytesTotal": 16_400_000_000, "bytesPerSecond": 101_000_000}
    | {"etaSeconds": 83, "filesDone": 7, "filesTotal": 15}
)
POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "download", "namespace": "default"},
    "spec": {
        "terminationGracePeriodSeconds": 0,
        "containers": [
            {
                "name": "download",
                "image": "localhost/devcluster-busybox:1",
                "imagePullPolicy": "IfNotPresent",
                "command": ["sh", "-c"],
                "args": [
                    f"mkdir /tmp/www; echo '{LINE}' > /tmp/www/progress; httpd -p 8080 -h /tmp/www;"
                    f" yes '{LINE}' | head -n {LINES}; while true; do echo '{LINE}'; sleep 2; done"
                ],
            }
        ],
    },
}


def cpu_seconds(program: str, mark: str) -> float:
    """User and system time of the processes of that name that have `mark` on their command line."""
    ticks = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            fields = (process / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if Path(command.split(" ")[0]).name == program and mark in command:
            ticks += int(fields[11]) + int(fields[12])
    return ticks / 100


def main() -> None:
    with devcluster.cluster(real_node=True) as cluster:
        api = Api(cluster.kubeconfig)
        api.create(POD)
        path = "/api/v1/namespaces/default/pods/download"
        while api.request("GET", path)["status"].get("phase") != "Running":
            time.sleep(0.2)
        time.sleep(5)  # the log's first lines
        address = api.request("GET", path)["status"]["podIP"]

        def straight() -> str:
            with urllib.request.urlopen(f"http://{address}:8080/progress", timeout=5) as answer:
                text: str = answer.read().decode()
            return text

        count = iter(range(10**9))

        def annotate() -> str:
            change = {"metadata": {"annotations": {"progress": f"{next(count)} {LINE}"}}}
            return json.dumps(api.request("PATCH", path, change, content_type="application/merge-patch+json"))

        ways: dict[str, Callable[[], str]] = {
            "log tail through the API server": lambda: json.dumps(
                api.request("GET", f"{path}/log", query={"container": "download", "tailLines": "5"}, stream=True)
            ),
            "HTTP port through the API server's proxy": lambda: json.dumps(
                api.request("GET", f"{path}:8080/proxy/progress")
            ),
            "HTTP port, straight to the pod": straight,
            "annotation, written by the pod": annotate,
        }
        figures = {way: measure(ask, cluster) for way, ask in ways.items()}
    Path(__file__).with_name("figures.json").write_text(json.dumps(figures, indent=2) + "\n")
    for way, numbers in figures.items():
        print(f"{way:44}", numbers)


def measure(ask: Callable[[], str], cluster: devcluster.Cluster) -> dict[str, float]:
    """Milliseconds, bytes, and CPU milliseconds of the API server and of the node's programs, for one read."""
    assert "bytesDone" in ask()
    mark = cluster.kubeconfig.parent.name
    programs = (("kube-apiserver", mark), ("etcd", mark), ("kubelet", ""))
    before = [cpu_seconds(*program) for program in programs]
    took, size = [], 0
    for _ in range(ROUNDS):
        started = time.perf_counter()
        size = len(ask())
        took.append(1000 * (time.perf_counter() - started))
    after = [cpu_seconds(*program) for program in programs]
    spent = {
        f"cpu_ms_{name}": round(1000 * (b - a) / ROUNDS, 2)
        for (name, _), a, b in zip(programs, before, after, strict=True)
    }
    return {
        "ms_median": round(statistics.median(took), 1),
        "ms_p95": round(statistics.quantiles(took, n=20)[-1], 1),
        "bytes": size,
    } | spent


if __name__ == "__main__":
    main()
