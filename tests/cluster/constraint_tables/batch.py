"""The table of Qwen3Batch. What it shares with Qwen3Deployment are the rows of that table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tests.cluster.constraint_tables.deployment import DEPLOYMENT, DEPLOYMENT_CASES, DEPLOYMENT_STATUS
from tests.cluster.constraint_tables.shared import (
    INT32,
    INT64,
    JOB_NAME_CASES,
    NAME_MESSAGE,
    TIME,
    key_reference,
    patch_text,
)
from tests.cluster.constraints import (
    ABSENT,
    Case,
    Change,
    Object,
    choice,
    items,
    number,
    required,
    rule,
    text,
    time,
)

SERVER_ONLY = (
    *("servedModelNames", "reasoningParser", "toolCallParser", "thinking", "sampling", "compileCache"),
    *("reasoningContentField", "resolve", "host", "loraAdapters", "maxLoraRank", "maxLoras"),
)
_SERVED: Object = DEPLOYMENT["spec"]
BATCH: Object = {
    "apiVersion": DEPLOYMENT["apiVersion"],
    "kind": "Qwen3Batch",
    "metadata": {"name": "full"},
    "spec": {
        **{name: _SERVED[name] for name in ("model", "gpu", "resources", "scheduling", "preflight", "verify")},
        "engine": {name: value for name, value in _SERVED["engine"].items() if name not in SERVER_ONLY},
        "target": "OwnEngine",
        "input": {
            "claim": {"name": "prompts", "path": "in.jsonl"},
            "format": "JSONLines",
            "model": "Any",
            "applyChatTemplate": True,
        },
        "output": {"claim": {"name": "answers", "path": "out.jsonl"}, "includePrompt": True},
        "sampling": _SERVED["engine"]["sampling"]
        | {"thinking": "Enabled", "maxTokens": 512, "stopTokenIds": [151643], "seed": 1},
        "completions": 4,
        "parallelism": 2,
        "podTemplatePatch": "spec: {}",
        "suspend": True,
        "backoffLimit": 6,
        "activeDeadlineSeconds": 3600,
        "stallSeconds": 600,
        "ttlSecondsAfterFinished": 60,
    },
}
_SHARD = {"index": 0, "total": 1, "done": 1, "failed": 0, "promptTokens": 1, "completionTokens": 1}
BATCH_STATUS: Object = {
    **{name: DEPLOYMENT_STATUS[name] for name in ("observedGeneration", "conditions", "model", "download", "engine")},
    "plan": DEPLOYMENT_STATUS["plan"],
    "job": {"name": "full-1", "result": "Failed", "delivery": "Complete", "startedAt": TIME, "finishedAt": TIME},
    "requests": {"total": 1, "done": 1, "failed": 0},
    "tokens": {"prompt": 1, "completion": 1},
    "tokensPerSecond": 1,
    "etaSeconds": 1,
    "progressAt": TIME,
    "shards": [_SHARD | {"tokensPerSecond": 1, "etaSeconds": 1}],
    "output": "answers:out.jsonl",
    "outputCapacity": "1Gi",
}


def _shared() -> Iterator[Case]:
    """Rows of Qwen3Deployment's table that hold here too."""
    parts = ("model", "engine", "gpu", "resources", "scheduling", "preflight", "verify")
    status = ("observedGeneration", "conditions", "model", "download", "engine", "plan", "modelFaultAt")
    for case in DEPLOYMENT_CASES:
        if case.path.startswith("spec.modelRef"):
            continue
        below = case.path.removeprefix("spec.engine.").partition(".")[0].removesuffix("[]")
        if case.path.startswith("spec.engine.") and below in SERVER_ONLY:
            if below == "sampling":
                yield _moved(case, "spec.engine.sampling", "spec.sampling")
        elif (
            case.path != "spec.engine"
            and case.path.startswith((*(f"spec.{name}" for name in parts), *(f"status.{name}" for name in status)))
        ) or _owns_gpus(case):
            yield case


def _owns_gpus(case: Case) -> bool:
    return case.path == "spec" and case.keyword.startswith("rule the GPU count")


def _moved(case: Case, old: str, new: str) -> Case:
    def renamed(change: Change) -> Change:
        return {path.replace(old, new, 1): value for path, value in change.items()}

    return replace(case, path=case.path.replace(old, new, 1), accept=renamed(case.accept), reject=renamed(case.reject))


_ONE_INPUT = "give one of configMapKeyRef, claim and prompts"
_FILE = "must be a file inside the volume: relative, without '..', and not ending in '/'"


