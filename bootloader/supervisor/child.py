"""A process that a warm parent has forked, and all that it starts, as the supervisor sees them.

Owns its pipes, and its groups: the process group, and the cgroup where there is one. Decides nothing: it sends orders,
signals, reads, and reports through callbacks in the supervisor's turns, from which alone it may be called.
"""

from __future__ import annotations

import json
import os
import select
import selectors
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from ..dump import Dump
from ..priority import urgent
from ..wire.records import NOTE, STDERR, Lines
from . import family
from .confine import PROCESSES, Group
from .turns import Turns

_TURN_S = 0.01
"""About as long as it may take to pass on what is read in one turn: whoever else waits for the thread has the next."""

_LEAST_BYTES, _MOST_BYTES = 1024, 64 * 1024
_REST = 3
"""How many times as long as it took to pass on a full read the next one waits: a flood gets a quarter of the thread."""

_SILENCE_S = 2.0
_COUNT_S = 0.25
"""How often processes are counted, where the system does not see to how many they are."""

_TELLS_ENDS = hasattr(select, "epoll")
"""Whether a pipe that is watched for reading tells that nobody reads at its other end."""

_PIPE_BYTES = 16 * os.sysconf("SC_PAGE_SIZE")
"""What a pipe holds, on Linux, unless somebody has made it larger."""


