"""One of everything that users of the state c4bbbf7 had: each Qwen3Deployment is there for one thing that it shows."""

from __future__ import annotations

import json
from typing import Any

from tests.cluster.wrappers import Q3b, Q3d, Q3m, claim, config_map, secret

Object = dict[str, Any]
NAMESPACE = "upgrade"
OLD = "c4bbbf7"
NEVER_ENDS = "100000h"
BATCH_REPORT = json.dumps(
    {
        "result": "Complete",
        "total": 5,
        "lines": 10,
        "done": 4,
        "failed": 1,
        "promptTokens": 50,
        "completionTokens": 500,
        "tokensPerSecond": 100,
        "merged": True,
    }
)


def beside() -> list[Object]:
    """What the Qwen3Deployments name, made before them."""
    return [
        secret("clients", **{"api-key": "not-a-secret"}),
        secret("modelscope", token="not-a-token"),
        config_map("templates", chat__jinja="{{ messages[0].content }}"),
        claim("filled"),
        claim("answers"),
    ]


def ahead() -> list[Q3m]:
    """Models of a platform team, Ready before anybody uses them."""
    return [Q3m("pinned").set(id="Qwen/Qwen3-4B", revision="v1.0"), Q3m("alone").set(id="Qwen/Qwen3-14B")]


def servers() -> list[Q3d]:
    """Qwen3Deployments that are all Ready at the end."""
    return [
        Q3d("plain"),
        Q3d("neighbour").engine(maxModelLen=4096),  # the second user of plain's model
        Q3d("squeezed").engine(gpuMemoryUtilizationPercent=8),  # the GPUs decide its length
        Q3d("old-clients").engine(reasoningContentField=True),
        Q3d("patched").set(podTemplatePatch={"metadata": {"annotations": {"team.example/cost": "42"}}}),
        Q3d("templated").engine(chatTemplate={"configMapKeyRef": {"name": "templates", "key": "chat.jinja"}}),
        Q3d("cached").engine(compileCache={"enabled": True, "size": "2Gi"}),
        Q3d("guarded").set(auth={"apiKeySecretRef": {"name": "clients", "key": "api-key"}}),
        Q3d("wide").engine(tensorParallelSize=2, image="vllm/vllm-openai:v0.32.0").set(replicas=2),
        Q3d("passing").model("Qwen/Qwen3-1.7B").storage(retentionPolicy="Delete"),
        Q3d("ahead").model("Qwen/Qwen3-4B", revision="v1.0"),
        Q3d("imported").storage(existingClaim={"name": "filled", "path": "qwen3/"}),
        Q3d("spelled-out").model("Qwen/Qwen3-1.7B-Base", revision="master").storage(accessMode="ReadWriteOnce"),
        Q3d("unsaid").model("Qwen/Qwen3-1.7B-Base"),  # the same model as spelled-out
        Q3d("classed").storage(storageClassName="simulated", size="20Gi"),
        Q3d("filtered").model(download={"ignorePatterns": ["original/*", "*.bin"]}),
        Q3d("mirrored").model("Qwen/Qwen3-0.6B-Base", endpoint="https://mirror.example"),
        Q3d("redirected").model(endpoint="https://mirror.example"),  # the model of plain, which is from elsewhere
        Q3d("bold").engine(gpuMemoryUtilizationPercent=5, maxModelLen=40960).set(preflight="Warn"),  # does not fit
        Q3d("gated").model("Qwen/Qwen3-8B", tokenSecretRef={"name": "modelscope", "key": "token"}),
    ]


def batches() -> list[Q3b]:
    """One that runs for ever, one that has ended, and one that has ended with the engine of `plain`."""
    borrowed = Q3b("borrowed").set(deploymentRef={"name": "plain"}).output("answers", "borrowed.jsonl")
    del borrowed.spec["model"]
    return [
        Q3b("running").output("answers", "running.jsonl").pod(run_for=NEVER_ENDS),
        Q3b("finished").output("answers", "finished.jsonl").pod(termination_message=BATCH_REPORT),
        borrowed.pod(termination_message=BATCH_REPORT),
    ]
