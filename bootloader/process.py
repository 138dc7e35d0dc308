"""The warm parent and the processes that it forks, as the supervisor sees them.

Owns their pipes, process ids and groups. Decides nothing: it starts, asks, signals, reads, and reports through
callbacks on the supervisor's thread, which is the only one that may call in here.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from .wire.records import NOTE, STDERR, Lines

_READ_BYTES = 256 * 1024
_BUFFER_BYTES = 4 * 1024 * 1024
_END_S = 2.5
"""A little longer than a parent takes at most to see its children gone."""


class Child:
    """One forked process, before and while it is an application. ``pid`` is None until the warm parent has said it.

    Its pipes outlive it, for what it left behind in its group, until :meth:`close`.
    """

    def __init__(self, selector: selectors.BaseSelector, orders: int, out: int, err: int) -> None:
        """Takes the three descriptors over: the orders are written, the other two are read."""
        self.pid: int | None = None
        self.ended = False
        """Whether it is gone, or is going to be as its parent is; it takes no orders any more."""
        self.strays: list[int] = []
        """Processes that it may have left behind in other groups."""
        self._told_end = False
        self.on_line: Callable[[str, str], None] = lambda _kind, _text: None
        self.on_end: Callable[[int], None] = lambda _status: self.close()
        self._selector = selector
        self._orders = orders
        self._unsent = b""
        self._lines = {out: Lines(), err: Lines()}
        self._err = err
        os.set_blocking(orders, False)
        for pipe in (out, err):
            os.set_blocking(pipe, False)
            selector.register(pipe, selectors.EVENT_READ, partial(self._read_on, pipe))

    @property
    def closed(self) -> bool:
        """Whether nobody listens to it any more, and it gets no orders."""
        return self._orders < 0

    def order(self, **fields: Any) -> None:
        """Send an order, as soon as it is there; a process that is gone reports that by its end, not here."""
        if self._orders >= 0:
            idle = not self._unsent
            self._unsent += json.dumps(fields).encode() + b"\n"
            if idle and self.pid is not None:
                self._begin_send()

    def born(self, pid: int) -> None:
        """It is there. Orders wait for that, so that whatever it does under them, it can be signalled."""
        self.pid = pid
        if self._orders >= 0 and self._unsent:
            self._begin_send()

    def _begin_send(self) -> None:
        if not self._send():
            self._selector.register(self._orders, selectors.EVENT_WRITE, self._send_on)

    def _send(self) -> bool:
        """Whether all is sent. A process that does not read yet holds nobody up."""
        try:
            while self._unsent:
                self._unsent = self._unsent[os.write(self._orders, self._unsent) :]
        except BlockingIOError:
            return False
        except BrokenPipeError:
            self._unsent = b""
        return True

    def _send_on(self) -> None:
        if self._orders >= 0 and self._send():
            self._selector.unregister(self._orders)

    def _read_on(self, pipe: int) -> None:
        if pipe in self._lines and not self._read(pipe):  # closed in this very turn, and its number in use again
            self._selector.unregister(pipe)

    def _read(self, pipe: int) -> bool:
        """Pass on what the pipe holds; False at its end."""
        try:
            data = os.read(pipe, _READ_BYTES)
        except BlockingIOError:
            return True
        self._pass_on(pipe, self._lines[pipe].feed(data) if data else self._lines[pipe].close())
        return bool(data)

    def end(self, status: int) -> None:
        """The process is gone: pass on everything that it wrote, then its end."""
        if not self._told_end:
            self.ended = self._told_end = True
            for pipe in list(self._lines):
                self._drain(pipe)
            self.on_end(status)

    def _drain(self, pipe: int) -> None:
        left = _BUFFER_BYTES
        while left > 0 and _readable(pipe) and self._read(pipe):
            left -= _READ_BYTES
        self._pass_on(pipe, self._lines[pipe].close())

    def _pass_on(self, pipe: int, lines: Iterable[tuple[str, str]]) -> None:
        for kind, text in list(lines):
            self.on_line(STDERR if pipe == self._err and kind != NOTE else kind, text)

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

    def kill(self) -> None:
        """End it at once; one whose id is not known yet ends when it has no orders to read."""
        self.signal_group(signal.SIGKILL)

    def claim_strays(self, name: str, value: str, *, alone: bool) -> None:
        """Of the strays keep its own: those that were started with ``name=value`` in their environment.

        One that was forked and never became another program has no such mark; it is this one's where nobody else runs.
        """

        def is_mine(pid: int) -> bool:
            marks = [entry for entry in _environment(pid).split(b"\0") if entry.startswith(f"{name}=".encode())]
            return marks == [f"{name}={value}".encode()] if marks else alone

        self.strays = [pid for pid in self.strays if is_mine(pid)]

    def signal_group(self, number: int) -> bool:
        """Signal the whole process group, and the strays with theirs; False where nobody is left."""
        if self.pid is None:
            return False
        found = _signal(self.pid, number, group=True)
        if not found and not self.ended:  # so new that it has no group of its own yet
            found = _signal(self.pid, number)
        self.strays = [pid for pid in self.strays if _signal(pid, number, group=_leads(pid))]
        return found or bool(self.strays)


class WarmParent:
    """A process that has imported ``modules`` and forks from there. Dead parents fork nothing: start another."""

    def __init__(self, modules: list[str], env: Mapping[str, str], selector: selectors.BaseSelector, lock: int) -> None:
        self.modules = tuple(modules)
        self.env = dict(env)
        self.ready = False
        self.dead = False
        self.retired = False
        self.on_ready: Callable[[dict[str, Any]], None] = lambda _note: None
        self.on_dead: Callable[[str | None], None] = lambda _cold_module: None
        self._selector = selector
        self._children: dict[int, Child] = {}
        self._next = 1
        self._buffer = b""
        self._threaded: str | None = None
        self._control, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "bootloader.guest.warm", str(theirs.fileno()), str(lock)],
                    env={**os.environ, **env},
                    stdin=subprocess.DEVNULL,
                    stdout=2,  # whatever an import prints: standard output is the front door's
                    pass_fds=[theirs.fileno(), lock],
                )
        except OSError:
            self._control.close()
            raise
        self._send({"import": modules})
        selector.register(self._control, selectors.EVENT_READ, self._on_control)

    @property
    def pid(self) -> int:
        """The parent's process id."""
        return self._process.pid

    def fork(self) -> Child:
        """A new process that waits for its orders. Orders may be sent at once; they are kept until it reads them."""
        number = self._next
        self._next += 1
        mine: list[int] = []
        theirs: list[int] = []
        try:
            for writes in (True, False, False):
                reader, writer = os.pipe()
                mine.append(writer if writes else reader)
                theirs.append(reader if writes else writer)
            self._send({"fork": number}, theirs)
        except OSError:
            for descriptor in mine:
                os.close(descriptor)
            raise
        finally:
            for descriptor in theirs:
                os.close(descriptor)
        child = self._children[number] = Child(self._selector, *mine)
        return child

    def _send(self, order: dict[str, Any], descriptors: list[int] | None = None) -> None:
        data = json.dumps(order).encode() + b"\n"
        with suppress(BrokenPipeError, ConnectionError):  # its death is seen when its socket is read
            sent = socket.send_fds(self._control, [data], descriptors or [])
            self._control.sendall(data[sent:])

    def _on_control(self) -> None:
        if self.dead:  # in this very turn
            return
        try:
            data = self._control.recv(65536)
        except ConnectionError:
            data = b""
        if not data:
            self._died()
            return
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            self._take(json.loads(line))
        if self.retired:
            self.retire()

    def _take(self, note: dict[str, Any]) -> None:
        if "forked" in note and note["forked"] in self._children:
            self._children[note["forked"]].born(note["pid"])
        elif "exited" in note and note["exited"] in self._children:
            child = self._children.pop(note["exited"])
            if "why" in note:
                child.on_line(STDERR, note["why"])
            child.strays = note.get("left", [])
            child.end(note["status"])
        elif "ready" in note:
            self.ready = True
            self.on_ready(note)
        elif "threads" in note:
            self._threaded = note["threads"]

    def _died(self) -> None:
        """The parent is gone, and its children with it: the kernel kills them, and we kill their groups."""
        if self.dead:
            return
        self.dead = True
        self._selector.unregister(self._control)
        self._control.close()
        self._process.kill()  # it may have closed its end, and live on
        self._process.wait()
        for child in self._children.values():
            child.ended = True
        for child in list(self._children.values()):
            child.signal_group(signal.SIGKILL)
            child.end(-signal.SIGKILL)
        self._children.clear()
        self.on_dead(self._threaded)

    def retire(self) -> None:
        """Fork no more, and end when the last child that anybody still listens to has ended."""
        self.retired = True
        if all(child.closed for child in self._children.values()):
            self.close()

    def close(self) -> None:
        """End the parent and everything that it forked. It sees to that itself, if it can be made to listen."""
        self.on_dead = lambda _cold_module: None
        if not self.dead and self.ready:
            with suppress(OSError):
                self._control.shutdown(socket.SHUT_RDWR)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_END_S)
        self._died()


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


def _leads(pid: int) -> bool:
    try:
        return os.getpgid(pid) == pid
    except ProcessLookupError:
        return False


def _environment(pid: int) -> bytes:
    """What a process was started with, where the system tells."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def _readable(pipe: int) -> bool:
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        return bool(selector.select(0))
