"""Has the live generation show the code of a window to pair in, where its settings name a callable for that.

It runs in a process of its own, as what makes outputs safe does, once for each change: with the code and for how many
seconds it counts, and with an empty text when it counts no more. What comes of it is told without the code, which
whoever may only look must not learn. Lives in the supervisor's turns.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import monotonic

from ..journal import Journal
from .call import ANSWERED, Outcome, Task
from .orders import Orders
from .transition import Transition
from .turns import Turns
from .warmth import Warmth

_LIMIT_S = 10.0
"""How long the callable may take: a slow display is written in less."""


class Display:
    """``live`` gives what runs, if anything does."""

    def __init__(
        self, folder: Path, journal: Journal, turns: Turns, warmth: Warmth, live: Callable[[], Transition | None]
    ) -> None:
        self._folder = folder
        self._journal = journal
        self._turns = turns
        self._warmth = warmth
        self._live = live
        self._code = ""
        self._until = 0.0
        self._is_due = self._is_busy = False

    def show(self, code: str, open_s: float) -> None:
        """Show ``code``, or no code any more where it is empty. From any thread."""
        self._turns.soon(partial(self._set, code, monotonic() + open_s))

    def refresh(self) -> None:
        """Another generation runs, and may show what there is to be shown. In a turn of the supervisor's."""
        if self._code:
            self._is_due = True
            self._next()

    def _set(self, code: str, until: float) -> None:
        self._code, self._until, self._is_due = code, until, True
        self._next()

    def _next(self) -> None:
        """One call at a time; what was to be shown meanwhile is shown after it."""
        live = self._live()
        if self._is_busy or not self._is_due or live is None or not live.launch.display:
            return
        self._is_due, self._is_busy = False, True
        launch = live.launch
        spec = next((app for app in launch.applications if not app.init), launch.applications[0])
        orders = Orders(self._folder, self._folder / "live", spec, launch, live.generation)
        left_s = round(max(0.0, self._until - monotonic()), 1) if self._code else 0.0

        def told(outcome: Outcome) -> None:
            self._is_busy = False
            if outcome.kind != ANSWERED:
                text = f"{launch.display} did not show the code to pair with: {outcome.kind}"
                self._journal.add("notice", {"code": "code-not-shown", "text": text, "application": spec.name})
            self._next()

        self._warmth.call(Task(orders, launch.display, (self._code, left_s), _LIMIT_S), told)
