"""`kubectl qwen3 doctor`: what a cluster lacks to serve models, and what to do about it."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, TypeVar

from qwen3_operator.api import API_VERSION
from qwen3_operator.controller.kinds import CLAIMS, NODES, STORAGE_CLASSES
from qwen3_operator.plugin.api import Api, ApiFailure, Object, together
from qwen3_operator.plugin.checks import Check, Found, checks, field_paths
from qwen3_operator.plugin.installed import Installed, installed
from qwen3_operator.plugin.names import KINDS, SELECTOR
from qwen3_operator.plugin.rights import IN_NAMESPACES, OF_CLUSTER, OF_PERSON, Right, review, review_path
from qwen3_operator.plugin.show import console, print_json, table

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T")
MOST_NODES = 5000
MOST_NAMESPACES = 5
"""Of those that an operator serves: its rights are asked for in each."""
_MARKS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "wrong": ("✗", "bold red"), "unknown": ("?", "dim")}


def run(arguments: argparse.Namespace, api: Api, namespace: str) -> int:
    """0, or 1 where something is wrong. Raises Failure."""
    made = checks(observe(api, namespace))
    if arguments.output == "json":
        print_json(made)
    else:
        print_checks(console(), made)
    return 1 if any(check.verdict == "wrong" for check in made) else 0


def observe(api: Api, namespace: str) -> Found:
    """What can be seen of the cluster. Raises Failure where it cannot be reached."""
    kubernetes = str(api.get("/version").get("gitVersion") or "")
    served = _served(api)
    operators = installed(api, namespace)
    ours = served >= {kind.plural for kind in KINDS}
    return Found(
        now=api.now,
        namespace=namespace,
        own_version=own_version(),
        kubernetes=kubernetes,
        served=served,
        fields=_published(api) if ours else None,
        own_fields=_own_fields(),
        operators=operators,
        leases=_leases(api, operators or ()),
        missing_rights=_operators_rights(api, operators or ()),
        not_allowed={what: _missing(api, rights, [namespace]) for what, rights in OF_PERSON.items()} if ours else {},
        nodes=_seen(lambda: api.list(NODES, most=MOST_NODES).items),
        storage_classes=_seen(lambda: api.list(STORAGE_CLASSES, most=200).items),
        claims=_everywhere_or(namespace, lambda where: api.list(CLAIMS, where, labels=SELECTOR).items),
        objects=_everywhere_or(namespace, lambda where: [o for k in KINDS for o in api.list(k, where).items])
        if ours
        else None,
    )


def own_version() -> str:
    """Of this package."""
    try:
        return version("qwen3-operator")
    except PackageNotFoundError:
        return "0.0.0"


def _served(api: Api) -> frozenset[str]:
    try:
        resources = api.get(f"/apis/{API_VERSION}").get("resources") or ()
    except ApiFailure as failure:
        if failure.status != 404:
            raise
        return frozenset()
    return frozenset(str(resource.get("name")) for resource in resources)


def _published(api: Api) -> dict[str, frozenset[str]] | None:
    try:
        schemas = (api.get(f"/openapi/v3/apis/{API_VERSION}").get("components") or {}).get("schemas") or {}
    except ApiFailure:
        return None
    of_kind = {k.kind: next((s for name, s in schemas.items() if name.endswith(f".{k.kind}")), None) for k in KINDS}
    return {kind: frozenset(field_paths(schema)) for kind, schema in of_kind.items() if schema}


def _own_fields() -> dict[str, frozenset[str]]:
    from qwen3_operator.api.crd import crds

    found = {}
    for crd in crds():
        schema: dict[str, Any] = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        found[crd["spec"]["names"]["kind"]] = frozenset(field_paths(schema))
    return found


def _leases(api: Api, operators: Sequence[Installed]) -> dict[str, Object | None]:
    found: dict[str, Object | None] = {}
    for it in operators:
        try:
            lease = it.lease(api)
        except ApiFailure as failure:
            if not failure.forbidden:
                raise
            continue
        found[it.namespace] = dict(lease) if lease else None
    return found


def _operators_rights(api: Api, operators: Sequence[Installed]) -> dict[str, Sequence[Right]] | None:
    found: dict[str, Sequence[Right]] = {}
    try:
        for it in operators:
            where: list[str | None] = [*it.namespaces[:MOST_NAMESPACES]] or [None]
            missing = [*_missing(api, IN_NAMESPACES, where, it.user), *_missing(api, OF_CLUSTER, [None], it.user)]
            found[it.user] = missing
    except ApiFailure as failure:
        if not failure.forbidden:
            raise
        return None
    return found


def _missing(api: Api, rights: Sequence[Right], where: Sequence[str | None], user: str = "") -> list[Right]:
    """The rights that a user does not have in one of the namespaces."""

    def has(right: Right, namespace: str | None) -> bool:
        answer = api.post(review_path(user), review(right, namespace, user))
        return bool((answer.get("status") or {}).get("allowed"))

    pairs = [(right, namespace) for right in rights for namespace in where]
    answers = together(*[lambda r=right, n=namespace: has(r, n) for right, namespace in pairs])
    return list(dict.fromkeys(pair[0] for pair, allowed in zip(pairs, answers, strict=True) if not allowed))


def _seen(call: Callable[[], T]) -> T | None:
    try:
        return call()
    except ApiFailure as failure:
        if not failure.forbidden:
            raise
        return None


def _everywhere_or(namespace: str, call: Callable[[str | None], T]) -> T | None:
    """What the call finds in all namespaces, or else in this one."""
    everywhere = _seen(lambda: call(None))
    return _seen(lambda: call(namespace)) if everywhere is None else everywhere


def print_checks(out: Console, made: Sequence[Check]) -> None:
    """The table for a person."""
    from rich.text import Text

    shown = table("", "CHECK", "FOUND", grow="FOUND")
    for check in made:
        mark, style = _MARKS[check.verdict]
        words = Text(check.message)
        if check.to_do:
            words.append(f" → {check.to_do}", style="cyan")
        shown.add_row(Text(mark if out.is_terminal else check.verdict, style=style), check.name, words)
    out.print(shown)
