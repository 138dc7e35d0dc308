"""``reactor logs``: what the applications of each target have said, in this start of theirs and before, and say."""

from __future__ import annotations

import argparse
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from itertools import chain, repeat

from bootloader.wire.errors import CallTimeout, LinkDown, Refused
from bootloader.wire.messages import Fields

from ..filters import LEVELS, Filter
from ..follow import Earlier, Follower
from ..link import Link
from ..report import clean
from ..session import PAUSES_S
from ..terminal import Terminal
from . import ask, options
from .ask import Asked, Told

_EVENTS = ("log", "state", "problem", "safe", "handler", "handover")
_LINES = 100
_CONTEXT = 50
_EVERYTHING = 2**31
"""More events than a target keeps."""

_PULLS = 64
"""What a target keeps comes in fewer; one that says more all the time has to be left some time."""

_MOST_CHARS = 32 * 1024 * 1024
"""Of all that is kept to be shown: beyond that, the oldest goes."""

_STARTS = 64
"""A target keeps something of no more earlier starts."""

_WAIT_S = 10.0


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    ask.add(parser)
    parser.add_argument(
        "-n", type=options.count, metavar="N", help=f"how many lines from the end ({_LINES}, or all --since)"
    )
    parser.add_argument(
        "--since",
        type=options.moment,
        metavar="WHEN",
        help="so long ago (30s, 10m, 2h, 3d), or then (2026-02-28T14:30)",
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="every state, and the target's own clock")
    parser.add_argument("-f", "--follow", action="store_true", help="go on until Ctrl-C")
    parser.add_argument("--level", choices=LEVELS, help="this bad or worse; stdout counts as info, stderr as warning")
    parser.add_argument("-a", "--application", action="append", default=[], metavar="NAME", help="may be repeated")
    parser.add_argument(
        "--grep", action="append", default=[], metavar="TEXT", help="lines with it, or with what /REGEX/ matches"
    )


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Show: 0 if each target answered. The end of following is Ctrl-C, and no failure."""
    wanted = Filter.of(arguments.level or "", arguments.application, arguments.grep)
    most = arguments.n or (_LINES if arguments.since is None else _EVERYTHING)

    def show(asked: Asked) -> bool:
        return _show(asked, lambda: _Tail(most, arguments.since, wanted, asked), most, arguments)

    try:
        return ask.each(arguments, terminal, show, start=False, at_once=arguments.follow)
    except KeyboardInterrupt:
        if not arguments.follow:
            raise
        terminal.interrupted()
        return 0


class _Tail:
    """The last ``most`` lines since ``since``, and what else was told between them; later, everything at once."""

    def __init__(self, most: int, since: float | None, wanted: Filter, asked: Asked) -> None:
        self.lines = 0
        self.undated = 0
        self._most = most
        self._since = since
        self._wanted = wanted
        self._asked = asked
        self._kept: deque[Told] = deque()
        self._chars = 0
        self._boot = ""
        self._is_over = False

    def hear(self, _event: Fields, _at: float, told: Told | None) -> None:
        if told is None or told["event"] not in _EVENTS or not self._wanted.lets(told):
            return
        if not self._is_over and not self._is_recent(told):
            return
        self._kept.append(told)
        self._chars += _chars(told)
        self.lines += told["event"] == "log"
        while not self._is_over and (self.lines > self._most or self._chars > _MOST_CHARS):
            gone = self._kept.popleft()
            self._chars -= _chars(gone)
            self.lines -= gone["event"] == "log"

    def _is_recent(self, told: Told) -> bool:
        if self._since is None:
            return True
        if not told["host_at"]:
            self.undated += 1
            return False
        return datetime.fromisoformat(told["host_at"]).timestamp() >= self._since

    def rest(self) -> None:
        """What came together is shown together."""
        if self._is_over and self._kept:
            self._asked.terminal.tell_all(list(self._with_starts(self._kept)))
            self._kept.clear()
            self._chars = 0

    def show(self) -> None:
        """Show what was kept, and from here on what is heard."""
        self._is_over = True
        self.rest()
        if self.undated:
            text = f"{self.undated} events are left out, of a start in which the clock was not set: -n has them"
            notice = {"event": "notice", "target": self._asked.name, "code": "undated", "text": text}
            self._asked.terminal.tell(notice)

    def _with_starts(self, kept: Iterable[Told]) -> Iterator[Told]:
        for told in kept:
            if self._boot not in ("", told["boot"]):
                yield {"event": "start", "target": told["target"], "boot": told["boot"]}
            self._boot = told["boot"]
            yield told


def _chars(told: Told) -> int:
    """About what it costs to keep."""
    return 500 + sum(len(value) for value in told.values() if isinstance(value, str))


def _show(asked: Asked, tail_of: Callable[[], _Tail], most: int, arguments: argparse.Namespace) -> bool:
    tail = tail_of()
    follower = asked.follow(tail.hear, 2 * most + _CONTEXT if arguments.since is None else _EVERYTHING, tail.rest)
    _pull(follower, asked.link)
    if tail.lines < most:  # what this start of the target has kept is not enough
        tail = tail_of()
        follower = asked.follow(tail.hear, _EVERYTHING, tail.rest, _earlier(asked.link))
        _pull(follower, asked.link)
    tail.show()
    if arguments.follow:
        _follow(asked, follower)
    return True


def _earlier(link: Link) -> list[Earlier]:
    """The earlier starts of which a target keeps something. An older target keeps none."""
    try:
        answer, _ = link.call("boots", {})
    except Refused as refused:
        if refused.code != "unknown-method":
            raise
        return []
    return [Earlier(clean(one.text("boot")), one.flag("alike")) for one in answer.objects("boots")[-_STARTS:]]


def _pull(follower: Follower, link: Link) -> None:
    for _ in range(_PULLS):
        if not follower.pull(link, 0):
            break


def _follow(asked: Asked, follower: Follower) -> None:
    link = asked.link
    while True:
        try:
            while True:
                follower.pull(link, _WAIT_S)
        except (LinkDown, CallTimeout) as fault:
            asked.terminal.tell({"event": "link", "target": asked.name, "state": "down", "why": clean(str(fault))})
        link.close()
        link = _again(asked, follower)
        asked.terminal.tell({"event": "link", "target": asked.name, "state": "up", "why": ""})


def _again(asked: Asked, follower: Follower) -> Link:
    """The next link, when there is one. What the target kept meanwhile has been heard."""
    for pause_s in chain(PAUSES_S, repeat(PAUSES_S[-1])):
        time.sleep(pause_s)
        try:
            link = asked.target.connect("ask")
            hello, _ = link.call("hello", {})
            follower.take_up(link, hello.text("boot"))
        except (LinkDown, CallTimeout):
            continue
        break
    return link
