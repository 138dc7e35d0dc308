"""One look at where a running application is, without stopping it.

It is asked. Where its interpreter does not answer, a signal has it leave its stacks, for which it needs no lock. And
the system is asked what each thread does, which it tells of any process. Lives in the supervisor's turns, waits there
for nothing, and ends in bounded time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ..dump import SIGNAL, Dump
from ..wire.errors import Refused
from . import threads
from .application import Application
from .stack import Stack
from .turns import Turns

_ASK_S = 2.0
"""Longer than an interpreter needs that runs Python code in many threads, on a small board."""
_DUMP_S = 2.0
_POLL_S = 0.02
_STILL = 3
"""So many looks in a row at which nothing has been added: that is all."""
_DESCRIPTORS = 300
"""Its own descriptors have numbers below that, see ``guest.descriptors``."""

_LOOK_S = _ASK_S + _DUMP_S + 10.0


@dataclass(frozen=True, slots=True)
class Seen:
    """``stacks``: what the application answered, or nothing, and ``why`` not; ``dump``: what it left then.

    ``system``: what the system tells of each thread.
    """

    pid: int
    why: str = ""
    stacks: Mapping[str, Any] = field(default_factory=dict)
    dump: bytes = b""
    system: list[dict[str, Any]] = field(default_factory=list)


def look(turns: Turns, stack: Stack, name: str) -> Seen:
    """Where the application ``name`` is, at once or in a few seconds; :class:`Refused` where it does not run. For other
    threads to ask.
    """
    found: Future[Seen] = Future()

    def begin() -> None:
        if name in stack.running:
            Look(stack[name], turns, found.set_result).begin()
        else:
            found.set_exception(_no_process(name, stack.names))

    turns.soon(begin)
    return turns.result(found, _LOOK_S)


def _no_process(name: str, names: Sequence[str]) -> Refused:
    if name in names:
        return Refused("not-running", "it does not run", to=name, do="look at `reactor status`: it says why")
    known = f"there are: {', '.join(names)}" if names else "nothing was pushed yet"
    return Refused("unknown-application", "no application of that name", to=name, do=known)


class Look:
    """``on_seen`` is called once, at a later turn."""

    def __init__(self, app: Application, turns: Turns, on_seen: Callable[[Seen], None]) -> None:
        self._app = app
        self._turns = turns
        self._on_seen = on_seen
        self._pid = app.pid or 0

    def begin(self) -> None:
        """Ask it."""
        self._app.ask("stacks", _ASK_S, self._answered)

    def _answered(self, answer: Mapping[str, Any]) -> None:
        why = str(answer.get("unanswered") or answer.get("failed") or "")
        if not why and isinstance(answer.get("threads"), list):
            keys = ("threads", "tasks", "files", "more")
            self._end("", stacks={key: answer[key] for key in keys if key in answer})
            return
        if why.startswith("did not answer"):
            why += ": a call into C that takes long holds the interpreter's lock, or the machine has no time for it"
        system = threads.seen(self._pid)
        thread, refusal = threads.taker(system, SIGNAL)
        dump = self._app.dump
        if not refusal and dump is not None and not _holds(self._pid, dump):
            refusal = "it has closed the descriptor to which it would write them"
        if refusal or dump is None:
            self._end(f"{why}, and its stacks can't be had by a signal: {refusal or 'it has ended'}")
            return
        dump.clear()
        with suppress(ProcessLookupError, PermissionError):  # it has ended: nothing comes
            os.kill(thread, SIGNAL)  # the process's, and this thread's rather than another's
        self._turns.later(_POLL_S, partial(self._wait, why, dump, 0, 0, _DUMP_S))

    def _wait(self, why: str, dump: Dump, size: int, still: int, left_s: float) -> None:
        now = dump.size if dump is self._app.dump else 0
        still = still + 1 if now == size and now else 0
        if still == _STILL or (left_s <= 0 and now):
            self._end(why, dump=dump.text)
        elif left_s <= 0:
            what = "it did not answer the signal, for which it may have put a handler of its own, or it is stopped"
            self._end(f"{why}, and {what}")
        else:
            self._turns.later(_POLL_S, partial(self._wait, why, dump, now, still, left_s - _POLL_S))

    def _end(self, why: str, stacks: Mapping[str, Any] | None = None, dump: bytes = b"") -> None:
        told = [thread.told() for thread in threads.seen(self._pid)]
        self._on_seen(Seen(self._pid, why, stacks or {}, dump, told))


def _holds(pid: int, dump: Dump) -> bool:
    """Whether the process still has it; else its descriptor's number may lead to a file of the application's."""
    own = os.fstat(dump.descriptor)
    for number in range(_DESCRIPTORS):
        with suppress(OSError):
            if os.path.samestat(Path(f"/proc/{pid}/fd/{number}").stat(), own):
                return True
    return False
