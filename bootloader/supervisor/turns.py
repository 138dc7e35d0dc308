"""One turn at a time: descriptors that became readable, timers that are due, calls from other threads.

The supervisor's state is touched in turns alone, so it needs no locks. A thread takes them; another one that can't wait
until that has woken may take one itself, where none is under way. Everything here is bounded: a call that is not taken
in time raises in its caller, and so does one that the thread does not live to take.
"""

from __future__ import annotations

import heapq
import itertools
import os
import selectors
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

from ..wire.errors import Fault

T = TypeVar("T")


class Timer:
    """A call that is due later, unless it is cancelled."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[[], None]) -> None:
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        """Never call."""
        self.call = None


class Turns:
    """The thread. ``on_fault`` is told of a turn that raised, which ends that turn and not the thread."""

    def __init__(self, name: str, on_fault: Callable[[BaseException], None]) -> None:
        self.selector = selectors.DefaultSelector()
        self._on_fault = on_fault
        self._turn = threading.Lock()
        """Held while a turn is taken."""
        self._taker = 0
        """The thread that takes it."""
        self._calls: deque[Callable[[], None]] = deque()
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._ending = False
        self._over = False
        self._gate = threading.Lock()
        self._waiting: set[Future[Any]] = set()
        self._bell, self._ring = os.pipe()
        os.set_blocking(self._bell, False)
        os.set_blocking(self._ring, False)
        self.selector.register(self._bell, selectors.EVENT_READ, self._answer_bell)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def call(self, function: Callable[[], T], timeout_s: float) -> T:
        """Run ``function`` as a turn and wait for what it returns or raises; at once, where this is in one."""
        if self._taker == threading.get_ident():
            return function()
        future: Future[T] = Future()

        def turn() -> None:
            try:
                future.set_result(function())
            except BaseException as error:  # noqa: BLE001 - handed over whole to the thread that asked
                future.set_exception(error)

        self.soon(turn)
        try:
            return self.result(future, timeout_s)
        except TimeoutError:
            raise Fault("busy", "the supervisor did not answer in time", do="try again") from None

    def result(self, future: Future[T], timeout_s: float) -> T:
        """What a turn puts into ``future``, TimeoutError when it is late, a fault where the thread ends before."""
        with self._gate:
            if self._over:
                raise _ended()
            self._waiting.add(future)
        try:
            return future.result(timeout_s)
        finally:
            with self._gate:
                self._waiting.discard(future)

    def soon(self, function: Callable[[], None]) -> None:
        """Run ``function`` at the thread's next turn; after the end, never."""
        with self._gate:
            if self._over:
                return
            self._calls.append(function)
            with suppress(BlockingIOError):  # a full bell rings already
                os.write(self._ring, b"\0")

    def now(self, function: Callable[[], None]) -> None:
        """Run ``function`` as a turn before this returns, on the thread that asks; where a turn is under way, or due,
        that comes first, and it is as :meth:`soon`. Not from a turn.
        """
        if self._calls or not self._turn.acquire(blocking=False):
            return self.soon(function)
        try:
            if self._over:
                return None
            self._taker, first = threading.get_ident(), self._timers[:1]
            self.attempt(function)
        finally:
            self._taker = 0
            self._turn.release()
        if self._timers[:1] != first:
            self.soon(lambda: None)  # the thread waits for another one
        return None

    def later(self, delay_s: float, function: Callable[[], None]) -> Timer:
        """Run ``function`` as a turn in ``delay_s`` seconds. Only from a turn."""
        timer = Timer(function)
        heapq.heappush(self._timers, (time.monotonic() + delay_s, next(self._order), timer))
        return timer

    def _answer_bell(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._bell, 4096)

    def _run(self) -> None:
        try:
            while not self._ending:
                self._round()
        finally:
            self._finish()

    def _finish(self) -> None:
        with self._turn, self._gate:  # after one that is taken now: the selector is closed next
            self._over = True
            waiting = [future for future in self._waiting if not future.done()]
        for future in waiting:
            future.set_exception(_ended())

    def _round(self) -> None:
        with self._turn:
            wait_s = max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None
        ready = self.selector.select(wait_s)
        with self._turn:
            self._taker = threading.get_ident()
            try:
                self._take(ready)
            finally:
                self._taker = 0

    def _take(self, ready: list[tuple[selectors.SelectorKey, int]]) -> None:
        for key, _ in ready:
            self.attempt(key.data)
        for _ in range(len(self._calls)):  # those that they make come after what is ready and due
            self.attempt(self._calls.popleft())
        while self._timers and self._timers[0][0] <= time.monotonic():
            timer = heapq.heappop(self._timers)[2]
            if timer.call is not None:
                self.attempt(timer.call)

    def attempt(self, function: Callable[[], None]) -> None:
        """Run ``function`` now, as a turn of its own: where it raises, its caller goes on. Only from a turn."""
        try:
            function()
        except Exception as error:  # noqa: BLE001 - the thread outlives any one turn; the fault becomes an event
            self._on_fault(error)

    def close(self, timeout_s: float) -> None:
        """End the thread after the turn that it is at."""

        def end() -> None:
            self._ending = True

        self.soon(end)
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        if self._thread.is_alive():
            raise Fault("stuck", f"the thread '{self._thread.name}' does not end", do="look at what it waits for")
        self._finish()
        self.selector.close()
        os.close(self._bell)
        os.close(self._ring)


def _ended() -> Fault:
    return Fault("ending", "the bootloader ends", do="try again when it runs again")
