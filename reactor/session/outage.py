"""How long a link has been failing: what of it is told, how long to wait for the next try, and when that is enough.

Knows nothing of links, and asks nobody what time it is.
"""

from __future__ import annotations

from bootloader.wire.errors import CallTimeout, Fault

PAUSES_S = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
"""How long to wait before the next try, after each failure in a row."""

_STEADY_S = 5.0
"""A link that was up for so long failed for the first time."""

_AWAY_S = 90.0
"""How long is waited for what was there: a minute's stall is over by then."""

_RETOLD = 10


class Outage:
    """The failures of one session in a row, though its link may have been up in between for a moment."""

    def __init__(self, patience_s: float | None) -> None:
        """``patience_s``: how long they are waited out, and longer where there was a link before; None for ever."""
        self._patience_s = patience_s
        self._failures = 0
        self._since = self._up_since = 0.0
        self._down = 0  # failures since the link was up
        self._told: Fault | None = None  # the last one that was looked at, and told if it was time

    def up(self, now: float) -> bool:
        """There is a link; whether that is news."""
        self._up_since = now
        if self._patience_s is not None:
            self._patience_s = max(self._patience_s, _AWAY_S)
        was_down, self._down = self._down > 0, 0
        return was_down

    def failed(self, fault: Fault, now: float) -> float | None:
        """How long to wait before the next try, after ``fault``; None where it was tried for long enough."""
        if self._up_since and now - self._up_since > _STEADY_S and not isinstance(fault, CallTimeout):
            self._failures = 0
        self._up_since = 0.0
        if not self._failures:
            self._since = now
        elif self._patience_s is not None and now - self._since > self._patience_s:
            return None
        self._failures += 1
        return PAUSES_S[min(self._failures, len(PAUSES_S)) - 1]

    def news(self, fault: Fault) -> str:
        """How the link is, by ``fault``, where that is to be told: the first, the second, and then now and then one."""
        if fault is self._told:
            return ""
        self._told = fault
        due = self._down in (0, 1) or self._down % _RETOLD == 0
        state = "retrying" if self._down or isinstance(fault, CallTimeout) else "down"
        self._down += 1
        return state if due else ""
