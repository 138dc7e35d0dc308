"""``reactor history``: the generations of each target, newest first."""

from __future__ import annotations

import argparse

from ..report import clean
from ..terminal import Terminal
from . import ask, options
from .ask import Asked, Told

_COLUMNS = ("generation", "when", "fate", "root", "who", "why")


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    ask.add(parser)
    parser.add_argument(
        "-n", type=options.count, default=20, metavar="N", help="how many generations, at most 256 (%(default)s)"
    )


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Ask, and show: 0 if each target answered."""
    return ask.each(arguments, terminal, lambda asked: _ask(asked, arguments.n))


def _ask(asked: Asked, most: int) -> bool:
    answer, _ = asked.link.call("history", {"limit": most})
    live = clean(answer.text("root"))
    generations = [ask.generation_of(one) for one in answer.objects("generations")[: ask.MOST]]
    newest = next((one["generation"] for one in generations if one["root"] == live), 0)
    terminal = asked.terminal
    if terminal.as_json:
        for one in generations:
            terminal.tell({"event": "generation", "target": asked.name, **one, "live": one["generation"] == newest})
        return True
    if terminal.many or not generations:
        terminal.line(f"{asked.name}:" + ("" if generations else " nothing pushed yet"))
    if generations:
        terminal.table(_COLUMNS, [_row(one, one["generation"] == newest) for one in generations])
    return True


def _row(one: Told, is_live: bool) -> tuple[str, ...]:
    why = f"{one['rung']}: {one['reason']}"
    if one["fate"] == "failed" and one["fate_why"]:
        why += f"; {one['fate_why']}"
    number, when = f"{one['generation']}{'*' * is_live}", one["applied_at"][:19].replace("T", " ")
    return number, when, one["fate"], one["root"][:12], one["who"], why
