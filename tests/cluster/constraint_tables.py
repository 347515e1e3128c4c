"""The tables: every constraint of both CRDs. See constraints.py for what a row means."""

from __future__ import annotations

from typing import Any

from tests.cluster.constraints import (
    ABSENT,
    Case,
    choice,
    entries,
    items,
    matching,
    number,
    required,
    rule,
    text,
    under,
    unique,
)

from qwen3_operator.api import API_VERSION

Object = dict[str, Any]
INT32 = 2**31 - 1
INT64 = 2**53 - 1
"""The largest that every JSON reader holds exactly."""

# ---- objects with (nearly) every field set; cases change one thing of them

_SCHEDULING: Object = {
    "nodeSelector": {"k": "v"},
    "tolerations": [
        {"key": "gpu", "operator": "Equal", "value": "yes", "effect": "NoExecute", "tolerationSeconds": 60}
    ],
    "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}],
    "runtimeClassName": "nvidia",
    "priorityClassName": "high",
    "schedulerName": "default-scheduler",
}
_SOURCE: Object = {
    "id": "Qwen/Qwen3-8B",
    "revision": "master",
    "endpoint": "https://modelscope.cn",
    "tokenSecretRef": {"name": "token", "key": "token"},
    "download": {
        "allowPatterns": ["*"],
        "ignorePatterns": ["*.md"],
        "bytesPerSecond": "50Mi",
        "maxConnections": 8,
        "caBundleConfigMapKeyRef": {"name": "ca", "key": "ca.crt"},
    },
    "storage": {"size": "40Gi", "storageClassName": "fast", "accessMode": "ReadWriteMany", "retentionPolicy": "Delete"},
}
DEPLOYMENT: Object = {
    "apiVersion": API_VERSION,
    "kind": "Qwen3Deployment",
    "metadata": {"name": "full"},
    "spec": {
        "model": _SOURCE,
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
            "dtype": "bfloat16",
            "gpuMemoryUtilizationPercent": 90,
            "quantization": "fp8",
            "kvCacheDtype": "fp8",
            "maxNumSeqs": 64,
            "maxNumBatchedTokens": 8192,
            "enablePrefixCaching": True,
            "speculativeDecoding": {"numSpeculativeTokens": 2},
            "compileCache": {"enabled": True, "size": "1Gi", "storageClassName": "fast", "accessMode": "ReadWriteOnce"},
            "chatTemplate": {"configMapKeyRef": {"name": "template", "key": "template.jinja"}},
            "extraArgs": ["--enforce-eager"],
            "env": [{"name": "A", "value": "1"}],
        },
        "replicas": 1,
        "gpu": {"resourceName": "nvidia.com/gpu", "memory": "80Gi"},
        "resources": {"requests": {"k": "1"}, "limits": {"k": "1"}},
        "scheduling": _SCHEDULING,
        "service": {"type": "ClusterIP", "port": 8000, "annotations": {"k": "v"}, "labels": {"k": "v"}},
        "auth": {"apiKeySecretRef": {"name": "key", "key": "key"}},
        "preflight": "Enforce",
        "rollout": {"drainSeconds": 30},
        "podTemplatePatch": {},
        "suspend": True,
    },
}
MODEL: Object = {
    "apiVersion": API_VERSION,
    "kind": "Qwen3Model",
    "metadata": {"name": "full"},
    "spec": _SOURCE | {"scheduling": _SCHEDULING, "suspend": True},
}
_CONDITION: Object = {
    "type": "Ready",
    "status": "True",
    "reason": "Serving",
    "message": "",
    "lastTransitionTime": "2026-01-01T00:00:00Z",
    "observedGeneration": 1,
}
_DOWNLOAD: Object = {"job": "job", "startedAt": "then", "finishedAt": "later", "retryAt": "soon", "bytesDone": 1}
_COPY: Object = {"revision": "master", "commit": "abc", "claim": "claim", "path": "path", "bytes": 1}
DEPLOYMENT_STATUS: Object = {
    "observedGeneration": 1,
    "conditions": [_CONDITION],
    "endpoint": "http://full",
    "model": _COPY | {"name": "full"},
    "download": _DOWNLOAD,
    "engine": {"version": "0.33.0", "image": "vllm", "maxModelLen": 8192, "command": ["vllm"]},
    "plan": [{"field": "maxModelLen", "value": "8192", "reason": "set in the spec"}],
    "replicas": 1,
    "readyReplicas": 1,
    "selector": "a=b",
}
MODEL_STATUS: Object = {
    "observedGeneration": 1,
    "conditions": [_CONDITION],
    "model": _COPY,
    "download": _DOWNLOAD,
    "superseded": [{"revision": "v1", "path": "before"}],
    "usedBy": ["chat"],
    "size": "40Gi",
}

