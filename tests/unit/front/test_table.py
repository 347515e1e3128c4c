"""What the front reads in EndpointSlices, and what the operator says there."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from qwen3_front.contract import ANNOTATION, CLUSTERS, OURS, SERVICE_LABEL, SLICE_MANAGER, Mode, Notice, read_notice
from qwen3_front.table import Address, Name, Table

CHAT = Name("team", "chat")


def slice_of(name: str, manager: str, port: int | None, *addresses: str, **more: Any) -> dict[str, Any]:
    meta = {
        "namespace": "team",
        "name": f"{name}-{manager}",
        "uid": name,
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "labels": {SERVICE_LABEL: name, SLICE_MANAGER: manager},
    }
    endpoints = [{"addresses": [it], "conditions": {"ready": True}} for it in addresses]
    ports = [{"name": "http", "port": port}] if port else None
    return {"metadata": meta | more, "endpoints": endpoints, "ports": ports}


def test_a_port_is_whose_and_where_the_servers_are() -> None:
    ours = slice_of("chat", OURS, 20001, "10.0.0.9", annotations={ANNOTATION: Notice(mode=Mode.ASLEEP).written()})
    theirs = slice_of("chat", CLUSTERS, 8000, "10.0.0.1", "10.0.0.2")
    theirs["endpoints"].append({"addresses": ["10.0.0.3"], "conditions": {"ready": False, "serving": True}})
    theirs["endpoints"].append({"addresses": ["10.0.0.4"]})  # no word is a yes
    table = Table.of([theirs, ours, slice_of("other", CLUSTERS, 8000, "10.0.0.5")])
    (entry,) = table.by_port.values()
    assert list(table.by_port) == [20001] and entry.name == CHAT and entry.notice.mode is Mode.ASLEEP
    assert entry.servers == {Address(f"10.0.0.{it}", 8000) for it in (1, 2, 4)}


def test_a_service_without_pods_has_slices_without_ports() -> None:
    table = Table.of([slice_of("chat", OURS, 20001), slice_of("chat", CLUSTERS, None)])
    assert table.by_port[20001].servers == frozenset()


def test_the_elder_keeps_a_port_that_two_claim() -> None:
    elder, younger = slice_of("b", OURS, 20001), slice_of("a", OURS, 20001, creationTimestamp="2026-01-02T00:00:00Z")
    for slices in ([elder, younger], [younger, elder]):
        assert Table.of(slices).by_port[20001].name == Name("team", "b")


def test_addresses_of_ipv6() -> None:
    assert str(Address("fd00::1", 8000)) == "[fd00::1]:8000" and str(Address("10.0.0.1", 1)) == "10.0.0.1:1"


def test_what_the_operator_says_is_read_as_it_was_said() -> None:
    said = Notice(mode=Mode.REFUSE, why="spec.suspend is true", started=1.5, usual_seconds=90)
    assert read_notice({ANNOTATION: said.written()}) == said
    assert Notice().written() == '{"mode":"hold"}' and read_notice({ANNOTATION: "{}"}) == read_notice(None) == Notice()


@given(st.text() | st.recursive(st.none() | st.floats() | st.text(), st.lists).map(repr))
def test_anything_can_stand_in_an_annotation(text: str) -> None:
    assert isinstance(read_notice({ANNOTATION: text}), Notice)


def test_strange_values_are_bounded() -> None:
    for value in ("1e999", "-5", '"x"', "NaN", "[1]"):
        assert 0 <= (read_notice({ANNOTATION: f'{{"usual_seconds": {value}}}'}).usual_seconds or 0) <= 86_400
    assert len(read_notice({ANNOTATION: f"""{{"why": "{"a b " * 300}"}}"""}).why) == 300
    assert read_notice({ANNOTATION: "x" * 5000}) == Notice()
