"""The table of Qwen3Deployment."""

from __future__ import annotations

from dataclasses import replace

from tests.cluster.constraint_tables.gateway import GATEWAY, GATEWAY_CASES
from tests.cluster.constraint_tables.shared import (
    ADAPTER_SOURCE_CASES,
    CONDITION,
    COPY,
    DOWNLOAD,
    INT32,
    INT64,
    LABEL_PATTERN,
    SCHEDULING,
    SCHEDULING_CASES,
    SOURCE,
    SOURCE_CASES,
    STATUS_CASES,
    key_reference,
    object_name,
    patch_text,
    quantity,
    resource_quantity,
)
from tests.cluster.constraints import (
    ABSENT,
    Case,
    Change,
    Object,
    choice,
    entries,
    items,
    matching,
    number,
    required,
    rule,
    text,
    time,
    under,
    unique,
)

from qwen3_operator.api import API_VERSION

DIVISORS = (
    "1",
    "1",
    "1m",
    *(f"1{unit}" for unit in ("k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")),
)
"""The first is a number."""

VALUE_FROM: Object = {
    "secretKeyRef": {"name": "a", "key": "k", "optional": True},
    "configMapKeyRef": {"name": "a", "key": "k", "optional": True},
    "fieldRef": {"apiVersion": "v1", "fieldPath": "status.podIP"},
    "resourceFieldRef": {"containerName": "vllm", "resource": "limits.cpu", "divisor": "1"},
    "fileKeyRef": {"volumeName": "v", "path": "p", "key": "k", "optional": True},
}
"""All at once, which a pod may not have."""
DEPLOYMENT: Object = {
    "apiVersion": API_VERSION,
    "kind": "Qwen3Deployment",
    "metadata": {"name": "full"},
    "spec": {
        "model": SOURCE,
        "engine": {
            "image": "vllm/vllm-openai:v0.33.0",
            "version": "0.33.0",
            "servedModelNames": ["qwen"],
            "maxModelLen": 8192,
            "reasoningParser": "qwen3",
            "toolCallParser": "hermes",
            "tensorParallelSize": 1,
            "thinking": "Default",
            "sampling": {"temperature": "0.6", "topP": "0.95", "topK": 20, "minP": "0", "repetitionPenalty": "1.05"},
            "pipelineParallelSize": 1,
            "enableExpertParallel": False,
            "task": "generate",
            "hfOverrides": "{}",
            "host": "::",
            "dtype": "bfloat16",
            "gpuMemoryUtilizationPercent": 90,
            "quantization": "fp8",
            "kvCacheDtype": "fp8",
            "maxNumSeqs": 64,
            "maxNumBatchedTokens": 8192,
            "enablePrefixCaching": True,
            "loraAdapters": [
                {"name": "sql", "id": "me/sql", "revision": "v1", "tokenSecretRef": {"name": "token", "key": "token"}}
            ],
            "maxLoraRank": 16,
            "maxLoras": 2,
            "speculativeDecoding": {"numSpeculativeTokens": 2},
            "compileCache": {"enabled": True, "size": "1Gi", "storageClassName": "fast", "accessMode": "ReadWriteOnce"},
            "chatTemplate": {"configMapKeyRef": {"name": "template", "key": "template.jinja"}},
            "extraArgs": ["--enforce-eager"],
            "env": [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": VALUE_FROM}],
        },
        "replicas": 1,
        "autoscaling": {"minReplicas": 1, "maxReplicas": 1000, "target": {"queue": 4}, "scaleDownDelaySeconds": 300},
        "gpu": {"resourceName": "nvidia.com/gpu", "memory": "80Gi"},
        "resources": {"requests": {"k": "1"}, "limits": {"k": "1"}},
        "scheduling": SCHEDULING,
        "service": {
            "type": "ClusterIP",
            "port": 8000,
            "annotations": {"k": "v"},
            "labels": {"k": "v"},
            "gateway": GATEWAY,
        },
        "auth": {
            "keys": {"secretRef": {"name": "keys"}},
            "limits": {
                "default": {"requestsPerMinute": 60, "tokensPerMinute": 10_000, "maxConcurrent": 4},
                "teams": [{"name": "team-a", "requestsPerMinute": 600, "tokensPerMinute": 100_000, "maxConcurrent": 8}],
            },
        },
        "preflight": "Enforce",
        "disruptionBudget": "Off",
        "rollout": {
            "drainSeconds": 30,
            "strategy": "Auto",
            "maxUnavailable": 1,
            "progressDeadlineSeconds": 3600,
        },
        "benchmark": {"inputTokens": 1024, "outputTokens": 256, "ttftP95Milliseconds": 2000, "maxSeconds": 180},
        "verify": {"mode": "Auto", "prompts": [{"prompt": "2+2?", "contains": ["4"], "thinking": False}]},
        "podTemplatePatch": "spec: {}",
        "suspend": True,
    },
}
DEPLOYMENT_STATUS: Object = {
    "observedGeneration": 1,
    "conditions": [CONDITION],
    "endpoint": "http://full",
    "gatewayEndpoint": "llm.example/qwen3-8b/v1",
    "model": COPY | {"name": "full"},
    "adapters": [
        {
            "name": "sql",
            "model": "sql-1",
            "revision": "v1",
            "commit": "c",
            "rank": 8,
            "bytes": 1,
            "ready": True,
            "message": "m",
        }
    ],
    "download": DOWNLOAD,
    "engine": {"version": "0.33.0", "image": "vllm", "maxModelLen": 8192, "command": ["vllm"]},
    "plan": [{"field": "maxModelLen", "value": "8192", "reason": "set in the spec"}],
    "replicas": 1,
    "readyReplicas": 1,
    "autoscaling": {"desiredReplicas": 1, "active": True},
    "capacity": {
        "concurrencyAtTarget": 48,
        "tokensPerSecond": 2200,
        "ttftP95Milliseconds": 1800,
        "targetMilliseconds": 2000,
        "inputTokens": 1024,
        "outputTokens": 256,
        "endedBy": "target",
        "gpu": "NVIDIA L4",
        "image": "vllm",
        "key": "0a1b",
        "measuredAt": "2026-11-28T06:00:00Z",
    },
    "selector": "a=b",
}

GPU_OWNED = (
    "the GPU count follows from engine.tensorParallelSize and pipelineParallelSize:"
    " leave nvidia.com/gpu and the like out of resources"
)


_ONE_KEY = {"spec.auth": {"apiKeySecretRef": {"name": "key", "key": "key"}}}
_ONE_OF_TWO = "give either apiKeySecretRef or keys"
_LIMITS_OF_TEAMS = "limits are of teams: they need keys"
_ONE_TARGET = "give one of concurrency, queue, kvCache and auto"
_TRUE_OR_NOT = "auto is true, or left out"
_BOTH = "autoscaling.target.auto is what spec.benchmark measures: give both"
_NO_TARGET: Change = {"spec.autoscaling.target": {}}


def _limits(path: str) -> list[Case]:
    names = ("requestsPerMinute", "tokensPerMinute", "maxConcurrent")
    return [case for name in names for case in number(f"{path}.{name}", 1, INT32)]


_AUTH_CASES = [
    *(
        replace(case, accept=_ONE_KEY | case.accept, reject=_ONE_KEY | case.reject)
        for case in key_reference("spec.auth.apiKeySecretRef")
    ),
    Case("spec.auth", f"rule {_ONE_OF_TWO}", _ONE_KEY, {"spec.auth": {}}, _ONE_OF_TWO),
    *rule("spec.auth", _ONE_OF_TWO, accept={}, reject={"apiKeySecretRef": {"name": "key", "key": "key"}}),
    Case(
        "spec.auth",
        f"rule {_LIMITS_OF_TEAMS}",
        {"spec.auth.limits": ABSENT},
        _ONE_KEY | {"spec.auth.limits": {}},
        _LIMITS_OF_TEAMS,
    ),
    *required("spec.auth.keys", "secretRef"),
    *required("spec.auth.keys.secretRef", "name"),
    *object_name("spec.auth.keys.secretRef.name"),
    *_limits("spec.auth.limits.default"),
    *items("spec.auth.limits.teams", 256, lambda i: {"name": f"team-{i}"}),
    *unique("spec.auth.limits.teams", {"name": "a"}, {"name": "b"}),
    *required("spec.auth.limits.teams[]", "name"),
    *text("spec.auth.limits.teams[].name", least=1, most=253),
    *matching("spec.auth.limits.teams[].name", "^[-_a-zA-Z0-9]+$", "Team_a-1", "team.a"),
    *_limits("spec.auth.limits.teams[]"),
]

_NO_PICKER = {"spec.service.gateway.endpointPicker": ABSENT}
"""Where there may be no server."""

_AUTOSCALING_CASES = [
    *required("spec.autoscaling", "maxReplicas", "target"),
    *(replace(case, accept=_NO_PICKER | case.accept) for case in number("spec.autoscaling.minReplicas", 0, 1000)),
    *number("spec.autoscaling.maxReplicas", 1, 1000),
    *number("spec.autoscaling.scaleDownDelaySeconds", 0, 3600),
    *rule(
        "spec.autoscaling",
        "maxReplicas must be at least minReplicas",
        accept={"minReplicas": 4, "maxReplicas": 4},
        reject={"minReplicas": 5, "maxReplicas": 4},
    ),
    *(
        replace(case, accept=_NO_TARGET | case.accept, reject=_NO_TARGET | case.reject)
        for name, most in (("concurrency", 100_000), ("queue", 100_000), ("kvCache", 90))
        for case in number(f"spec.autoscaling.target.{name}", 1, most)
    ),
    *rule(
        "spec.autoscaling.target",
        _ONE_TARGET,
        accept={"": {"concurrency": 16}},
        reject={"": {}},
    ),
    *rule(
        "spec.autoscaling.target",
        _ONE_TARGET,
        accept={"": {"kvCache": 70}},
        reject={"": {"queue": 4, "kvCache": 70}},
    ),
    *rule("spec.autoscaling.target", _TRUE_OR_NOT, accept={"": {"auto": True}}, reject={"": {"auto": False}}),
    Case(
        "spec",
        f"rule {_BOTH}",
        {"spec.autoscaling.target": {"auto": True}},
        {"spec.autoscaling.target": {"auto": True}, "spec.benchmark": ABSENT},
        _BOTH,
    ),
]

_BENCHMARK_CASES = [
    *number("spec.benchmark.inputTokens", 1, 1_048_576),
    *number("spec.benchmark.outputTokens", 1, 131_072),
    *number("spec.benchmark.ttftP95Milliseconds", 10, 600_000),
    *number("spec.benchmark.maxSeconds", 30, 1800),
]


_RANKS = "must be one of 8, 16, 32, 64, 128, 256, 320, 512"


def _decimal(path: str, most: int) -> list[Case]:
    """A decimal number as text: the API has no floats."""
    return [
        *text(path, most=16, letter="0", longest="0." + "0" * 14),
        *matching(path, "^[0-9]+([.][0-9]+)?$", "0.95", "-0.5"),
        *rule(path, f"must be at most {most}.0", accept={"": f"{most}.0"}, reject={"": f"{most}.01"}),
    ]


def _value_from(path: str) -> list[Case]:
    """Sources of a variable; the full object has them in its second one."""
    cases = [
        *(
            case
            for name in ("secretKeyRef", "configMapKeyRef")
            for case in (
                *required(f"{path}.{name}", "key"),
                *text(f"{path}.{name}.name", most=253),
                *text(f"{path}.{name}.key", least=1, most=253),
            )
        ),
        *required(f"{path}.fieldRef", "fieldPath"),
        *text(f"{path}.fieldRef.apiVersion", most=253),
        *text(f"{path}.fieldRef.fieldPath", most=1024),
        *required(f"{path}.resourceFieldRef", "resource"),
        *text(f"{path}.resourceFieldRef.containerName", most=253),
        *text(f"{path}.resourceFieldRef.resource", most=253),
        *choice(f"{path}.resourceFieldRef.divisor", *DIVISORS, other="2Mi"),
        *choice(f"{path}.resourceFieldRef.divisor", *DIVISORS, good=1, other="500m"),
        *required(f"{path}.fileKeyRef", "volumeName", "path", "key"),
        *text(f"{path}.fileKeyRef.volumeName", most=253),
        *text(f"{path}.fileKeyRef.path", most=1024),
        *text(f"{path}.fileKeyRef.key", least=1, most=253),
    ]

    def second(change: Change) -> Change:
        return {at.replace(".0.", ".1.", 1): value for at, value in change.items()}

    return [
        replace(case, accept=second(case.accept), reject=second(case.reject), words=case.words.replace("[0]", "[1]"))
        for case in cases
    ]


DEPLOYMENT_CASES = [
    *required("", "spec"),
    *rule(
        "",
        "the name becomes a Service's: at most 45 lower-case letters, digits and '-', beginning with a letter",
        accept={"metadata.name": "q" * 45},
        reject={"metadata.name": "q" * 46},
    ),
    *rule(
        "",
        "the name becomes a Service's: at most 45 lower-case letters, digits and '-', beginning with a letter",
        accept={"metadata.name": "qwen3-8b"},
        reject={"metadata.name": "3-qwen"},
    ),
    *rule(
        "",
        "the name kubernetes is that of the API server's own Service: choose another",
        accept={"metadata.name": "kubernetes-docs"},
        reject={"metadata.name": "kubernetes"},
    ),
    *rule(
        "spec",
        "give either model or modelRef",
        accept={"model": ABSENT, "modelRef": {"name": "weights"}},
        reject={"model": ABSENT},
    ),
    *rule(
        "spec",
        "give either model or modelRef",
        accept={"model.id": "Qwen/Qwen3-4B"},
        reject={"modelRef": {"name": "weights"}},
    ),
    Case(
        "spec.modelRef",
        "required name",
        {"spec.model": ABSENT, "spec.modelRef": {"name": "weights"}},
        {"spec.model": ABSENT, "spec.modelRef": {}},
        "name: Required value",
    ),
    *(
        replace(case, accept={"spec.model": ABSENT} | case.accept, reject={"spec.model": ABSENT} | case.reject)
        for case in object_name("spec.modelRef.name")
    ),
    *under("spec.model.", [c for c in SOURCE_CASES if c.path]),
    *required("spec.model", "id"),
    *rule(
        "spec.engine",
        "an adapter of loraAdapters has a name of servedModelNames: each needs its own",
        accept={"servedModelNames": ["sql2"]},
        reject={"servedModelNames": ["qwen", "sql"]},
    ),
    *rule(
        "spec",
        "an adapter of engine.loraAdapters has the name by which the model is served: each needs its own",
        accept={"engine.servedModelNames": ["qwen"], "model.id": "me/sql"},
        reject={"engine.servedModelNames": ABSENT, "model.id": "me/sql"},
    ),
    *under(
        "spec.engine.",
        [
            *text("image", least=1, most=512),
            *text("version", most=32, letter="3", longest="0.3" + "3" * 29),
            *matching("version", r"^[0-9]+\.[0-9]+(\.[0-9]+)?$", "0.33", "v0.33.0"),
            *text("resolve", most=256),
            *items("servedModelNames", 16, lambda i: f"name-{i}"),
            *unique("servedModelNames", "a", "b"),
            *text("servedModelNames[]", least=1, most=256),
            *number("maxModelLen", 1, 16_777_216),
            *(
                case
                for name in ("reasoningParser", "toolCallParser")
                for case in (
                    *text(name, least=1, most=64),
                    *matching(name, "^[A-Za-z0-9_-]+$", "deepseek_r1", "qwen3 --flag"),
                )
            ),
            *choice("task", "generate", "embed", "rerank"),
            *text("hfOverrides", least=2, most=8192),
            *text("host", most=64, letter="0"),
            *matching("host", "^[0-9A-Fa-f:.]+$", "fd00::1", "a b"),
            *choice("thinking", "Default", "Enabled", "Disabled"),
            *_decimal("sampling.temperature", 2),
            *_decimal("sampling.topP", 1),
            *number("sampling.topK", 0, 1_000_000),
            *_decimal("sampling.minP", 1),
            *_decimal("sampling.repetitionPenalty", 2),
            *number("tensorParallelSize", 1, 1024),
            *number("pipelineParallelSize", 1, 1024),
            *choice("dtype", "auto", "half", "float16", "bfloat16", "float", "float32"),
            *number("gpuMemoryUtilizationPercent", 1, 100),
            *(
                case
                for name in ("quantization", "kvCacheDtype")
                for case in (
                    *text(name, least=1, most=64),
                    *matching(name, "^[A-Za-z0-9_.-]+$", "fp8_e4m3", "fp8 --flag"),
                )
            ),
            *number("maxNumSeqs", 1, 65536),
            *number("maxNumBatchedTokens", 1, 16_777_216),
            *required("speculativeDecoding", "numSpeculativeTokens"),
            *number("speculativeDecoding.numSpeculativeTokens", 1, 16),
            *items("loraAdapters", 32, lambda i: {"name": f"a{i}", "id": "me/sql"}),
            *unique(
                "loraAdapters", {"name": "a", "id": "me/a"}, {"name": "b", "id": "me/a"}, {"name": "a", "id": "me/b"}
            ),
            *required("loraAdapters[]", "name", "id"),
            *text("loraAdapters[].name", least=1, most=128),
            *matching("loraAdapters[].name", "^[A-Za-z0-9][A-Za-z0-9._:-]*$", "Qwen3-8B:sql_v1.2", "a/b"),
            *(
                replace(case.under("loraAdapters.0."), path=f"loraAdapters[].{case.path}")
                for case in ADAPTER_SOURCE_CASES
            ),
            *key_reference("loraAdapters[].tokenSecretRef"),
            *number("maxLoraRank", 8, 512),
            *rule("maxLoraRank", _RANKS, accept={"": 512}, reject={"": 24}),
            *number("maxLoras", 1, 32),
            *quantity("compileCache.size"),
            *object_name("compileCache.storageClassName"),
            *choice("compileCache.accessMode", "ReadWriteOnce", "ReadWriteMany"),
            *required("chatTemplate", "configMapKeyRef"),
            *key_reference("chatTemplate.configMapKeyRef"),
            *items("extraArgs", 128, lambda i: f"--flag-{i}"),
            *text("extraArgs[]", least=1, most=4096),
            *items("env", 64, lambda i: {"name": f"A{i}", "value": "1"}),
            *unique("env", {"name": "A", "value": "1"}, {"name": "B"}, {"name": "A", "value": "2"}),
            *required("env[]", "name"),
            *rule(
                "env[]",
                "value and valueFrom exclude each other",
                accept={"": {"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}},
                reject={"valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            ),
            *matching("env[].name", "^[-._A-Za-z][-._A-Za-z0-9]*$", "VLLM_LOG.level-1", "1A=B"),
            *text("env[].name", least=1, most=253),
            *text("env[].value", most=32768),
            *_value_from("env[].valueFrom"),
        ],
    ),
    *number("spec.replicas", 0, 1000),
    *_AUTOSCALING_CASES,
    *_BENCHMARK_CASES,
    *text("spec.gpu.resourceName", most=317, longest="a/" + "b" * 315),
    *rule(
        "spec.gpu.resourceName",
        "must be an extended resource, like nvidia.com/gpu",
        accept={"": "nvidia.com/mig-1g.10gb"},
        reject={"": "gpu"},
    ),
    *quantity("spec.gpu.memory"),
    *choice("spec.preflight", "Enforce", "Warn", "Off"),
    *choice("spec.disruptionBudget", "Auto", "Off"),
    *number("spec.rollout.drainSeconds", 0, 3600),
    *choice("spec.rollout.strategy", "Auto", "Surge", "Recreate"),
    *number("spec.rollout.maxUnavailable", 0, 1000),
    *number("spec.rollout.progressDeadlineSeconds", 60, 86400),
    *choice("spec.verify.mode", "Auto", "Off"),
    *items("spec.verify.prompts", 8, lambda i: {"prompt": f"{i}?", "contains": ["a"]}),
    *required("spec.verify.prompts[]", "prompt", "contains"),
    *text("spec.verify.prompts[].prompt", least=1, most=4096),
    *items("spec.verify.prompts[].contains", 8, lambda i: f"word {i}"),
    Case(
        "spec.verify.prompts[].contains",
        "minItems",
        {"spec.verify.prompts.0.contains": ["a"]},
        {"spec.verify.prompts.0.contains": []},
        "should have at least 1 items",
    ),
    *text("spec.verify.prompts[].contains[]", least=1, most=256),
    *(
        case
        for name in ("requests", "limits")
        for case in (
            *entries(f"spec.resources.{name}", 10, "1"),
            *resource_quantity(f"spec.resources.{name}{{}}"),
        )
    ),
    *rule(
        "spec",
        GPU_OWNED,
        accept={"resources": {"requests": {"cpu": "4"}}},
        reject={"resources": {"requests": {"nvidia.com/gpu": "2"}}},
    ),
    *rule(
        "spec",
        GPU_OWNED,
        accept={"resources": {"limits": {"nvidia.com/gpu": "2"}}, "gpu.resourceName": "amd.com/gpu"},
        reject={"resources": {"limits": {"amd.com/gpu": "2"}}, "gpu.resourceName": "amd.com/gpu"},
    ),
    *under("spec.scheduling.", SCHEDULING_CASES),
    *patch_text("spec.podTemplatePatch"),
    *choice("spec.service.type", "ClusterIP", "NodePort", "LoadBalancer"),
    *number("spec.service.port", 1, 65535),
    *entries("spec.service.annotations", 64),
    *text("spec.service.annotations{}", most=16384),
    *entries("spec.service.labels", 64),
    *text("spec.service.labels{}", most=63),
    *matching("spec.service.labels{}", LABEL_PATTERN, "a.b", "a b"),
    *GATEWAY_CASES,
    *_AUTH_CASES,
    *under("status.", STATUS_CASES),
    *under(
        "status.",
        [
            *text("endpoint", most=1024),
            *text("gatewayEndpoint", most=1024),
            *time("modelFaultAt"),
            *items("adapters", 32, lambda i: {"name": f"a{i}"}),
            *unique("adapters", {"name": "a"}, {"name": "b"}, {"name": "a", "rank": 1}),
            *required("adapters[]", "name"),
            *text("adapters[].name", most=128),
            *(
                case
                for name in ("model", "revision", "commit", "message")
                for case in text(f"adapters[].{name}", most=1024)
            ),
            *(case for name in ("rank", "bytes") for case in number(f"adapters[].{name}", 0, INT64)),
            *text("model.name", most=1024),
            *text("engine.version", most=1024),
            *text("engine.image", most=1024),
            *number("engine.maxModelLen", 0, INT64),
            *items("engine.command", 512, str),
            *text("engine.command[]", most=8192),
            *items("plan", 64, lambda i: {"field": f"f{i}", "value": "v", "reason": "r"}),
            *required("plan[]", "field", "value", "reason"),
            *(case for name in ("field", "value", "reason", "next") for case in text(f"plan[].{name}", most=1024)),
            *text("model.id", most=1024),
            *text("startup.pod", most=1024),
            *text("startup.withoutMiddleware", most=1024),
            *(
                case
                for name in (
                    *("scheduledSeconds", "pulledSeconds", "weightsSeconds", "compileSeconds", "graphsSeconds"),
                    *("readySeconds", "kvCacheTokens"),
                )
                for case in number(f"startup.{name}", 0, INT64)
            ),
            *number("replicas", 0, INT32),
            *number("readyReplicas", 0, INT32),
            *number("autoscaling.desiredReplicas", 0, INT32),
            *(
                case
                for name in (
                    *("concurrencyAtTarget", "tokensPerSecond", "ttftP95Milliseconds", "targetMilliseconds"),
                    *("inputTokens", "outputTokens"),
                )
                for case in number(f"capacity.{name}", 0, INT64)
            ),
            *(case for name in ("endedBy", "gpu", "image", "key") for case in text(f"capacity.{name}", most=1024)),
            *time("capacity.measuredAt"),
            *text("selector", most=1024),
        ],
    ),
]
