"""Texts made to be dear for one regular expression: what a pod would print to hold up the operator's event loop."""

from __future__ import annotations

import re
from collections.abc import Iterator
from re import _compiler as compiler  # type: ignore[attr-defined]
from re import _constants as codes  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from string import printable
from typing import Any

SIZE = 256 * 1024
LINE = 4096


def repeats(pattern: re.Pattern[str]) -> Iterator[tuple[int, int]]:
    """(least, most) of every repetition in the pattern."""
    yield from _repeats(parser.parse(pattern.pattern, pattern.flags))


def _repeats(tree: Any) -> Iterator[tuple[int, int]]:
    for code, argument in tree:
        if code in (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT):
            yield int(argument[0]), int(argument[1])
            yield from _repeats(argument[2])
        elif code is codes.SUBPATTERN:
            yield from _repeats(argument[3])
        elif code is codes.BRANCH:
            for branch in argument[1]:
                yield from _repeats(branch)


def worst_texts(pattern: re.Pattern[str]) -> Iterator[str]:
    """Beginnings of what the pattern matches, over and over: after each of its parts the match goes on for as long as
    it can, and fails. In one line, in lines as long as they may be, with what its repetitions swallow in between, and
    one beginning with many of the words that follow in it."""
    tree = parser.parse(pattern.pattern, pattern.flags)
    beginnings = sorted({text for text in _beginnings(tree) if text.strip()})
    for beginning in beginnings:
        for filler in ("", " ", "a", ".1"):
            unit = beginning + filler * (40 if filler else 0)
            yield (unit * (SIZE // len(unit) + 1))[:SIZE]
        line = (beginning + "a" * LINE)[: LINE - 1] + "\n"
        yield (line * (SIZE // LINE + 1))[:SIZE]
        yield (beginning + "\n") * (SIZE // (len(beginning) + 1))
    for words in sorted(set(_words(tree))):
        for beginning in beginnings[:: max(1, len(beginnings) // 8)]:
            line = (beginning + words * LINE)[: LINE - 1] + "\n"
            yield (line * (SIZE // LINE + 1))[:SIZE]


def _words(tree: Any) -> Iterator[str]:
    """Runs of letters that the pattern names."""
    run = ""
    for code, argument in tree:
        if code is codes.LITERAL:
            run += chr(argument)
            continue
        yield from [run] if run else []
        run = ""
        if code in (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT):
            yield from _words(argument[2])
        elif code is codes.SUBPATTERN:
            yield from _words(argument[3])
        elif code is codes.BRANCH:
            for branch in argument[1]:
                yield from _words(branch)
    yield from [run] if run else []


def _beginnings(tree: Any) -> Iterator[str]:
    """Every beginning of the shortest texts that `tree` matches, cut after a part of it; the whole one without its last
    character, so that it does not match."""
    done = [""]
    for code, argument in tree:
        longer = []
        for before in done[:4]:
            for part, whole in _parts(code, argument):
                if code is not codes.LITERAL:
                    yield before + part
                if whole:
                    longer.append(before + part)
        done = longer or done
    for text in done:
        yield text[:-1]


def _parts(code: Any, argument: Any) -> Iterator[tuple[str, bool]]:
    """(text, whether it is all of this part)."""
    if code is codes.LITERAL:
        yield chr(argument), True
    elif code in (codes.IN, codes.NOT_LITERAL, codes.ANY):
        yield _one_of(code, argument), True
    elif code in (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT):
        least, most, inner = argument
        for text in _wholes(inner):
            yield text * max(1, least), True
            yield text * min(int(most), 60), False
        yield from ((text, False) for text in _beginnings(inner))
    elif code is codes.SUBPATTERN:
        yield from ((text, True) for text in _wholes(argument[3]))
        yield from ((text, False) for text in _beginnings(argument[3]))
    elif code is codes.BRANCH:
        for branch in argument[1]:
            yield from ((text, True) for text in _wholes(branch))
            yield from ((text, False) for text in _beginnings(branch))
    else:
        yield "", True


def _wholes(tree: Any) -> list[str]:
    done = [""]
    for code, argument in tree:
        parts = [part for part, whole in _parts(code, argument) if whole]
        done = [before + part for before in done for part in parts][:4]
    return done


def _one_of(code: Any, argument: Any) -> str:
    """A letter that the class takes, preferably one that the other classes take too."""
    if code is codes.IN:
        matches = compiler.compile(parser.SubPattern(parser.State(), [(code, argument)])).match
        return next(letter for letter in "a1 .-/\n" + printable if matches(letter))
    return "b" if code is codes.NOT_LITERAL and argument == ord("a") else "a"
