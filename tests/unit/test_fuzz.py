"""The fuzz tests count what they compared; what proves nothing fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from tests.fuzz.draw import sequences
from tests.fuzz.explore import COMPARED, explore


def test_it_goes_on_until_enough_was_compared() -> None:
    ends = explore(lambda it: COMPARED if it % 3 else "refused", range(100), asked=10, at_once=1)
    assert ends == {COMPARED: 10, "refused": 5}


def test_fewer_than_asked_is_a_failure() -> None:
    with pytest.raises(AssertionError, match="2 compared in full, 10 asked for"):
        explore(lambda it: COMPARED if it < 2 else "one spec only", range(50), asked=10, at_once=4)


def test_nothing_drawn_is_a_failure() -> None:
    with pytest.raises(AssertionError, match="0 compared"):
        explore(lambda it: COMPARED, [], asked=1, at_once=4)


def test_a_difference_is_named_with_its_sequence() -> None:
    def check(it: int) -> str:
        assert it != 3, "they differ"
        return COMPARED

    with pytest.raises(AssertionError, match="sequence 3: AssertionError: they differ"):
        explore(check, range(10), asked=10, at_once=2)


def test_a_seed_draws_the_same_again_and_another_seed_other_ones() -> None:
    one, again, other = sequences("7 way 0", 20), sequences("7 way 0", 20), sequences("7 way 1", 20)
    assert len(one) == 20
    assert one == again
    assert one != other
    assert all(len(sequence) >= 2 and sequence[0] != sequence[1] for sequence in one)
    assert sequences("7 way 0", 10) == one[:10], "a longer draw begins with the shorter one"


def test_what_is_loaded_draws_nothing() -> None:
    """A failure of CI can be run again: what is drawn hangs on no order of a set, and on no module of other tests."""
    script = """if True:
        import json
        from qwen3_operator import handlers
        from tests.fuzz.draw import sequences
        print(json.dumps(sequences('7 way 0', 20)))"""
    env = os.environ | {"PYTHONHASHSEED": "1"}
    found = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True)
    assert json.loads(found.stdout) == sequences("7 way 0", 20)
