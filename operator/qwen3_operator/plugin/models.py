"""`kubectl qwen3 models`: which checkpoints are on which volumes, how large, and for whom."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from qwen3_operator.controller.kinds import CLAIMS
from qwen3_operator.controller.quantity import quantity
from qwen3_operator.plugin.api import Api, Listing, allowed
from qwen3_operator.plugin.names import MODEL_LABEL, NOT_SEEN, QWEN3_MODELS
from qwen3_operator.plugin.objects import condition
from qwen3_operator.plugin.show import age, clean, console, duration, print_json, print_notes, table
from qwen3_operator.status.sizes import readable

if TYPE_CHECKING:
    from rich.console import Console

Object = Mapping[str, Any]
KEPT = "Kept"
"""State of a claim whose Qwen3Model is gone: the next user of the model finds its files there."""


@dataclass(frozen=True)
class Row:
    """A checkpoint on a volume."""

    namespace: str
    name: str
    """Of the Qwen3Model, or of the claim that was left by one."""
    model: str
    revision: str
    commit: str
    state: str
    """Reason of Ready, or Kept."""
    bytes: int
    """Of the verified files."""
    claim: str
    capacity_bytes: int
    users: int
    used_by: Sequence[str]
    age_seconds: int | None

    @property
    def unused(self) -> bool:
        """Whether nobody serves from it."""
        return self.users == 0


def run(arguments: argparse.Namespace, api: Api, namespace: str) -> int:
    """Print them. Raises Failure."""
    where, notes = None if arguments.all_namespaces else namespace, list[str]()
    models = api.list(QWEN3_MODELS, where)
    claims = allowed(lambda: api.list(CLAIMS, where, labels=MODEL_LABEL), Listing([]), "claims", notes)
    found = [row for row in rows(models.items, claims.items, api.now) if row.unused or not arguments.unused]
    if models.more or claims.more:
        notes.append("there are more than are shown: name a namespace by -n")
    if arguments.output == "json":
        print_json(found)
    elif found:
        print_models(console(), found, namespaces=where is None)
    else:
        words = "no unused models" if arguments.unused else "no models"
        print(f"{words} in {'any namespace' if where is None else f'namespace {namespace}'}", file=sys.stderr)
    print_notes(notes)
    return 0


def rows(models: Iterable[Object], claims: Iterable[Object], now: datetime) -> list[Row]:
    """One row for each Qwen3Model, and one for each claim that was left by a Qwen3Model."""
    by_key = {(claim["metadata"]["namespace"], claim["metadata"]["name"]): claim for claim in claims}
    found, taken = [], set()
    for model in models:
        meta, spec, status = model["metadata"], model.get("spec") or {}, model.get("status") or {}
        copy = status.get("model") or {}
        claim = copy.get("claim") or (spec.get("storage") or {}).get("existingClaim", {}).get("name") or meta["name"]
        taken.add((meta["namespace"], claim))
        found.append(
            Row(
                namespace=meta["namespace"],
                name=meta["name"],
                model=clean(spec.get("id", "")),
                revision=clean(copy.get("revision") or spec.get("revision") or ""),
                commit=clean(copy.get("commit") or "")[:12],
                state=condition(model, "Ready").get("reason", NOT_SEEN),
                bytes=int(copy.get("bytes") or (status.get("download") or {}).get("bytesDone") or 0),
                claim=claim,
                capacity_bytes=_bytes(status.get("size")) or _capacity(by_key.get((meta["namespace"], claim))),
                users=int(status.get("users") or 0),
                used_by=tuple(status.get("usedBy") or ()),
                age_seconds=age(meta.get("creationTimestamp"), now),
            )
        )
    for (namespace, name), claim in by_key.items():
        if (namespace, name) not in taken:
            found.append(_left(namespace, name, claim, now))
    return sorted(found, key=lambda row: (row.namespace, row.model or "~", row.name))


def _left(namespace: str, name: str, claim: Object, now: datetime) -> Row:
    made = age(claim["metadata"].get("creationTimestamp"), now)
    return Row(namespace, name, "", "", "", KEPT, 0, name, _capacity(claim), 0, (), made)


def _capacity(claim: Object | None) -> int:
    if claim is None:
        return 0
    wanted = ((claim.get("spec") or {}).get("resources") or {}).get("requests") or {}
    return _bytes(((claim.get("status") or {}).get("capacity") or {}).get("storage") or wanted.get("storage"))


def _bytes(text: object) -> int:
    try:
        return int(quantity(str(text))) if text else 0
    except ValueError:
        return 0


def summary(found: Sequence[Row]) -> str:
    """All of them in one line."""
    volumes = {(row.namespace, row.claim): row for row in found}
    unused = [row for row in volumes.values() if row.unused]
    words = f"{len(found)} models, {readable(sum(row.bytes for row in found))} of files"
    words += f" on {len(volumes)} volumes of {readable(sum(row.capacity_bytes for row in volumes.values()))}"
    return words + (f"; unused: {len(unused)}, {readable(sum(row.capacity_bytes for row in unused))}" if unused else "")


def print_models(out: Console, found: Sequence[Row], *, namespaces: bool) -> None:
    """The table for a person."""
    from rich.text import Text

    columns = ["NAME", "MODEL", "REVISION", "STATE", "FILES", "CLAIM", "SIZE", "USERS", "AGE"]
    made = table(*(["NAMESPACE"] if namespaces else []), *columns, right=["FILES", "SIZE"])
    for row in found:
        files, size = (readable(size) if size else "" for size in (row.bytes, row.capacity_bytes))
        more = f" +{row.users - 2}" if row.users > 2 else ""
        users = Text("unused", style="yellow") if row.unused else Text(", ".join(row.used_by[:2]) + more)
        state = Text(row.state, style="green" if row.state == "Ready" else "dim" if row.state == KEPT else "yellow")
        revision = f"{row.revision}@{row.commit}" if row.commit else row.revision
        cells: list[Text | str] = [
            row.name,
            row.model or "?",
            revision,
            state,
            files,
            row.claim,
            size,
            users,
            duration(row.age_seconds),
        ]
        made.add_row(*([row.namespace] if namespaces else []), *cells)
    out.print(made)
    if out.is_terminal:
        out.print(summary(found), style="dim")
