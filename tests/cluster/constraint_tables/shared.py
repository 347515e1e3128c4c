"""What the kinds share: parts of full objects, and the rows about them."""

from __future__ import annotations

from typing import Any

from tests.cluster.constraints import (
    Case,
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

TIME = "2026-01-01T00:00:00Z"
INT32 = 2**31 - 1
INT64 = 2**53 - 1
"""The largest that every JSON reader holds exactly."""

_SELECTOR: Object = {
    "matchLabels": {"k": "v"},
    "matchExpressions": [{"key": "k", "operator": "In", "values": ["v"]}],
}
_PODS: Object = {
    "labelSelector": _SELECTOR,
    "namespaceSelector": _SELECTOR,
    "namespaces": ["a"],
    "topologyKey": "zone",
    "matchLabelKeys": ["k"],
    "mismatchLabelKeys": ["m"],
}
_NODES: Object = {
    "matchExpressions": [{"key": "k", "operator": "In", "values": ["v"]}],
    "matchFields": [{"key": "metadata.name", "operator": "In", "values": ["v"]}],
}
REQUIRED, PREFERRED = (f"{strength}DuringSchedulingIgnoredDuringExecution" for strength in ("required", "preferred"))
AFFINITY: Object = {
    "nodeAffinity": {
        REQUIRED: {"nodeSelectorTerms": [_NODES]},
        PREFERRED: [{"weight": 1, "preference": _NODES}],
    },
    "podAffinity": {REQUIRED: [_PODS], PREFERRED: [{"weight": 1, "podAffinityTerm": _PODS}]},
    "podAntiAffinity": {REQUIRED: [_PODS], PREFERRED: [{"weight": 1, "podAffinityTerm": _PODS}]},
}
SCHEDULING: Object = {
    "nodeSelector": {"k": "v"},
    "tolerations": [
        {"key": "gpu", "operator": "Equal", "value": "yes", "effect": "NoExecute", "tolerationSeconds": 60}
    ],
    "affinity": AFFINITY,
    "topologySpreadConstraints": [
        {
            "maxSkew": 1,
            "topologyKey": "zone",
            "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": _SELECTOR,
            "matchLabelKeys": ["k"],
            "minDomains": 2,
            "nodeAffinityPolicy": "Honor",
            "nodeTaintsPolicy": "Honor",
        }
    ],
    "runtimeClassName": "nvidia",
    "priorityClassName": "high",
    "schedulerName": "default-scheduler",
}
SOURCE: Object = {
    "id": "Qwen/Qwen3-8B",
    "revision": "master",
    "endpoint": "https://modelscope.cn",
    "tokenSecretRef": {"name": "token", "key": "token"},
    "download": {
        "allowPatterns": ["*"],
        "ignorePatterns": ["*.md"],
        "bytesPerSecond": "50Mi",
        "maxConnections": 8,
        "pod": {
            "annotations": {"k": "v"},
            "labels": {"k": "v"},
            "resources": {"requests": {"k": "1"}, "limits": {"k": "1"}},
            "runAsUser": 1000,
            "fsGroup": 1000,
        },
        "caBundleConfigMapKeyRef": {"name": "ca", "key": "ca.crt"},
    },
    "storage": {"size": "40Gi", "storageClassName": "fast", "accessMode": "ReadWriteMany", "retentionPolicy": "Delete"},
}
CONDITION: Object = {
    "type": "Ready",
    "status": "True",
    "reason": "Serving",
    "message": "",
    "lastTransitionTime": "2026-01-01T00:00:00Z",
    "observedGeneration": 1,
}
DOWNLOAD: Object = {"job": "job", "startedAt": TIME, "finishedAt": TIME, "bytesDone": 1, "failure": {"reason": "X"}}
COPY: Object = {"revision": "master", "commit": "abc", "claim": "claim", "path": "path", "bytes": 1, "config": {"k": 1}}
COPY["checkpoint"] = {"k": 1}

NAME_MESSAGE = "must be the name of an object: lower-case letters, digits, '-' and '.'"
_ID_MESSAGE = "must be OWNER/NAME as on ModelScope, like Qwen/Qwen3-8B"
_REVISION_MESSAGE = "must be a branch, a tag or a commit of the repository"
_PATH_MESSAGE = "must be a folder inside the volume: relative, and without '..'"
_PATTERN_MESSAGE = "must be one pattern, like *.safetensors; give several as several items"
_RATE_MESSAGE = "must be a quantity from 16Ki to 1Ti, like 50Mi"
_SIZE_MESSAGE = "must be a quantity greater than 0 and at most 1Pi, like 40Gi"
RESOURCE_MESSAGE = "must be a quantity from 0 to 1Pi, like 4, 500m or 16Gi"
LABEL_PATTERN = "^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$"


def object_name(path: str) -> list[Case]:
    return [
        *text(path, least=1, most=253),
        *rule(path, NAME_MESSAGE, accept={"": "my-object.v1"}, reject={"": "My_Object"}),
    ]


def key_reference(path: str) -> list[Case]:
    return [*required(path, "name", "key"), *object_name(f"{path}.name"), *text(f"{path}.key", least=1, most=253)]


def quantity(path: str) -> list[Case]:
    message = _SIZE_MESSAGE
    return [
        *text(path, most=32, letter="0", longest="0" * 28 + "40Gi"),
        *rule(path, message, accept={"": "1.5Ti"}, reject={"": "0"}),
        *rule(path, message, accept={"": 1}, reject={"": -1}),
        *rule(path, message, accept={"": "40G"}, reject={"": "40 GB"}),
        *rule(path, message, accept={"": "1Pi"}, reject={"": "1025Ti"}),
        *rule(path, message, accept={"": 2**50}, reject={"": 2**50 + 1}),
        *rule(path, message, accept={"": "1e15"}, reject={"": "1e999999"}),
    ]


def resource_quantity(path: str) -> list[Case]:
    return [
        *text(path, most=32, letter="0", longest="0" * 28 + "40Gi"),
        *rule(path, RESOURCE_MESSAGE, accept={"": "500m"}, reject={"": "half"}),
        *rule(path, RESOURCE_MESSAGE, accept={"": 0}, reject={"": "4 Gi"}),
        *rule(path, RESOURCE_MESSAGE, accept={"": "0"}, reject={"": "-1m"}),
        *rule(path, RESOURCE_MESSAGE, accept={"": "1Pi"}, reject={"": "1e999999"}),
        *rule(path, RESOURCE_MESSAGE, accept={"": 2**50}, reject={"": 2**50 + 1}),
    ]


def patch_text(path: str) -> list[Case]:
    """Text where an older CRD had an object: see api/patch.py."""
    return [
        *text(path, most=32768),
        Case(path, "maxProperties", {path: ""}, {path: {"spec": {}}}, "must have at most 0 items"),
        # Attack 01: the API server itself takes some 10,000 levels.
        Case(path, "maxProperties", {path: "{}"}, {path: nested(500)}, "must have at most 0 items"),
        # Attack 09.
        Case(path, "maxProperties", {path: "a: b"}, {path: {"x": [{}] * 460_000}}, "must have at most 0 items"),
        Case(path, "maxItems", {path: "spec: {}"}, {path: [1]}, "must have at most 0 items"),
    ]


def nested(levels: int) -> Object:
    """A map in a map."""
    result: Object = {}
    for _ in range(levels - 1):
        result = {"a": result}
    return result


JOB_NAME_CASES = rule(
    "",
    "the name becomes a Job's: at most 45 lower-case letters, digits and '-'",
    accept={"metadata.name": "3" * 45},
    reject={"metadata.name": "a.b"},
)

SOURCE_CASES = [
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
    *key_reference("tokenSecretRef"),
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
    *text("download.bytesPerSecond", most=32, letter="0", longest="0" * 28 + "50Mi"),
    *rule("download.bytesPerSecond", _RATE_MESSAGE, accept={"": "1Ti"}, reject={"": "1e999999"}),  # attack 03
    *rule("download.bytesPerSecond", _RATE_MESSAGE, accept={"": 2**40}, reject={"": 2**40 + 1}),
    *rule("download.bytesPerSecond", _RATE_MESSAGE, accept={"": "0.5Mi"}, reject={"": "16k"}),
    *rule("download.bytesPerSecond", _RATE_MESSAGE, accept={"": 16384}, reject={"": 16383}),
    *rule("download.bytesPerSecond", _RATE_MESSAGE, accept={"": "1G"}, reject={"": "10MB/s"}),
    *number("download.maxConnections", 1, 64),
    *key_reference("download.caBundleConfigMapKeyRef"),
    *entries("download.pod.annotations", 32),
    *text("download.pod.annotations{}", most=16384),
    *entries("download.pod.labels", 32),
    *text("download.pod.labels{}", most=63),
    *matching("download.pod.labels{}", LABEL_PATTERN, "v-1.x_2", "a b"),
    *(
        case
        for name in ("requests", "limits")
        for case in (
            *entries(f"download.pod.resources.{name}", 10, "1"),
            *resource_quantity(f"download.pod.resources.{name}{{}}"),
        )
    ),
    *number("download.pod.runAsUser", 1, 2**31 - 1),
    *number("download.pod.fsGroup", 1, 2**31 - 1),
    *quantity("storage.size"),
    *object_name("storage.storageClassName"),
    *choice("storage.accessMode", "ReadWriteOnce", "ReadWriteMany", "ReadWriteOncePod"),
    *choice("storage.retentionPolicy", "Retain", "Delete"),
]


def _existing_claim(name: str, **fields: Any) -> Object:
    return {"storage": {"existingClaim": {"name": name} | fields}}


def _claim_case(path: str, keyword: str, good: Object, bad: Object, words: str) -> Case:
    """existingClaim excludes what the full object says of its storage, so the whole of it is given."""
    return Case(f"storage.existingClaim{path}", keyword, good, bad, words)


SOURCE_CASES += [
    _claim_case(
        "", "required name", _existing_claim("a"), {"storage": {"existingClaim": {"path": "a"}}}, "name: Required value"
    ),
    _claim_case(".name", "minLength", _existing_claim("a"), _existing_claim(""), "should be at least 1 chars long"),
    _claim_case(
        ".name", "maxLength", _existing_claim("a" * 253), _existing_claim("a" * 254), "may not be more than 253 bytes"
    ),
    _claim_case(".name", f"rule {NAME_MESSAGE}", _existing_claim("a.b"), _existing_claim("A"), NAME_MESSAGE),
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


def _requirements(path: str, *operators: str) -> list[Case]:
    """Requirements on labels, or on nodes."""
    return [
        *items(path, 16, lambda i: {"key": f"k{i}", "operator": "Exists"}),
        *required(f"{path}[]", "key", "operator"),
        *text(f"{path}[].key", least=1, most=317),
        *choice(f"{path}[].operator", *operators),
        *items(f"{path}[].values", 256, lambda i: f"v{i}"),
        *text(f"{path}[].values[]", most=253),
    ]


def _selector(path: str) -> list[Case]:
    return [
        *entries(f"{path}.matchLabels", 64),
        *text(f"{path}.matchLabels{{}}", most=63),
        *matching(f"{path}.matchLabels{{}}", LABEL_PATTERN, "v-1.x_2", "a b"),
        *_requirements(f"{path}.matchExpressions", "In", "NotIn", "Exists", "DoesNotExist"),
    ]


def _pod_term(path: str) -> list[Case]:
    return [
        *required(path, "topologyKey"),
        *text(f"{path}.topologyKey", least=1, most=253),
        *_selector(f"{path}.labelSelector"),
        *_selector(f"{path}.namespaceSelector"),
        *items(f"{path}.namespaces", 64, lambda i: f"n{i}"),
        *text(f"{path}.namespaces[]", most=253),
        *(
            case
            for name in ("matchLabelKeys", "mismatchLabelKeys")
            for case in (
                *items(f"{path}.{name}", 16, lambda i: f"k{i}"),
                *text(f"{path}.{name}[]", least=1, most=317),
            )
        ),
    ]


def _pod_affinity(path: str) -> list[Case]:
    return [
        *items(f"{path}.{REQUIRED}", 16, lambda i: {"topologyKey": f"k{i}"}),
        *_pod_term(f"{path}.{REQUIRED}[]"),
        *items(f"{path}.{PREFERRED}", 16, lambda i: {"weight": 1, "podAffinityTerm": {"topologyKey": f"k{i}"}}),
        *required(f"{path}.{PREFERRED}[]", "weight", "podAffinityTerm"),
        *number(f"{path}.{PREFERRED}[].weight", 1, 100),
        *_pod_term(f"{path}.{PREFERRED}[].podAffinityTerm"),
    ]


def _node_term(path: str) -> list[Case]:
    return [
        case
        for name in ("matchExpressions", "matchFields")
        for case in _requirements(f"{path}.{name}", "In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt")
    ]


_NODE = "affinity.nodeAffinity"
AFFINITY_CASES = [
    *required(f"{_NODE}.{REQUIRED}", "nodeSelectorTerms"),
    *items(
        f"{_NODE}.{REQUIRED}.nodeSelectorTerms", 16, lambda i: {"matchFields": [{"key": f"k{i}", "operator": "Exists"}]}
    ),
    *_node_term(f"{_NODE}.{REQUIRED}.nodeSelectorTerms[]"),
    *items(f"{_NODE}.{PREFERRED}", 16, lambda i: {"weight": i + 1, "preference": {}}),
    *required(f"{_NODE}.{PREFERRED}[]", "weight", "preference"),
    *number(f"{_NODE}.{PREFERRED}[].weight", 1, 100),
    *_node_term(f"{_NODE}.{PREFERRED}[].preference"),
    *_pod_affinity("affinity.podAffinity"),
    *_pod_affinity("affinity.podAntiAffinity"),
]
SPREAD_CASES = under(
    "topologySpreadConstraints",
    [
        *items("", 8, lambda i: {"maxSkew": 1, "topologyKey": f"k{i}", "whenUnsatisfiable": "ScheduleAnyway"}),
        *required("[]", "maxSkew", "topologyKey", "whenUnsatisfiable"),
        *number("[].maxSkew", 1, INT32),
        *text("[].topologyKey", least=1, most=253),
        *choice("[].whenUnsatisfiable", "DoNotSchedule", "ScheduleAnyway"),
        *_selector("[].labelSelector"),
        *items("[].matchLabelKeys", 16, lambda i: f"k{i}"),
        *text("[].matchLabelKeys[]", least=1, most=317),
        *number("[].minDomains", 1, INT32),
        *choice("[].nodeAffinityPolicy", "Honor", "Ignore"),
        *choice("[].nodeTaintsPolicy", "Honor", "Ignore"),
    ],
)
SCHEDULING_CASES = [
    *AFFINITY_CASES,
    *SPREAD_CASES,
    *entries("nodeSelector", 32),
    *text("nodeSelector{}", most=63),
    *matching("nodeSelector{}", LABEL_PATTERN, "NVIDIA-H100_80GB.x", "a,b!=c"),
    *items("tolerations", 32, lambda i: {"key": f"k{i}", "operator": "Exists"}),
    *text("tolerations[].key", most=1024),
    *choice("tolerations[].operator", "Exists", "Equal", "Lt", "Gt"),
    *text("tolerations[].value", most=1024),
    *choice("tolerations[].effect", "NoSchedule", "PreferNoSchedule", "NoExecute"),
    *number("tolerations[].tolerationSeconds", 0, 2**31 - 1),
    *object_name("runtimeClassName"),
    *object_name("priorityClassName"),
    *object_name("schedulerName"),
]

STATUS_CASES = [
    *number("observedGeneration", 0, INT64),
    *items("conditions", 16, lambda i: CONDITION | {"type": f"Type{i}"}),
    *unique("conditions", CONDITION, CONDITION | {"type": "Stalled"}, CONDITION | {"status": "False"}),
    *required("conditions[]", "type", "status", "reason"),
    *text("conditions[].type", least=1, most=63),
    *choice("conditions[].status", "True", "False", "Unknown"),
    *text("conditions[].reason", least=1, most=128),
    *text("conditions[].message", most=4096),
    *time("conditions[].lastTransitionTime"),
    *number("conditions[].observedGeneration", 0, INT64),
    *(
        case
        for name in ("revision", "commit", "claim", "claimUid", "path")
        for case in text(f"model.{name}", most=1024)
    ),
    *time("model.verifiedAt"),
    *(
        case
        for name in ("bytes", "files", "weightsBytes", "repairedFiles")
        for case in number(f"model.{name}", 0, INT64)
    ),
    *entries("model.config", 64, 1),
    *entries("model.checkpoint", 64, 1),
    *choice("model.verifiedBy", "Hub", "Marker", "Structure"),
    *(case for name in ("job", "revision", "path", "progress") for case in text(f"download.{name}", most=1024)),
    *(case for name in ("startedAt", "finishedAt", "retryAt", "observedAt") for case in time(f"download.{name}")),
    *required("download.failure", "reason"),
    *text("download.failure.reason", most=128),
    *text("download.failure.message", most=4096),
    *(
        case
        for name in (
            *("bytesDone", "bytesTotal", "bytesPerSecond", "etaSeconds", "filesDone", "filesTotal", "failures"),
            "volumeBytes",
        )
        for case in number(f"download.{name}", 0, INT64)
    ),
]

ADAPTER_SOURCE_CASES = [case for case in SOURCE_CASES if case.path in ("id", "revision")]
"""What a LoRA adapter shares with a model's source."""
