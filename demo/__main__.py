"""`python -m demo up`: serve a tiny Qwen3 and talk to it; `python -m demo down`: end what that left running."""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
import urllib.request
from pathlib import Path

import yaml
from devcluster import Cluster, DevclusterError, tools
from devcluster.spec import ClusterSpec
from images.build import BuildError, Built, require_tools
from images.catalog import REPOSITORY
from images.vllm_bundle import bundle

from demo import manifests, questions, stage, watch
from demo.kube import DemoError, Kube, wait_until

EXAMPLE = REPOSITORY / "examples" / "tiny.yaml"
CLUSTER = "demo"
STATISTICS = (
    "vllm:prompt_tokens_total",
    "vllm:generation_tokens_total",
    "vllm:request_success_total",
    "vllm:time_to_first_token_seconds_sum",
    "vllm:e2e_request_latency_seconds_sum",
)
THROUGHPUT_EVERY_SECONDS = 10
"""vLLM writes its statistics to the log in this rhythm."""


class Clock:
    """Headlines with the seconds since the start."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    def say(self, text: str) -> None:
        print(f"\n[{time.monotonic() - self._started:5.1f} s] {text}", flush=True)


def up() -> None:
    """The whole chain. Raises DemoError when anything is not as it should be."""
    clock = Clock()
    require_tools("curl")
    clock.say("programs of the development cluster, images, vLLM (built once, then cached)")
    tools.ensure(tools.REAL_NODE)
    built = stage.images()
    bundle()
    clock.say("cluster")
    kube = _cluster(built)
    clock.say("operator (by helm) and hub, in the cluster")
    stage.install(kube, built)
    print(kube.run("get", "pods", "-A", "-o", "wide").rstrip())
    clock.say(f"kubectl apply -f {EXAMPLE.relative_to(REPOSITORY)}")
    print(EXAMPLE.read_text().rstrip())
    kube.run("apply", "-n", manifests.NAMESPACE, "-f", str(EXAMPLE))
    deployment = yaml.safe_load(EXAMPLE.read_text())
    name = deployment["metadata"]["name"]
    clock.say("conditions and download, as they move")
    live = watch.wait_ready(kube, manifests.NAMESPACE, name, say=lambda line: print(line, flush=True))
    clock.say("Ready")
    _show(kube, name)
    with kube.port_forward(manifests.NAMESPACE, f"svc/{name}", 8000) as url:
        model = live["spec"]["model"]["id"].rpartition("/")[2]
        clock.say(f"questions to {live['status']['endpoint']}, through kubectl port-forward")
        length = questions.model_length(url, model)
        questions.expect(length == live["spec"]["engine"]["maxModelLen"], "max_model_len to be the CR's maxModelLen")
        for ask in (questions.complete, questions.chat, questions.chat_with_openai):
            print()
            ask(url, model)
        clock.say("vLLM's statistics and log")
        _statistics(kube, name, url)
    clock.say("done: the endpoint goes on running")
    print(f"export KUBECONFIG={kube.kubeconfig}")
    print(f"kubectl -n {manifests.NAMESPACE} port-forward svc/{name} 8000   # then http://127.0.0.1:8000/v1")
    print("make demo-down   # ends it")


def down() -> None:
    """End the development cluster of the demo; on a cluster of KUBECONFIG, remove what the demo put there."""
    if theirs := os.environ.get("KUBECONFIG"):
        kube = Kube(Path(theirs))
        namespaces = (manifests.NAMESPACE, manifests.HUB_NAMESPACE)
        kube.run("delete", "namespace", "--ignore-not-found", *namespaces, timeout=180)
        release = (stage.RELEASE, f"--namespace={manifests.SYSTEM_NAMESPACE}")
        kube.helm("uninstall", *release, "--ignore-not-found", "--wait")
        kube.run("delete", "namespace", "--ignore-not-found", manifests.SYSTEM_NAMESPACE, timeout=180)
        kube.run("delete", "pv", "--ignore-not-found", f"vllm-cpu-{manifests.NAMESPACE}")
    else:
        Cluster(CLUSTER).down()


def _cluster(built: dict[str, Built]) -> Kube:
    """The cluster of KUBECONFIG, or a development cluster with a real node."""
    if theirs := os.environ.get("KUBECONFIG"):
        print(f"KUBECONFIG={theirs}: its nodes need these images, and vLLM's folder at the same path:")
        for image in built.values():
            print(f"  {image.reference}  {image.archive}")
        print(f"  {bundle()}")
        return Kube(Path(theirs))
    cluster = Cluster(CLUSTER)
    cluster.down()
    cluster.up(ClusterSpec(name=CLUSTER, real_node=True))
    stage.load(built, cluster.load_image)
    return Kube(cluster.kubeconfig)


def _show(kube: Kube, name: str) -> None:
    where = ("-n", manifests.NAMESPACE)
    print(kube.run(*where, "get", "qwen3deployments,qwen3models,pods,services,persistentvolumeclaims"))
    resources = "jsonpath={.spec.template.spec.containers[0].resources.limits}"
    print("GPU request:", kube.run(*where, "get", "deployment", name, "-o", resources))


def _statistics(kube: Kube, name: str, url: str) -> None:
    with urllib.request.urlopen(f"{url}/metrics", timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    found = [line for line in lines if line.startswith(STATISTICS) and not line.endswith(" 0.0")]
    print("\n".join(found))
    questions.expect(any("generation_tokens_total" in line for line in found), "generated tokens in /metrics")

    def throughput() -> list[str]:
        log = kube.run("-n", manifests.NAMESPACE, "logs", f"deployment/{name}").splitlines()
        told = [line for line in log if re.search(r"version \d|max model len|KV cache size|throughput|POST /v1", line)]
        return told if any("throughput" in line for line in told) else []

    print("\n".join(wait_until("throughput in vLLM's log", throughput, timeout=2 * THROUGHPUT_EVERY_SECONDS, every=1)))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("command", choices=["up", "down"])
    command = parser.parse_args().command
    try:
        up() if command == "up" else down()
    except (DemoError, DevclusterError, BuildError) as error:
        print(f"\ndemo: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
