"""What follows the end of an application's process: its outputs are made safe, the handler is asked, a verdict falls.

Owns how often each application has died since the last change, and who waits for what in between. Which verdict it is,
``breaker`` decides; the supervisor carries it out. Lives in the supervisor's turns.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from ..journal import Journal
from ..wire.launch import Launch
from .aftermath import Aftermath
from .application import Application, End
from .breaker import HELD, Breaker, Next, Verdict, asks, decide
from .lifecycle import State

LEFT_S = 30.0
"""How long what was held for somebody stays so when they have left: a link may be down for a moment."""

OnVerdict = Callable[[Application, Next, float, str], None]


@dataclass(frozen=True, slots=True)
class Case:
    """One end, and what it was the end of. ``proven``: that generation had been healthy."""

    app: Application
    end: End
    launch: Launch
    proven: bool


class Recovery:
    """``attached`` says whether a session of ``reactor dev`` is there; ``on_rest`` is called when an application rests.

    ``on_verdict`` gets the application, what is to follow, the pause before that, in seconds, and why.
    """

    def __init__(
        self,
        journal: Journal,
        aftermath: Aftermath,
        attached: Callable[[], bool],
        on_rest: Callable[[], None],
        on_verdict: OnVerdict,
    ) -> None:
        self._journal = journal
        self._aftermath = aftermath
        self._attached = attached
        self._on_rest = on_rest
        self._on_verdict = on_verdict
        self._breakers: dict[str, Breaker] = {}
        self._busy: set[Application] = set()
        self._held: dict[Application, Case] = {}
        self._ending = False

    def forget(self) -> None:
        """A change of generation begins a new count."""
        self._breakers.clear()
        self._held.clear()

    def end(self) -> None:
        """What is still to end is made safe, and no verdict falls any more."""
        self._ending = True

    def deaths(self, name: str) -> int:
        """How often the application has died, as far as that counts."""
        return len(self._breakers[name].deaths) if name in self._breakers else 0

    def rests(self, app: Application) -> bool:
        """Whether nothing is left of its last process, and nothing runs any more that follows its end."""
        return app.gone and app.end is None and app not in self._busy

    def see_to(self, app: Application, launch: Launch, *, proven: bool) -> None:
        """Begin what follows an end, if there was one."""
        if app.end is None or not app.gone:
            return
        case, app.end = Case(app, app.end, launch, proven), None
        self._busy.add(app)
        then = partial(self._attempt, case, partial(self._made_safe, case), partial(self._over, app))
        make_safe = partial(self._aftermath.make_safe, launch, app.spec, app.generation, case.end, then)
        self._attempt(case, make_safe, then)

    def _attempt(self, case: Case, step: Callable[[], None], otherwise: Callable[[], None]) -> None:
        """A step between an end and its verdict. Where it raises, ``otherwise`` follows: no change waits for ever."""
        try:
            step()
        except Exception as error:  # noqa: BLE001 - an end that nobody sees to would hold up every change to come
            text = f"what follows the end of {case.app.spec.name} met a fault: {type(error).__name__}: {error}"
            self._journal.add("notice", {"code": "internal-error", "text": text})
            if case.app in self._busy:
                otherwise()

    def _made_safe(self, case: Case) -> None:
        app, launch = case.app, case.launch
        if app.state is not State.FAILED or self._ending:
            self._over(app)
            return
        breaker = self._breakers.get(app.spec.name, Breaker(launch.deaths, launch.window_s)).died(time.monotonic())
        self._breakers[app.spec.name] = breaker
        if asks(launch.on_failure, attached=self._attached()):

            def judge(answer: str) -> None:
                self._attempt(case, partial(self._judge, case, breaker, answer), partial(self._over, app))

            about = (launch, app.spec, app.generation, case.end, len(breaker.deaths))
            self._attempt(case, partial(self._aftermath.ask, *about, judge), partial(judge, ""))
        else:
            self._judge(case, breaker, "")

    def _over(self, app: Application) -> None:
        self._busy.discard(app)
        self._on_rest()

    def _judge(self, case: Case, breaker: Breaker, answer: str) -> None:
        policy = case.launch.on_failure
        verdict = decide(breaker, policy, answer, attached=self._attached(), proven=case.proven)
        if verdict == HELD:
            self._held[case.app] = case
        self._pass(case, breaker, verdict, breaker.pause_s if verdict.next is Next.RESTART else 0.0)
        self._over(case.app)

    def release(self) -> None:
        """Nobody sits before what is held any more. It starts again, unless they are back soon, and mend it."""
        held, self._held = self._held, {}
        for case in held.values():
            if case.app.state is State.FAILED and not self._ending:
                self._pass(case, self._breakers[case.app.spec.name], Verdict(Next.RESTART, "policy"), LEFT_S)

    def _pass(self, case: Case, breaker: Breaker, verdict: Verdict, pause_s: float) -> None:
        name, why, deaths, window_s = case.app.spec.name, case.end.why, len(breaker.deaths), breaker.window_s
        told = {"application": name, "generation": case.app.generation, "why": why, "deaths": deaths}
        rest = {"window_s": window_s, "next": str(verdict.next), "by": verdict.by, "pause_s": pause_s}
        self._journal.add("death", {**told, **rest})
        often = f"died {deaths} times within {window_s:g} s, in the end as it " * breaker.tripped
        self._on_verdict(case.app, verdict.next, pause_s, f"{name} {often}{why}")
