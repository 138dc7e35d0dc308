"""Has the process of an application open its end of a stream, and knows why that ended.

Called from other threads; what it asks of applications happens on the supervisor's. Knows nothing of sockets, nor of
what streams are for.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

from ..journal import Journal
from ..streams import Attached
from ..wire.errors import Refused
from .application import Application
from .beside import Beside
from .lifecycle import State
from .orders import Orders
from .stack import Stack
from .turns import Turns
from .warmth import Warmth

_TURN_S = 10.0
_SLACK_S = 2.0


class Attachment:
    """``stack``: the applications; ``warmth`` has processes for what is beside them, with ``folder``'s live tree."""

    def __init__(self, folder: Path, journal: Journal, turns: Turns, stack: Stack, warmth: Warmth) -> None:
        self._folder = folder
        self._journal = journal
        self._turns = turns
        self._stack = stack
        self._warmth = warmth

    def attach(self, application: str, order: Mapping[str, Any], within_s: float) -> Attached:
        """The application's process, once it has come to the stream's address; :class:`Refused` where it can't."""
        answered: Future[Mapping[str, Any]] = Future()

        def ask() -> Attached:
            app = self._named(application)
            if app.state in (State.STARTING, State.STOPPING):
                raise Refused("not-yet", f"is {app.state}", to=app.spec.name, do="try again")
            if app.pid is None or app.state not in (State.RUNNING, State.HEALTHY):
                raise Refused("not-running", f"is {app.state}" + f": {app.why}" * bool(app.why), to=app.spec.name)
            app.ask("attach", within_s, answered.set_result, **order)
            why = partial(self._turns.call, partial(_why, app, app.pid), _TURN_S)
            return Attached(app.spec.name, app.pid, app.generation, why, lambda: None)

        attached = self._turns.call(ask, _TURN_S)
        answer = self._turns.result(answered, within_s + _SLACK_S)
        if "unanswered" in answer:  # it is about to end, or is stuck, which may pass
            raise Refused("not-yet", str(answer["unanswered"]), to=attached.application, do="try again")
        for key in ("refused", "failed"):
            if key in answer:
                raise Refused("not-attachable", str(answer[key])[:1000], to=attached.application)
        return attached

    def beside(self, application: str, order: Mapping[str, Any]) -> Attached:
        """A process of its own, with the application's code and environment, which will come to the address."""

        def begin() -> Attached:
            app = self._named(application)
            orders = Orders(self._folder, self._folder / "live", app.spec, self._stack.launch, app.generation)
            try:
                made = Beside(orders, order, self._turns, self._journal, self._warmth.fork)
            except OSError as error:
                raise Refused("not-attachable", f"no process could be started: {error}") from error
            end = partial(self._turns.soon, made.end)
            return Attached(app.spec.name, made.pid, app.generation, lambda: made.why, end)

        return self._turns.call(begin, _TURN_S)

    def _named(self, name: str) -> Application:
        """The application of that name; for no name the main one, which the launch file lists first."""
        known = [spec.name for spec in self._stack.launch.applications]
        if not known:
            raise Refused("nothing-live", "nothing was started here yet", do="push a project first")
        if name and name not in known:
            do = f"there are: {', '.join(known)}"
            raise Refused("unknown-application", "no application of that name", to=name[:64], do=do)
        return self._stack[name or known[0]]


def _why(app: Application, pid: int) -> str:
    """What became of the process ``pid``, in words."""
    if app.pid == pid and app.state in (State.RUNNING, State.HEALTHY):
        return "the application's process closed it"
    return f"{app.spec.name} {app.state}" + f" ({app.why})" * bool(app.why)
