"""A target's clocks against this host's: when, by both, something happened there. Pure.

A device may boot in 1970 and be set meanwhile, so its wall clock says little; its other one, which nobody sets, is
compared with this host's whenever it answers. Knows nothing of links and of what the times are of.
"""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime

_SAMPLES = 64
"""Of so many answers the fastest one says how the clocks compare; older ones are forgotten, as clocks drift."""

_BEGAN = 1.5e9
"""An earlier time (2017) is none that a clock which was ever set would show."""


class Clock:
    """The clocks of one start of a target. ``alike``: they are those of the machine's present start, too."""

    def __init__(self, *, alike: bool = True) -> None:
        self._alike = alike
        self._ahead: deque[float] = deque(maxlen=_SAMPLES)
        self._wall = 0.0
        self._last: tuple[float, float | None] = 0.0, None
        self._told: tuple[str, str] = "", ""

    def hear(self, now: float, mono: float | None, heard_at: float) -> None:
        """The target said that it is ``now`` there, and ``mono``; that was heard at ``heard_at``, this host's clock."""
        self._wall = heard_at - now
        if mono is not None:
            self._ahead.append(heard_at - mono)
        self._last = 0.0, None

    def times(self, at: float, mono: float | None) -> tuple[str, str]:
        """When it was ``at`` there, on the target's clock and on this host's: ISO 8601; empty where nobody can know."""
        if self._last != (at, mono):  # lines come by the thousand, and many at once
            self._last = at, mono
            self._told = moment(at, local=False), self._here(at, mono)
        return self._told

    def _here(self, at: float, mono: float | None) -> str:
        if self._alike and mono is not None and self._ahead:
            return moment(mono + min(self._ahead))
        return moment(at + self._wall) if at > _BEGAN and self._wall else ""


def moment(at: float, *, local: bool = True) -> str:
    """Seconds since 1970 in ISO 8601; empty where no calendar has such a time."""
    try:
        there = datetime.fromtimestamp(at, UTC)
        return (there.astimezone() if local else there).isoformat(timespec="milliseconds")
    except (OverflowError, ValueError, OSError):
        return ""


def clock_time(moment: str) -> str:
    """The hours to milliseconds of such a text."""
    return moment[11:23]
