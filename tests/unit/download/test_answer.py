"""Answers of a hub, or of a proxy in between, that make no sense."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from qwen3_download.answer import Answer, FetchError, Kind
from qwen3_download.ask import Asker
from qwen3_download.fetch import Network

SIZE = 10
LONG = "9" * 5000


def answer(status: str, headers: dict[str, str]) -> Answer:
    """To a question for the second half of a file."""
    file = SimpleNamespace(size=SIZE)
    it = Answer(file, 5, SIZE, False, memoryview(bytearray(SIZE)), lambda _: None, lambda: 0, lambda: False)  # type: ignore[arg-type]
    it.header(f"HTTP/1.1 {status} OK".encode())
    for name, value in headers.items():
        it.header(f"{name}: {value}".encode("latin-1"))
    return it


@pytest.mark.parametrize(
    ("status", "headers", "kind"),
    [
        (LONG, {}, Kind.STATUS),
        ("206", {"Content-Range": f"bytes 5-9/{LONG}"}, Kind.RANGE_IGNORED),
        ("206", {"Content-Range": f"bytes {LONG}-9/10"}, Kind.RANGE_IGNORED),
        ("206", {"Content-Range": "bytes \xb2-9/10"}, Kind.RANGE_IGNORED),
        ("200", {"Content-Length": LONG}, Kind.RANGE_IGNORED),
        ("503", {"Retry-After": LONG}, Kind.STATUS),
    ],
)
def test_numbers_that_are_none_are_a_failed_request(status: str, headers: dict[str, str], kind: Kind) -> None:
    with pytest.raises(FetchError) as error:
        answer(status, headers).finish()
    assert error.value.kind is kind


@pytest.mark.parametrize("body", [b"[" * 200_000, b"{", b"\xff", b"[]", b'{"Success": true, "Data": {"Files": [1]}}'])
def test_a_listing_that_is_none_is_left_to_the_client(monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
    with Asker(Network(ca=""), {}) as asker:
        monkeypatch.setattr(asker, "_body", lambda url: body)
        assert asker.entries("http://127.0.0.1:9") is None
