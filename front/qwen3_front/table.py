"""EndpointSlices as the front reads them: which port is whose, what becomes of its requests, where its servers are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from qwen3_front.contract import CLUSTERS, OURS, PORT_NAME, SERVICE_LABEL, SLICE_MANAGER, Notice, read_notice

Object = Mapping[str, Any]


class Name(NamedTuple):
    """One Qwen3Deployment; its Service has the same name."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class Address(NamedTuple):
    """Where a server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Entry:
    """One deployment whose Service leads here while it has no server."""

    name: Name
    notice: Notice
    servers: frozenset[Address] = frozenset()
    """Those that are ready."""


@dataclass
class Table:
    """Deployments by the port of the front that is theirs."""

    by_port: dict[int, Entry] = field(default_factory=dict)

    @classmethod
    def of(cls, slices: Iterable[Object]) -> Table:
        """From all slices of the deployments. Where two name the same port the elder has it: what somebody else wrote
        later takes nobody's requests. The operator gives the younger another one."""
        ours: dict[int, Object] = {}
        servers: defaultdict[Name, set[Address]] = defaultdict(set)
        for it in slices:
            labels = it["metadata"].get("labels") or {}
            manager = labels.get(SLICE_MANAGER)
            if SERVICE_LABEL not in labels:
                continue
            if manager == CLUSTERS:
                servers[_name(it)] |= ready_addresses(it)
            elif manager == OURS and (port := port_of(it)) is not None:
                ours[port] = min(ours.get(port, it), it, key=age)
        entries = {
            port: Entry(name := _name(it), read_notice(it["metadata"].get("annotations")), frozenset(servers[name]))
            for port, it in ours.items()
        }
        return cls(entries)


def ready_addresses(slice: Object) -> set[Address]:
    """The endpoints that take requests. (No word on readiness means ready, by the API.)"""
    port = port_of(slice)
    if port is None:
        return set()
    ready = [it for it in slice.get("endpoints") or () if (it.get("conditions") or {}).get("ready") is not False]
    return {Address(str(it["addresses"][0]), port) for it in ready if it.get("addresses")}


def port_of(slice: Object) -> int | None:
    """The port of a slice that is the Service's."""
    for it in slice.get("ports") or ():
        if it.get("name") == PORT_NAME and isinstance(it.get("port"), int):
            return int(it["port"])
    return None


def age(slice: Object) -> tuple[str, str]:
    """Sorts slices, the eldest first."""
    return str(slice["metadata"].get("creationTimestamp") or "9"), str(slice["metadata"].get("uid") or "")


def _name(slice: Object) -> Name:
    meta = slice["metadata"]
    return Name(str(meta["namespace"]), str(meta["labels"][SERVICE_LABEL]))
