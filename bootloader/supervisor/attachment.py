"""Has the process of an application open its end of a stream, and knows why that ended.

Called from other threads; what it asks of applications happens on the supervisor's. Knows nothing of sockets, nor of
what streams are for.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any

from ..streams import Attached
from ..wire.errors import Refused
from .application import Application
from .lifecycle import State
from .stack import Stack
from .turns import Turns

_TURN_S = 10.0
_SLACK_S = 2.0


class Attachment:
    """``stack``: the applications."""

    def __init__(self, turns: Turns, stack: Stack) -> None:
        self._turns = turns
        self._stack = stack

    def attach(self, application: str, order: Mapping[str, Any], within_s: float) -> Attached:
        """The application's process, once it has come to the stream's address; :class:`Refused` where it can't."""
        answered: Future[Mapping[str, Any]] = Future()

        def ask() -> Attached:
            app = self._named(application)
            if app.pid is None or app.state not in (State.RUNNING, State.HEALTHY):
                raise Refused("not-running", f"is {app.state}" + f": {app.why}" * bool(app.why), to=app.spec.name)
            app.ask("attach", within_s, answered.set_result, **order)
            why = partial(self._turns.call, partial(_why, app, app.pid), _TURN_S)
            return Attached(app.spec.name, app.pid, app.generation, why, lambda: None)

        attached = self._turns.call(ask, _TURN_S)
        answer = self._turns.result(answered, within_s + _SLACK_S)
        for key in ("refused", "failed", "unanswered"):
            if key in answer:
                raise Refused("not-attachable", str(answer[key])[:1000], to=attached.application)
        return attached

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
