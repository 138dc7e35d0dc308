"""``reactor logs``: what the applications of each target have said, and say."""

from __future__ import annotations

import argparse
from collections import deque

from bootloader.wire.errors import Fault
from bootloader.wire.messages import Fields

from ..follow import Follower
from ..terminal import Terminal
from . import ask, options
from .ask import Asked, Told

_EVENTS = ("log", "state", "problem", "safe", "handler", "handover")
_CONTEXT = 50
_EVERYTHING = 2**31
"""More events than a target keeps."""

_PULLS = 64
"""What a target keeps comes in fewer; one that says more all the time has to be left some time."""

_WAIT_S = 10.0


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    ask.add(parser)
    parser.add_argument(
        "-n", type=options.count, default=100, metavar="N", help="how many lines from the end (%(default)s)"
    )
    parser.add_argument("-f", "--follow", action="store_true", help="go on until Ctrl-C")


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Show: 0 if each target answered. The end of following is Ctrl-C, and no failure."""
    try:
        return ask.each(arguments, terminal, lambda asked: _ask(asked, arguments.n, arguments.follow), start=False)
    except KeyboardInterrupt:
        if not arguments.follow:
            raise
        terminal.interrupted()
        return 0


class _Tail:
    """The last ``most`` lines, and what else was told between them; later, everything at once."""

    def __init__(self, most: int, terminal: Terminal) -> None:
        self.lines = 0
        self._most = most
        self._kept: deque[Told] | None = deque()
        self._terminal = terminal

    def hear(self, _event: Fields, _at: float, told: Told | None) -> None:
        if told is None or told["event"] not in _EVENTS:
            return
        if self._kept is None:
            self._terminal.tell(told)
            return
        self._kept.append(told)
        self.lines += told["event"] == "log"
        if self.lines > self._most:
            while self._kept.popleft()["event"] != "log":
                pass
            self.lines -= 1

    def show(self) -> None:
        """Show what was kept, and from here on what is heard."""
        kept, self._kept = self._kept or (), None
        for told in kept:
            self._terminal.tell(told)


def _ask(asked: Asked, most: int, follow: bool) -> bool:
    if follow and asked.terminal.many:
        raise Fault("one-target", "only one target can be followed at a time", to=asked.name, do="name one with -t")
    tail, follower = _past(asked, most, 2 * most + _CONTEXT)
    if tail.lines < most:
        tail, follower = _past(asked, most, _EVERYTHING)
    tail.show()
    while follow:
        follower.pull(asked.link, _WAIT_S)
    return True


def _past(asked: Asked, most: int, context_events: int) -> tuple[_Tail, Follower]:
    tail = _Tail(most, asked.terminal)
    follower = asked.follow(tail.hear, context_events)
    for _ in range(_PULLS):
        if not follower.pull(asked.link, 0):
            break
    return tail, follower
