"""Finding the object that a person names, and what else may have been meant."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from qwen3_operator.controller.kinds import Kind
from qwen3_operator.plugin.api import Api, ApiFailure, Object, together
from qwen3_operator.plugin.failure import BAD_INPUT, Failure
from qwen3_operator.plugin.names import KINDS, kind_named

MOST_NAMES = 5


def find(api: Api, namespace: str, word: str, kinds: Sequence[Kind] = KINDS) -> tuple[Kind, Object]:
    """The object of a name, or KIND/NAME; of several kinds the first that has it. Raises Failure."""
    name, kinds = _meant(word, kinds)
    listed = together(*[lambda kind=kind: api.list(kind, namespace) for kind in kinds])
    for kind, listing in zip(kinds, listed, strict=True):
        for obj in listing.items:
            if obj["metadata"]["name"] == name:
                return kind, obj
        if listing.more and (found := api.find(kind, namespace, name)):
            return kind, found
    names = {obj["metadata"]["name"]: None for listing in listed for obj in listing.items}
    raise Failure(not_found(name, namespace, [kind.kind for kind in kinds], list(names), _elsewhere(api, name, kinds)))


def not_found(name: str, namespace: str, kinds: Sequence[str], names: Sequence[str], elsewhere: Sequence[str]) -> str:
    """Words for a name that is not there. `names`: what is there; `elsewhere`: namespaces that have it."""
    words = f"namespace {namespace} has no {' or '.join(kinds)} {name}"
    if near := difflib.get_close_matches(name, names, MOST_NAMES, 0.5):
        return f"{words}: did you mean {' or '.join(near)}?"
    if elsewhere:
        return f"{words}: it is in {', '.join(sorted(elsewhere)[:MOST_NAMES])} (-n)"
    if names:
        more = ", …" if len(names) > MOST_NAMES else ""
        return f"{words}: there are {', '.join(sorted(names)[:MOST_NAMES])}{more}"
    return f"{words}, and no others"


def _meant(word: str, kinds: Sequence[Kind]) -> tuple[str, Sequence[Kind]]:
    before, slash, name = word.partition("/")
    if not slash:
        return word, kinds
    kind = kind_named(before)
    if kind is None or kind not in kinds or not name:
        raise Failure(f"{word}: write NAME or KIND/NAME with one of {', '.join(k.plural for k in kinds)}", BAD_INPUT)
    return name, [kind]


def _elsewhere(api: Api, name: str, kinds: Sequence[Kind]) -> list[str]:
    """Namespaces that have an object of this name, where this user may see that."""
    found: set[str] = set()
    for kind in kinds:
        try:
            listing = api.list(kind, fields=f"metadata.name={name}", most=50)
        except ApiFailure:
            continue
        found |= {obj["metadata"]["namespace"] for obj in listing.items}
    return sorted(found)
