"""The main job with real parts, as one run in the order of this file: each start of vLLM takes half a minute."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from demo import questions
from demo.kube import wait_until
from tests.e2e.world import EXAMPLE, MODEL, WRITES, World
from tests.load.in_cluster import users

TINY = EXAMPLE["metadata"]["name"]
TWO = "tiny-tp2"


@pytest.fixture(autouse=True)
def only_the_example_stays(world: World) -> Iterator[None]:
    """End what a test applied beside the example, also when it failed."""
    yield
    names = [it["metadata"]["name"] for it in world.get("qwen3deployments")["items"]]
    for name in set(names) - {TINY}:
        world.delete(name)


NOT_IN_THIS_CASE = {
    ("update", "serving.qwen3.dev", "qwen3deployments/finalizers"),  # asked for by OpenShift's admission alone
    ("update", "serving.qwen3.dev", "qwen3models/finalizers"),
    *((verb, "", "configmaps") for verb in ("get", "create", "patch")),  # a chat template, a batch, a middleware
    ("patch", "serving.qwen3.dev", "qwen3batches/status"),
    ("update", "serving.qwen3.dev", "qwen3batches/finalizers"),
    ("list", "apps", "replicasets"),  # to go back to
    *((verb, "policy", "poddisruptionbudgets") for verb in ("get", "create", "patch", "delete")),  # of two servers
    ("get", "storage.k8s.io", "storageclasses"),  # one that a Qwen3Deployment names
    ("update", "events.k8s.io", "events"),  # the same thing said again
    ("get", "events.k8s.io", "events"),
    ("delete", "batch", "jobs"),  # of another revision
}
"""What is granted for what need not happen here."""


def resource(reference: dict[str, Any]) -> tuple[str, str]:
    """(API group, resource/subresource) as a rule of a role names them."""
    parts = (reference["resource"], reference.get("subresource"))
    return reference.get("apiGroup", ""), "/".join(part for part in parts if part)


def writes(requests: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    """(verb, resource, name) of those that write, the lease's renewals apart."""
    found = [(e["verb"], e["objectRef"]["resource"], e["objectRef"].get("name", "")) for e in requests]
    return [entry for entry in found if entry[0] in WRITES and entry[1] != "leases"]


def test_the_example_is_downloaded_served_and_answers_with_reasoning(world: World) -> None:
    world.apply(world.tiny)
    live = world.ready(TINY)
    assert live["status"]["endpoint"] == "http://tiny.qwen3-demo.svc.cluster.local:8000/v1"
    assert live["status"]["model"]["commit"]
    with world.url(TINY) as url:
        assert questions.model_length(url, MODEL) == EXAMPLE["spec"]["engine"]["maxModelLen"]
        for ask in (questions.complete, questions.chat, questions.chat_with_openai):
            ask(url, MODEL)


def test_the_plugin_shows_it_and_talks_to_it(world: World) -> None:
    """With the real kubectl, which forwards the port."""
    shown = json.loads(world.plugin("status", TINY, "-o", "json"))
    assert shown["ready"] == "True" and {stage["state"] for stage in shown["stages"]} <= {"done", "unknown"}
    asked = ("chat", TINY, "--temperature", "0", "--prompt", questions.FACTORIAL)
    answer = json.loads(world.plugin(*asked, "-o", "json"))
    assert answer["reasoning"].strip() and "120" in answer["content"] and answer["tokens"] > 0
    assert "120" in world.plugin(*asked), "in a pipe the answer stands alone"


def test_only_the_server_holds_a_gpu(world: World) -> None:
    def gpus(pod: dict[str, Any]) -> str | None:
        found: str | None = pod["spec"]["containers"][0]["resources"].get("limits", {}).get("nvidia.com/gpu")
        return found

    downloads = world.get("pods", "-l", "app.kubernetes.io/component=download")["items"]
    assert [gpus(pod) for pod in downloads] == [None]
    assert [gpus(pod) for pod in world.servers(TINY)] == ["1"]


def test_a_restart_of_the_operator_restarts_no_server_and_writes_nothing(world: World) -> None:
    before = world.servers(TINY)
    already = len(writes(world.operator_requests()))
    world.restart_operator()
    time.sleep(5)  # it reconciles everything once, right after it is ready
    after = world.servers(TINY)
    assert [pod["metadata"]["uid"] for pod in after] == [pod["metadata"]["uid"] for pod in before]
    assert [pod["status"]["containerStatuses"][0]["restartCount"] for pod in after] == [0]
    assert writes(world.operator_requests())[already:] == []


def test_another_length_is_rolled_out_and_no_request_is_lost(world: World) -> None:
    """The second GPU is free: the new server comes first. More of the kind: `make test-load`."""
    with users(world, TINY, count=4) as asking:
        world.patch(TINY, {"engine": {"maxModelLen": 1024}})
        live = world.ready(TINY)
        asking.wait_for(20, timeout=60)
    assert live["status"]["engine"]["maxModelLen"] == 1024
    assert asking.tally["failed"] == {}, asking.tally["examples"]
    assert asking.tally["requests"] > 50
    with world.url(TINY) as url:
        assert questions.model_length(url, MODEL) == 1024


