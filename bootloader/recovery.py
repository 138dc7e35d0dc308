"""What follows the end of an application's process: its outputs are made safe, the handler is asked, a verdict falls.

Owns how often each application has died since the last change, and who waits for what in between. Which verdict it is,
``breaker`` decides; the supervisor carries it out. Lives on the supervisor's thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from .application import Application, End
from .breaker import Breaker, Next, decide
from .journal import Journal
from .lifecycle import State
from .wire.launch import Launch

OnVerdict = Callable[[Application, Next, float, str], None]


class Recovery:
    """``attached`` says whether a session of ``reactor dev`` is there; ``on_verdict(app, next, pause_s, why)``."""

    def __init__(self, journal: Journal, attached: Callable[[], bool], on_verdict: OnVerdict) -> None:
        self._journal = journal
        self._attached = attached
        self._on_verdict = on_verdict
        self._breakers: dict[str, Breaker] = {}

    def forget(self) -> None:
        """A change of generation begins a new count."""
        self._breakers.clear()

    def deaths(self, name: str) -> int:
        """How often the application has died, as far as that counts."""
        return len(self._breakers[name].deaths) if name in self._breakers else 0

    @staticmethod
    def rests(app: Application) -> bool:
        """Whether nothing is left of its last process, and all is done that follows its end at once."""
        return app.gone and app.end is None

    def see_to(self, app: Application, launch: Launch | None, *, proven: bool) -> None:
        """Begin what follows an end, if there was one. No verdict falls where there is no ``launch`` any more."""
        if app.end is None or not app.gone:
            return
        end, app.end = app.end, None
        if launch is not None and app.state is State.FAILED:
            self._judge(app, end, launch, proven=proven)

    def _judge(self, app: Application, end: End, launch: Launch, *, proven: bool) -> None:
        name = app.spec.name
        breaker = self._breakers.get(name, Breaker(launch.deaths, launch.window_s)).died(time.monotonic())
        self._breakers[name] = breaker
        verdict = decide(breaker, launch.on_failure, "", attached=self._attached(), proven=proven)
        pause_s = breaker.pause_s if verdict.next is Next.RESTART else 0.0
        told = {"application": name, "generation": app.generation, "why": end.why, "deaths": len(breaker.deaths)}
        rest = {"window_s": launch.window_s, "next": str(verdict.next), "by": verdict.by, "pause_s": pause_s}
        self._journal.add("death", {**told, **rest})
        often = f"died {len(breaker.deaths)} times within {launch.window_s:g} s, in the end as it " * breaker.tripped
        self._on_verdict(app, verdict.next, pause_s, f"{name} {often}{end.why}")
