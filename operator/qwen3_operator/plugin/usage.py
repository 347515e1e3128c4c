"""`kubectl qwen3 usage`: what each team has used of the servers that ask for keys, from these servers' own metrics."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from qwen3_operator.controller.kinds import PODS
from qwen3_operator.plugin.api import Api, ApiFailure, together
from qwen3_operator.plugin.failure import Failure
from qwen3_operator.plugin.find import find
from qwen3_operator.plugin.names import CONTAINER, DEPLOYMENT_LABEL, PORT, QWEN3_DEPLOYMENTS
from qwen3_operator.plugin.show import clean, console, print_json, print_notes, table

if TYPE_CHECKING:
    from rich.console import Console

Object = Mapping[str, Any]
MOST_SERVERS = 100
_TOKENS = {"qwen3_team_prompt_tokens_total": "prompt_tokens", "qwen3_team_completion_tokens_total": "completion_tokens"}
_REQUESTS = {"2xx": "answered", "4xx": "refused", "5xx": "failed", "aborted": "aborted"}


@dataclass
class Row:
    """What one team has used of one Qwen3Deployment since its servers started."""

    namespace: str
    name: str
    team: str
    """Empty: requests without a key that is known."""
    answered: int = 0
    refused: int = 0
    """By a limit, for a wrong key, or as a bad request."""
    failed: int = 0
    aborted: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


def run(arguments: argparse.Namespace, api: Api, namespace: str) -> int:
    """Print it. Raises Failure."""
    where, notes = None if arguments.all_namespaces else namespace, list[str]()
    if arguments.name:
        deployments = [find(api, namespace, arguments.name, [QWEN3_DEPLOYMENTS])[1]]
        if not _asks_for_keys(deployments[0]):
            raise Failure(f"{arguments.name} does not ask for keys of teams: spec.auth.keys is not set")
    else:
        deployments = [it for it in api.list(QWEN3_DEPLOYMENTS, where).items if _asks_for_keys(it)]
    found = [row for it in deployments for row in _of(api, it["metadata"], notes)]
    if arguments.output == "json":
        print_json(found)
    elif found:
        print_usage(console(), found)
    else:
        print("no team has used anything yet" if deployments else "nothing asks for keys of teams", file=sys.stderr)
    print_notes(notes)
    return 0


def _of(api: Api, meta: Object, notes: list[str]) -> list[Row]:
    """The rows of one Qwen3Deployment; a note for each server that does not report it."""
    namespace, name = meta["namespace"], meta["name"]
    pods = api.list(PODS, namespace, labels=f"{DEPLOYMENT_LABEL}={name}", most=MOST_SERVERS)
    ready = [pod["metadata"]["name"] for pod in pods.items if _is_ready(pod)]
    if pods.more:
        notes.append(f"{name}: of the first {MOST_SERVERS} servers")
    texts = []
    for pod, text in zip(
        ready, together(*[lambda pod=pod: _metrics(api, namespace, pod) for pod in ready]), strict=True
    ):
        if isinstance(text, ApiFailure):
            notes.append(f"{name}: {pod} is not counted: {clean(text)}")
        else:
            texts.append(text)
    if not ready:
        notes.append(f"{name}: no server is ready")
    return rows(namespace, name, texts)


def _metrics(api: Api, namespace: str, pod: str) -> str | ApiFailure:
    try:
        return api.text(PODS.path(namespace, f"{pod}:{PORT}", "proxy/metrics"))
    except ApiFailure as failure:
        return failure


def rows(namespace: str, name: str, texts: Iterable[str]) -> list[Row]:
    """A row for each team: the sums over the servers. `texts`: what their /metrics say."""
    from prometheus_client.parser import text_string_to_metric_families

    found: dict[str, Row] = {}
    for text in texts:
        lines = "\n".join(line for line in text.splitlines() if line.startswith("qwen3_team_"))
        for family in text_string_to_metric_families(f"{lines}\n"):
            for sample in family.samples:
                team = sample.labels.get("team", "")
                field = _TOKENS.get(sample.name)
                if sample.name == "qwen3_team_requests_total":
                    field = _REQUESTS.get(sample.labels.get("code", ""))
                if field:
                    row = found.setdefault(team, Row(namespace, name, clean(team)))
                    setattr(row, field, getattr(row, field) + round(sample.value))
    return [found[team] for team in sorted(found)]


def print_usage(out: Console, found: list[Row]) -> None:
    """The table for a person."""
    columns = [field.name.replace("_", " ").upper() for field in fields(Row)]
    made = table(*columns, right=columns[3:])
    for row in found:
        numbers = [f"{getattr(row, field.name):,}" for field in fields(Row)[3:]]
        made.add_row(row.namespace, row.name, row.team or "(no key)", *numbers)
    out.print(made)
    if out.is_terminal:
        out.print("since each server started; what was before is in Prometheus", style="dim")


def _asks_for_keys(deployment: Object) -> bool:
    return bool(((deployment.get("spec") or {}).get("auth") or {}).get("keys"))


def _is_ready(pod: Object) -> bool:
    of = (pod.get("status") or {}).get("containerStatuses") or ()
    return any(it.get("name") == CONTAINER and it.get("ready") for it in of)
