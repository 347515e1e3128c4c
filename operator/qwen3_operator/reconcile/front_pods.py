"""Where the front is, and which of its ports is whose."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from qwen3_front.contract import FIRST_PORT, PORTS
from qwen3_front.table import age, port_of, ready_addresses
from qwen3_operator.controller.kinds import ENDPOINT_SLICES
from qwen3_operator.controller.store import Store
from qwen3_operator.desired.front import Fronts
from qwen3_operator.reconcile.watched import BY_PORT

Object = Mapping[str, Any]


@dataclass
class FrontPorts:
    """Which port of the front is whose: as the slices say, and for those that are just being made, as said here."""

    first: int
    count: int
    _making: dict[int, tuple[str, str]] = field(default_factory=dict)

    def choose(self, store: Store, namespace: str, name: str, uid: str, ours: Object | None) -> int | None:
        """The port of a deployment: the one that it has, or else the next free one after a place given by its uid.
        None where all are taken. Where two have the same, the elder keeps it."""
        has = port_of(ours) if ours is not None else None
        if ours is not None and has is not None and has in range(self.first, self.first + self.count):
            others = [it for it in store.find(ENDPOINT_SLICES, BY_PORT, str(has)) if not _same(it, ours)]
            if all(age(ours) < age(it) for it in others):
                return has
        start = int.from_bytes(hashlib.sha256(uid.encode()).digest()[:8], "big")
        for offset in range(self.count):
            port = self.first + (start + offset) % self.count
            taken = [
                it for it in store.find(ENDPOINT_SLICES, BY_PORT, str(port)) if ours is None or not _same(it, ours)
            ]
            if not taken and self._making.get(port, (namespace, name)) == (namespace, name):
                self._making[port] = (namespace, name)
                return port
        return None

    def made(self, port: int, namespace: str, name: str) -> None:
        """The slice says it by now, or was not made."""
        if self._making.get(port) == (namespace, name):
            del self._making[port]


class Front:
    """What is known of the front."""

    def __init__(self, first_port: int = FIRST_PORT, ports: int = PORTS) -> None:
        self.ports = FrontPorts(first_port, ports)
        self.pods: Fronts | None = None
        """None: not seen yet. After a restart the slices stay as they are until then."""
        self.changed: Callable[[], None] = lambda: None
        """Called when its pods are others, or elsewhere."""

    def observe(self, slices: Mapping[Any, Object]) -> None:
        """These are the slices of the front's own Service."""
        before, self.pods = self.pods, fronts_in(list(slices.values()))
        if self.pods != before:
            self.changed()


def fronts_in(slices: Sequence[Object]) -> Fronts:
    """Where the pods of the front are, by the slices of its Service; of two families IPv4."""
    found: dict[str, set[str]] = {}
    for it in slices:
        addresses = {address.host for address in ready_addresses(it)}
        if addresses:
            found.setdefault(str(it.get("addressType")), set()).update(addresses)
    if not found:
        return Fronts()
    family = min(found)
    return Fronts(family, tuple(sorted(found[family])))


def _same(one: Object, other: Object) -> bool:
    return bool(one["metadata"]["uid"] == other["metadata"]["uid"])