class Child:
    """One forked process, before and while it is an application. ``pid`` is None until the warm parent has said it.

    Its pipes outlive it, for what it left behind in its group, until :meth:`close`.
    """

    def __init__(
        self,
        turns: Turns,
        pipes: Sequence[int],
        dump: Dump,
        group: Group | None,
        orphans: Callable[[], list[int]],
        on_silence: Callable[[], None],
    ) -> None:
        """Takes ``pipes`` over: its orders, which are written, its output and its errors, which are read; and ``dump``.

        Without a ``group``, what it left behind is looked for among ``orphans``: processes that lost their parents.
        ``on_silence``: it was killed, and its parent does not tell of its end.
        """
        orders, out, err = pipes
        self.pid: int | None = None
        self.ended = False
        """Whether it is gone, or is going to be as its parent is; it takes no orders any more."""
        self.dump = dump
        self._group = group
        self._orphans = orphans
        self._on_silence = on_silence
        self._mark = 0
        self._is_mine: Callable[[int], bool] = self._has_mark
        self.killed_for = ""
        self._told_end = False
        self.on_lines: Callable[[Sequence[tuple[str, str]]], None] = lambda _lines: None
        """Gets what it wrote, in order: the kind of each line (``wire.records``) and its text."""
        self.on_end: Callable[[int], None] = lambda _status: self.close()
        self._turns = turns
        self._selector = turns.selector
        self.deaf = False
        """Whether it has closed its orders."""
        self.on_deaf: Callable[[], object] = lambda: None
        self._orders = orders
        self._unsent = b""
        self._watched = 0
        """For what of its orders' pipe is waited."""
        self._lines = {out: Lines(), err: Lines()}
        self._err = err
        self._most_bytes = _LEAST_BYTES
        os.set_blocking(orders, False)
        for pipe in (out, err):
            os.set_blocking(pipe, False)
            self._listen(pipe)

    @property
    def closed(self) -> bool:
        """Whether nobody listens to it any more, and it gets no orders."""
        return self._orders < 0

    def order(self, **fields: Any) -> None:
        """Send an order, as soon as it is there; a process that is gone reports that by its end, not here."""
        if self._orders >= 0 and not self.deaf:
            idle = not self._unsent
            self._unsent += json.dumps(fields).encode() + b"\n"
            if idle and self.pid is not None:
                self._send()

    def born(self, pid: int) -> None:
        """It is there. Orders wait for that, so that whatever it does under them, it can be signalled."""
        self.pid = pid
        if self._orders >= 0 and self._unsent:
            self._send()

    def _send(self) -> None:
        """As much as it takes now. A process that does not read yet holds nobody up."""
        try:
            while self._unsent:
                self._unsent = self._unsent[os.write(self._orders, self._unsent) :]
        except BlockingIOError:
            pass  # the rest goes when there is room
        except BrokenPipeError:
            self._grow_deaf()
        self._watch_orders()

    def _watch_orders(self) -> None:
        """For room, while there is something to send; and for their end, where the system tells that at any time."""
        wanted = selectors.EVENT_WRITE if self._unsent else selectors.EVENT_READ if _TELLS_ENDS else 0
        wanted = 0 if self.deaf else wanted
        if wanted == self._watched:
            return
        if self._watched:
            self._selector.unregister(self._orders)
        if wanted:
            self._selector.register(self._orders, wanted, self._on_orders)
        self._watched = wanted

    def _on_orders(self) -> None:
        if self._orders < 0:
            return  # closed in this very turn
        if self._unsent:
            self._send()
        else:
            self._grow_deaf()
            self._watch_orders()

    def _grow_deaf(self) -> None:
        self._unsent, self.deaf = b"", True
        self.on_deaf()

    def _hear_nothing(self) -> None:
        if not self.ended:
            self._on_silence()

    def _listen(self, pipe: int) -> None:
        if pipe in self._lines:
            self._selector.register(pipe, selectors.EVENT_READ, partial(self._read_on, pipe))

    def _read_on(self, pipe: int) -> None:
        if pipe not in self._lines:  # closed in this very turn, and its number in use again
            return
        began, most = time.monotonic(), self._most_bytes
        size = self._read(pipe)
        if size in (0, most):
            self._selector.unregister(pipe)
        if size == most:
            self._turns.later((time.monotonic() - began) * _REST, lambda: self._listen(pipe))

    def _read(self, pipe: int) -> int:
        """Pass on what the pipe holds, up to what a turn can: how many bytes, 0 at its end, -1 where there are none."""
        began = time.monotonic()
        try:
            data = os.read(pipe, self._most_bytes)
        except BlockingIOError:
            return -1
        self._pass_on(pipe, self._lines[pipe].feed(data) if data else self._lines[pipe].close())
        if time.monotonic() - began > _TURN_S:
            self._most_bytes = max(_LEAST_BYTES, self._most_bytes // 2)
        elif len(data) == self._most_bytes:
            self._most_bytes = min(_MOST_BYTES, self._most_bytes * 2)
        return len(data)

    def end(self, status: int) -> None:
        """The process is gone: pass on all that it wrote, then its end. What others go on to write comes later."""
        if not self._told_end:
            self.ended = self._told_end = True
            self._drain([(pipe, _PIPE_BYTES) for pipe in self._lines], status)

    def _drain(self, left: list[tuple[int, int]], status: int) -> None:
        """As much as a turn can, and the rest at the next ones."""
        began = time.monotonic()
        while left and not self.closed:
            pipe, waiting = left.pop()
            size = self._read(pipe) if waiting > 0 else 0
            if size <= 0:
                self._pass_on(pipe, self._lines[pipe].close())
                continue
            left.append((pipe, waiting - size))
            if time.monotonic() - began > _TURN_S:
                self._turns.soon(lambda: self._drain(left, status))
                return
        self._turns.attempt(lambda: self.on_end(status))

    def _pass_on(self, pipe: int, lines: Iterable[tuple[str, str]]) -> None:
        """Whatever comes of the lines, what follows them comes."""

        def pass_on() -> None:
            told = list(lines)
            if pipe == self._err:
                told = [(kind if kind == NOTE else STDERR, text) for kind, text in told]
            if told:
                self.on_lines(told)

        self._turns.attempt(pass_on)

    def close(self) -> None:
        """Close the descriptors. Closing the orders ends a process that was never told to go."""
        for pipe, lines in self._lines.items():
            self._pass_on(pipe, lines.close())
        for descriptor in (self._orders, *self._lines):
            if descriptor >= 0:
                with suppress(KeyError):  # not registered: at its end, or nothing to send
                    self._selector.unregister(descriptor)
                os.close(descriptor)
        self._orders = -1
        self._lines.clear()
        self.dump.close()
        if self._group is not None:
            self._group.release()

    def kill(self) -> None:
        """End it at once; one whose id is not known yet ends when it has no orders to read."""
        self.signal_group(signal.SIGKILL)

    def limit(self, memory_mb: int, processes: int) -> dict[str, int]:
        """Bound what the application may take in it, with all that it starts; 0: as usual. Its order to go has to carry
        what is returned: what the process itself sees to, where there is no group that does.
        """
        memory_bytes, processes = memory_mb * 1024 * 1024, processes or PROCESSES
        held = self._group.limit(memory_bytes, processes) if self._group is not None else frozenset()
        self._mark = family.new_mark()
        if "pids" not in held:
            self._turns.later(_COUNT_S, partial(self._count, processes, family.tasks()))
        return {
            "memory_bytes": 0 if "memory" in held else memory_bytes,
            "processes": 0 if "pids" in held else processes,
            "mark": self._mark,
        }

    def _count(self, most: int, others: int) -> None:
        """Where the system does not bound how many processes it has, it is ended, with all of them, once it has more:
        before there are so many that nobody else gets anywhere. The system had ``others`` when it was alone.
        """
        if self.closed:
            return
        tasks = family.tasks()
        if tasks > others + most:
            with urgent():  # so many get most of the processor, otherwise
                if self._outgrows(most):
                    self.killed_for = f"more than {most} processes"
                    self.kill()
        self._turns.later(_COUNT_S, partial(self._count, most, min(tasks, others)))

    def _outgrows(self, most: int) -> bool:
        if self._group is not None:
            return self._group.outgrows(most)
        return family.outgrows(self._ancestors(), most)

    def pids(self) -> Iterator[int]:
        """All the processes that it is now."""
        if self._group is not None:
            yield from self._group.pids()
        else:
            yield from (pid for pid, _ in family.family(self._ancestors()))

    def _ancestors(self) -> list[int]:
        """Itself, and what it left behind: all that comes of it is below them."""
        strays = list(filter(self._has_mark, self._orphans()))
        return strays if self.pid is None or self.ended else [self.pid, *strays]

    def _stopped(self) -> list[int]:
        """Those that have its mark, standing still now: whoever forks while they are killed would get away."""
        stopped: list[int] = []
        with urgent():
            family.still(family.newcomers(self._mark), stopped)
        return stopped

    def _has_mark(self, pid: int) -> bool:
        return self._mark > 0 and family.marked(pid) == self._mark

    @property
    def why_killed(self) -> str:
        """What it took more of than it might, where it was ended for that; or nothing."""
        ran_out = self._group is not None and self._group.ran_out_of_memory
        return self.killed_for or ("out of memory" if ran_out else "")

    def claim_strays(self, name: str, value: str, *, alone: bool) -> None:
        """It is gone. Of the orphans, those are its own that have its mark, or ``name=value`` in the environment that
        they were started with; and all that tell nothing, where nobody else runs.
        """

        def is_mine(pid: int) -> bool:
            told = family.variable(pid, name)
            return self._has_mark(pid) or (told == value if told is not None else alone)

        self._is_mine = is_mine

    def signal_group(self, number: int) -> bool:
        """Signal the whole process group, and once it has ended, whatever else is left; False where nobody is.

        SIGKILL is for all that came of it, whoever has ended.
        """
        if self.pid is None:
            return False
        if number == signal.SIGKILL and not self.ended:
            self._turns.later(_SILENCE_S, self._hear_nothing)
        found = _signal(self.pid, number, group=True)
        if not found and not self.ended:  # so new that it has no group of its own yet
            found = _signal(self.pid, number)
        if self._group is None:
            for pid in filter(self._is_mine, self._orphans()) if self.ended else ():
                found = _signal(pid, number, group=_group_of(pid) == pid) or found
            for pid in self._stopped() if number == signal.SIGKILL and self._mark else ():
                found = _signal(pid, number) or found
            return found
        if number == signal.SIGKILL:
            self._group.kill()
        if not self._group.populated:
            return found
        if self.ended and number not in (0, signal.SIGKILL):
            for pid in self._group.pids():
                if _group_of(pid) != self.pid:
                    _signal(pid, number)
        return True


def signal_name(number: int) -> str:
    """A signal as people name it."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _signal(pid: int, number: int, *, group: bool = False) -> bool:
    """Signal a process or its group; False where there is none."""
    try:
        (os.killpg if group else os.kill)(pid, number)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # somebody in the group has another user; the rest got it
    return True


def _group_of(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return 0
