"""The orders that a process takes while it is the application: one at a time, on a thread of its own.

Owns the pipe that they come on, after ``go``, and that thread, of which the application is to feel nothing: Python does
not list it, no signal is delivered to it, it ends with the process, and it is not there while the application forks.
What an order is about is its handler's. An application that closes every descriptor is deaf from then on, which the
bootloader sees.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading

# Bound here, ahead of all user code: frameworks such as gevent put others in their places, for which this is no thread.
from _thread import LockType, RLock, allocate_lock, get_ident, get_native_id, start_new_thread
from collections.abc import Callable, Mapping
from select import POLLIN, poll
from time import monotonic, sleep
from typing import Any

from ..dump import SIGNAL
from .descriptors import apart, identity

_ASIDE_S = 5.0
"""So long the application's fork waits for an order that is being carried out."""
_POLL_S = 0.0005
_FAILED_CHARS = 500
_FAULTS = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT}
_TAKEN = _FAULTS | {SIGNAL}
"""The signals that its thread is open to. Stacks are asked for here: no call of the application's is cut short."""

Handler = Callable[[Mapping[str, Any]], Mapping[str, Any]]


class Channel:
    """``orders``: the pipe, which is taken over. ``note`` tells the bootloader something.

    An order is ``{"order": token, "do": word, …}``. Its handler, of ``handlers``, gets it whole, and what it returns
    is told together with ``order``; where it raises, or the application could not be kept from forking, ``failed`` is.
    """

    def __init__(self, orders: int, note: Callable[..., None], handlers: Mapping[str, Handler]) -> None:
        self._orders = apart(orders)
        self._bell, self._ring = map(apart, os.pipe())
        os.set_blocking(self._bell, False)
        self._own = {each: identity(each) for each in (self._orders, self._bell, self._ring)}
        self._note = note
        self._handlers = handlers
        self._pid = os.getpid()
        self._buffer = b""
        self._open = False
        self._forking: set[int] = set()
        """The threads of the application that are forking now."""
        self._ident = self._task = 0
        self._gone = allocate_lock()
        """Held as long as there is a thread."""
        self._is_overtaken = False
        """Whether the application has forked in the middle of the order that is being carried out."""
        self._gate = RLock()  # a handler of a signal may fork while its thread does
        os.register_at_fork(before=self._before_fork, after_in_parent=self._forked, after_in_child=self._abandon)

    def open(self) -> None:
        """Take orders from now on, if there can be a thread."""
        self._open = True
        with self._gate:
            self._start()

    def close(self) -> None:
        """Take none for ever, and see the order through that is being carried out."""
        self._open = False
        with self._gate:
            self._stop()
            self._abandon()

    # the application forks

    def _before_fork(self) -> None:
        if os.getpid() == self._pid:  # not in what was forked
            with self._gate:
                self._forking.add(get_ident())
                self._stop()

    def _forked(self) -> None:
        with self._gate:
            self._forking.discard(get_ident())
            if not self._forking:
                self._start()

    def _abandon(self) -> None:
        """They are not for us: in what the application has forked, or at the end."""
        self._open, self._ident = False, 0
        self._gate, self._gone = RLock(), allocate_lock()  # which may be held by a thread that is not here
        for descriptor in self._intact():
            os.close(descriptor)
        self._own.clear()

    # the thread

    def _start(self) -> None:
        if self._gone.locked() or not self._open or len(self._intact()) < len(self._own):
            return
        with contextlib.suppress(BlockingIOError):
            os.read(self._bell, 64)  # rung for the last one, which had ended already
        self._gone = allocate_lock()
        self._gone.acquire()
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - _TAKEN)  # it inherits that
        try:
            start_new_thread(self._run, (self._gone,))
        except RuntimeError:  # no more threads can be: then it takes none, and that is seen
            self._abandon()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def _stop(self) -> None:
        """Have the thread end, and wait until the system has forgotten it, too; unless this is itself."""
        if not self._gone.locked() or self._ident == get_ident() or self._ring not in self._intact():
            return
        deadline = monotonic() + _ASIDE_S
        os.write(self._ring, b"\0")
        if self._gone.acquire(timeout=_ASIDE_S):
            self._gone.release()
            while os.path.exists(f"/proc/self/task/{self._task}") and monotonic() < deadline:
                sleep(_POLL_S)
        else:
            self._is_overtaken = True

    def _run(self, gone: LockType) -> None:
        self._ident, self._task = get_ident(), get_native_id()
        try:
            while self._next():
                pass
        except OSError:
            self._abandon()  # descriptors are closed under us, or nobody reads what we say
        finally:
            self._ident = 0
            gone.release()

    def _next(self) -> bool:
        """Wait for orders, and carry them out; False where there will be none, or not now."""
        waiting = poll()
        waiting.register(self._orders, POLLIN)
        waiting.register(self._bell, POLLIN)
        ready = {descriptor for descriptor, _ in waiting.poll()}
        if len(self._intact()) < len(self._own):
            self._abandon()
            return False
        if self._bell in ready:
            os.read(self._bell, 64)
            return self._open and not self._forking
        chunk = os.read(self._orders, 65536)
        *lines, self._buffer = (self._buffer + chunk).split(b"\n")
        for line in lines:
            self._take(line)
        return chunk != b""

    def _take(self, line: bytes) -> None:
        try:
            order = json.loads(line)
            token = order["order"]
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            return self._note(order=None, failed=f"that is no order: {error!r}"[:_FAILED_CHARS])
        self._is_overtaken = False
        try:
            answer = self._handlers[order["do"]](order)
        except BaseException as error:  # noqa: BLE001 - it may run the application's code, which may raise anything
            answer = {"failed": f"{type(error).__name__}: {error}"[:_FAILED_CHARS]}
        finally:
            with threading._active_limbo_lock:  # type: ignore[attr-defined]
                threading._active.pop(get_ident(), None)  # type: ignore[attr-defined] # who asked was told of it
        if self._is_overtaken:
            answer = {"failed": "the application forked in the middle of it"}
        return self._note(order=token, **answer)

    def _intact(self) -> list[int]:
        """Those of our descriptors that are still ours: an application may have closed them, and opened others."""
        found = []
        for descriptor, was in self._own.items():
            try:
                if identity(descriptor) == was:
                    found.append(descriptor)
            except OSError:
                continue
        return found
