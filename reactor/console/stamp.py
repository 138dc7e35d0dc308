"""When each line began, before it: for the screen and for the log. Pure.

The clock is that of this host, and goes on evenly: a moment is the wall clock's time of the start and what the
monotonic clock counted since, so a clock that is set meanwhile makes no line older than the one before.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class Clock:
    """The two clocks, read at one moment."""

    wall: datetime
    monotonic: float

    def moment(self, monotonic: float) -> datetime:
        """The wall clock's time, in this host's zone, when the monotonic clock said ``monotonic``."""
        return (self.wall + timedelta(seconds=monotonic - self.monotonic)).astimezone()


def shown(moment: datetime) -> str:
    """A moment as people read it."""
    return moment.strftime("[%H:%M:%S.") + f"{moment.microsecond // 1000:03}] "


class Stamped:
    """Text in pieces, in which a stamp is to precede each line."""

    def __init__(self) -> None:
        self._is_fresh = True

    def feed(self, text: str, stamp: str) -> str:
        """``text`` with ``stamp`` where a line begins in it: before the first thing in it that can be seen."""
        made: list[str] = []
        for number, piece in enumerate(text.split("\n")):
            if number:
                made.append("\n")
                self._is_fresh = True
            content = piece.lstrip("\r")
            if content and self._is_fresh:
                made.append(piece[: len(piece) - len(content)] + stamp + content)
                self._is_fresh = False
            else:
                made.append(piece)
        return "".join(made)
