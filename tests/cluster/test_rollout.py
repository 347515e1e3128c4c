"""Every field of the spec does something, and a change of it reaches what runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from tests.cluster.downloads import NEVER_ENDS, stage
from tests.cluster.waiting import stays
from tests.cluster.world import World, shared_name
from tests.cluster.wrappers import Q3d, config_map, secret

Object = dict[str, Any]
Check = Callable[[World], Any]


@dataclass(frozen=True)
class Change:
    """One field of the spec: how it is changed, and what shows that."""

    make: Callable[[Q3d], Q3d]
    shows: Check


def engine(shows: Check, **fields: Any) -> Change:
    return Change(lambda cr: cr.engine(**fields), shows)


def scheduling(shows: Check, **fields: Any) -> Change:
    return Change(lambda cr: cr.scheduling(**fields), shows)


def spec(shows: Check, **fields: Any) -> Change:
    return Change(lambda cr: cr.set(**fields), shows)


def args(*words: str) -> Check:
    """These words stand beside each other in the server's command line."""

    def check(world: World) -> bool:
        line = world.container("chat")["args"]
        return any(tuple(line[i : i + len(words)]) == words for i in range(len(line)))

    return check


def no_args(word: str) -> Check:
    return lambda world: word not in world.container("chat")["args"]


def pod(path: str, value: Any) -> Check:
    """A field of the pod template's spec."""
    return lambda world: _dig(world.must("Deployment", "chat")["spec"]["template"]["spec"], path) == value


def container(path: str, value: Any) -> Check:
    return lambda world: _dig(world.container("chat"), path) == value


def service(path: str, value: Any) -> Check:
    return lambda world: _dig(world.must("Service", "chat"), path) == value


def variable(name: str, **fields: Any) -> Check:
    return lambda world: {"name": name} | fields in world.container("chat")["env"]


def middleware(world: World) -> dict[str, Any]:
    """The configuration of the middleware in the servers."""
    reported = {v["name"]: v.get("value") for v in world.container("chat")["env"]}
    found: dict[str, Any] = json.loads(reported["QWEN3_SERVER"])
    return found


def reported(**fields: Any) -> Check:
    return lambda world: fields.items() <= middleware(world).items()


def measures(**fields: Any) -> Check:
    """What servers are to measure before they are ready."""

    def check(world: World) -> bool:
        reported = {v["name"]: v.get("value") for v in world.container("chat")["env"]}
        return "QWEN3_BENCHMARK" in reported and fields.items() <= json.loads(reported["QWEN3_BENCHMARK"]).items()

    return check


def has_volume(name: str) -> Check:
    def check(world: World) -> bool:
        names = {m["name"] for m in world.container("chat")["volumeMounts"]}
        volumes = world.must("Deployment", "chat")["spec"]["template"]["spec"]["volumes"]
        return name in names and name in {v["name"] for v in volumes}

    return check


def claim(path: str, value: Any, name: str = "chat-compile-cache") -> Check:
    return lambda world: _dig(world.must("PersistentVolumeClaim", name), path) == value


def fits(*words: str) -> Check:
    return lambda world: all(word in world.condition("chat", "Fits").get("message", "") for word in words)


def _dig(node: Any, path: str) -> Any:
    for part in path.split("/"):
        node = node[int(part)] if isinstance(node, list) else node.get(part.replace("~", "/"), {})
    return node


