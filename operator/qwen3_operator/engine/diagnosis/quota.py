"""What the API server says where a namespace's quota refuses pods."""

from __future__ import annotations

import re

from qwen3_operator.controller.quantity import quantity

_QUOTA = re.compile(
    r"exceeded quota: [^,\n]{1,253}, requested: (?P<wanted>\S{1,500}), used: \S{1,500}, limited: (?P<most>\S{1,500})"
)


def quota_allows(message: str, pods: int = 1) -> bool:
    """Whether so many `pods` would not exceed the quota that refuses one by `message`: then others use it up, and the
    pod is taken once enough of these end."""
    match = _QUOTA.search(message[:4096])
    if match is None:
        return False
    wanted, most = (
        dict(part.split("=", 1) for part in match[name].split(",") if "=" in part) for name in ("wanted", "most")
    )
    try:
        return all(name in most and quantity(value) * pods <= quantity(most[name]) for name, value in wanted.items())
    except ValueError:
        return False
