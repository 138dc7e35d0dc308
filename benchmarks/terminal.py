"""``python -m benchmarks.terminal``: what a person at the terminal waits for.

Each part measures one thing and prints a table, or with ``--json`` one object a line. Linux only: /proc.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from . import flood, talk
from .figures import Figures, show
from .guard import guarded


def logs(scratch: Path, *, quick: bool) -> Iterator[Figures]:
    """How fast an application prints, how much of that is told, and how soon; and how fast it prints without us."""
    lines, beats = (flood.LINES // 10, 10) if quick else (flood.LINES, flood.BEATS)
    found = [
        flood.alone(scratch / "blocks", lines, buffered=True),
        flood.alone(scratch / "lines", lines, buffered=False),
        flood.as_json(scratch / "json", lines, beats),
        flood.on_screen(scratch / "screen", lines, beats),
    ]
    in_blocks, by_line = found[0].lines_s, found[1].lines_s
    for one in found:
        ratios = {"of_blocks": round(one.lines_s / in_blocks, 3), "of_lines": round(one.lines_s / by_line, 3)}
        yield {"lines": lines, **one.summary(), **ratios}


def repl(scratch: Path, *, quick: bool) -> Iterator[Figures]:
    """What a line at the prompt takes, and its completion, in plain calls over the same link."""
    yield from talk.figures(talk.rows(scratch, talk.ROUNDS // 10 if quick else talk.ROUNDS))


PARTS: Mapping[str, Callable[..., Iterator[Figures]]] = {"logs": logs, "repl": repl}
"""By name: each gets a folder, and whether a look is enough, and gives its rows."""


def main(arguments: list[str] | None = None) -> int:
    """The front door; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.terminal")
    parser.add_argument("--json", action="store_true", help="one JSON object a line in place of tables")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--quick", action="store_true", help="a look")
    options = parser.parse_args(arguments)
    if not sys.platform.startswith("linux"):
        print("the benchmark needs Linux: /proc", file=sys.stderr)
        return 2
    return guarded(lambda scratch: _run(options, scratch))


def _run(options: argparse.Namespace, scratch: Path) -> int:
    parts = ((name, PARTS[name](scratch / name, quick=options.quick)) for name in options.only)
    show("Benchmark of the terminal", parts, as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
