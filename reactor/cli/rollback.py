"""``reactor rollback [GENERATION]``: back to an earlier generation."""

from __future__ import annotations

import argparse
import time

from bootloader.wire.messages import Fields

from ..outcomes import NEVER_TOLD, Fate, Outcome, Outcomes
from ..report import clean, whole
from ..terminal import Terminal
from . import ask, options
from .ask import Asked, Told

_CALL_S = 120.0
_WAIT_S = 5.0
_FATE_S = 600.0


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    ask.add(parser)
    parser.add_argument(
        "generation",
        nargs="?",
        type=options.count,
        default=0,
        metavar="GENERATION",
        help="its number (the last other healthy one)",
    )


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Go back: 0 if each target became healthy on what it ran before."""
    return ask.each(arguments, terminal, lambda asked: _ask(asked, arguments.generation))


def _ask(asked: Asked, number: int) -> bool:
    outcomes = Outcomes()
    results: list[Told] = []
    is_under_way = False

    def hear(event: Fields, at: float, told: Told | None) -> None:
        if event.text("event", "") == "generation":
            results.extend(outcomes.happened(Fate.read(event, at)))
        elif told is not None and is_under_way:
            asked.terminal.tell(told)

    follower = asked.follow(hear, context_events=1)
    is_under_way, began = True, time.monotonic()
    answer, _ = asked.link.call("rollback", {"generation": number}, timeout_s=_CALL_S)
    change, generation = whole(answer.integer("change")), whole(answer.integer("generation"))
    root, reason = clean(answer.text("root")), clean(answer.text("why"))
    results += outcomes.expect(Outcome(change, generation, root, (), "rollback", reason, began))
    while not results and time.monotonic() < began + _FATE_S:
        follower.pull(asked.link, _WAIT_S)
    result = (results or outcomes.give_up(NEVER_TOLD))[0]
    asked.terminal.tell({"target": asked.name, **result})
    return bool(result["healthy"])
