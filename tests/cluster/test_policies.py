"""The chart's limits (`policy.*`) on a real API server: what each takes and refuses, of all kinds and of a Scale."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import devcluster
import pytest
from tests.chart.helm import template
from tests.cluster.api import Api
from tests.cluster.waiting import wait_until
from tests.cluster.world import World
from tests.cluster.wrappers import Q3b, Q3d, Q3m

Object = dict[str, Any]
Answer = Callable[[Object], str]
LIMITS = (
    "policy.models={Qwen/*,team/support}",
    "policy.images={vllm/vllm-openai:*,registry.example/vllm:1}",
    "policy.endpoints={https://modelscope.cn}",
    "policy.maxGpusPerServer=4",
    "policy.maxReplicas=2",
)
NAME = "limited-qwen3-operator-limits"
OPERATOR = "system:serviceaccount:limited-system:limited-qwen3-operator"


@pytest.fixture(scope="module")
def limited(cluster: devcluster.Cluster, api: Api, make_world: Any) -> Iterator[World]:
    """A namespace, and the only one, for which the policy is bound: other tests run beside it."""
    world: World = make_world("limits")
    rendered = template(*LIMITS, release="limited", namespace="limited-system")
    policy, binding = sorted(
        (m for m in rendered if m["kind"].startswith("ValidatingAdmission")), key=lambda m: str(m["kind"])
    )
    here = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": world.namespace}}}
    cluster.apply([policy, binding | {"spec": binding["spec"] | {"matchResources": here}}])
    yield world
    for manifest in (binding, policy):
        cluster.kubectl("delete", manifest["kind"], manifest["metadata"]["name"])
    api.delete("Namespace", None, world.namespace)


@pytest.fixture(scope="module")
def answer(cluster: devcluster.Cluster, limited: World) -> Answer:
    """What the API server says of a dry run of `kubectl create` by its administrator."""

    def it(manifest: Object, user: str = "") -> str:
        placed = manifest | {"metadata": manifest["metadata"] | {"namespace": limited.namespace}}
        who = ("--as", user) if user else ()
        try:
            return cluster.kubectl("create", "--dry-run=server", "-f", "-", *who, input=json.dumps(placed))
        except devcluster.DevclusterError as error:
            return str(error)

    wait_until(lambda: "platform allows" in it(Q3d().model("Other/Model").manifest), within=30)
    return it


def gpus(tensor: int, pipeline: int = 1) -> Object:
    return Q3d().engine(tensorParallelSize=tensor, pipelineParallelSize=pipeline).manifest


@pytest.mark.parametrize(
    "manifest",
    [
        Q3d().model("Qwen/Qwen3-8B").manifest,
        Q3d().model("team/support").manifest,
        Q3m().set(id="Qwen/Qwen3-8B").manifest,
        Q3b().set(model={"id": "Qwen/Qwen3-8B"}).manifest,
        Q3d().engine(loraAdapters=[{"name": "a", "id": "team/support"}]).manifest,
        Q3d().engine(image="vllm/vllm-openai:v0.33.0").manifest,
        Q3d().engine(image="registry.example/vllm:1", version="0.33.0").manifest,
        Q3d().model(endpoint="https://modelscope.cn").manifest,
        gpus(4),
        gpus(2, 2),
        Q3d().set(replicas=2).manifest,
        Q3d().set(autoscaling={"maxReplicas": 2, "target": {"queue": 4}}).manifest,
        Q3b().set(completions=8, parallelism=2).manifest,
    ],
    ids=lambda m: json.dumps(m["spec"])[:60],
)
def test_what_is_allowed_is_taken(answer: Answer, manifest: Object) -> None:
    assert "created" in answer(manifest)


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        (Q3d().model("Qwen2/Qwen3-8B").manifest, "this model is not among"),
        (Q3d().model("team/support2").manifest, "this model is not among"),
        (Q3m().set(id="deepseek-ai/DeepSeek-R1").manifest, "allows: Qwen/*, team/support"),
        (Q3b().set(model={"id": "other/Qwen3-8B"}).manifest, "this model is not among"),
        (
            Q3d().engine(loraAdapters=[{"name": "a", "id": "other/sql"}]).manifest,
            "an adapter of engine.loraAdapters is not",
        ),
        (Q3d().engine(image="vllm/vllm-openai-rocm:v0.33.0").manifest, "engine.image is not among"),
        (Q3d().engine(image="registry.example/vllm:12", version="0.33.0").manifest, "engine.image is not among"),
        (Q3d().model(endpoint="https://modelscope.cn.evil.example").manifest, "endpoint is not among"),
        (Q3m().set(endpoint="http://modelscope.cn").manifest, "endpoint is not among"),
        (gpus(8), "more than the 4 GPUs of one server"),
        (gpus(4, 2), "more than the 4 GPUs of one server"),
        (Q3d().set(replicas=3).manifest, "replicas is more than the 2"),
        (
            Q3d().set(autoscaling={"maxReplicas": 3, "target": {"queue": 4}}).manifest,
            "autoscaling.maxReplicas is more than the 2",
        ),
        (Q3b().set(completions=8, parallelism=3).manifest, "parallelism is more than the 2"),
    ],
    ids=lambda it: json.dumps(it["spec"])[:60] if isinstance(it, dict) else "",
)
def test_what_is_not_allowed_is_refused_in_words(answer: Answer, manifest: Object, words: str) -> None:
    assert words in answer(manifest)


def test_a_scale_is_held_to_the_same(cluster: devcluster.Cluster, limited: World, answer: Answer) -> None:
    """kubectl scale and autoscalers write replicas past the object itself."""
    limited.apply(Q3d("scaled").set(suspend=True))
    scale = ("scale", "qwen3deployment/scaled", "-n", limited.namespace)
    with pytest.raises(devcluster.DevclusterError, match="replicas is more than the 2"):
        cluster.kubectl(*scale, "--replicas=3")
    assert "scaled" in cluster.kubectl(*scale, "--replicas=2")


def test_labels_of_what_was_there_before_may_change(
    cluster: devcluster.Cluster, limited: World, answer: Answer
) -> None:
    """Nothing that runs is stopped by a new limit; its next spec is asked."""
    limits = json.loads(cluster.kubectl("get", "validatingadmissionpolicybinding", NAME, "-o", "json"))
    cluster.kubectl("delete", "validatingadmissionpolicybinding", NAME)
    large = Q3d("large").set(suspend=True).engine(tensorParallelSize=8)
    wait_until(lambda: "created" in answer(large.manifest), within=30)
    limited.apply(large)
    cluster.apply([{key: limits[key] for key in ("apiVersion", "kind", "spec")} | {"metadata": {"name": NAME}}])
    wait_until(lambda: "platform allows" in answer(large.manifest | {"metadata": {"name": "another"}}), within=30)
    name = ("qwen3deployment", "large", "-n", limited.namespace)
    assert "labeled" in cluster.kubectl("label", *name, "a=b")
    with pytest.raises(devcluster.DevclusterError, match="more than the 4 GPUs"):
        cluster.kubectl("patch", *name, "--type=merge", "-p", '{"spec": {"suspend": false}}')


def test_the_operator_itself_is_not_asked(cluster: devcluster.Cluster, limited: World, answer: Any) -> None:
    """It makes the Qwen3Model of a Qwen3Deployment that was there before the limit."""
    other = Q3m().set(id="other/Model").manifest
    here = ("-n", limited.namespace)
    cluster.kubectl("create", "role", "maker", "--verb=create", "--resource=qwen3models.serving.qwen3.dev", *here)
    for number, user in enumerate((OPERATOR, "tenant")):
        cluster.kubectl("create", "rolebinding", f"maker-{number}", "--role=maker", f"--user={user}", *here)
    wait_until(lambda: "created" in answer(other, OPERATOR), within=30)
    assert "this model is not among" in answer(other, "tenant")
