"""`kubectl qwen3 status`: how far something is, and what keeps it; -w: until Ctrl-C."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from qwen3_operator.controller.kinds import NODES, PODS, Kind
from qwen3_operator.plugin.api import Api, ApiFailure, Listing, Object, allowed, together
from qwen3_operator.plugin.failure import Failure
from qwen3_operator.plugin.find import find
from qwen3_operator.plugin.names import CONTAINER, KINDS, LABELS, MODEL_LABEL, QWEN3_DEPLOYMENTS, QWEN3_MODELS
from qwen3_operator.plugin.objects import condition
from qwen3_operator.plugin.show import as_data, console, print_json
from qwen3_operator.plugin.status_show import one_line, print_overview, renderable
from qwen3_operator.plugin.status_view import Seen, View, lines, newest_starting, view

EVENTS = Kind("v1", "Event", "events")
"""The same objects as those of events.k8s.io, in the group that the role `view` may read."""
SECONDS = 2.0
PATIENCE = 30
"""Tries in a row that may find no API server."""
MOST_PODS = 50
MOST_NODES = 8
MOST_ABOUT = 4
LOG_LINES = 2000


def run(arguments: argparse.Namespace, api: Api, namespace: str) -> int:
    """0, or 1 where what was named is stalled. Raises Failure."""
    if not arguments.name:
        return _overview(arguments, api, namespace)
    kind, obj = find(api, namespace, arguments.name)
    if arguments.watch:
        return _watch(arguments, api, kind, obj)
    shown = view(observe(api, kind, obj))
    if arguments.output == "json":
        print_json(shown)
    else:
        out = console()
        out.print(renderable(shown, terminal=out.is_terminal))
    return int(condition(obj, "Stalled").get("status") == "True")


def observe(api: Api, kind: Kind, obj: Object) -> Seen:
    """What there is to see of an object. What this user may not read becomes a note."""
    meta, status = obj["metadata"], obj.get("status") or {}
    namespace, notes = meta["namespace"], list[str]()
    selectors = [f"{LABELS[kind]}={meta['name']}"]
    model = (status.get("model") or {}).get("name")
    if kind != QWEN3_MODELS and model and "download" in status:
        selectors.append(f"{MODEL_LABEL}={model}")
    listed: list[Listing] = allowed(
        lambda: together(*[lambda s=s: api.list(PODS, namespace, labels=s, most=MOST_PODS) for s in selectors]),
        [],
        "pods",
        notes,
    )
    pods = [pod for listing in listed for pod in listing.items]
    if any(listing.more for listing in listed):
        notes.append(f"only the first {MOST_PODS} pods are shown")
    newest = sorted(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp")), reverse=True)
    about = [meta["name"], *([model] if model else []), *(pod["metadata"]["name"] for pod in newest)][:MOST_ABOUT]
    events: list[Object] = allowed(lambda: _events(api, namespace, about), [], "events", notes)
    nodes = _nodes(api, newest)
    starting = newest_starting(pods) if kind == QWEN3_DEPLOYMENTS else None
    return Seen(obj, api.now, pods, events, nodes, _log(api, starting, notes), notes)


def _events(api: Api, namespace: str, about: list[str]) -> list[Object]:
    found: list[Listing] = together(
        *[lambda n=n: api.list(EVENTS, namespace, fields=f"involvedObject.name={n}", most=200) for n in about]
    )
    return [event for listing in found for event in listing.items]


def _nodes(api: Api, pods: list[Object]) -> dict[str, Object]:
    """The pods' nodes, where this user may see nodes."""
    names = list(dict.fromkeys(name for pod in pods if (name := (pod.get("spec") or {}).get("nodeName"))))
    try:
        found = together(*[lambda n=n: api.find(NODES, None, n) for n in names[:MOST_NODES]])
    except ApiFailure:
        return {}
    return {node["metadata"]["name"]: node for node in found if node}


def _log(api: Api, pod: Mapping[str, Any] | None, notes: list[str]) -> str:
    """What the server that is starting has said so far."""
    if pod is None or not (pod.get("spec") or {}).get("nodeName"):
        return ""
    try:
        return api.log(pod["metadata"]["namespace"], pod["metadata"]["name"], CONTAINER, lines=LOG_LINES)
    except ApiFailure as failure:
        if failure.forbidden:
            notes.append("log of the server: not shown, you may not read it")
        return ""  # it has none yet


def _watch(arguments: argparse.Namespace, api: Api, kind: Kind, obj: Object) -> int:
    """Until Ctrl-C, or until it is deleted. Raises Failure."""
    from rich.live import Live

    out, before = console(), ""
    if arguments.output != "json" and out.is_terminal:
        with Live(console=out, auto_refresh=False, vertical_overflow="crop") as live:
            for shown in _views(api, kind, obj):
                live.update(renderable(shown, terminal=True), refresh=True)
    for shown in _views(api, kind, obj):
        words = one_line(shown)
        if words != before:
            line = json.dumps(as_data(shown), ensure_ascii=False) if arguments.output == "json" else words
            print(line, flush=True)
            before = words
    return 0


def _views(api: Api, kind: Kind, obj: Object) -> Iterator[View]:
    """One view after the other. An API server that is away for a moment is waited for."""
    meta, failures, shown = obj["metadata"], 0, view(observe(api, kind, obj))
    while True:
        yield shown
        time.sleep(SECONDS)
        try:
            shown, failures = view(observe(api, kind, _again(api, kind, meta["namespace"], meta["name"]))), 0
        except ApiFailure as failure:
            failures += 1
            if failure.status or failures > PATIENCE:
                raise
            shown = replace(shown, notes=[str(failure)])


def _again(api: Api, kind: Kind, namespace: str, name: str) -> Object:
    found = api.find(kind, namespace, name)
    if found is None:
        raise Failure(f"{kind.kind} {name} of namespace {namespace} was deleted")
    return found


def _overview(arguments: argparse.Namespace, api: Api, namespace: str) -> int:
    """Everything of a namespace, or of all."""
    if arguments.watch:
        raise Failure("-w goes with a name", 2)
    where = None if arguments.all_namespaces else namespace
    listed = together(*[lambda kind=kind: api.list(kind, where) for kind in KINDS])
    rows = lines((obj for listing in listed for obj in listing.items), api.now)
    if arguments.output == "json":
        print_json(rows)
        return 0
    if not rows:
        print(f"nothing in {'any namespace' if where is None else f'namespace {namespace}'}", file=sys.stderr)
        return 0
    print_overview(console(), rows, namespaces=where is None)
    if any(listing.more for listing in listed):
        print(f"only the first {len(rows)} are shown", file=sys.stderr)
    return 0
