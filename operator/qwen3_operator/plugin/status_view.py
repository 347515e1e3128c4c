"""What is shown of one object: its stages with their times, pods, events. Pure: objects in, rows out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from qwen3_in_engine.capacity.contract import MEASURES
from qwen3_operator.engine.startup_log import StartupLog, parse_startup_log
from qwen3_operator.plugin.names import CONTAINER, NOT_SEEN
from qwen3_operator.plugin.objects import condition, is_ready, status_of
from qwen3_operator.plugin.show import age, clean, duration
from qwen3_operator.status.sizes import readable

Object = Mapping[str, Any]
State = Literal["done", "now", "failed", "waiting", "unknown"]
MOST_EVENTS = 8
GPU = "nvidia.com/gpu"


@dataclass(frozen=True)
class Seen:
    """What was seen of an object and of what belongs to it."""

    obj: Object
    now: datetime
    pods: Sequence[Object] = ()
    events: Sequence[Object] = ()
    nodes: Mapping[str, Object] = field(default_factory=dict)
    log: str = ""
    """Of the newest server that is starting."""
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Stage:
    """A step on the way to what was asked for."""

    name: str
    state: State
    seconds: int | None = None
    """It took, or takes so far."""
    message: str = ""
    done: int | None = None
    total: int | None = None
    """How far it is, where that can be counted."""


@dataclass(frozen=True)
class PodRow:
    """One pod."""

    name: str
    state: str
    ready: bool
    restarts: int
    node: str
    gpus: str
    age_seconds: int | None


@dataclass(frozen=True)
class EventRow:
    """One event."""

    age_seconds: int | None
    type: str
    about: str
    reason: str
    message: str
    count: int


@dataclass(frozen=True)
class View:
    """All that is shown of one object."""

    kind: str
    namespace: str
    name: str
    ready: str
    reason: str
    message: str
    facts: Mapping[str, str]
    stages: Sequence[Stage]
    pods: Sequence[PodRow]
    events: Sequence[EventRow]
    notes: Sequence[str]


def view(seen: Seen) -> View:
    """The view of a Qwen3Deployment, a Qwen3Model or a Qwen3Batch."""
    obj, meta = seen.obj, seen.obj["metadata"]
    stages, facts = _OF_KIND[obj["kind"]]
    ready, notes = condition(obj, "Ready"), list(seen.notes)
    if status_of(obj).get("observedGeneration") != meta.get("generation"):
        notes.insert(0, "the operator has not looked at the newest spec yet (kubectl qwen3 doctor: does it run?)")
    return View(
        kind=obj["kind"],
        namespace=meta["namespace"],
        name=meta["name"],
        ready=ready.get("status", "Unknown"),
        reason=ready.get("reason", NOT_SEEN),
        message=clean(ready.get("message", "")),
        facts={key: clean(value) for key, value in facts(seen).items() if value},
        stages=stages(seen),
        pods=pod_rows(seen),
        events=event_rows(seen.events, seen.now),
        notes=notes,
    )


def _of_condition(obj: Object, name: str, kind: str, seconds: int | None = None) -> Stage:
    """A stage by its condition; where the condition is what stalls the object, it has failed."""
    found, stalled = condition(obj, kind), condition(obj, "Stalled")
    message = clean(found.get("message", ""))
    if found.get("status") == "True":
        return Stage(name, "done", seconds, message)
    if found.get("status") != "False":
        return Stage(name, "waiting", None, message if found.get("reason") not in (None, "Waiting") else "")
    failed = stalled.get("status") == "True" and stalled.get("reason") == found.get("reason")
    return Stage(name, "failed" if failed else "now", seconds, f"{found.get('reason')}: {message}")


def _download(seen: Seen, kind: str) -> Stage:
    """The download, with how far it is."""
    stage = _of_condition(seen.obj, "download", kind)
    said = status_of(seen.obj).get("download") or {}
    began = age(said.get("startedAt"), seen.now)
    ended = age(said.get("finishedAt"), seen.now)
    seconds = None if began is None else began - (ended or 0)
    words = stage.message
    if stage.state == "now" and said.get("bytesTotal"):
        rate, eta = said.get("bytesPerSecond"), said.get("etaSeconds")
        parts = [said.get("progress"), f"{readable(rate)}/s" if rate else "", f"{duration(eta)} to go" if eta else ""]
        words = ", ".join(part for part in parts if part) or words
        if failure := said.get("failure"):
            words += f"; before: {failure.get('reason')}: {clean(failure.get('message', ''))}"
    counted = (said.get("bytesDone"), said.get("bytesTotal")) if stage.state != "done" else (None, None)
    return Stage(stage.name, stage.state, seconds, words, *counted)


def _fits(obj: Object) -> Stage:
    """Whether it fits. Where that is not known, or only advice, nothing waits for it."""
    stage = _of_condition(obj, "fits", "Fits")
    if stage.state in ("now", "waiting") and stage.message:
        return Stage(stage.name, "unknown", None, stage.message)
    return stage


def _deployment_stages(seen: Seen) -> list[Stage]:
    obj = seen.obj
    before = [_of_condition(obj, "accepted", "Accepted"), _download(seen, "ModelReady"), _fits(obj)]
    available = _of_condition(obj, "answers", "Available")
    starting = newest_starting(seen.pods)
    if starting is not None and available.state != "done":
        return before + _starting(starting, seen, available)
    took = status_of(obj).get("startup") or {}
    state: State = available.state if available.state in ("done", "failed") else "waiting"
    whole = [_of_condition(obj, "scheduled", "Scheduled", took.get("scheduledSeconds"))]
    for name, key in _STARTUP.items():
        if available.state == "done" and key in took:
            whole.append(Stage(name, "done", took[key]))
    answers = Stage("answers", state, took.get("readySeconds"), available.message)
    routed = [_of_condition(obj, "gateway", "Routed")] if condition(obj, "Routed") else []
    return [*before, *whole, answers, *routed]


_STARTUP = {
    "image and volumes": "pulledSeconds",
    "weights": "weightsSeconds",
    "compile": "compileSeconds",
    "CUDA graphs": "graphsSeconds",
}


def _starting(pod: Object, seen: Seen, available: Stage) -> list[Stage]:
    """The start of a server, as its pod and its log show it so far."""
    now, meta = seen.now, pod["metadata"]
    placed = condition(pod, "PodScheduled")
    since_made, since_placed = age(meta.get("creationTimestamp"), now), age(placed.get("lastTransitionTime"), now)
    if placed.get("status") != "True":
        return [
            Stage("scheduled", available.state, since_made, condition(seen.obj, "Scheduled").get("message", "")),
            *(Stage(name, "waiting") for name in (*_STARTUP, "answers")),
        ]
    stages = [Stage("scheduled", "done", _less(since_made, since_placed))]
    container = _container(pod)
    running = (container.get("state") or {}).get("running") or {}
    since_started = age(running.get("startedAt"), now)
    if since_started is None:
        state: State = "failed" if available.state == "failed" else "now"
        words = available.message if state == "failed" else pod_state(pod)
        stages.append(Stage("image and volumes", state, since_placed, words))
        return [*stages, *(Stage(name, "waiting") for name in [*list(_STARTUP)[1:], "answers"])]
    stages.append(Stage("image and volumes", "done", _less(since_placed, since_started)))
    said = parse_startup_log(seen.log.splitlines())
    stages += _engine(said)
    trouble = available.message if available.state == "failed" or container.get("restartCount") else ""
    answers: State = "failed" if available.state == "failed" else "now"
    does = "measures what it can bear" if MEASURES in seen.log else "starts"
    return [*stages, Stage("answers", answers, since_started, trouble or f"server {meta['name']} {does}")]


def _engine(said: StartupLog) -> list[Stage]:
    """What vLLM said of its own start."""
    order = ("Starting", "Compiling", "CapturingGraphs", "Ready")
    reached = order.index(said.stage) if said.stage in order else 0
    taken = {"weights": said.weights_seconds, "compile": said.compile_seconds, "CUDA graphs": said.graphs_seconds}
    stages = []
    for position, (name, seconds) in enumerate(taken.items()):
        state: State = (
            "done" if seconds is not None or position < reached else "now" if position == reached else "waiting"
        )
        stages.append(Stage(name, state, None if seconds is None else round(seconds)))
    return stages


def _less(longer: int | None, shorter: int | None) -> int | None:
    return None if longer is None or shorter is None else max(0, longer - shorter)


def _deployment_facts(seen: Seen) -> dict[str, Any]:
    status, spec = status_of(seen.obj), seen.obj.get("spec") or {}
    model, engine = status.get("model") or {}, status.get("engine") or {}
    tokens = (status.get("startup") or {}).get("kvCacheTokens")
    return {
        "model": " ".join(filter(None, (model.get("id"), (model.get("commit") or "")[:12]))),
        "engine": f"vLLM {engine['version']}" if engine.get("version") else "",
        "length": f"{engine['maxModelLen']:,} tokens" if engine.get("maxModelLen") else "",
        "KV cache": f"{tokens:,} tokens" if tokens else "",
        "one bears": _bears(status.get("capacity") or {}),
        "servers": f"{_servers(seen.obj)} ready",
        "endpoint": status.get("endpoint"),
        "at the gateway": status.get("gatewayEndpoint"),
        "key": "from a Secret" if spec.get("auth") else "",
    }


def _servers(obj: Object) -> str:
    """How many are ready, of those that are wanted: where the load decides, spec.replicas is only how it began."""
    status = status_of(obj)
    wanted = (status.get("autoscaling") or {}).get("desiredReplicas", (obj.get("spec") or {}).get("replicas", 1))
    return f"{status.get('readyReplicas') or 0} of {wanted}"


def _bears(capacity: Mapping[str, Any]) -> str:
    """What was measured; empty where nothing was."""
    if capacity.get("concurrencyAtTarget") is None:
        return ""
    speed = f"{capacity.get('tokensPerSecond') or 0:,} tokens/s"
    return f"{capacity['concurrencyAtTarget']} requests at a time, {speed}"


def _model_stages(seen: Seen) -> list[Stage]:
    return [
        _of_condition(seen.obj, "accepted", "Accepted"),
        _of_condition(seen.obj, "volume", "VolumeBound"),
        _download(seen, "Downloaded"),
        _of_condition(seen.obj, "ready", "Ready"),
    ]


def _model_facts(seen: Seen) -> dict[str, Any]:
    status, spec = status_of(seen.obj), seen.obj.get("spec") or {}
    model = status.get("model") or {}
    users = status.get("usedBy") or ()
    return {
        "model": f"{spec.get('id')} {spec.get('revision', '')}",
        "commit": model.get("commit"),
        "claim": f"{model['claim']} {status.get('size', '')}" if model.get("claim") else "",
        "files": f"{readable(model['bytes'])} in {model.get('files')} files" if model.get("bytes") else "",
        "users": f"{status.get('users', 0)}" + (f" ({', '.join(users)})" if users else ""),
        "retention": status.get("retentionPolicy"),
    }


def _batch_stages(seen: Seen) -> list[Stage]:
    status = status_of(seen.obj)
    requests = status.get("requests") or {}
    run = _of_condition(seen.obj, "answered", "Completed")
    job = status.get("job") or {}
    seconds = age(job.get("startedAt"), seen.now)
    if seconds is not None:
        seconds -= age(job.get("finishedAt"), seen.now) or 0
    words = run.message
    if run.state == "now" and requests.get("total"):
        rate, eta = status.get("tokensPerSecond"), status.get("etaSeconds")
        parts = [f"{requests.get('failed', 0):,} failed", f"{rate:,} tokens/s" if rate else ""]
        words = ", ".join(part for part in [*parts, f"{duration(eta)} to go" if eta else ""] if part)
    done = int(requests.get("done") or 0) + int(requests.get("failed") or 0) if requests else None
    return [
        _of_condition(seen.obj, "accepted", "Accepted"),
        _download(seen, "ModelReady"),
        _fits(seen.obj),
        _of_condition(seen.obj, "scheduled", "Scheduled"),
        Stage(run.name, run.state, seconds, words, done, requests.get("total")),
    ]


def _batch_facts(seen: Seen) -> dict[str, Any]:
    status = status_of(seen.obj)
    requests, tokens = status.get("requests") or {}, status.get("tokens") or {}
    return {
        "model": (status.get("model") or {}).get("id") or (status.get("model") or {}).get("name"),
        "lines": f"{requests.get('done', 0):,} done, {requests.get('failed', 0):,} failed"
        + (f" of {requests['total']:,}" if requests.get("total") else "")
        if requests
        else "",
        "tokens": f"{tokens.get('prompt', 0):,} read, {tokens.get('completion', 0):,} written" if tokens else "",
        "shards": str(len(status.get("shards") or ())) if status.get("shards") else "",
        "output": status.get("output"),
    }


_OF_KIND = {
    "Qwen3Deployment": (_deployment_stages, _deployment_facts),
    "Qwen3Model": (_model_stages, _model_facts),
    "Qwen3Batch": (_batch_stages, _batch_facts),
}


def newest_starting(pods: Iterable[Object]) -> Object | None:
    """The newest pod that is neither ready nor ending."""
    starting = [pod for pod in pods if not is_ready(pod) and not pod["metadata"].get("deletionTimestamp")]
    return max(starting, key=lambda pod: str(pod["metadata"].get("creationTimestamp")), default=None)


def _container(pod: Object) -> Mapping[str, Any]:
    found = status_of(pod).get("containerStatuses") or ()
    return next((c for c in found if c.get("name") == CONTAINER), found[0] if found else {})


def pod_state(pod: Object) -> str:
    """What kubectl would print as its status, in one word."""
    if pod["metadata"].get("deletionTimestamp"):
        return "Terminating"
    state = _container(pod).get("state") or {}
    for part in ("waiting", "terminated"):
        if state.get(part):
            return clean(state[part].get("reason") or part)
    return clean(status_of(pod).get("reason") or status_of(pod).get("phase") or "Unknown")


def pod_rows(seen: Seen) -> list[PodRow]:
    """Pods, newest first."""
    rows = []
    for pod in sorted(seen.pods, key=lambda it: str(it["metadata"].get("creationTimestamp")), reverse=True):
        node = (pod.get("spec") or {}).get("nodeName") or ""
        rows.append(
            PodRow(
                name=pod["metadata"]["name"],
                state=pod_state(pod),
                ready=is_ready(pod),
                restarts=int(_container(pod).get("restartCount") or 0),
                node=node,
                gpus=_gpus(pod, seen.obj, seen.nodes.get(node) or {}),
                age_seconds=age(pod["metadata"].get("creationTimestamp"), seen.now),
            )
        )
    return rows


def _gpus(pod: Object, obj: Object, node: Object) -> str:
    """How many GPUs it holds, and which, where the node's labels say so."""
    resource = ((obj.get("spec") or {}).get("gpu") or {}).get("resourceName") or GPU
    containers = (pod.get("spec") or {}).get("containers") or ()
    limits = [((c.get("resources") or {}).get("limits") or {}).get(resource) for c in containers]
    count = sum(int(str(limit)) for limit in limits if str(limit or "").isdecimal())
    product = ((node.get("metadata") or {}).get("labels") or {}).get(f"{GPU}.product", "")
    return " × ".join(filter(None, (str(count), clean(product)))) if count else ""


