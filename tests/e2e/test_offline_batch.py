"""Offline inference on the real node: the tutorial's two prompts with its two parameter sets, and bad lines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from demo.kube import wait_until
from tests.e2e.world import EXAMPLE, World

FACTORIAL, HELLO = "5的阶乘是多少?", "你好"
CLAIM, LENDER = "answers", "tiny-lender"
SECONDS = 240


def batch(name: str, **spec: Any) -> dict[str, Any]:
    """A Qwen3Batch with the engine of a Qwen3Deployment, and prompts as the model sees them in its answers."""
    output = {"claim": {"name": CLAIM, "path": f"{name}/answers.jsonl"}, "includePrompt": True}
    return {
        "apiVersion": EXAMPLE["apiVersion"],
        "kind": "Qwen3Batch",
        "metadata": {"name": name},
        "spec": {"deploymentRef": {"name": LENDER}, "output": output, **spec},
    }


@pytest.fixture(scope="module")
def there(world: World) -> Iterator[World]:
    """A claim for the answers, and a Qwen3Deployment that runs nothing and lends its model and engine."""
    world.apply(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": CLAIM},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Mi"}}},
        }
    )
    lender = world.example(LENDER)
    lender["spec"]["suspend"] = True
    world.apply(lender)
    yield world
    world.kubectl("delete", "qwen3batch", "--all", "--wait=false")
    world.delete(LENDER)


def completed(world: World, name: str) -> dict[str, Any]:
    """The batch once it is complete."""

    def read() -> dict[str, Any] | None:
        live: dict[str, Any] = world.get("qwen3batch", name)
        conditions = {c["type"]: c for c in live.get("status", {}).get("conditions", [])}
        assert conditions.get("Stalled", {}).get("status") != "True", conditions["Stalled"]
        return live if conditions.get("Completed", {}).get("status") == "True" else None

    found = wait_until(f"the end of Qwen3Batch {name}", read, timeout=SECONDS)
    assert found
    return found


def answers(world: World, name: str) -> list[dict[str, Any]]:
    """The lines of the output, read by a pod that mounts the claim."""
    reader = f"read-{name}"
    script = f"print(open('/answers/{name}/answers.jsonl').read(), end='')"
    restricted = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    pod = {
        "restartPolicy": "Never",
        "securityContext": {"runAsNonRoot": True, "runAsUser": 2000, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {
                "name": "read",
                "image": world.tiny["spec"]["engine"]["image"],
                "command": ["python3", "-c", script],
                "env": [{"name": "PYTHONIOENCODING", "value": "utf-8"}],
                "securityContext": restricted,
                "volumeMounts": [{"name": "answers", "mountPath": "/answers", "readOnly": True}],
            }
        ],
        "volumes": [{"name": "answers", "persistentVolumeClaim": {"claimName": CLAIM}}],
    }
    world.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": reader}, "spec": pod})
    world.kubectl("wait", f"pod/{reader}", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s")
    lines = world.kubectl("logs", reader).splitlines()
    world.kubectl("delete", "pod", reader, "--wait=false")
    return [json.loads(line) for line in lines]


def reported(answer: dict[str, Any]) -> tuple[str, str, str]:
    """The prompt as the model saw it, what it answered, and what it thought."""
    body = answer["response"]["body"]
    message = body["choices"][0]["message"]
    return body.get("prompt", ""), message["content"], message.get("reasoning") or ""


def test_the_tutorials_prompts_thinking(there: World) -> None:
    sampling = {"temperature": "0.6", "topP": "0.95", "topK": 20, "minP": "0", "maxTokens": 200}
    there.apply(batch("thinking", input={"prompts": [FACTORIAL, HELLO]}, sampling=sampling))
    live = completed(there, "thinking")
    assert live["status"]["requests"] == {"total": 2, "done": 2, "failed": 0}
    assert live["status"]["tokens"]["completion"] > 20
    assert live["status"]["output"] == f"{CLAIM}:thinking/answers.jsonl"
    for answer, question in zip(answers(there, "thinking"), (FACTORIAL, HELLO), strict=True):
        prompt, text, thoughts = reported(answer)
        assert prompt == f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
        assert thoughts.strip() and "think>" not in text


def test_the_tutorials_prompts_not_thinking_from_a_file_with_bad_lines(there: World) -> None:
    lines = [{"prompt": FACTORIAL}, {"prompt": HELLO}, {"prompt": "too long " * 3000}]
    text = "".join(json.dumps(line) + "\n" for line in lines) + '{"prompt": \n'
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "prompts"}, "data": {"in.jsonl": text}}
    there.apply(config_map)
    sampling = {"thinking": "Disabled", "temperature": "0.7", "topP": "0.8", "topK": 20, "minP": "0"}
    source = {"configMapKeyRef": {"name": "prompts", "key": "in.jsonl"}}
    there.apply(batch("plain", input=source, sampling=sampling))
    assert completed(there, "plain")["status"]["requests"] == {"total": 4, "done": 2, "failed": 2}
    found = answers(there, "plain")
    for answer, question in zip(found[:2], (FACTORIAL, HELLO), strict=True):
        prompt, words, thoughts = reported(answer)
        assert prompt == f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
        assert "<think>" not in words and not thoughts
    assert reported(found[0])[1] == "5的阶乘是 **120**。"
    assert found[2]["error"]["code"] == "context_length_exceeded"
    assert found[3]["error"]["message"].startswith("line 4 is not JSON")


def test_the_job_of_a_batch_holds_a_gpu_and_its_pods_end(there: World) -> None:
    pods = there.get("pods", "-l", "serving.qwen3.dev/batch=thinking")["items"]
    assert [pod["status"]["phase"] for pod in pods] == ["Succeeded"]
    assert pods[0]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert not there.get("deployments", LENDER)["status"].get("replicas")


def test_servers_that_run_answer_without_a_gpu_of_the_batch(there: World) -> None:
    there.apply(there.example("tiny-asked"))
    there.ready("tiny-asked")
    asked = batch("asked", input={"prompts": [FACTORIAL, HELLO]}, sampling={"temperature": "0"})
    asked["spec"] |= {"deploymentRef": {"name": "tiny-asked"}, "target": "Running", "concurrency": 2}
    there.apply(asked)
    assert completed(there, "asked")["status"]["requests"] == {"total": 2, "done": 2, "failed": 0}
    assert reported(answers(there, "asked")[0])[1].strip() == "5的阶乘是 **120**。"
    (pod,) = there.get("pods", "-l", "serving.qwen3.dev/batch=asked")["items"]
    assert "nvidia.com/gpu" not in json.dumps(pod["spec"]["containers"][0]["resources"])
    there.delete("tiny-asked")


@pytest.mark.nightly
def test_what_is_finished_is_delivered_when_the_time_is_out(there: World) -> None:
    lines = [{"prompt": HELLO}, *({"prompt": HELLO, "ignore_eos": True, "max_tokens": 2000} for _ in range(400))]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    there.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "long"}, "data": {"in.jsonl": text}})
    source = {"configMapKeyRef": {"name": "long", "key": "in.jsonl"}}
    there.apply(batch("late", input=source, activeDeadlineSeconds=120))

    def delivered() -> bool:
        job = there.get("qwen3batch", "late").get("status", {}).get("job", {})
        return bool(job.get("delivery") == "Complete")

    wait_until("the delivery of late", delivered, timeout=SECONDS)
    status = there.get("qwen3batch", "late")["status"]
    assert (status["job"]["result"], status["output"]) == ("Failed", f"{CLAIM}:late/answers.jsonl")
    found = answers(there, "late")
    assert len(found) == len(lines)
    codes = {answer["error"]["code"] for answer in found if answer["error"]}
    assert codes == {"batch_expired"}
