"""How often to tell of something that takes its time. Pure: times are given."""

from __future__ import annotations

_SLOW_S = 0.5
_EVERY_S = 0.1


class Pace:
    """Which steps of something are worth telling: ten a second of what takes over half a second, and then its end."""

    def __init__(self, began: float) -> None:
        """``began`` and what follows are seconds of one monotonic clock."""
        self._next = began + _SLOW_S
        self._told = False

    def due(self, now: float, *, ended: bool) -> bool:
        """Whether to tell the step that is made ``now``; ``ended``: it is the last one."""
        if ended:
            return self._told
        if now < self._next:
            return False
        self._next, self._told = now + _EVERY_S, True
        return True
