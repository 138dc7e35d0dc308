"""When an application that died is started again, and when that has been tried often enough. Pure.

A circuit breaker over a sliding window, with exponential backoff: each death waits twice as long as the one before,
and so many within the window trip it. Times are seconds of one monotonic clock, and given.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

FIRST_S = 0.1
LONGEST_S = 10.0


@dataclass(frozen=True, slots=True)
class Breaker:
    """The deaths of one application, oldest first, as far back as they count."""

    most: int
    window_s: float
    deaths: tuple[float, ...] = ()

    def died(self, at: float) -> Breaker:
        """After one more death, ``at`` this time; no more are kept than it takes."""
        recent = (*(death for death in self.deaths if at - death < self.window_s), at)
        return replace(self, deaths=recent[-self.most :])

    @property
    def tripped(self) -> bool:
        """Whether there were as many deaths as it takes, within the window."""
        return len(self.deaths) >= self.most

    @property
    def pause_s(self) -> float:
        """How long to wait before the next start."""
        doublings = min(max(0, len(self.deaths) - 1), 32)
        return min(LONGEST_S, FIRST_S * 2.0**doublings)


class Next(StrEnum):
    """What follows a death."""

    RESTART = "restart"
    """The application is started again, after the pause."""
    HOLD = "hold"
    """It stays down; the others go on."""
    ROLLBACK = "rollback"
    """The last healthy generation, then the base; where there is neither, it stays down."""
    STOP = "stop"
    """Everything stops, and the bootloader stays reachable."""


ANSWERS = {"restart": Next.RESTART, "continue": Next.HOLD, "rollback": Next.ROLLBACK, "stop": Next.STOP}
"""What a failure handler may say."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows, and on whose word: ``handler``, ``policy`` (``on_failure`` of the settings) or ``breaker``."""

    next: Next
    by: str


HELD = Verdict(Next.HOLD, "policy")
"""What somebody who sits before it wants to see."""


def asks(on_failure: str, *, attached: bool) -> bool:
    """Whether the failure handler is asked. Not where somebody sits before it who wants to see what failed."""
    return not (attached and on_failure == "hold")


def decide(breaker: Breaker, on_failure: str, answer: str, *, attached: bool, proven: bool) -> Verdict:
    """What follows a death.

    ``answer``: the handler's, empty where it has none. ``attached``: a session of ``reactor dev`` is there, so that the
    next save mends it, and what failed is not to change under its feet. ``proven``: the generation has been healthy.
    """
    if answer in ANSWERS:
        return Verdict(ANSWERS[answer], "handler")
    if attached:
        gives_up = on_failure == "rollback" and not proven
        return Verdict(Next.ROLLBACK, "policy") if gives_up else HELD
    return Verdict(Next.ROLLBACK if breaker.tripped else Next.RESTART, "breaker")
