"""How `status` is shown to a person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qwen3_operator.plugin.show import duration, table
from qwen3_operator.plugin.status_view import EventRow, Line, PodRow, Stage, View

if TYPE_CHECKING:
    from rich.console import Console, Group, RenderableType
    from rich.table import Table
    from rich.text import Text

BAR = 24
_MARKS = {"done": ("✓", "green"), "now": ("▶", "cyan"), "failed": ("✗", "bold red"), "waiting": ("·", "dim")}
_UNKNOWN = ("?", "yellow")
_CALM = ("Running", "Pending", "Completed", "Succeeded")


def one_line(shown: View) -> str:
    """One line that changes only when something has happened."""
    at = next((stage for stage in shown.stages if stage.state in ("now", "failed")), None)
    where = f"{at.name}{f' {100 * at.done // at.total} %' if at.done is not None and at.total else ''}" if at else ""
    parts = [
        f"{shown.kind}/{shown.name}",
        f"Ready={shown.ready}",
        shown.reason,
        where,
        at.message if at else shown.message,
    ]
    return "  ".join(part for part in parts if part)


def renderable(shown: View, *, terminal: bool) -> Group:
    """The view for a person."""
    from rich.console import Group
    from rich.text import Text

    title = Text(f"{shown.kind} {shown.name}", style="bold")
    title.append(f"  (namespace {shown.namespace})", style="dim")
    color = {"True": "green", "False": "yellow"}.get(shown.ready, "dim")
    words = f"{shown.reason}: {shown.message}" if shown.message else shown.reason
    parts: list[RenderableType] = [title, Text(words, style=color)]
    width = max(map(len, shown.facts), default=0) + 2
    for name, value in shown.facts.items():
        line = Text(f"{name:{width}}", style="dim")
        parts.append(line.append(value, style="default" if terminal else ""))
    parts += [Text(), _stages(shown.stages, terminal=terminal)]
    if shown.pods:
        parts += [Text(), _pods(shown.pods)]
    if shown.events:
        parts += [Text(), _events_table(shown.events)]
    parts += [Text(f"({note})", style="yellow") for note in shown.notes]
    return Group(*parts)


def _stages(stages: Sequence[Stage], *, terminal: bool) -> Table:
    made = table("", "STAGE", "TIME", "", right=["TIME"], grow="")
    for stage in stages:
        mark, style = _MARKS.get(stage.state, _UNKNOWN)
        message = "" if stage.state == "done" else stage.message
        made.add_row(
            _text(mark if terminal else stage.state, style),
            _text(stage.name, style if stage.state in ("failed", "waiting") else ""),
            duration(stage.seconds),
            _bar(stage, terminal=terminal).append(message, style="red" if stage.state == "failed" else "dim"),
        )
    return made


def _text(words: str, style: str = "") -> Text:
    from rich.text import Text

    return Text(words, style=style)


def _bar(stage: Stage, *, terminal: bool) -> Text:
    """A bar of how far it is, and per cent; empty where that is not known."""
    if stage.done is None or not stage.total:
        return _text("")
    share = min(1.0, stage.done / stage.total)
    percent = f"{int(100 * share):3d} %  "
    if not terminal:
        return _text(percent.lstrip())
    full = round(BAR * share)
    bar = _text("━" * full, "cyan")
    return bar.append("─" * (BAR - full), style="dim").append(f" {percent}")


def _pods(rows: Sequence[PodRow]) -> Table:
    made = table("POD", "STATE", "READY", "RESTARTS", "GPUS", "NODE", "AGE", right=["RESTARTS"])
    for row in rows:
        state = _text(row.state, "green" if row.ready else "" if row.state in _CALM else "yellow")
        ready, old = "yes" if row.ready else "no", duration(row.age_seconds)
        made.add_row(row.name, state, ready, str(row.restarts), row.gpus, row.node, old)
    return made


def _events_table(rows: Sequence[EventRow]) -> Table:
    made = table("EVENT", "ABOUT", "REASON", "MESSAGE", right=["EVENT"], grow="MESSAGE")
    for row in rows:
        times = f" (×{row.count})" if row.count > 1 else ""
        style = "yellow" if row.type == "Warning" else ""
        made.add_row(duration(row.age_seconds), row.about, _text(row.reason, style), row.message + times)
    return made


def print_overview(out: Console, rows: list[Line], *, namespaces: bool) -> None:
    """The overview for a person."""
    columns = ["KIND", "NAME", "READY", "REASON", "MODEL", "PROGRESS", "AGE"]
    made = table(*(["NAMESPACE"] if namespaces else []), *columns)
    for row in rows:
        ready = _text(row.ready, {"True": "green", "False": "yellow"}.get(row.ready, "dim"))
        cells: list[Text | str] = [
            row.kind,
            row.name,
            ready,
            row.reason,
            row.model,
            row.progress,
            duration(row.age_seconds),
        ]
        made.add_row(*([row.namespace] if namespaces else []), *cells)
    out.print(made)