# ---- parts that both kinds share


_NAME_MESSAGE = "must be the name of an object: lower-case letters, digits, '-' and '.'"
_ID_MESSAGE = "must be OWNER/NAME as on ModelScope, like Qwen/Qwen3-8B"
_REVISION_MESSAGE = "must be a branch, a tag or a commit of the repository"
_PATH_MESSAGE = "must be a folder inside the volume: relative, and without '..'"
_PATTERN_MESSAGE = "must be one pattern, like *.safetensors; give several as several items"
_RATE_MESSAGE = "must be a quantity of at least 16Ki, like 50Mi"


def _object_name(path: str) -> list[Case]:
    return [
        *text(path, least=1, most=253),
        *rule(path, _NAME_MESSAGE, accept={"": "my-object.v1"}, reject={"": "My_Object"}),
    ]


def _key_reference(path: str) -> list[Case]:
    return [*required(path, "name", "key"), *_object_name(f"{path}.name"), *text(f"{path}.key", least=1, most=253)]


def _quantity(path: str) -> list[Case]:
    message = "must be a quantity greater than 0, like 40Gi"
    return [
        *text(path, most=32, letter="0", longest="1" + "0" * 29 + "Gi"),
        *rule(path, message, accept={"": "1.5Ti"}, reject={"": "0"}),
        *rule(path, message, accept={"": 1}, reject={"": -1}),
        *rule(path, message, accept={"": "40G"}, reject={"": "40 GB"}),
    ]


def _decimal(path: str, most: int) -> list[Case]:
    """A decimal number as text: the API has no floats."""
    return [
        *text(path, most=16, letter="0", longest="0." + "0" * 14),
        *matching(path, "^[0-9]+([.][0-9]+)?$", "0.95", "-0.5"),
        *rule(path, f"must be at most {most}.0", accept={"": f"{most}.0"}, reject={"": f"{most}.01"}),
    ]


