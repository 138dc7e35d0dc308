"""The figures as text, for a terminal and for docs/benchmarks.md. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from .measure import Aim, Cell, Ratio, Ratios, Row, Sync

NONE = "-"
_WRONG = ("missing", "stale", "again")


def table(title: str, head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A titled table, as Markdown has it: the first column to the left, the others to the right."""
    widths = [max(3, *(len(line[column]) for line in (head, *body))) for column in range(len(head))]

    def one(line: Sequence[str]) -> str:
        rest = (text.rjust(width) for text, width in zip(line[1:], widths[1:], strict=True))
        return f"| {' | '.join([line[0].ljust(widths[0]), *rest])} |"

    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join([f"## {title}", "", one(head), one(rule), *map(one, body)])


def saves(rows: Sequence[Row]) -> str:
    """Save to the new code running: median and p95 by contestant and cell, and what went wrong."""
    cells = list(dict.fromkeys(row.cell for row in rows))
    body = []
    for name in dict.fromkeys(row.contestant for row in rows):
        own = [row for row in rows if row.contestant == name]
        figures = {row.cell: f"{_ms(row.median_ms)} / {_ms(row.p95_ms)}" for row in own}
        counts = [sum(row.saves for row in own), *(sum(getattr(row, key) for row in own) for key in _WRONG)]
        body.append([name, *(figures.get(cell, NONE) for cell in cells), *map(str, counts)])
    return table("Save to the new code running, median / p95 in ms", ["", *map(str, cells), "saves", *_WRONG], body)


def ratios(found: Ratios) -> list[str]:
    """The tables of ratios; one with nothing to compare is left out."""
    tables = [
        _pivot("How many times the floor", found.floor, lambda ratio: str(ratio.above[1])),
        _pivot("How many times reactor", found.ahead, lambda ratio: str(ratio.above[1])),
        _pivot("10,000 files by 10", found.size, lambda ratio: ratio.above[1].application),
        _pivot("Heavy by light", found.weight, lambda ratio: f"{ratio.above[1].files:,} files"),
    ]
    return [text for text in tables if text]


def _pivot(title: str, found: Sequence[Ratio], column: Callable[[Ratio], str]) -> str:
    columns = list(dict.fromkeys(map(column, found)))
    by_name: dict[str, dict[str, str]] = {}
    for ratio in found:
        by_name.setdefault(ratio.above[0], {})[column(ratio)] = f"{ratio.value:.2f}"
    body = [[name, *(values.get(one, NONE) for one in columns)] for name, values in by_name.items()]
    return table(title, ["", *columns], body) if body else ""


def stages(medians_ms: Mapping[Cell, Mapping[str, float]]) -> str:
    """Where reactor's time goes, as its own ``result`` events tell it."""
    names = dict.fromkeys(name for own in medians_ms.values() for name in own)
    body = [[name, *(_ms(own.get(name)) for own in medians_ms.values())] for name in names]
    return table("Where reactor's time goes, by its own account, medians in ms", ["", *map(str, medians_ms)], body)


def syncs(found: Sequence[Sync]) -> str:
    """The first sync, the one that finds nothing to do, and the end at Ctrl-C, in seconds."""
    body = []
    for one in found:
        times_s = (one.first_s, one.again_s, one.end_s)
        body.append([one.contestant, f"{one.files:,}", *("-" if s is None else f"{s:.2f}" for s in times_s)])
    return table("A whole tree, medians in s", ["", "files", "first sync", "nothing changed", "end at Ctrl-C"], body)


def aims(found: Sequence[Aim]) -> str:
    """One line an aim: its verdict, and the worst ratio."""
    lines = [f"- {aim.verdict}: {aim.text}" + (f" (worst: {aim.worst:.2f}x)" if aim.worst else "") for aim in found]
    return "\n".join(["## Aims", "", *lines])


def _ms(value: float | None) -> str:
    return NONE if value is None else f"{value:.1f}"
