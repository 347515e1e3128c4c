"""How long a download waits before it tries again."""

from __future__ import annotations

import pytest

from qwen3_download.answer import Answer, FetchError, Kind
from qwen3_download.patience import Patience


def waits(error: FetchError, attempts: int) -> list[float]:
    """Before each of so many tries of one connection."""
    it = Patience(300, "hub")
    return [it.delay(error, "a", number, number, by_hub=True) for number in range(1, attempts + 1)]


def test_a_hub_that_says_at_once_is_not_hammered() -> None:
    busy = waits(FetchError(Kind.STATUS, "HTTP 429", 429, 0.0), 10)
    assert busy[0] >= 0.25 and busy[-1] >= 15


def test_a_hub_that_says_when_is_obeyed_up_to_a_limit() -> None:
    assert waits(FetchError(Kind.STATUS, "HTTP 429", 429, 60.0), 3) == [60.0] * 3
    assert waits(FetchError(Kind.STATUS, "HTTP 503", 503, 9999.0), 1) == [120.0]


def test_a_connection_that_broke_off_is_opened_again_at_once() -> None:
    assert waits(FetchError(Kind.NETWORK, "reset"), 2)[0] == 0.0 < waits(FetchError(Kind.NETWORK, "reset"), 2)[1]


@pytest.mark.parametrize(("said", "seconds"), [("7", 7.0), ("0", 0.0), ("soon", None), ("\xb2", None), ("", None)])
def test_what_a_hub_says_of_when(said: str, seconds: float | None) -> None:
    """A header is latin-1: it has digits that are no number."""
    it = Answer(None, 0, 1, False, memoryview(bytearray(1)), lambda _: None, lambda: 0, lambda: False)  # type: ignore[arg-type]
    it.header(b"HTTP/1.1 \xb9 what")
    assert it.status == 0
    it.header(b"HTTP/1.1 429 Too Many Requests")
    it.header(f"Retry-After: {said}".encode("latin-1"))
    with pytest.raises(FetchError) as error:
        it.finish()
    assert (error.value.status, error.value.retry_after) == (429, seconds)