_SOURCE_CASES = [
    *required("", "id"),
    *text("id", most=200, longest="Qwen/" + "a" * 195),
    *rule(
        "id",
        _ID_MESSAGE,
        accept={"": "me/My_Qwen3.v1"},
        reject={"": "Qwen3-8B"},
    ),
    *rule("id", _ID_MESSAGE, accept={"": "a/b"}, reject={"": "a/b/../c"}),
    *text("revision", least=1, most=200),
    *rule(
        "revision",
        _REVISION_MESSAGE,
        accept={"": "refs/pr-1_a.b"},
        reject={"": "a..b"},
    ),
    *text("endpoint", most=1024, longest="http://h/" + "a" * 1015),
    *rule(
        "endpoint",
        "must be a URL of the hub, like https://modelscope.cn",
        accept={"": "http://10.0.0.1:8080/hub"},
        reject={"": "modelscope.cn"},
    ),
    *rule(
        "endpoint",
        "must be a URL of the hub, like https://modelscope.cn",
        accept={"": "https://hub.internal"},
        reject={"": "ftp://modelscope.cn"},
    ),
    *_key_reference("tokenSecretRef"),
    *rule(
        "storage",
        "existingClaim excludes size, storageClassName and accessMode: the claim is already there",
        accept={"": {"existingClaim": {"name": "filled"}}},
        reject={"existingClaim": {"name": "filled"}},
    ),
    *rule(
        "storage",
        "an existingClaim is always retained: the operator deletes only what it made",
        accept={"": {"existingClaim": {"name": "filled"}, "retentionPolicy": "Retain"}},
        reject={"": {"existingClaim": {"name": "filled"}, "retentionPolicy": "Delete"}},
    ),
    *(
        case
        for name in ("allowPatterns", "ignorePatterns")
        for case in (
            *items(f"download.{name}", 32, lambda i: f"*.{i}"),
            *text(f"download.{name}[]", least=1, most=253),
            *rule(f"download.{name}[]", _PATTERN_MESSAGE, accept={"": "a b/*.json"}, reject={"": "*.json,*.txt"}),
        )
    ),
    *text("download.bytesPerSecond", most=32, letter="0", longest="1" + "0" * 29 + "Gi"),
    *rule("download.bytesPerSecond", _RATE_MESSAGE, accept={"": "0.5Mi"}, reject={"": "16k"}),
    *rule("download.bytesPerSecond", _RATE_MESSAGE, accept={"": 16384}, reject={"": 16383}),
    *rule("download.bytesPerSecond", _RATE_MESSAGE, accept={"": "1G"}, reject={"": "10MB/s"}),
    *number("download.maxConnections", 1, 64),
    *_key_reference("download.caBundleConfigMapKeyRef"),
    *_quantity("storage.size"),
    *_object_name("storage.storageClassName"),
    *choice("storage.accessMode", "ReadWriteOnce", "ReadWriteMany", "ReadWriteOncePod"),
    *choice("storage.retentionPolicy", "Retain", "Delete"),
]


def _existing_claim(name: str, **fields: Any) -> Object:
    return {"storage": {"existingClaim": {"name": name} | fields}}


def _claim_case(path: str, keyword: str, good: Object, bad: Object, words: str) -> Case:
    """existingClaim excludes what the full object says of its storage, so the whole of it is given."""
    return Case(f"storage.existingClaim{path}", keyword, good, bad, words)


_SOURCE_CASES += [
    _claim_case(
        "", "required name", _existing_claim("a"), {"storage": {"existingClaim": {"path": "a"}}}, "name: Required value"
    ),
    _claim_case(".name", "minLength", _existing_claim("a"), _existing_claim(""), "should be at least 1 chars long"),
    _claim_case(
        ".name", "maxLength", _existing_claim("a" * 253), _existing_claim("a" * 254), "may not be more than 253 bytes"
    ),
    _claim_case(".name", f"rule {_NAME_MESSAGE}", _existing_claim("a.b"), _existing_claim("A"), _NAME_MESSAGE),
    _claim_case(
        ".path",
        "maxLength",
        _existing_claim("a", path="a" * 1024),
        _existing_claim("a", path="a" * 1025),
        "may not be more than 1024 bytes",
    ),
    _claim_case(
        ".path",
        f"rule {_PATH_MESSAGE}",
        _existing_claim("a", path="a..b/c"),
        _existing_claim("a", path="a/../b"),
        _PATH_MESSAGE,
    ),
    _claim_case(
        ".path", f"rule {_PATH_MESSAGE}", _existing_claim("a", path=""), _existing_claim("a", path="/a"), _PATH_MESSAGE
    ),
]

_SCHEDULING_CASES = [
    *entries("nodeSelector", 32),
    *text("nodeSelector{}", most=63),
    *items("tolerations", 32, lambda i: {"key": f"k{i}", "operator": "Exists"}),
    *text("tolerations[].key", most=1024),
    *choice("tolerations[].operator", "Exists", "Equal", "Lt", "Gt"),
    *text("tolerations[].value", most=1024),
    *choice("tolerations[].effect", "NoSchedule", "PreferNoSchedule", "NoExecute"),
    *number("tolerations[].tolerationSeconds", 0, 2**31 - 1),
    *items("topologySpreadConstraints", 8, lambda i: {"maxSkew": 1, "topologyKey": f"k{i}"}),
    *_object_name("runtimeClassName"),
    *_object_name("priorityClassName"),
    *_object_name("schedulerName"),
]

