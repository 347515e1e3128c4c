"""The hub of the demo, slowed down for a while."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import requests
from demo.kube import Kube
from demo.manifests import HUB_BYTES_PER_SECOND, HUB_NAMESPACE, HUB_PORT

SLOW = 30_000
"""Bytes per second: the tiny model takes some 26 s."""


@contextlib.contextmanager
def slow_hub(kube: Kube) -> Iterator[None]:
    """The hub sends `SLOW` bytes per second in all."""

    def set_rate(rate: int) -> None:
        with kube.port_forward(HUB_NAMESPACE, "svc/hub", HUB_PORT) as hub:
            requests.post(f"{hub}/admin/settings", json={"total_rate": rate}, timeout=10).raise_for_status()

    set_rate(SLOW)
    try:
        yield
    finally:
        set_rate(HUB_BYTES_PER_SECOND)
