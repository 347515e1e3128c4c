"""How things are shown: tables and colours on a terminal, plain columns in a pipe, JSON for programs."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, TextIO

from qwen3_operator.api.times import parse_time

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

PLAIN_WIDTH = 4000
"""Columns of a pipe: nothing is wrapped there, one line is one row."""
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]")


def console(file: TextIO | None = None) -> Console:
    """A console for standard output."""
    from rich.console import Console

    out = file or sys.stdout
    return Console(file=out, width=None if out.isatty() else PLAIN_WIDTH, highlight=False, markup=False, emoji=False)


def table(*columns: str, right: Iterable[str] = (), grow: str = "") -> Table:
    """A table as kubectl prints them. `right`: columns of numbers; `grow`: the one that may be wrapped."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, header_style="bold")
    numbers = set(right)
    for column in columns:
        justify = "right" if column in numbers else "left"
        made.add_column(column, justify=justify, no_wrap=column != grow, overflow="fold")  # type: ignore[arg-type]
    return made


def clean(text: object) -> str:
    """Text of others without what a terminal would obey."""
    return _CONTROL.sub("", str(text))


def print_json(value: object, file: TextIO | None = None) -> None:
    """As JSON: dataclasses by their fields, in camelCase."""
    print(json.dumps(as_data(value), indent=2, ensure_ascii=False), file=file or sys.stdout)


def print_notes(notes: Iterable[str]) -> None:
    """What a person should know beside what is printed."""
    for note in notes:
        print(f"({note})", file=sys.stderr)


def as_data(value: Any) -> Any:
    """The value as JSON holds it."""
    if is_dataclass(value) and not isinstance(value, type):
        return {_camel(field.name): as_data(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): as_data(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [as_data(item) for item in value]
    return value


def duration(seconds: float | None) -> str:
    """As kubectl writes ages: 45s, 3m20s, 5h12m, 3d4h."""
    if seconds is None:
        return ""
    whole = max(0, round(seconds))
    for size, name, lower, below in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= size:
            rest = whole % size // lower
            return f"{whole // size}{name}{f'{rest}{below}' if rest else ''}"
    return f"{whole}s"


def age(moment: object, now: datetime) -> int | None:
    """Seconds since a time of the API; None for none."""
    try:
        then = parse_time(str(moment)) if moment else None
        return None if then is None else max(0, round((now - then).total_seconds()))
    except (ValueError, TypeError):
        return None


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.title() for word in rest)
