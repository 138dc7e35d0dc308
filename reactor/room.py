"""How much one call carries: what its link takes in a moment, so what is told is true, and a cut costs little.

Learnt from call to call, for what is sent and for what is told. Knows no link and no clock.
"""

from __future__ import annotations

from collections import deque

from bootloader.wire.limits import PART_BYTES

LEAST_BYTES = 16 * 1024
"""Also in the first call: at 50 kbit/s, 64 KiB would keep what else is asked waiting for 10 s, as if the target were
silent.
"""

_QUICK_S, _SLOW_S = 0.25, 1.0


class Room:
    """``size_bytes``: how much the next call may carry, between :data:`LEAST_BYTES` and :data:`PART_BYTES`."""

    def __init__(self) -> None:
        self.size_bytes = LEAST_BYTES

    def took(self, size_bytes: int, seconds: float) -> None:
        """A call with ``size_bytes`` took ``seconds``. A small one says nothing of a large one."""
        if seconds > _SLOW_S:
            self.size_bytes = max(LEAST_BYTES, self.size_bytes // 2)
        elif seconds < _QUICK_S and size_bytes > self.size_bytes // 2:
            self.size_bytes = min(PART_BYTES, self.size_bytes * 2)


MOMENT_S, BEHIND_S = 0.5, 5.0
"""How long a link is taken by one batch of what is told, and what its reader may be behind where more is told than it
carries.
"""

_LEAST_BATCH_BYTES = 4 * 1024
_SMALL_BYTES = 2 * 1024
_MUCH_BYTES = 16 * 1024 * 1024
_SAMPLES = 4


class Flow:
    """What is told, over a link that may carry less: ``batch_bytes`` at once, and of log lines that wait to be told the
    ``newest_bytes`` alone; 0 for all, where it carries much.
    """

    def __init__(self, most_bytes: int) -> None:
        """``most_bytes``: of a batch, on whichever link."""
        self._most_bytes = most_bytes
        self._there_and_back_s = 0.0
        self._rates: deque[float] = deque(maxlen=_SAMPLES)
        self.batch_bytes = min(LEAST_BYTES, most_bytes)
        self.newest_bytes = 0

    def came(self, size_bytes: int, seconds: float) -> None:
        """So much came within ``seconds`` of being asked for, besides what the other end took. A small answer tells how
        far away it is, a large one how much the link carries: the best of the last ones, as an end may be busy.
        """
        if size_bytes < _SMALL_BYTES:
            self._there_and_back_s = min(self._there_and_back_s or seconds, seconds)
        elif 2 * size_bytes > self.batch_bytes:
            if seconds > _SLOW_S:
                self._rates.clear()  # it has become slow, and what it was says nothing
            self._rates.append(size_bytes / max(0.001, seconds - self._there_and_back_s))
            rate = max(self._rates)
            self.batch_bytes = min(self._most_bytes, max(_LEAST_BATCH_BYTES, int(rate * MOMENT_S)))
            newest = int(rate * BEHIND_S)
            self.newest_bytes = newest if newest < _MUCH_BYTES else 0
