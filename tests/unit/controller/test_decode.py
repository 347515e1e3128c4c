"""JSON of any depth: the API server takes 10,000 levels, and one such object must not end the operator (attack 01)."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3_operator.controller.decode import CUT, MAX_DEPTH, Undecodable, cut, decode, depth, require_depth


def nested(levels: int, opening: str = '{"a":', closing: str = "}") -> str:
    return opening * levels + "1" + closing * levels


def in_a_process_of_its_own(program: str) -> str:
    """What the program prints: the recursion limit is the whole process's, and a mistake in it a segmentation fault."""
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


def test_kopfs_parser_reads_what_the_api_server_takes() -> None:
    """As at the operator's start: the limit is raised, and json.loads runs in a task of the event loop."""
    said = in_a_process_of_its_own("""
        import asyncio, json, uvloop
        from qwen3_operator.controller.decode import MOST_LEVELS, allow_deep_json, cut, depth

        async def watch(frames):
            if frames:
                return await watch(frames - 1)
            pairs = MOST_LEVELS // 2 - 1
            line = '{"type":"ADDED","object":' + '{"a":[' * pairs + "1" + "]}" * pairs + "}"
            event = json.loads(line)
            assert event == json.loads(line)
            return depth(event), depth(cut(event))

        allow_deep_json()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            print(*runner.run(watch(100)))
    """)
    assert said == "9999 100"


def test_without_the_limit_it_does_not() -> None:
    """Else the test above says nothing."""
    assert in_a_process_of_its_own("""
        import json
        try:
            json.loads('{"a":' * 1100 + "1" + "}" * 1100)
        except RecursionError:
            print("ends")
    """) == "ends"  # fmt: skip


def test_half_of_the_stack_is_enough() -> None:
    """The measure that allow_deep_json goes by: 10,000 levels parsed, compared, printed and written in 4 MiB."""
    assert in_a_process_of_its_own("""
        import json, threading
        from qwen3_operator.controller import decode

        def work():
            text = '{"a":[' * (decode.MOST_LEVELS // 2) + "1" + "]}" * (decode.MOST_LEVELS // 2)
            value = json.loads(text)
            assert value == json.loads(text) and repr(value) and json.dumps(value)
            print("done")

        decode.allow_deep_json()
        threading.stack_size(decode._LEAST_STACK)
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    """) == "done"  # fmt: skip


def test_a_small_stack_keeps_the_limit() -> None:
    assert in_a_process_of_its_own("""
        import resource, sys
        resource.setrlimit(resource.RLIMIT_STACK, (2**20, resource.getrlimit(resource.RLIMIT_STACK)[1]))
        from qwen3_operator.controller.decode import allow_deep_json
        before = sys.getrecursionlimit()
        allow_deep_json()
        print(sys.getrecursionlimit() == before)
    """) == "True"  # fmt: skip


@pytest.mark.parametrize("levels", [1, 100, 190])
def test_what_is_not_deep_is_whole(levels: int) -> None:
    assert decode(nested(levels).encode()) == json.loads(nested(levels))


@pytest.mark.parametrize("text", [nested(250), nested(900), nested(900, "[", "]")])
def test_what_is_deep_is_cut(text: str) -> None:
    value = decode(text)
    assert depth(value) == MAX_DEPTH
    assert CUT in json.dumps(value)


def test_one_deep_object_leaves_the_others_of_a_list_as_they_are() -> None:
    """Attack 02: 250 levels, which pydantic's parser refuses with the whole page."""
    good = {"metadata": {"name": "good"}, "spec": {"model": {"id": "Qwen/Qwen3-0.6B"}}}
    page = decode(f'{{"items": [{nested(250)}, {json.dumps(good)}], "metadata": {{}}}}')
    assert page["items"][1] == good
    assert depth(page["items"][0]) == MAX_DEPTH - 2


@pytest.mark.parametrize("text", [b"", b"<html>", b'{"a": 1', b"\xff\xfe", nested(20, "[", "").encode()])
def test_what_is_no_json(text: bytes) -> None:
    with pytest.raises(Undecodable, match="no JSON"):
        decode(text)


def test_too_deep_is_named() -> None:
    require_depth([[]], 2, "the list")
    with pytest.raises(Undecodable, match="the list is nested deeper than 2 levels"):
        require_depth([[[]]], 2, "the list")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
)


def _depth(value: Any) -> int:
    below = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if below is None else 1 + max(map(_depth, below), default=0)


@given(JSON, st.integers(1, 6))
def test_depth_and_cut(value: Any, limit: int) -> None:
    assert depth(value) == _depth(value)
    assert depth(value, limit) == min(_depth(value), limit + 1)
    short = cut(value, limit)
    assert _depth(short) == min(_depth(value), limit)
    assert (short is value) == (_depth(value) <= limit)
