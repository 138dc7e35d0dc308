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
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from .wire.records import NOTE, STDERR, Lines

_READ_BYTES = 256 * 1024
_BUFFER_BYTES = 4 * 1024 * 1024


class Child:
    """One forked process, before and while it is an application. ``pid`` is None until the warm parent has said it."""

    def __init__(self, orders: int, out: int, err: int) -> None:
        self.pid: int | None = None
        self.ended = False
        self.status: int | None = None
        self.on_line: Callable[[str, str], None] = lambda _kind, _text: None
        self.on_end: Callable[[int], None] = lambda _status: None
        self._orders = orders
        self._lines = {out: Lines(), err: Lines()}
        self._err = err

    @property
    def pipes(self) -> list[int]:
        """The descriptors that its output comes from, while they are open."""
        return list(self._lines)

    def order(self, **fields: Any) -> None:
        """Send an order; a process that is gone reports that by its end, not here."""
        with suppress(BrokenPipeError):
            view = memoryview(json.dumps(fields).encode() + b"\n")
            while view:
                view = view[os.write(self._orders, view) :]

    def read(self, pipe: int) -> bool:
        """Pass on what the pipe holds; False at its end."""
        try:
            data = os.read(pipe, _READ_BYTES)
        except BlockingIOError:
            return True
        for kind, text in self._lines[pipe].feed(data) if data else self._lines[pipe].close():
            self.on_line(STDERR if pipe == self._err and kind != NOTE else kind, text)
        return bool(data)

    def drain(self) -> None:
        """Pass on everything that was written before the process ended, and close."""
        for pipe in self.pipes:
            left = _BUFFER_BYTES
            while left > 0:
                try:
                    if not self.read(pipe):
                        break
                except OSError:
                    break
                left -= _READ_BYTES
                if not _readable(pipe):
                    break
            for kind, text in self._lines[pipe].close():
                self.on_line(STDERR if pipe == self._err and kind != NOTE else kind, text)
        self.close()

    def close(self) -> None:
        """Close the descriptors. Closing the orders ends a process that was never told to go."""
        for descriptor in (self._orders, *self._lines):
            if descriptor >= 0:
                os.close(descriptor)
        self._orders = -1
        self._lines.clear()

    def signal_group(self, number: int) -> bool:
        """Signal the whole process group; False where nobody is left in it."""
        if self.pid is None:
            return False
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass  # somebody in the group has another user; the rest got it
        return True


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
        mine, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "bootloader.guest.warm", str(theirs.fileno()), str(lock)],
                env={**os.environ, **env},
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno(), lock],
            )
        self._control = mine
        self._send({"import": modules})
        selector.register(mine, selectors.EVENT_READ, self._on_control)

    @property
    def pid(self) -> int:
        """The parent's process id."""
        return self._process.pid

    def fork(self) -> Child:
        """A new process that waits for its orders. Orders may be sent at once; they are kept until it reads them."""
        orders_in, orders = os.pipe()
        out, out_in = os.pipe()
        err, err_in = os.pipe()
        os.set_blocking(out, False)
        os.set_blocking(err, False)
        child = Child(orders, out, err)
        number = self._next
        self._next += 1
        self._children[number] = child
        try:
            self._send({"fork": number}, [orders_in, out_in, err_in])
        finally:
            for descriptor in (orders_in, out_in, err_in):
                os.close(descriptor)
        for pipe in child.pipes:
            self._selector.register(pipe, selectors.EVENT_READ, lambda pipe=pipe: self._on_output(child, pipe))
        return child

    def _send(self, order: dict[str, Any], descriptors: list[int] | None = None) -> None:
        data = json.dumps(order).encode() + b"\n"
        with suppress(BrokenPipeError, ConnectionError):  # its death is seen when its socket is read
            sent = socket.send_fds(self._control, [data], descriptors or [])
            self._control.sendall(data[sent:])

    def _on_output(self, child: Child, pipe: int) -> None:
        if not child.read(pipe):
            self._selector.unregister(pipe)

    def _on_control(self) -> None:
        try:
            data = self._control.recv(65536)
        except ConnectionError:
            data = b""
        if not data:
            self._died()
            return
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            note = json.loads(line)
            if "forked" in note:
                if note["forked"] in self._children:
                    self._children[note["forked"]].pid = note["pid"]
            elif "exited" in note:
                child = self._children.pop(note["exited"], None)
                if child is not None:
                    self._end(child, note["status"])
                if self.retired and not self._children:
                    self.close()
                    return
            elif "ready" in note:
                self.ready = True
                self.on_ready(note)
            elif "threads" in note:
                self._threaded = note["threads"]

    def _end(self, child: Child, status: int) -> None:
        if child.ended:
            return
        child.ended = True
        child.status = status
        for pipe in child.pipes:
            with suppress(KeyError):
                self._selector.unregister(pipe)
        child.drain()
        child.on_end(status)

    def _died(self) -> None:
        """The parent is gone, and its children with it: the kernel kills them, and we kill their groups."""
        if self.dead:
            return
        self.dead = True
        self._selector.unregister(self._control)
        self._control.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)
        for child in list(self._children.values()):
            child.signal_group(signal.SIGKILL)
            self._end(child, -signal.SIGKILL)
        self._children.clear()
        self.on_dead(self._threaded)

    def retire(self) -> None:
        """Fork no more, and end when the last child has ended."""
        self.retired = True
        if not self._children:
            self.close()

    def close(self) -> None:
        """End the parent and everything that it forked."""
        self.on_dead = lambda _cold_module: None
        if not self.dead:
            with suppress(OSError):
                self._control.shutdown(socket.SHUT_RDWR)
            try:
                self._process.wait(timeout=2)
            except subprocess.TimeoutExpired:
                self._process.kill()
            self._died()


def _readable(pipe: int) -> bool:
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        return bool(selector.select(0))