def event_rows(events: Iterable[Object], now: datetime, most: int = MOST_EVENTS) -> list[EventRow]:
    """The newest events, oldest first."""
    dated = sorted(((_moment(event), event) for event in events), key=lambda pair: pair[0])
    rows = []
    for moment, event in dated[-most:]:
        about = event.get("involvedObject") or {}
        rows.append(
            EventRow(
                age_seconds=age(moment, now),
                type=str(event.get("type") or "Normal"),
                about=f"{str(about.get('kind') or '').lower()}/{about.get('name')}",
                reason=clean(event.get("reason") or ""),
                message=clean(" ".join(str(event.get("message") or "").split())),
                count=int((event.get("series") or {}).get("count") or event.get("count") or 1),
            )
        )
    return rows


def _moment(event: Object) -> str:
    series = (event.get("series") or {}).get("lastObservedTime")
    found = series or event.get("lastTimestamp") or event.get("eventTime")
    return str(found or event["metadata"].get("creationTimestamp") or "")


@dataclass(frozen=True)
class Line:
    """One object of an overview."""

    namespace: str
    kind: str
    name: str
    ready: str
    reason: str
    model: str
    progress: str
    age_seconds: int | None


def lines(objects: Iterable[Object], now: datetime) -> list[Line]:
    """The overview, by namespace, kind and name."""
    found = []
    for obj in objects:
        meta, status, spec = obj["metadata"], status_of(obj), obj.get("spec") or {}
        ready = condition(obj, "Ready")
        model = spec.get("id") or (status.get("model") or {}).get("id") or (spec.get("model") or {}).get("id") or ""
        found.append(
            Line(
                namespace=meta["namespace"],
                kind=obj["kind"],
                name=meta["name"],
                ready=ready.get("status", "Unknown"),
                reason=ready.get("reason", NOT_SEEN),
                model=clean(model or (status.get("model") or {}).get("name") or ""),
                progress=_progress(obj),
                age_seconds=age(meta.get("creationTimestamp"), now),
            )
        )
    order = list(_OF_KIND)
    return sorted(found, key=lambda line: (line.namespace, order.index(line.kind), line.name))


def _progress(obj: Object) -> str:
    status, requests = status_of(obj), status_of(obj).get("requests")
    if requests:
        total = f" of {requests['total']:,}" if requests.get("total") else ""
        return f"{int(requests.get('done') or 0) + int(requests.get('failed') or 0):,}{total} lines"
    if obj["kind"] == "Qwen3Deployment" and condition(obj, "ModelReady").get("status") == "True":
        return f"{_servers(obj)} servers"
    return clean((status.get("download") or {}).get("progress") or "")
