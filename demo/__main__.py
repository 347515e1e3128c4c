"""`python -m demo up`: serve a tiny Qwen3 and talk to it; `python -m demo down`: end what that left running.

On a development cluster of its own, or on the one that DEMO_KUBECONFIG names (docs/your-cluster.md)."""

from __future__ import annotations

import argparse
import re
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import yaml
from devcluster import Cluster, DevclusterError, tools
from devcluster.spec import ClusterSpec
from images.build import BuildError, require_tools
from images.vllm_bundle import bundle

from demo import manifests, ours, questions, stage, target, watch
from demo.kube import DemoError, Kube, wait_until

CLUSTER = "demo"
MADE_BY_US = "made-by-make-demo"
"""A file in the folder of the development cluster that this program made."""
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
    given = target.given()
    require_tools("curl")
    kube = _prepare_given(given, clock) if given else _prepare_own(clock)
    print(kube.run("-n", manifests.SYSTEM_NAMESPACE, "get", "pods", "-o", "wide").rstrip())
    print(kube.run("-n", manifests.HUB_NAMESPACE, "get", "pods", "-o", "wide").rstrip())
    example = stage.example(given.images if given else None)
    text = yaml.safe_dump(example, sort_keys=False) if given else stage.EXAMPLE.read_text()
    clock.say(f"kubectl apply -f {stage.EXAMPLE.name}")
    print(text.rstrip())
    kube.run("apply", "-n", manifests.NAMESPACE, "-f", "-", input=text)
    name = example["metadata"]["name"]
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
    if not given:
        print(f"export KUBECONFIG={kube.kubeconfig}")
    print(f"kubectl -n {manifests.NAMESPACE} port-forward svc/{name} 8000   # then http://127.0.0.1:8000/v1")
    print("make demo-down   # ends it")


def down() -> None:
    """End the development cluster of the demo; on the cluster of DEMO_KUBECONFIG, remove what the demo put there."""
    if kube := target.given_cluster():
        for words in ours.remove(kube):
            print(f"demo: stays: {words}")
        return
    cluster = Cluster(CLUSTER)
    _refuse_other(cluster)
    cluster.down()


def _prepare_given(given: target.Target, clock: Clock) -> Kube:
    """The cluster of DEMO_KUBECONFIG with the demo's operator and hub."""
    context = given.kube.run("config", "current-context").strip()
    clock.say(f"operator (by helm) and hub, in the cluster of {target.KUBECONFIG}, context {context}")
    print("\n".join(given.images.values()))
    stage.install_at(given)
    return given.kube


def _prepare_own(clock: Clock) -> Kube:
    """A new development cluster with a real node, the operator and the hub."""
    cluster = Cluster(CLUSTER)
    _refuse_other(cluster)
    clock.say("programs of the development cluster, images, vLLM (built once, then cached)")
    with ThreadPoolExecutor(max_workers=1) as beside:  # the one waits for compilers, the other for what it fetches
        programs = beside.submit(tools.ensure, (*tools.REAL_NODE, "helm"))
        bundle()
        built = stage.images()
        programs.result()
    clock.say("cluster")
    cluster.down()
    cluster.up(ClusterSpec(name=CLUSTER, real_node=True))
    (cluster.workdir / MADE_BY_US).touch()
    stage.load(built, cluster.load_image)
    kube = Kube(cluster.kubeconfig)
    clock.say("operator (by helm) and hub, in the cluster")
    stage.install(kube, built)
    return kube


def _refuse_other(cluster: Cluster) -> None:
    """Somebody else may have made a development cluster of this name."""
    if cluster.running() and not (cluster.workdir / MADE_BY_US).exists():
        end = f"python -m devcluster down --name {CLUSTER}"
        raise DemoError(f"a development cluster {CLUSTER!r} runs that the demo did not make; end it with: {end}")


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
        interesting = [
            line for line in log if re.search(r"version \d|max model len|KV cache size|throughput|POST /v1", line)
        ]
        return interesting if any("throughput" in line for line in interesting) else []

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