def _claim(path: str) -> list[Case]:
    return [
        *required(path, "name", "path"),
        *text(f"{path}.name", least=1, most=253),
        *rule(f"{path}.name", NAME_MESSAGE, accept={"": "a.b"}, reject={"": "A"}),
        *text(f"{path}.path", least=1, most=1024),
        *rule(f"{path}.path", _FILE, accept={"": "a/b..c"}, reject={"": "/a"}),
        *rule(f"{path}.path", _FILE, accept={"": "a"}, reject={"": "a/../b"}),
        *rule(f"{path}.path", _FILE, accept={"": "a.jsonl"}, reject={"": "a/"}),
    ]


def _input(path: str, keyword: str, good: Object, bad: Object, words: str) -> Case:
    """The sources of the input exclude each other, so the whole of it is given."""
    return Case(f"spec.input{path}", keyword, {"spec.input": good}, {"spec.input": bad}, words)


def _key(name: str = "prompts", key: str = "in.jsonl") -> Object:
    return {"configMapKeyRef": {"name": name, "key": key}}


def _prompts(*prompts: str) -> Object:
    return {"prompts": list(prompts)}


def _below_spec(change: Change) -> Change:
    return {path.removeprefix("spec."): value for path, value in change.items()}


def _kept(field: str, why: str, accept: Change, reject: Change) -> list[Case]:
    return rule(
        "spec",
        f"{field} is immutable: {why}, so make another Qwen3Batch",
        before={},
        accept=accept,
        reject=reject,
    )


_RUNNING: Change = {
    **dict.fromkeys(("spec.model", "spec.engine", "spec.gpu", "spec.verify"), ABSENT),
    **dict.fromkeys(("spec.completions", "spec.parallelism"), ABSENT),
    "spec.deploymentRef": {"name": "chat"},
    "spec.target": "Running",
}
_WITH_KEY: Change = _RUNNING | {"spec.apiKeySecretRef": {"name": "keys", "key": "batches"}}
_ASKS = "target Running needs deploymentRef, and has neither gpu nor completions"

