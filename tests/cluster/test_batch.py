"""Qwen3Batch from its making to its end, on simulated nodes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from tests.cluster.downloads import COMMIT, NEVER_ENDS, stage
from tests.cluster.waiting import stays
from tests.cluster.world import World, WritesSince
from tests.cluster.wrappers import Q3b, Q3d, Q3m, claim, config_map, quota

from qwen3_operator.desired.batch import NO_DEADLINE

Object = dict[str, Any]
KIND = "Qwen3Batch"
COUNTS = {"total": 5, "lines": 10, "done": 4, "failed": 1, "promptTokens": 50, "completionTokens": 500}
COMPLETE = json.dumps({"result": "Complete", **COUNTS, "tokensPerSecond": 100, "merged": True})
NEVER = {"run_for": "1h"}


def failed(reason: str, message: str) -> str:
    """The termination message of a shard that failed."""
    return json.dumps({"result": "Failed", "shard": 0, "reason": reason, "message": message})


@pytest.fixture
def there(world: World) -> World:
    """A world with a claim for the answers."""
    world.apply(claim("answers"))
    return world


def jobs(world: World, name: str = "nightly") -> list[Object]:
    """The Jobs of a batch, but those that deliver what one has finished."""
    found = world.list("Job", labelSelector=f"serving.qwen3.dev/batch={name}")
    return [job for job in found if not job["metadata"]["name"].endswith("-deliver")]


def the_job(world: World, name: str = "nightly") -> Object:
    """The one Job of a batch, once it is there."""
    world.wait(lambda: len(jobs(world, name)) == 1, f"the Job of {name}")
    return jobs(world, name)[0]


def job_status(world: World, name: str = "nightly") -> Object:
    """`status.job` of a batch; empty where it has none yet."""
    found: Object = world.must(KIND, name).get("status", {}).get("job", {})
    return found


def wait(world: World, type: str, status: str, reason: str = "", name: str = "nightly") -> Object:
    """Wait for a condition of a batch."""
    return world.wait_condition(name, type, status, kind=KIND, reason=reason, within=30)


def test_from_prompts_to_answers(there: World) -> None:
    batch = Q3b().set(completions=2, parallelism=2).pod(termination_message=COMPLETE, run_for="1s")
    there.apply(batch)
    live = there.wait_ready("nightly", KIND)
    status = live["status"]
    assert status["requests"] == {"total": 10, "done": 8, "failed": 2}
    assert status["tokens"] == {"prompt": 100, "completion": 1000}
    assert status["output"] == "answers:out.jsonl"
    assert [shard["index"] for shard in status["shards"]] == [0, 1]
    assert (status["job"]["result"], status["model"]["commit"]) == ("Complete", COMMIT)
    assert there.condition("nightly", "Completed", kind=KIND)["status"] == "True"
    there.wait(lambda: "Completed" in {event["reason"] for event in there.events("nightly")}, "the Event")


def test_the_job_is_indexed_and_asks_for_the_gpus(there: World) -> None:
    batch = Q3b().set(completions=3, parallelism=2, backoffLimit=2, activeDeadlineSeconds=99).pod(**NEVER)
    there.apply(batch.set(engine={"tensorParallelSize": 2, "maxModelLen": 4096}))
    spec = the_job(there)["spec"]
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 3, 2)
    assert (spec["backoffLimitPerIndex"], spec["activeDeadlineSeconds"], spec["podReplacementPolicy"]) == (
        2,
        99,
        "Failed",
    )
    container = spec["template"]["spec"]["containers"][0]
    assert container["resources"]["limits"] == {"nvidia.com/gpu": "2"}
    mounts = {mount["name"]: mount.get("readOnly", False) for mount in container["volumeMounts"]}
    assert mounts["models"] and mounts["runner"] and mounts["input"] and not mounts["output"]
    (config,) = there.list("ConfigMap", labelSelector="serving.qwen3.dev/batch=nightly")
    assert config["data"]["prompts.jsonl"] == '{"prompt": "hello"}\n'
    assert json.loads(config["data"]["config.json"])["shards"] == 3


def test_it_shares_the_model_of_a_deployment(there: World) -> None:
    there.apply(Q3d(), Q3b().pod(**NEVER))
    there.wait_ready("chat")
    the_job(there)
    (model,) = there.list("Qwen3Model")
    assert {owner["kind"] for owner in model["metadata"]["ownerReferences"]} == {"Qwen3Deployment", KIND}
    there.wait(lambda: there.list("Qwen3Model")[0]["status"]["usedBy"] == ["chat", "nightly"], "both are users")


def test_it_takes_model_and_engine_from_a_deployment(there: World) -> None:
    batch = Q3b().set(deploymentRef={"name": "chat"}).pod(**NEVER)
    del batch.spec["model"]
    there.apply(batch)
    refused = wait(there, "Accepted", "False", "DeploymentNotFound")
    assert "Qwen3Deployment chat does not exist" in refused["message"]
    there.apply(Q3d().engine(maxModelLen=2048, tensorParallelSize=2).set(suspend=True))
    the_job(there)
    command = there.wait(lambda: there.must(KIND, "nightly")["status"]["engine"]["command"])
    assert command[command.index("--max-model-len") + 1] == "2048"
    assert command[command.index("--tensor-parallel-size") + 1] == "2"


def test_a_model_made_ahead_is_used(there: World) -> None:
    there.apply(Q3m("weights"))
    there.wait_ready("weights", "Qwen3Model")
    there.apply(Q3b().pod(**NEVER))
    the_job(there)
    there.wait(lambda: there.must(KIND, "nightly")["status"]["model"]["name"] == "weights", "it uses this one")


def test_no_gpu_is_held_while_the_model_is_downloaded(there: World, api: Any) -> None:
    api.create(stage(there.namespace, NEVER_ENDS))
    there.apply(Q3b())
    wait(there, "ModelReady", "False")
    stays(lambda: not jobs(there), seconds=1.5, what="no Job")


def test_a_quota_that_takes_no_shard_is_reported(there: World) -> None:
    """Only Events of the Job say so. Nothing but the quota has to be mended."""
    there.apply(quota("gpus", **{"requests.nvidia.com/gpu": "0"}), Q3b().pod(**NEVER))
    reported = wait(there, "Completed", "False", "QuotaExceeded")
    assert "quota gpus allows requests.nvidia.com/gpu=0" in reported["message"]
    there.delete("ResourceQuota", "gpus")
    there.wait_condition("nightly", "Scheduled", "True", kind=KIND, within=60)


def test_suspended_and_resumed(there: World) -> None:
    there.apply(Q3b().set(suspend=True).pod(**NEVER))
    assert the_job(there)["spec"]["suspend"] is True
    wait(there, "Ready", "False", "Suspended")
    assert there.condition("nightly", "Stalled", kind=KIND)["status"] == "False"
    uid = the_job(there)["metadata"]["uid"]
    there.patch(KIND, "nightly", {"spec": {"suspend": False}})
    there.wait(lambda: the_job(there)["spec"]["suspend"] is False, "the Job goes on")
    assert the_job(there)["metadata"]["uid"] == uid
    there.patch(KIND, "nightly", {"spec": {"suspend": True}})
    there.wait(lambda: the_job(there)["spec"]["suspend"] is True, "the Job is suspended again")


def test_it_waits_for_servers_that_are_suspended(there: World) -> None:
    batch = Q3b().set(deploymentRef={"name": "chat"}, target="Running").pod(**NEVER)
    del batch.spec["model"]
    there.apply(Q3d().set(suspend=True), batch)
    waits = wait(there, "Completed", "False", "ServersSuspended")
    assert "Qwen3Deployment chat is suspended" in waits["message"]
    there.wait_condition("nightly", "ModelReady", "True", kind=KIND)
    assert there.condition("nightly", "Ready", kind=KIND)["reason"] == "ServersSuspended"
    assert not jobs(there)
    there.patch("Qwen3Deployment", "chat", {"spec": {"suspend": False}})
    job = there.wait(lambda: the_job(there), "the servers are there", within=60)
    assert "limits" not in job["spec"]["template"]["spec"]["containers"][0]["resources"], "no GPU"
    there.patch("Qwen3Deployment", "chat", {"spec": {"replicas": 0}})
    wait(there, "Completed", "False", "ServersScaledToZero")
    assert the_job(there)["spec"]["suspend"] is True and the_job(there)["metadata"]["uid"] == job["metadata"]["uid"]
    there.patch("Qwen3Deployment", "chat", {"spec": {"replicas": 1}})
    there.wait(lambda: the_job(there)["spec"]["suspend"] is False, "it goes on", within=60)
    there.delete("Qwen3Deployment", "chat")
    wait(there, "Completed", "False", "DeploymentNotFound")


def test_what_it_came_to_outlives_pods_and_status(there: World) -> None:
    """What a restore without status, or a hand, does."""
    there.apply(Q3b().pod(termination_message=COMPLETE, run_for="1s"))
    there.wait_ready("nightly", KIND)
    for pod in there.list("Pod", labelSelector="serving.qwen3.dev/batch=nightly"):
        there.delete("Pod", pod["metadata"]["name"])
    there.wait(lambda: not there.list("Pod", labelSelector="serving.qwen3.dev/batch=nightly"), "the pods are gone")
    uid = the_job(there)["metadata"]["uid"]
    there.patch(KIND, "nightly", {"status": None}, subresource="status")
    there.patch(KIND, "nightly", {"spec": {"ttlSecondsAfterFinished": 90000}})  # or else the resync sees it
    there.wait_ready("nightly", KIND)
    assert job_status(there)["result"] == "Complete" and the_job(there)["metadata"]["uid"] == uid


def test_a_queue_decides_when_it_runs(there: World) -> None:
    queue = {"kueue.x_k8s.io__queue_name": "nights", "team": "a"}
    there.apply(Q3b().labels(**queue).set(suspend=True).pod(**NEVER))
    job = the_job(there)
    assert job["spec"]["suspend"] is True
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "nights"
    assert "team" not in job["metadata"]["labels"]
    there.patch("Job", job["metadata"]["name"], {"spec": {"suspend": False}})  # as Kueue admits it
    wait(there, "Scheduled", "True")
    stays(lambda: the_job(there)["spec"]["suspend"] is False, seconds=2, what="the operator leaves it to the queue")


def test_more_shards_at_a_time(there: World) -> None:
    there.apply(Q3b().set(completions=4).pod(**NEVER))
    uid = the_job(there)["metadata"]["uid"]
    there.patch(KIND, "nightly", {"spec": {"parallelism": 3}})
    there.wait(lambda: the_job(there)["spec"]["parallelism"] == 3, "parallelism is 3")
    assert the_job(there)["metadata"]["uid"] == uid


def test_another_engine_makes_another_job(there: World) -> None:
    there.apply(Q3b().pod(**NEVER))
    before = the_job(there)["metadata"]["name"]
    there.patch(KIND, "nightly", {"spec": {"engine": {"maxNumSeqs": 8}}})
    there.wait(lambda: [j["metadata"]["name"] for j in jobs(there)] not in ([], [before]), "another Job")
    there.wait(lambda: len(jobs(there)) == 1, "the one before is gone")


def test_a_finished_job_that_is_removed_is_not_run_again(there: World) -> None:
    there.apply(Q3b().pod(termination_message=COMPLETE))
    there.wait_ready("nightly", KIND)
    there.delete("Job", the_job(there)["metadata"]["name"])
    stays(lambda: not [j for j in jobs(there) if "deletionTimestamp" not in j["metadata"]], seconds=2, what="no Job")
    assert there.is_ready("nightly", KIND)


@pytest.mark.parametrize(
    ("code", "message", "reason", "words"),
    [
        ("10", failed("InputEmpty", "the input is empty"), "InputEmpty", "the input is empty"),
        ("11", failed("OutputInUse", "it is another's"), "OutputInUse", "it is another's"),
        ("2", failed("EngineArgumentsRefused", "see the log"), "", ""),
        ("12", failed("AnswersWrong", "reasoning parser deepseek_r1"), "AnswersWrong", "reasoning parser deepseek_r1"),
    ],
)
def test_what_no_other_pod_can_mend_ends_the_batch(
    there: World, code: str, message: str, reason: str, words: str
) -> None:
    there.apply(Q3b().set(completions=2).pod(exit_code=code, termination_message=message))
    reported = wait(there, "Completed", "False", reason)
    there.wait(lambda: job_status(there).get("result") == "Failed", "it is over")
    assert words in reported["message"]
    assert there.condition("nightly", "Stalled", kind=KIND)["status"] == "True"
    assert len(there.list("Pod", labelSelector="serving.qwen3.dev/batch=nightly")) == 1, "no second try"


def test_what_may_pass_is_tried_again(there: World) -> None:
    broken = failed("EngineDied", "vLLM's engine died")
    there.apply(Q3b().set(backoffLimit=1).pod(exit_code="1", termination_message=broken))
    there.wait(
        lambda: job_status(there).get("result") == "Failed",
        "it is over",
        within=60,
    )
    pods = there.list("Pod", labelSelector="serving.qwen3.dev/batch=nightly")
    assert len([pod for pod in pods if "-deliver-" not in pod["metadata"]["name"]]) == 2, "one more try"


def test_what_is_finished_of_a_batch_that_was_given_up_is_delivered(there: World) -> None:
    broken = failed("EngineDied", "vLLM's engine died")
    there.apply(Q3b().set(backoffLimit=0).pod(exit_code="1", termination_message=broken))
    there.wait(
        lambda: job_status(there).get("delivery") == "Complete",
        "the delivery",
        within=60,
    )
    name = there.must(KIND, "nightly")["status"]["job"]["name"]
    container = there.must("Job", f"{name}-deliver")["spec"]["template"]["spec"]["containers"][0]
    assert container["args"][1:3] == ["deliver", "engine_died"]
    assert "nvidia.com/gpu" not in json.dumps(container["resources"])
    assert there.must(KIND, "nightly")["status"]["output"] == "answers:out.jsonl"
    assert there.condition("nightly", "Completed", kind=KIND)["reason"] == "EngineDied"
    assert there.condition("nightly", "Stalled", kind=KIND)["status"] == "True"


def ended(world: World, result: str = "Complete", name: str = "nightly") -> Object:
    """The status of a batch that has ended so."""

    def status() -> Object | None:
        found: Object = world.must(KIND, name).get("status", {})
        return found if found.get("job", {}).get("result") == result else None

    found = world.wait(status, f"{name} has ended", within=60)
    assert found is not None
    return found


def test_what_does_not_reach_a_pod_is_applied_to_the_job_that_runs(there: World) -> None:
    there.apply(Q3b().set(completions=2, parallelism=2, activeDeadlineSeconds=3000).pod(**NEVER))
    uid = the_job(there)["metadata"]["uid"]
    edit = {"ttlSecondsAfterFinished": 3600, "preflight": "Off", "activeDeadlineSeconds": 2000, "parallelism": 1}
    there.patch(KIND, "nightly", {"spec": edit})
    wanted = {"ttlSecondsAfterFinished": 3600, "activeDeadlineSeconds": 2000, "parallelism": 1}
    there.wait(lambda: wanted.items() <= the_job(there)["spec"].items(), "all of it")
    there.patch(KIND, "nightly", {"spec": {"activeDeadlineSeconds": None, "backoffLimit": 1}})
    there.wait(lambda: the_job(there)["spec"]["activeDeadlineSeconds"] == NO_DEADLINE, "no deadline any more")
    there.wait(lambda: "backoffLimit 6" in there.condition("nightly", "Accepted", kind=KIND)["message"], "what is not")
    assert the_job(there)["metadata"]["uid"] == uid


@pytest.mark.parametrize("what", ["deleted", "moved"])
def test_a_batch_stays_on_what_its_deployment_lent_it(there: World, what: str) -> None:
    there.apply(Q3d().set(suspend=True))
    batch = Q3b().set(deploymentRef={"name": "chat"}).pod(termination_message=COMPLETE, run_for="6s")
    del batch.spec["model"]
    there.apply(batch)
    uid = the_job(there)["metadata"]["uid"]
    before = there.wait(lambda: there.must(KIND, "nightly")["status"]["engine"] and there.must(KIND, "nightly"))
    if what == "deleted":
        there.delete("Qwen3Deployment", "chat")
    else:
        there.apply(Q3d().set(suspend=True, model={"id": "Qwen/Qwen3-1.7B"}))
    status = ended(there)
    assert there.condition("nightly", "Ready", kind=KIND)["status"] == "True"
    assert status["model"]["name"] == before["status"]["model"]["name"]
    assert status["engine"] == before["status"]["engine"]
    assert the_job(there)["metadata"]["uid"] == uid


@pytest.mark.parametrize(("code", "result"), [("0", "Complete"), ("10", "Failed")])
def test_a_batch_that_has_ended_is_edited_and_never_runs_again(there: World, code: str, result: str) -> None:
    message = COMPLETE if code == "0" else failed("InputEmpty", "the input is empty")
    there.apply(Q3b().pod(termination_message=message, exit_code=code))
    before, job = ended(there, result), the_job(there)
    there.patch(KIND, "nightly", {"spec": {"preflight": "Off", "engine": {"maxNumSeqs": 8}}})
    there.patch(KIND, "nightly", {"spec": {"ttlSecondsAfterFinished": 60, "activeDeadlineSeconds": 90}})
    there.wait(lambda: the_job(there)["spec"]["ttlSecondsAfterFinished"] == 60, "the Job is kept as long as it says")
    there.wait(lambda: "has ended" in there.condition("nightly", "Accepted", kind=KIND)["message"], "it says so")
    there.delete("Job", job["metadata"]["name"])
    there.patch(KIND, "nightly", {"spec": {"suspend": True}})
    stays(lambda: not jobs(there), seconds=2, what="no other Job")
    after = there.must(KIND, "nightly")["status"]
    same = ("job", "model", "engine", "plan", "requests", "output")
    assert [after.get(key) for key in same] == [before.get(key) for key in same]


def test_a_batch_that_has_ended_holds_no_model(there: World) -> None:
    there.apply(Q3b().pod(termination_message=COMPLETE, run_for="6s"))
    the_job(there)
    there.apply(Q3d())
    there.wait(lambda: len(there.list("Qwen3Model")[0]["metadata"]["ownerReferences"]) == 2, "both hold it")
    ended(there)

    def holders() -> list[str]:
        return [owner["name"] for owner in there.list("Qwen3Model")[0]["metadata"]["ownerReferences"]]

    there.wait(lambda: holders() == ["chat"], "the server alone")
    there.wait(lambda: there.list("Qwen3Model")[0]["status"]["usedBy"] == ["chat"], "which the model says as well")


def test_another_model_before_there_is_a_job(there: World, api: Any) -> None:
    api.create(stage(there.namespace, NEVER_ENDS))
    there.apply(Q3b())
    first = there.wait(lambda: there.list("Qwen3Model")[0]["metadata"]["name"], "the first model")
    there.patch(KIND, "nightly", {"spec": {"model": {"id": "Qwen/Qwen3-1.7B"}}})
    there.wait_gone("Qwen3Model", first)


def test_a_pod_of_another_hand_is_not_believed(there: World) -> None:
    """Attack 22: a pod with the right label."""
    there.apply(Q3b().set(completions=2, parallelism=2).pod(**NEVER))
    job = the_job(there)
    annotations = {
        "devcluster.qwen3.dev/termination-message": COMPLETE,
        "batch.kubernetes.io/job-completion-index": "0",
    }
    # Without the Job's uid among them: a pod with that is adopted by the Job's own controller, and is its pod then.
    theirs = job["spec"]["template"]["metadata"]["labels"]
    labels = {key: value for key, value in theirs.items() if not key.endswith("controller-uid")}
    labels["batch.kubernetes.io/job-name"] = job["metadata"]["name"]
    container = {"name": "vllm", "image": "x"}
    there.apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "forged", "labels": labels, "annotations": annotations},
            "spec": {"restartPolicy": "Never", "containers": [container]},
        }
    )
    ended = {"exitCode": 0, "reason": "Completed", "message": COMPLETE}
    container_status = {"name": "vllm", "image": "x", "imageID": "", "ready": False, "restartCount": 0}
    container_status["state"] = {"terminated": ended}
    status = {"phase": "Succeeded", "containerStatuses": [container_status]}
    there.patch("Pod", "forged", {"status": status}, subresource="status")
    there.patch(KIND, "nightly", {"spec": {"parallelism": 1}})  # so that it is reconciled with that pod in sight
    there.wait(lambda: the_job(there)["spec"]["parallelism"] == 1, "the edit")
    stays(lambda: "requests" not in there.must(KIND, "nightly")["status"], seconds=3, what="no report")


def test_the_output_of_another_batch_is_refused(there: World) -> None:
    there.apply(Q3b("first").output("answers", "a/out.jsonl").pod(**NEVER))
    the_job(there, "first")
    time.sleep(1.1)  # ages are in whole seconds
    there.apply(Q3b("second").output("answers", "a/./out.jsonl").pod(**NEVER))
    reported = wait(there, "Accepted", "False", "OutputInUse", "second")
    assert "is the output of Qwen3Batch first" in reported["message"]
    assert not jobs(there, "second")
    assert there.condition("first", "Accepted", kind=KIND)["status"] == "True"
    there.delete(KIND, "first")
    there.wait(lambda: jobs(there, "second"), "the second may begin; the runner checks the volume", within=30)


@pytest.mark.parametrize(
    ("change", "reason", "words"),
    [
        (lambda b: b.output("nowhere", "x"), "ClaimNotFound", "PersistentVolumeClaim nowhere does not exist"),
        (lambda b: b.set(input={"claim": {"name": "nowhere", "path": "x"}}), "ClaimNotFound", "nowhere"),
        (
            lambda b: b.set(input={"configMapKeyRef": {"name": "no", "key": "k"}}),
            "ConfigMapNotFound",
            "no does not exist",
        ),
        (
            lambda b: b.set(input={"configMapKeyRef": {"name": "prompts", "key": "k"}}),
            "ConfigMapKeyNotFound",
            "no key k",
        ),
        (lambda b: b.set(input={"claim": {"name": "answers", "path": "./out.jsonl"}}), "OutputIsInput", "itself"),
        (
            lambda b: b.set(model={"id": "Qwen/Qwen3-4B-Instruct-2507"}, sampling={"thinking": "Enabled"}),
            "ThinkingNotSwitchable",
            "spec.sampling.thinking",
        ),
        (lambda b: b.set(engine={"extraArgs": ["--nonsense"]}), "", "--nonsense"),
    ],
)
def test_bad_input_is_named_in_words(there: World, change: Callable[[Q3b], Q3b], reason: str, words: str) -> None:
    there.apply(config_map("prompts", other="x"))
    there.apply(change(Q3b()))
    reported = wait(there, "Accepted", "False", reason)
    assert words in reported["message"]
    assert not jobs(there)


def test_what_does_not_fit_is_not_started(there: World) -> None:
    there.apply(Q3b().set(model={"id": "Qwen/Qwen3-235B-A22B"}))
    wait(there, "Fits", "False", "DoesNotFit")
    stays(lambda: not jobs(there), seconds=1, what="no Job")


def test_at_rest_nothing_is_written(there: World, writes_since: WritesSince) -> None:
    there.apply(Q3b().pod(**NEVER))
    wait(there, "Scheduled", "True")
    time.sleep(3)
    moment = time.time()
    time.sleep(12)
    assert writes_since(there, moment) == []


def test_deleting_takes_everything_but_the_answers(there: World) -> None:
    there.apply(Q3b().pod(**NEVER))
    the_job(there)
    there.delete(KIND, "nightly")
    there.wait(lambda: not there.list("Job", labelSelector="serving.qwen3.dev/batch=nightly"), "the Job is gone")
    there.wait(lambda: not there.list("ConfigMap", labelSelector="serving.qwen3.dev/batch=nightly"), "so is the rest")
    assert there.get("PersistentVolumeClaim", "answers")
