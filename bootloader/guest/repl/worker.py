"""The thread on which a session's statements run, one after the other.

It may be interrupted at any step in Python, and left behind where it does not hear: another worker goes on then, and
what this one still does is nobody's any more.
"""

from __future__ import annotations

import os
import signal
from _queue import SimpleQueue
from _thread import LockType, allocate_lock, start_new_thread
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from ... import libc
from .sink import SINK, Sink
from .statement import Loops, Statement, compiled

SHOW_S = 2.0
"""How long the text of a result may take."""


class TooLong(BaseException):
    """The text of a result took too long."""


@dataclass(eq=False)
class Task:
    """What is to be run for the host's request ``number``: its source, or a call of ours.

    ``show`` makes the answer's fields of what it is worth, ``fail`` those of what it raises.
    """

    number: int
    source: str | Callable[[], object]
    filename: str
    sink: Sink
    show: Callable[[object], dict[str, Any]]
    fail: Callable[[BaseException], dict[str, Any]]
    began: float = field(default_factory=monotonic)
    statement: Statement | None = None
    interrupts: int = 0
    shows_until: float = 0.0
    answer: dict[str, Any] | None = None


class Worker:
    """``on_over`` gets each task with its answer, on the worker's thread; not those that it is left with.

    ``wake``: it is time to look at :meth:`hurry` again.
    """

    def __init__(self, names: dict[str, Any], on_over: Callable[[Task], None], wake: Callable[[], None]) -> None:
        self._wake = wake
        self._names = names
        self._on_over = on_over
        self._loops = Loops()
        self._queue: SimpleQueue[Task | None] = SimpleQueue()
        self._gate: LockType = allocate_lock()
        self._task: Task | None = None
        self._pid = os.getpid()
        self.is_left = False
        self.ident = start_new_thread(self._work, ())

    @property
    def task(self) -> Task | None:
        """What it is at."""
        return self._task

    def submit(self, task: Task) -> None:
        """Run it next; it is at nothing now."""
        self._task = task
        self._queue.put(task)

    def interrupt(self, number: int) -> str:
        """Have the statement ``number`` end. What was done: ``asked``, ``left`` at the second time, or ``""``."""
        with self._gate:
            task = self._task
            if task is None or task.number != number:
                return ""
            task.interrupts += 1
            if task.interrupts == 1:
                heard = task.statement.interrupt(self.ident) if task.statement is not None else self._throw_here()
                if heard:
                    return "asked"
            self.is_left = True
            self._task = None
        if task.statement is not None:
            task.statement.give_up()
        self._throw_here()
        self._queue.put(None)
        return "left"

    def hurry(self) -> float | None:
        """Have the text of a result be done that took its time; in how many seconds to look again."""
        with self._gate:
            task = self._task
            if task is None or not task.shows_until:
                return None
            left_s = task.shows_until - monotonic()
            if left_s > 0:
                return left_s
            task.shows_until = 0.0
            libc.throw(self.ident, TooLong)
            return None

    def close(self) -> None:
        """Run nothing more, and interrupt what runs."""
        task = self._task
        self.is_left = True
        if task is not None:
            if task.statement is not None:
                task.statement.give_up()
            self._throw_here()
        self._queue.put(None)

    def _throw_here(self) -> bool:
        return libc.throw(self.ident, KeyboardInterrupt)

    def _work(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, ())  # which what statements start inherits
        while True:
            try:
                if not self._serve():
                    break
            except (KeyboardInterrupt, TooLong) as late:  # before what it is for had begun, or a moment after its end
                task = self._task
                if task is not None and task.answer is None:
                    task.answer = task.fail(late)
        with suppress(KeyboardInterrupt, TooLong):
            self._loops.close()

    def _serve(self) -> bool:
        """Carry out what is asked, until there is nothing more. May be interrupted anywhere, and comes back here."""
        while True:
            task = self._task
            if task is None or task.answer is None:
                task = self._queue.get()
                if task is None:
                    return False
                self._carry_out(task)
            if os.getpid() != self._pid:
                os._exit(0)  # the statement has forked, and this is not the application
            if self.is_left:
                return False
            with self._gate:
                _take_late_ones()
                self._task = None
            self._on_over(task)

    def _carry_out(self, task: Task) -> None:
        SINK.set(task.sink)
        try:
            try:
                if isinstance(task.source, str):
                    codes = compiled(task.source, task.filename)
                    task.statement = Statement(codes, self._names, libc.throw)
                    result = task.statement.run(self._loops)
                    task.statement = None
                else:
                    result = task.source()
                task.shows_until = monotonic() + SHOW_S
                self._wake()
                task.answer = {"outcome": "done", **task.show(result)}
            finally:
                task.shows_until = 0.0
        except TooLong:
            task.answer = {"outcome": "done", "text": f"<its text took longer than {SHOW_S:g} s>"}
        except BaseException as error:  # noqa: BLE001 - whatever it raises is the answer
            task.answer = task.answer or task.fail(error)


def _take_late_ones() -> None:
    """What was thrown at this thread and has not come yet, comes now, and goes.

    Python can take it back, too, but from then on looks for it at every step of every thread.
    """
    try:
        for _ in range(8):
            pass
    except (KeyboardInterrupt, TooLong):
        return
