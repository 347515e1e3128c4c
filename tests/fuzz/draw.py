"""The sequences that a seed draws: ways of two to four specs, each other than the one before, the last one sound."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any, cast

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from tests.fuzz.specs import sound_specs, specs

Spec = dict[str, Any]
BATCH = 20
"""Sequences of one draw: hypothesis draws the second after the first, so a number has to be fixed."""


def sequences(words: str, count: int) -> list[list[Spec]]:
    """`count` sequences; the same words draw the same ones, in a process of their own.

    hypothesis also draws constants that it finds in the modules of this project that are loaded: which these are is
    another thing for one test alone than for all of them.
    """
    command = [sys.executable, "-m", "tests.fuzz.draw", words, str(count)]
    env = os.environ | {"PYTHONHASHSEED": "0"}
    found = subprocess.run(command, cwd=Path(__file__).parents[2], env=env, stdout=subprocess.PIPE, check=True)
    return cast(list[list[Spec]], json.loads(found.stdout))


def _sequences(words: str, count: int) -> list[list[Spec]]:
    found: list[list[Spec]] = []
    for batch in range(-(-count // BATCH)):
        found += _drawn(zlib.crc32(f"{words} {batch}".encode()), BATCH)
    return found[:count]


def _drawn(number: int, count: int) -> list[list[Spec]]:
    found: list[list[Spec]] = []

    @seed(number)
    @settings(
        # The first that hypothesis draws is the simplest that there is.
        max_examples=count + 1,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(_ways())
    def draw(way: list[Spec]) -> None:
        found.append(way)

    draw()
    return found[1 : count + 1]


def _ways() -> SearchStrategy[list[Spec]]:
    through = st.lists(specs(), min_size=1, max_size=3)
    return st.tuples(through, sound_specs()).map(lambda it: [*it[0], it[1]]).filter(_moves)


def _moves(way: list[Spec]) -> bool:
    return all(one != other for one, other in itertools.pairwise(way))


if __name__ == "__main__":
    print(json.dumps(_sequences(sys.argv[1], int(sys.argv[2]))))
