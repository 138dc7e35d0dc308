"""Rows of figures, as they are measured: one JSON object a line, or tables in Markdown below what this machine is."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from . import machine

Figures = Mapping[str, Any]
"""One row, by the names of its columns."""


def show(title: str, parts: Iterable[tuple[str, Iterable[Figures]]], *, as_json: bool) -> None:
    """Print each part, a name and its rows: as tables, once it is measured, and as JSON row by row."""
    facts = machine.facts()
    if as_json:
        print(json.dumps({"event": "machine", **facts}), flush=True)
    else:
        print(f"# {title}", "", *(f"- {name}: {value}" for name, value in facts.items()), sep="\n", flush=True)
    for part, rows in parts:
        found = []
        for row in rows:
            found.append(row)
            if as_json:
                print(json.dumps({"part": part, **row}), flush=True)
        if not as_json:
            print("", f"## {part}", "", table(found), sep="\n", flush=True)


def table(rows: Sequence[Figures]) -> str:
    """Rows as a table in Markdown; a column each key that any of them has."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    cells = [keys, ["---"] * len(keys), *([str(row.get(key, "")) for key in keys] for row in rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)
