"""Which lines were with the engine when it died: what kills it twice is run alone, and then answered by an error.

The ledger lies beside the shard's part, so that it also has what killed pods had asked. It is not synced: it only has
to outlive this process. A line of it is `S` (an engine started), the index of a line that was asked, `A` and the index
of one that is asked alone, or `T` (ended by us: what was asked then is under no suspicion).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

GROUP_AT, ALONE_AT = 2, 3
"""Deaths after which a line is run in a small group, and alone."""
GROUP = 16
"""Lines of such a group. So few are run alone at once."""
COUNTED = "C"


class Ledger:
    """The lines of one shard, and how often the engine died while it had them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[str] | None = None
        self.deaths: Counter[int] = Counter()
        self._asked: set[int] = set()
        self.condemned: set[int] = set()
        """Lines that the engine died of while it had nothing else."""

    def open(self, finished: Callable[[int], bool]) -> None:
        """Read what earlier pods left, and go on. What is `finished` killed nobody. Raises OSError."""
        alone: int | None = None
        text = self._path.read_text(encoding="utf-8", errors="replace") if self._path.exists() else ""
        for words in text.splitlines():
            kind, _, rest = words.partition(" ")
            if kind == COUNTED:
                self._read_counts(rest)
            elif kind == "S":
                self._blame(alone, finished)
                alone = None
            elif kind == "T":
                self._asked.clear()
                alone = None
            elif kind == "A" and rest.isdecimal():
                alone = int(rest)
                self._asked = {alone}
            elif words.isdecimal():
                self._asked.add(int(words))
        self._blame(alone, finished)
        for index in [index for index in self.deaths if finished(index)]:
            del self.deaths[index]
        self.condemned = {index for index in self.condemned if not finished(index)}
        staging = self._path.with_name(f"{self._path.name}.tmp")
        staging.write_text(f"{self._counts()}\n", encoding="utf-8")
        staging.replace(self._path)
        self._file = self._path.open("a", encoding="utf-8", buffering=1)

    def _read_counts(self, text: str) -> None:
        try:
            counts, condemned = json.loads(text)
            self.deaths = Counter({int(index): int(count) for index, count in counts.items()})
            self.condemned = set(map(int, condemned))
        except (ValueError, TypeError, AttributeError):
            pass  # cut off: nobody is under suspicion

    def started(self) -> None:
        """An engine starts."""
        self._asked.clear()
        self._write("S")

    def asked(self, index: int) -> None:
        """It has this line."""
        if index not in self._asked:
            self._asked.add(index)
            self._write(str(index))

    def asked_alone(self, index: int) -> None:
        """It has this line and no other, and it has just answered something else."""
        self._asked = {index}
        self._write(f"A {index}")

    def died(self, held: set[int], alone: int | None) -> None:
        """The engine died while it had these lines."""
        self._asked = set(held)
        self._blame(alone, lambda _: False)
        self._write("T")  # what was asked is in the counts that follow
        self._write(self._counts())

    def ended(self) -> None:
        """The engine ends because we end it."""
        self._write("T")

    def group_of(self, index: int) -> int:
        """0: with all others; 1: in a small group; 2: alone."""
        deaths = self.deaths[index]
        return 0 if deaths < GROUP_AT else 1 if deaths < ALONE_AT else 2

    def _blame(self, alone: int | None, finished: Callable[[int], bool]) -> None:
        held = {index for index in self._asked if not finished(index)}
        self.deaths.update(held)
        if alone is not None and held == {alone}:
            self.condemned.add(alone)
        self._asked.clear()

    def _counts(self) -> str:
        counts = {str(index): count for index, count in self.deaths.items()}
        return f"{COUNTED} {json.dumps([counts, sorted(self.condemned)])}"

    def _write(self, words: str) -> None:
        assert self._file is not None
        with suppress(OSError):  # a full volume: writing the answers fails too, and reports it
            self._file.write(f"{words}\n")
