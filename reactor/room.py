"""How much one call carries: what its link takes in a moment, so what is told is true, and a cut costs little.

Learnt from call to call. Knows no link and no clock.
"""

from __future__ import annotations

from bootloader.wire.limits import PART_BYTES

LEAST_BYTES = 16 * 1024
_FIRST_BYTES = 64 * 1024
_QUICK_S, _SLOW_S = 0.25, 1.0


class Room:
    """``size_bytes``: how much the next call may carry, between :data:`LEAST_BYTES` and :data:`PART_BYTES`."""

    def __init__(self, first_bytes: int = _FIRST_BYTES) -> None:
        self.size_bytes = min(max(first_bytes, LEAST_BYTES), _FIRST_BYTES)

    def took(self, size_bytes: int, seconds: float) -> None:
        """A call with ``size_bytes`` took ``seconds``. A small one says nothing of a large one."""
        if seconds > _SLOW_S:
            self.size_bytes = max(LEAST_BYTES, self.size_bytes // 2)
        elif seconds < _QUICK_S and size_bytes > self.size_bytes // 2:
            self.size_bytes = min(PART_BYTES, self.size_bytes * 2)