BATCH_CASES = [
    *required("", "spec"),
    *JOB_NAME_CASES,
    *_shared(),
    *required("spec", "input", "output"),
    *rule(
        "spec",
        "give either model or deploymentRef",
        accept={"model": ABSENT, "engine": ABSENT, "deploymentRef": {"name": "chat"}},
        reject={"engine": ABSENT, "deploymentRef": {"name": "chat"}},
    ),
    *rule("spec", "give either model or deploymentRef", accept={"engine": ABSENT}, reject={"model": ABSENT}),
    *rule(
        "spec",
        "deploymentRef excludes engine: it is that of the Qwen3Deployment",
        accept={"model": ABSENT, "engine": ABSENT, "deploymentRef": {"name": "chat"}},
        reject={"model": ABSENT, "deploymentRef": {"name": "chat"}},
    ),
    *rule(
        "spec",
        "parallelism must be at most completions",
        accept={"parallelism": 4},
        reject={"parallelism": 5},
    ),
    *_kept("input", "answers of two inputs would be mixed", {"suspend": False}, {"input.claim.path": "other"}),
    *_kept("output", "the answers so far are there", {"backoffLimit": 1}, {"output.includePrompt": False}),
    *_kept("sampling", "answers of two kinds would be mixed", {"engine.maxNumSeqs": 1}, {"sampling.seed": 2}),
    *_kept("target", "answers of two kinds would be mixed", {"suspend": False}, _below_spec(_RUNNING)),
    *_kept("completions", "the lines are dealt out by it", {"parallelism": 1}, {"completions": 5}),
    _input("", f"rule {_ONE_INPUT}", _key(), _key() | _prompts("a"), _ONE_INPUT),
    _input("", f"rule {_ONE_INPUT}", _prompts("a"), {}, _ONE_INPUT),
    _input(".configMapKeyRef", "required name", _key(), {"configMapKeyRef": {"key": "k"}}, "name: Required value"),
    _input(".configMapKeyRef", "required key", _key(), {"configMapKeyRef": {"name": "k"}}, "key: Required value"),
    _input(".configMapKeyRef.name", "minLength", _key("a"), _key(""), "should be at least 1 chars long"),
    _input(".configMapKeyRef.name", "maxLength", _key("a" * 253), _key("a" * 254), "may not be more than 253 bytes"),
    _input(".configMapKeyRef.name", f"rule {NAME_MESSAGE}", _key("a.b"), _key("A"), NAME_MESSAGE),
    _input(".configMapKeyRef.key", "minLength", _key(key="a"), _key(key=""), "should be at least 1 chars long"),
    _input(
        ".configMapKeyRef.key", "maxLength", _key(key="a" * 253), _key(key="a" * 254), "may not be more than 253 bytes"
    ),
    _input(".prompts", "minItems", _prompts("a"), {"prompts": []}, "should have at least 1 items"),
    _input(".prompts", "maxItems", _prompts(*"a" * 64), _prompts(*"a" * 65), "must have at most 64 items"),
    _input(".prompts[]", "minLength", _prompts("a"), _prompts(""), "should be at least 1 chars long"),
    _input(".prompts[]", "maxLength", _prompts("a" * 4096), _prompts("a" * 4097), "may not be more than 4096 bytes"),
    *_claim("spec.input.claim"),
    *choice("spec.input.format", "JSONLines", "Text"),
    *choice("spec.input.model", "AsIs", "Any"),
    *choice("spec.target", "OwnEngine", "Running", rest=_RUNNING),
    Case("spec", f"rule {_ASKS}", _RUNNING, {"spec.target": "Running"}, _ASKS),
    Case("spec", f"rule {_ASKS}", _RUNNING, _RUNNING | {"spec.completions": 2}, _ASKS),
    Case("spec", f"rule {_ASKS}", _RUNNING, _RUNNING | {"spec.gpu": {}}, _ASKS),
    *rule(
        "spec",
        "concurrency is for target Running",
        accept=_below_spec(_RUNNING) | {"concurrency": 8},
        reject={"concurrency": 8},
    ),
    *(replace(case, accept=_RUNNING | case.accept) for case in number("spec.concurrency", 1, 4096)),
    *rule(
        "spec",
        "apiKeySecretRef is for target Running",
        accept=_below_spec(_RUNNING) | {"apiKeySecretRef": {"name": "keys", "key": "batches"}},
        reject={"apiKeySecretRef": {"name": "keys", "key": "batches"}},
    ),
    *(
        replace(case, accept=_WITH_KEY | case.accept, reject=_WITH_KEY | case.reject)
        for case in key_reference("spec.apiKeySecretRef")
    ),
    *rule(
        "spec",
        "verify is for target OwnEngine",
        accept=_below_spec(_RUNNING),
        reject=_below_spec(_RUNNING) | {"verify": {}},
    ),
    *number("spec.stallSeconds", 60, 86400),
    *required("spec.output", "claim"),
    *_claim("spec.output.claim"),
    *choice("spec.sampling.thinking", "Default", "Enabled", "Disabled"),
    *number("spec.sampling.maxTokens", 1, 16_777_216),
    *items("spec.sampling.stopTokenIds", 64, int),
    *number("spec.sampling.stopTokenIds[]", 0, INT32),
    *number("spec.sampling.seed", 0, INT32),
    *(replace(case, accept=case.accept | {"spec.parallelism": 1}) for case in number("spec.completions", 1, 256)),
    *(replace(case, accept={"spec.completions": 256} | case.accept) for case in number("spec.parallelism", 1, 256)),
    *patch_text("spec.podTemplatePatch"),
    *number("spec.backoffLimit", 0, 1000),
    *number("spec.activeDeadlineSeconds", 1, INT32),
    *number("spec.ttlSecondsAfterFinished", 60, INT32),
    *required("status.job", "name"),
    *text("status.job.name", most=1024),
    *time("status.job.startedAt"),
    *time("status.job.finishedAt"),
    *choice("status.job.result", "Complete", "Failed"),
    *choice("status.job.delivery", "Waiting", "Running", "Complete", "Failed"),
    *text("status.outputCapacity", most=1024),
    *(case for name in ("total", "done", "failed") for case in number(f"status.requests.{name}", 0, INT64)),
    *(case for name in ("prompt", "completion") for case in number(f"status.tokens.{name}", 0, INT64)),
    *number("status.tokensPerSecond", 0, INT64),
    *number("status.etaSeconds", 0, INT64),
    *time("status.progressAt"),
    *items("status.shards", 256, lambda i: _SHARD | {"index": i}),
    *required("status.shards[]", "index"),
    *number("status.shards[].index", 0, 256),
    *(
        case
        for name in ("total", "done", "failed", "promptTokens", "completionTokens", "tokensPerSecond", "etaSeconds")
        for case in number(f"status.shards[].{name}", 0, INT64)
    ),
    *text("status.output", most=1024),
]
_LONE: Change = {"spec.model": ABSENT, "spec.engine": ABSENT}


def _reference(name: str, keyword: str, bad: str, words: str) -> Case:
    good = _LONE | {"spec.deploymentRef": {"name": name}}
    return Case("spec.deploymentRef.name", keyword, good, _LONE | {"spec.deploymentRef": {"name": bad}}, words)


BATCH_CASES += [
    Case(
        "spec.deploymentRef",
        "required name",
        _LONE | {"spec.deploymentRef": {"name": "chat"}},
        _LONE | {"spec.deploymentRef": {}},
        "name: Required value",
    ),
    _reference("a", "minLength", "", "should be at least 1 chars long"),
    _reference("a" * 253, "maxLength", "a" * 254, "may not be more than 253 bytes"),
    _reference("a.b", f"rule {NAME_MESSAGE}", "A", NAME_MESSAGE),
]
