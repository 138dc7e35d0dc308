"""What follows when an application ended badly: its outputs are put in their safe state, its handler is asked.

Both run code of the application's, in a process of its own that has a time limit (``call``), and come to an end
whatever that code does. What an answer leads to is not decided here. Lives in the supervisor's turns.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from ..journal import Journal
from ..store.loans import Loan
from ..wire.errors import Fault
from ..wire.launch import Application, Launch
from ..wire.records import PROBLEM_KEYS
from .application import End
from .breaker import ANSWERS
from .call import ANSWERED, RAISED, Outcome, Task
from .orders import Orders
from .warmth import Warmth


class Aftermath:
    """``lend`` gives the last healthy generation, or None where no whole tree holds it."""

    def __init__(self, folder: Path, journal: Journal, warmth: Warmth, lend: Callable[[], Loan | None]) -> None:
        self._folder = folder
        self._journal = journal
        self._warmth = warmth
        self._lend = lend

    def make_safe(self, launch: Launch, spec: Application, generation: int, end: End, then: Callable[[], None]) -> None:
        """Put the outputs of ``spec`` in their safe state, unless its own cleanup has run; ``then`` always comes.

        The last healthy generation does that, as what has just died is not to be trusted. Where that has no callable
        for it, or it does not get done, the one that died is tried.
        """
        if end.clean:
            then()
            return
        own = Orders(self._folder, self._live, spec, launch, generation)
        loan = self._borrow()
        apps = loan.launch.applications if loan is not None else ()
        healthy = next((app for app in apps if app.name == spec.name), None)
        if loan is None or healthy is None or not healthy.safe:
            if loan is not None:
                loan.give_back()
            self._call_safe(own, "no healthy generation has one", lambda _done: then())
            return
        tree = self._live if os.path.realpath(self._live) == os.path.realpath(loan.tree) else loan.tree
        give_back = loan.give_back

        def next_one(*, done: bool) -> None:
            give_back()
            if done or lent.generation == generation:
                then()
            else:
                self._call_safe(own, "the healthy generation's did not do it", lambda _done: then())

        lent = Orders(self._folder, tree, healthy, loan.launch, loan.generation)
        self._call_safe(lent, "", lambda done: next_one(done=done))

    def _borrow(self) -> Loan | None:
        try:
            return self._lend()
        except (Fault, OSError) as error:
            text = f"the last healthy generation can't be had, to make the outputs safe: {error}"
            self._journal.add("notice", {"code": "internal-error", "text": text})
            return None

    def _call_safe(self, orders: Orders, why: str, then: Callable[[bool], None]) -> None:
        """``then`` is told whether it was done; ``why`` another generation's was not called."""
        entry = orders.spec.safe
        if not entry:
            then(False)
            return

        def told(outcome: Outcome) -> None:
            done = outcome.kind == ANSWERED
            reasons = "; ".join(filter(None, (outcome.why, why)))
            self._tell("safe", orders, entry, outcome, {"outcome": "done" if done else outcome.kind, "why": reasons})
            then(done)

        self._warmth.call(Task(orders, entry, (), orders.spec.safe_s), told)

    def ask(
        self,
        launch: Launch,
        spec: Application,
        generation: int,
        end: End,
        deaths: int,
        then: Callable[[str], None],
    ) -> None:
        """Ask the handler of ``launch`` what to do about the end of ``spec``; ``then`` gets one of ``ANSWERS``.

        It gets an empty text where there is no handler, and where that gave none of them in its time.
        """
        if not launch.handler:
            then("")
            return
        question = {
            "application": spec.name,
            "generation": generation,
            "why": end.why,
            "code": end.code,
            "signal": end.signal,
            "deaths": deaths,
            "window_s": launch.window_s,
        }
        orders = Orders(self._folder, self._live, spec, launch, generation)

        def told(outcome: Outcome) -> None:
            said = outcome.answer if isinstance(outcome.answer, str) else ""
            answer, why = said if said in ANSWERS else "", outcome.why
            if outcome.kind == ANSWERED and not answer:
                why = f"it answered {said[:40]!r}, which is none of {', '.join(ANSWERS)}"
            told = {"outcome": outcome.kind, "answer": answer, "why": why}
            self._tell("handler", orders, launch.handler, outcome, told)
            then(answer)

        self._warmth.call(Task(orders, launch.handler, (question,), launch.handler_s), told)

    @property
    def _live(self) -> Path:
        return self._folder / "live"

    def _tell(self, event: str, orders: Orders, entry: str, outcome: Outcome, fields: dict[str, str]) -> None:
        about = {"application": orders.spec.name, "generation": orders.generation}
        if outcome.kind == RAISED:
            more = {key: outcome.problem[key] for key in PROBLEM_KEYS if key in outcome.problem}
            self._journal.add("problem", {"code": "call-raised", **about, "what": f"{entry}: {outcome.why}", **more})
        self._journal.add(event, {**about, "entry": entry, **fields, "ms": outcome.ms})
