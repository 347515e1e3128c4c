"""What names one object of ours."""

from __future__ import annotations

from typing import NamedTuple


class Key(NamedTuple):
    """What a worker looks at: one object of one of our kinds."""

    kind: str
    namespace: str
    name: str
