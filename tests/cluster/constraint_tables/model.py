"""The table of Qwen3Model."""

from __future__ import annotations

from dataclasses import replace

from tests.cluster.constraint_tables.shared import (
    CONDITION,
    COPY,
    DOWNLOAD,
    INT64,
    JOB_NAME_CASES,
    SCHEDULING,
    SCHEDULING_CASES,
    SOURCE,
    SOURCE_CASES,
    STATUS_CASES,
    object_name,
)
from tests.cluster.constraints import (
    ABSENT,
    Object,
    choice,
    items,
    number,
    required,
    rule,
    text,
    under,
    unique,
)

from qwen3_operator.api import API_VERSION

MODEL: Object = {
    "apiVersion": API_VERSION,
    "kind": "Qwen3Model",
    "metadata": {"name": "full"},
    "spec": SOURCE | {"scheduling": SCHEDULING, "suspend": True},
}
MODEL_STATUS: Object = {
    "observedGeneration": 1,
    "conditions": [CONDITION],
    "model": COPY,
    "download": DOWNLOAD,
    "superseded": [{"revision": "v1", "path": "before"}],
    "usedBy": ["chat"],
    "size": "40Gi",
}

_ADAPTER: Object = {"adapterOf": {"name": "base"}, "storage": {}, "download": {}}
_IN_SPEC: Object = {f"spec.{field}": value for field, value in _ADAPTER.items()}

MODEL_CASES = [
    *required("", "spec"),
    *JOB_NAME_CASES,
    *required("spec", "id"),
    *under("spec.", [c for c in SOURCE_CASES if c.path]),
    *rule(
        "spec",
        "adapterOf is immutable: make another Qwen3Model",
        before=_ADAPTER,
        accept={"suspend": False},
        reject={"adapterOf.name": "other"},
    ),
    *rule(
        "spec",
        "an adapter lies on the claim of its model: adapterOf excludes the fields of storage",
        accept=_ADAPTER,
        reject=_ADAPTER | {"storage": {"size": "1Gi"}},
    ),
    *rule(
        "spec",
        "an adapter is just its own files: adapterOf excludes allowPatterns and ignorePatterns",
        accept=_ADAPTER,
        reject=_ADAPTER | {"download": {"allowPatterns": ["*.json"]}},
    ),
    *[
        replace(case, accept=_IN_SPEC | case.accept, reject=_IN_SPEC | case.reject)
        for case in [*required("spec.adapterOf", "name"), *object_name("spec.adapterOf.name")]
    ],
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
        accept={"storage.accessMode": "ReadWriteOnce"},
        reject={"storage.accessMode": "ReadWriteMany"},
    ),
    *under("spec.scheduling.", SCHEDULING_CASES),
    *under("status.", STATUS_CASES),
    *items("status.superseded", 64, lambda i: {"path": f"p{i}"}),
    *unique("status.superseded", {"path": "a"}, {"path": "b"}, {"path": "a", "revision": "v1"}),
    *required("status.superseded[]", "path"),
    *text("status.superseded[].revision", most=1024),
    *text("status.superseded[].path", most=1024),
    *items("status.usedBy", 1000, lambda i: f"chat-{i}"),
    *unique("status.usedBy", "a", "b"),
    *object_name("status.usedBy[]"),
    *number("status.users", 0, INT64),
    *choice("status.retentionPolicy", "Retain", "Delete"),
    *text("status.decidedBy", most=1024),
    *text("status.endpoint", most=1024),
    *text("status.size", most=32, letter="0", longest="0" * 28 + "40Gi"),
    *rule("status.size", "must be a quantity, like 40Gi", accept={"": "8388607Ti"}, reject={"": "lots"}),
    *rule("status.size", "must be a quantity, like 40Gi", accept={"": "2Pi"}, reject={"": "-1"}),
]