_STATUS_CASES = [
    *number("observedGeneration", 0, INT64),
    *items("conditions", 16, lambda i: _CONDITION | {"type": f"Type{i}"}),
    *unique("conditions", _CONDITION, _CONDITION | {"type": "Stalled"}, _CONDITION | {"status": "False"}),
    *required("conditions[]", "type", "status", "reason"),
    *text("conditions[].type", least=1, most=63),
    *choice("conditions[].status", "True", "False", "Unknown"),
    *text("conditions[].reason", least=1, most=128),
    *text("conditions[].message", most=4096),
    *text("conditions[].lastTransitionTime", most=1024),
    *number("conditions[].observedGeneration", 0, INT64),
    *(
        case
        for name in ("revision", "commit", "claim", "claimUid", "path", "verifiedAt")
        for case in text(f"model.{name}", most=1024)
    ),
    *(
        case
        for name in ("bytes", "files", "weightsBytes", "repairedFiles")
        for case in number(f"model.{name}", 0, INT64)
    ),
    *choice("model.verifiedBy", "Hub", "Marker", "Structure"),
    *(
        case
        for name in ("job", "revision", "path", "startedAt", "finishedAt", "retryAt", "observedAt")
        for case in text(f"download.{name}", most=1024)
    ),
    *(
        case
        for name in (
            *("bytesDone", "bytesTotal", "bytesPerSecond", "etaSeconds", "filesDone", "filesTotal", "failures"),
            "volumeBytes",
        )
        for case in number(f"download.{name}", 0, INT64)
    ),
]

# ---- the two tables

