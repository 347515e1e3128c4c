"""What names one object of ours."""

from __future__ import annotations

from typing import NamedTuple

from qwen3_operator.controller.cluster import Object
from qwen3_operator.controller.kinds import Kind


class Key(NamedTuple):
    """What a worker reconciles: one object of one of our kinds."""

    kind: str
    namespace: str
    name: str


def key_of(kind: Kind, obj: Object) -> Key:
    """The key of an object."""
    return Key(kind.kind, obj["metadata"]["namespace"], obj["metadata"]["name"])