_TOLERATION = {"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}
_SPREAD = {
    "maxSkew": 1,
    "topologyKey": "kubernetes.io/hostname",
    "whenUnsatisfiable": "ScheduleAnyway",
    "labelSelector": {"matchLabels": {"a": "b"}},
}
_AFFINITY = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
    {"matchExpressions": [{"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]}]}]}}}  # fmt: skip
_TEMPLATE = {"configMapKeyRef": {"name": "template", "key": "chat.jinja"}}
_KEY = {"apiKeySecretRef": {"name": "api-key", "key": "key"}}
_CACHE = {"enabled": True, "size": "3Gi", "storageClassName": "simulated", "accessMode": "ReadWriteMany"}

CHANGES: dict[str, Change] = {
    "engine.image": engine(container("image", "registry.example/vllm:v0.32.0"), image="registry.example/vllm:v0.32.0"),
    # An old release does not know the flag that keeps prompts out of the log, and needs another one for it.
    "engine.version": engine(args("--disable-log-requests"), image="registry.example/vllm:mine", version="0.9.1"),
    "engine.servedModelNames": engine(args("--served-model-name", "a", "b"), servedModelNames=["a", "b"]),
    "engine.maxModelLen": engine(args("--max-model-len", "8192"), maxModelLen=8192),
    "engine.reasoningParser": engine(no_args("--reasoning-parser"), reasoningParser="none"),
    "engine.toolCallParser": engine(no_args("--tool-call-parser"), toolCallParser="none"),
    "engine.thinking": engine(args("--default-chat-template-kwargs", '{"enable_thinking":false}'), thinking="Disabled"),
    "engine.sampling": engine(
        lambda world: '"temperature":0.1' in " ".join(world.container("chat")["args"]), sampling={"temperature": "0.1"}
    ),
    "engine.tensorParallelSize": engine(args("--tensor-parallel-size", "2"), tensorParallelSize=2),
    "engine.pipelineParallelSize": engine(container("resources/limits/nvidia.com~gpu", "2"), pipelineParallelSize=2),
    "engine.dtype": engine(args("--dtype", "float16"), dtype="float16"),
    "engine.gpuMemoryUtilizationPercent": engine(
        args("--gpu-memory-utilization", "0.50"), gpuMemoryUtilizationPercent=50
    ),
    "engine.quantization": engine(args("--quantization", "fp8"), quantization="fp8"),
    "engine.kvCacheDtype": engine(args("--kv-cache-dtype", "fp8"), kvCacheDtype="fp8"),
    "engine.maxNumSeqs": engine(args("--max-num-seqs", "17"), maxNumSeqs=17),
    "engine.maxNumBatchedTokens": engine(args("--max-num-batched-tokens", "4096"), maxNumBatchedTokens=4096),
    "engine.enablePrefixCaching": engine(args("--no-enable-prefix-caching"), enablePrefixCaching=False),
    "engine.maxLoraRank": engine(args("--max-lora-rank", "64"), maxLoraRank=64),
    "engine.maxLoras": engine(args("--max-loras", "2"), maxLoraRank=16, maxLoras=2),
    "engine.hfOverrides": engine(
        lambda world: "--hf-overrides" in world.container("chat")["args"], hfOverrides='{"rope_theta": 1000001}'
    ),
    "engine.host": engine(args("--host", "::"), host="::"),
    "engine.compileCache": Change(
        lambda cr: cr.engine(compileCache=_CACHE),
        lambda world: (
            has_volume("compile-cache")(world)
            and claim("spec/resources/requests/storage", "3Gi")(world)
            and claim("spec/storageClassName", "simulated")(world)
            and claim("spec/accessModes", ["ReadWriteMany"])(world)
        ),
    ),
    "engine.reasoningContentField": engine(reported(reasoning_content=True), reasoningContentField=True),
    "engine.chatTemplate": engine(has_volume("chat-template"), chatTemplate=_TEMPLATE),
    "engine.extraArgs": engine(args("--seed", "7"), extraArgs=["--seed", "7"]),
    "engine.env": engine(variable("A", value="1"), env=[{"name": "A", "value": "1"}]),
    "replicas": spec(lambda world: world.must("Deployment", "chat")["spec"]["replicas"] == 3, replicas=3),
    "gpu.resourceName": spec(container("resources/limits/amd.com~gpu", "1"), gpu={"resourceName": "amd.com/gpu"}),
    "gpu.memory": spec(fits("22.0 GiB"), gpu={"memory": "24Gi"}),
    "resources.requests": spec(container("resources/requests/cpu", "7"), resources={"requests": {"cpu": "7"}}),
    "resources.limits": spec(container("resources/limits/memory", "99Gi"), resources={"limits": {"memory": "99Gi"}}),
    "scheduling.nodeSelector": scheduling(
        pod("nodeSelector", {"kubernetes.io/os": "linux"}), nodeSelector={"kubernetes.io/os": "linux"}
    ),
    "scheduling.tolerations": scheduling(pod("tolerations", [_TOLERATION]), tolerations=[_TOLERATION]),
    "scheduling.affinity": scheduling(pod("affinity", _AFFINITY), affinity=_AFFINITY),
    "scheduling.topologySpreadConstraints": scheduling(
        pod("topologySpreadConstraints", [_SPREAD]), topologySpreadConstraints=[_SPREAD]
    ),
    "scheduling.runtimeClassName": scheduling(pod("runtimeClassName", "nvidia"), runtimeClassName="nvidia"),
    "scheduling.priorityClassName": scheduling(
        pod("priorityClassName", "system-node-critical"), priorityClassName="system-node-critical"
    ),
    "scheduling.schedulerName": scheduling(pod("schedulerName", "volcano"), schedulerName="volcano"),
    "service.type": spec(service("spec/type", "NodePort"), service={"type": "NodePort"}),
    "service.port": Change(
        lambda cr: cr.set(service={"port": 80}),
        lambda world: (
            service("spec/ports/0/port", 80)(world)
            and ":80/v1" in world.must("Qwen3Deployment", "chat")["status"]["endpoint"]
        ),
    ),
    "service.annotations": spec(service("metadata/annotations/a", "b"), service={"annotations": {"a": "b"}}),
    "service.labels": spec(service("metadata/labels/a", "b"), service={"labels": {"a": "b"}}),
    "auth.apiKeySecretRef": spec(
        variable("VLLM_API_KEY", valueFrom={"secretKeyRef": {"name": "api-key", "key": "key"}}), auth=_KEY
    ),
    "auth.keys": spec(has_volume("keys"), auth={"keys": {"secretRef": {"name": "api-key"}}}),
    "rollout.drainSeconds": spec(args("--shutdown-timeout", "77"), rollout={"drainSeconds": 77}),
    "rollout.maxUnavailable": spec(
        lambda world: world.must("Deployment", "chat")["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 1,
        rollout={"maxUnavailable": 1},
    ),
    "rollout.progressDeadlineSeconds": spec(
        lambda world: world.must("Deployment", "chat")["spec"]["progressDeadlineSeconds"] == 777,
        rollout={"progressDeadlineSeconds": 777},
    ),
    "verify.mode": spec(reported(verify=None), verify={"mode": "Off"}),
    "verify.prompts": spec(
        lambda world: (middleware(world)["verify"] or {}).get("prompts") == [{"prompt": "2+2?", "contains": ["4"]}],
        verify={"prompts": [{"prompt": "2+2?", "contains": ["4"]}]},
    ),
    "benchmark.inputTokens": spec(measures(input_tokens=512), benchmark={"inputTokens": 512}),
    "benchmark.outputTokens": spec(measures(output_tokens=64), benchmark={"outputTokens": 64}),
    "benchmark.ttftP95Milliseconds": spec(measures(ttft_milliseconds=900), benchmark={"ttftP95Milliseconds": 900}),
    "benchmark.maxSeconds": spec(measures(max_seconds=60), benchmark={"maxSeconds": 60}),
    "podTemplatePatch": spec(pod("hostname", "patched"), podTemplatePatch={"spec": {"hostname": "patched"}}),
    "suspend": spec(lambda world: world.must("Deployment", "chat")["spec"]["replicas"] == 0, suspend=True),
    # What the download needs reaches the shared model.
    "model.tokenSecretRef": Change(
        lambda cr: cr.model(tokenSecretRef={"name": "api-key", "key": "key"}),
        lambda world: (
            world.must("Qwen3Model", shared_name(Q3d()))["spec"].get("tokenSecretRef")
            == {"name": "api-key", "key": "key"}
        ),
    ),
    "model.endpoint": Change(
        lambda cr: cr.model(endpoint="https://mirror.example"),
        lambda world: world.must("Qwen3Model", shared_name(Q3d()))["spec"].get("endpoint") == "https://mirror.example",
    ),
    "model.storage.size": Change(
        lambda cr: cr.storage(size="88Gi"),
        lambda world: claim("status/capacity/storage", "88Gi", shared_name(Q3d()))(world),
    ),
    "model.storage.retentionPolicy": Change(
        lambda cr: cr.storage(retentionPolicy="Delete"),
        lambda world: world.must("PersistentVolumeClaim", shared_name(Q3d()))["metadata"].get("ownerReferences"),
    ),
}

ELSEWHERE = {
    # Another id, revision or place is another model: test_life_cycle.py and test_sharing.py.
    *("model.id", "model.revision", "model.storage.existingClaim"),
    "model.download",  # test_model_sources.py
    *("model.storage.storageClassName", "model.storage.accessMode"),
    # Only for families that have what they speak of: tests/unit/engine.
    *("engine.enableExpertParallel", "engine.speculativeDecoding", "engine.task"),
    *("engine.loraAdapters", "autoscaling"),  # test_adapters.py, test_autoscaling.py
    "service.gateway",  # test_gateway.py
    "rollout.strategy",  # test_rollback.py
    "disruptionBudget",  # test_disruption.py
    "auth.limits",  # test_keys.py: they make no new servers
    "preflight",  # test_preflight_* below
    *("modelRef", "engine.resolve"),  # test_holders.py, test_made_from.py
}


@pytest.fixture(scope="module")
def chat(serving: World) -> Iterator[World]:
    """A Ready Qwen3Deployment, and what some of the changes name."""
    serving.apply(config_map("template", chat__jinja="{{ messages }}"), secret("api-key", key="s3cret"))
    serving.apply(Q3d())
    serving.wait_ready("chat")
    yield serving


@pytest.mark.parametrize("field", CHANGES)
def test_a_change_reaches_what_runs(chat: World, field: str) -> None:
    """Each field alone, from the same beginning."""
    change = CHANGES[field]
    chat.apply(Q3d())
    chat.wait(lambda: not change.shows(chat), f"{field} does not show before", within=8)
    chat.apply(change.make(Q3d()))
    chat.wait(lambda: change.shows(chat), f"{field} shows", within=8)


def test_afterwards_it_is_as_before(chat: World) -> None:
    """Taking all changes back brings all of it back, whatever came in between."""
    chat.apply(Q3d())
    chat.wait_ready("chat")
    # Only now: where the last change was another hub, they would not share a model.
    chat.apply(Q3d("fresh"))
    chat.wait_ready("fresh")
    template, fresh = (chat.must("Deployment", name)["spec"]["template"] for name in ("chat", "fresh"))
    assert json.dumps(template["spec"]) == json.dumps(fresh["spec"]).replace("fresh-in-engine-", "chat-in-engine-")


def test_every_field_has_a_change(crds: list[Object]) -> None:
    """A new field needs a row in CHANGES."""
    crd = next(c for c in crds if c["spec"]["names"]["kind"] == "Qwen3Deployment")
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]

    def leaves(node: Object, path: str) -> Iterator[str]:
        below = node.get("properties")
        if not below:
            yield path
        for name, child in (below or {}).items():
            yield from leaves(child, f"{path}.{name}".lstrip("."))

    known = set(CHANGES) | ELSEWHERE
    missing = [leaf for leaf in leaves(schema, "") if not any(f"{leaf}.".startswith(f"{k}.") for k in known)]
    assert not missing


def test_a_rollout_replaces_the_server(world: World) -> None:
    """The pods follow the template, and Ready waits for them."""
    world.apply(Q3d().pod(start_delay="1500ms"))
    before = world.wait_ready("chat")
    (old,) = world.list("Pod", labelSelector=before["status"]["selector"])
    world.apply(Q3d().pod(start_delay="1500ms").engine(maxModelLen=4096))
    world.wait_condition("chat", "Ready", "False", reason="Starting")
    ready = world.wait_ready("chat")
    assert ready["status"]["engine"]["maxModelLen"] == 4096
    world.wait(lambda: len(world.list("Pod", labelSelector=before["status"]["selector"])) == 1)
    (new,) = world.list("Pod", labelSelector=before["status"]["selector"])
    assert new["metadata"]["uid"] != old["metadata"]["uid"]
    assert "4096" in new["spec"]["containers"][0]["args"]


def test_the_text_of_a_chat_template_rolls_out(world: World) -> None:
    """The ConfigMap is not the operator's to watch: it is read at every reconcile."""
    world.apply(config_map("template", chat__jinja="one"))
    world.apply(Q3d().engine(chatTemplate=_TEMPLATE))
    world.wait_ready("chat")
    before = world.must("Deployment", "chat")["spec"]["template"]
    world.apply(config_map("template", chat__jinja="two"))
    world.set_spec("chat", service={"annotations": {"reconcile": "now"}})  # or wait for a minute
    world.wait(lambda: world.must("Deployment", "chat")["spec"]["template"] != before, "another template")
    after = world.must("Deployment", "chat")["spec"]["template"]
    assert after["spec"] == before["spec"], "only the hash of the text differs"
    world.wait_ready("chat")


def test_a_patch_merges_as_kubectl_patch_does(world: World) -> None:
    patch = {
        "metadata": {"labels": {"team": "a", "serving.qwen3.dev/deployment": "stolen"}},
        "spec": {
            "priority": None,
            "containers": [
                {"name": "vllm", "env": [{"name": "HOME", "value": "/elsewhere"}, {"name": "B", "value": "2"}]},
                {"name": "proxy", "image": "envoy:1"},
            ],
            "volumes": [{"name": "shm", "$patch": "delete"}, {"name": "more", "emptyDir": {}}],
        },
    }
    patch["spec"]["containers"][0]["volumeMounts"] = [{"mountPath": "/dev/shm", "$patch": "delete"}]  # type: ignore[index]
    world.apply(Q3d().set(podTemplatePatch=patch))
    world.wait_ready("chat")
    template = world.must("Deployment", "chat")["spec"]["template"]
    server = world.container("chat")
    assert template["metadata"]["labels"]["team"] == "a"
    assert template["metadata"]["labels"]["serving.qwen3.dev/deployment"] == "chat", (
        "the selector's label is not its own"
    )
    values = {v["name"]: v.get("value") for v in server["env"]}
    assert (values["HOME"], values["B"], values["USER"]) == ("/elsewhere", "2", "vllm")
    assert [c["name"] for c in template["spec"]["containers"]] == ["vllm", "proxy"]
    names = [v["name"] for v in template["spec"]["volumes"]]
    assert "shm" not in names
    assert "more" in names


@pytest.mark.parametrize(
    ("patch", "reason", "words"),
    [
        ({"spec": {"containers": [{"env": []}]}}, "InvalidPatch", "podTemplatePatch.spec.containers[0] has no name"),
        ({"spec": {"containers": [{"name": "vllm", "image": 5}]}}, "DeploymentRefused", "image"),
        ({"spec": {"hostname": "Not_A_Name"}}, "DeploymentRefused", "spec.template.spec.hostname"),
        ({"spec": {"hostnane": "typo"}}, "DeploymentRefused", "hostnane"),
    ],
)
def test_a_patch_that_cannot_be_is_reported_and_what_runs_goes_on(
    chat: World, patch: Object, reason: str, words: str
) -> None:
    chat.apply(Q3d())
    chat.wait_ready("chat")
    before = chat.must("Deployment", "chat")["spec"]
    chat.apply(Q3d().set(podTemplatePatch=patch))
    condition = chat.wait_condition("chat", "Accepted", "False", reason=reason)
    assert words in condition["message"]
    assert chat.condition("chat", "Stalled")["status"] == "True"
    assert chat.must("Deployment", "chat")["spec"] == before
    assert chat.must("Deployment", "chat")["status"]["readyReplicas"] == 1


@pytest.mark.parametrize(
    ("patch", "reason", "words"),
    [
        ({"spec": {"containers": [{"env": []}]}}, "InvalidPatch", "podTemplatePatch.spec.containers[0] has no name"),
        ({"spec": {"hostname": "Not_A_Name"}}, "DeploymentRefused", "spec.template.spec.hostname"),
    ],
)
def test_what_will_be_refused_is_reported_while_the_model_is_on_its_way(
    world: World, patch: Object, reason: str, words: str
) -> None:
    """A download may take hours. Nothing is made for it, and what is right goes on waiting."""
    world.api.apply(stage(world.namespace, NEVER_ENDS))
    world.apply(Q3d().set(podTemplatePatch=patch))
    reported = world.wait_condition("chat", "Accepted", "False", reason=reason, within=30)
    assert words in reported["message"]
    assert world.get("Deployment", "chat") is None
    world.wait_condition("chat", "ModelReady", "False", reason="Downloading")  # the download goes on
    world.apply(Q3d())
    world.wait_condition("chat", "Accepted", "True", within=30)
    assert world.get("Deployment", "chat") is None


def test_a_compile_cache_that_cannot_follow_leaves_the_servers_ready(world: World) -> None:
    """Class, mode and a smaller size are the claim's for good: the API server would refuse them."""
    world.apply(Q3d().engine(compileCache=_CACHE))
    world.wait_ready("chat")
    before, volume = world.must("Deployment", "chat")["spec"], world.must("PersistentVolumeClaim", "chat-compile-cache")
    other = {"size": "1Gi", "storageClassName": "another", "accessMode": "ReadWriteOnce"}
    world.apply(Q3d().engine(compileCache=_CACHE | other))
    found = world.wait_condition("chat", "Accepted", "True", reason="AcceptedWithWarnings")["message"]
    assert all(f"{field} is {value}" in found for field, value in other.items()), found
    world.wait_ready("chat", within=5)  # another spec is noted on the Deployment, which its controller has to see
    assert world.must("Deployment", "chat")["spec"] == before
    assert world.must("PersistentVolumeClaim", "chat-compile-cache")["spec"] == volume["spec"]


@pytest.mark.parametrize("preflight", ["Enforce", "Warn", "Off"])
def test_preflight(world: World, preflight: str) -> None:
    """What does not fit the GPU is not made, made with a warning, or not asked."""
    world.apply(Q3d().engine(maxModelLen=40960).set(gpu={"memory": "3Gi"}, preflight=preflight))
    if preflight == "Enforce":
        condition = world.wait_condition("chat", "Fits", "False")
        assert "3" in condition["message"]
        world.wait_condition("chat", "Stalled", "True")
        stays(lambda: world.get("Deployment", "chat") is None, seconds=1)
        return
    world.wait_ready("chat")
    assert world.condition("chat", "Fits")["status"] == {"Warn": "False", "Off": "Unknown"}[preflight]