GPU_OWNED = (
    "the GPU count follows from engine.tensorParallelSize and pipelineParallelSize:"
    " leave nvidia.com/gpu and the like out of resources"
)
_QUANTITY = "must be a quantity, like 4, 500m or 16Gi"

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
    *required("spec", "model"),
    *under("spec.model.", [c for c in _SOURCE_CASES if c.path]),
    *required("spec.model", "id"),
    *under(
        "spec.engine.",
        [
            *text("image", least=1, most=512),
            *text("version", most=32, letter="3", longest="0.3" + "3" * 29),
            *matching("version", r"^[0-9]+\.[0-9]+(\.[0-9]+)?$", "0.33", "v0.33.0"),
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
            *_quantity("compileCache.size"),
            *_object_name("compileCache.storageClassName"),
            *choice("compileCache.accessMode", "ReadWriteOnce", "ReadWriteMany"),
            *required("chatTemplate", "configMapKeyRef"),
            *_key_reference("chatTemplate.configMapKeyRef"),
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
        ],
    ),
    *number("spec.replicas", 0, 1000),
    *text("spec.gpu.resourceName", most=317, longest="a/" + "b" * 315),
    *rule(
        "spec.gpu.resourceName",
        "must be an extended resource, like nvidia.com/gpu",
        accept={"": "nvidia.com/mig-1g.10gb"},
        reject={"": "gpu"},
    ),
    *_quantity("spec.gpu.memory"),
    *choice("spec.preflight", "Enforce", "Warn", "Off"),
    *number("spec.rollout.drainSeconds", 0, 3600),
    *(
        case
        for name in ("requests", "limits")
        for case in (
            *entries(f"spec.resources.{name}", 16, "1"),
            *text(f"spec.resources.{name}{{}}", most=32, letter="0", longest="1" + "0" * 29 + "Gi"),
            *rule(f"spec.resources.{name}{{}}", _QUANTITY, accept={"": "500m"}, reject={"": "half"}),
            *rule(f"spec.resources.{name}{{}}", _QUANTITY, accept={"": 0}, reject={"": "4 Gi"}),
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
    *under("spec.scheduling.", _SCHEDULING_CASES),
    *choice("spec.service.type", "ClusterIP", "NodePort", "LoadBalancer"),
    *number("spec.service.port", 1, 65535),
    *entries("spec.service.annotations", 64),
    *text("spec.service.annotations{}", most=16384),
    *entries("spec.service.labels", 64),
    *text("spec.service.labels{}", most=63),
    *required("spec.auth", "apiKeySecretRef"),
    *_key_reference("spec.auth.apiKeySecretRef"),
    *under("status.", _STATUS_CASES),
    *under(
        "status.",
        [
            *text("endpoint", most=1024),
            *text("modelFaultAt", most=1024),
            *text("model.name", most=1024),
            *text("engine.version", most=1024),
            *text("engine.image", most=1024),
            *number("engine.maxModelLen", 0, INT64),
            *items("engine.command", 512, str),
            *text("engine.command[]", most=8192),
            *items("plan", 64, lambda i: {"field": f"f{i}", "value": "v", "reason": "r"}),
            *unique(
                "plan",
                {"field": "a", "value": "1", "reason": "r"},
                {"field": "b", "value": "1", "reason": "r"},
                {"field": "a", "value": "2", "reason": "s"},
            ),
            *required("plan[]", "field", "value", "reason"),
            *(case for name in ("field", "value", "reason") for case in text(f"plan[].{name}", most=1024)),
            *text("startup.pod", most=1024),
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
            *text("selector", most=1024),
        ],
    ),
]

MODEL_CASES = [
    *required("", "spec"),
    *rule(
        "",
        "the name becomes a Job's: at most 45 lower-case letters, digits and '-'",
        accept={"metadata.name": "3" * 45},
        reject={"metadata.name": "a.b"},
    ),
    *required("spec", "id"),
    *under("spec.", [c for c in _SOURCE_CASES if c.path]),
    *rule(
        "spec",
        "id is immutable: make another Qwen3Model",
        before={},
        accept={"revision": "v2"},
        reject={"id": "Qwen/Qwen3-4B"},
    ),
    *rule(
        "spec",
        "storage.existingClaim is immutable: make another Qwen3Model",
        before={"storage": {"existingClaim": {"name": "a", "path": "p"}}},
        accept={"suspend": False},
        reject={"storage.existingClaim.path": "q"},
    ),
    *rule(
        "spec",
        "storage.existingClaim is immutable: make another Qwen3Model",
        before={"storage": {"existingClaim": {"name": "a"}}},
        accept={"storage.retentionPolicy": "Retain"},
        reject={"storage.existingClaim": ABSENT},
    ),
    *rule(
        "spec",
        "storage.storageClassName is immutable, as in the claim: make another Qwen3Model",
        before={},
        accept={"storage.size": "80Gi"},
        reject={"storage.storageClassName": "slow"},
    ),
    *rule(
        "spec",
        "storage.storageClassName is immutable, as in the claim: make another Qwen3Model",
        before={},
        accept={"storage.retentionPolicy": "Retain"},
        reject={"storage.storageClassName": ABSENT},
    ),
    *rule(
        "spec",
        "storage.accessMode is immutable, as in the claim: make another Qwen3Model",
        before={"storage": {}},
        accept={"tokenSecretRef": ABSENT},
        reject={"storage.accessMode": "ReadWriteOnce"},
    ),
    *under("spec.scheduling.", _SCHEDULING_CASES),
    *under("status.", _STATUS_CASES),
    *items("status.superseded", 64, lambda i: {"path": f"p{i}"}),
    *unique("status.superseded", {"path": "a"}, {"path": "b"}, {"path": "a", "revision": "v1"}),
    *required("status.superseded[]", "path"),
    *text("status.superseded[].revision", most=1024),
    *text("status.superseded[].path", most=1024),
    *items("status.usedBy", 1000, lambda i: f"chat-{i}"),
    *unique("status.usedBy", "a", "b"),
    *_object_name("status.usedBy[]"),
    *_quantity("status.size"),
]