def test_a_file_that_vanished_is_reported_fetched_again_and_served(world: World) -> None:
    """Nobody touches the Qwen3Deployment: the server's own start finds the fault, its model is verified again."""
    (model,) = world.get("qwen3models")["items"]
    copy = model["status"]["model"]
    with world.hub_requests() as asked:
        world.in_volume(copy["claim"], f"rm /models/{copy['path']}/model.safetensors")
        world.kubectl("delete", "pod", "-l", f"serving.qwen3.dev/deployment={TINY}", "--wait=false")
        reported = world.condition(TINY, "Available", "False", reason="ModelFilesMissing", timeout=120)
        assert f"/models/{copy['path']}" in reported["message"]
        world.ready(TINY)
        assert {path.rpartition("/")[2] for path in asked("file")} == {"model.safetensors"}
    (model,) = world.get("qwen3models")["items"]
    assert model["status"]["model"]["repairedFiles"] == 1
    with world.url(TINY) as url:
        questions.chat(url, MODEL)


def test_two_gpus_wait_for_a_free_one_and_then_share_the_model(world: World) -> None:
    def on_two(engine: dict[str, Any]) -> None:
        engine["tensorParallelSize"] = 2
        # vLLM's CPU build runs a worker for each GPU, each bound to a core.
        bound = {"VLLM_ENABLE_V1_MULTIPROCESSING": "1", "VLLM_CPU_OMP_THREADS_BIND": "0|1"}
        engine["env"] = [{"name": name, "value": value} for name, value in bound.items()]

    world.apply(world.example(TWO, engine=on_two))
    waiting = world.condition(TWO, "Scheduled", "False")
    assert "nvidia.com/gpu" in waiting["message"]
    assert len(world.get("qwen3models")["items"]) == 1, "both name the same model"
    world.patch(TINY, {"suspend": True})
    world.ready(TWO, timeout=420)
    assert world.servers(TWO)[0]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "2"
    log = world.kubectl("logs", f"deployment/{TWO}")
    assert "Worker_TP0" in log and "Worker_TP1" in log
    with world.url(TWO) as url:
        questions.chat(url, MODEL)
    jobs = world.get("jobs")["items"]
    assert [job["status"].get("succeeded") for job in jobs] == [1], "one download for both"


def test_what_vllm_would_refuse_is_reported_before_it_starts_and_mended(world: World) -> None:
    """One mistake after the other in one Qwen3Deployment, and then none."""
    mistakes: list[tuple[dict[str, Any], str]] = [
        ({"extraArgs": ["--enable-reasoning"]}, "--enable-reasoning"),
        ({"maxModelLen": 1_000_000}, "40960"),
        ({"reasoningParser": "nosuch"}, "nosuch"),
    ]
    right = {key: None for wrong, _ in mistakes for key in wrong} | world.tiny["spec"]["engine"]
    world.apply(world.example("mended", engine=lambda engine: engine.update(mistakes[0][0])))
    for wrong, words in mistakes:
        world.patch("mended", {"engine": right | wrong})
        refused = world.condition("mended", "Accepted", "False")
        assert words in refused["message"]
        assert not world.servers("mended")
    world.patch("mended", {"engine": right})
    world.ready("mended")
    with world.url("mended") as url:
        questions.chat(url, MODEL)


def test_an_unknown_model_is_reported_in_words_and_mended(world: World) -> None:
    unknown = "qwen3-operator/No-Such-Model"
    manifest = world.example("unknown", model=lambda it: it.update(id=unknown))
    manifest["spec"]["suspend"] = True  # no server is needed to see it
    world.apply(manifest)
    refused = world.condition("unknown", "ModelReady", "False", reason="ModelNotFound", timeout=60)
    assert unknown in refused["message"]
    world.patch("unknown", {"model": {"id": EXAMPLE["spec"]["model"]["id"]}})
    world.condition("unknown", "ModelReady", "True")

    def ids() -> set[str]:
        return {model["spec"]["id"] for model in world.get("qwen3models")["items"]}

    wait_until("nobody wants the other model any more, and it goes", lambda: unknown not in ids(), timeout=60)


def test_deleting_keeps_the_weights_and_coming_back_downloads_nothing(world: World) -> None:
    world.delete(TINY)
    wait_until("the Service's end", lambda: not world.get("services")["items"], timeout=30)
    claims = {claim["metadata"]["name"] for claim in world.get("persistentvolumeclaims")["items"]}
    kept = {name for name in claims if name.startswith("tiny-qwen3")}
    assert kept
    with world.hub_requests() as asked:
        world.apply(world.tiny)
        world.condition(TINY, "Scheduled", "True", timeout=60)
        assert asked("file") == []
    assert world.servers(TINY)[0]["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] in kept


def test_the_chart_grants_what_the_operator_does_and_little_else(world: World) -> None:
    if world.cluster is None:
        pytest.skip("a cluster of DEMO_KUBECONFIG shows no audit log")
    requests = world.operator_requests()
    # A namespace that is being deleted answers 403 as well; what is meant here is the authorizer's own word.
    forbidden = [e for e in requests if e["annotations"]["authorization.k8s.io/decision"] != "allow"]
    assert not {(e["verb"], e["requestURI"]) for e in forbidden}
    used = {(e["verb"], *resource(e["objectRef"])) for e in requests}
    used |= {
        ("create", group, what) for verb, group, what in used if verb == "patch"
    }  # what an apply of a new object needs
    assert world.granted() - used <= NOT_IN_THIS_CASE
