"""The warm parent, from which processes are forked, as the supervisor sees it.

Owns its process, and the socket over which it is told to fork. Decides nothing: it starts, asks, ends, and reports
through callbacks in the supervisor's turns, from which alone it may be called.
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
from functools import partial
from pathlib import Path
from typing import Any

from ..dump import Dump
from ..wire.records import STDERR
from .child import Child
from .confine import Confinement, Group
from .ground import Ground
from .turns import Turns

_FORK_S = 5.0
_END_S = 2.5
"""A little longer than a parent takes at most to see its children gone."""


class WarmParent:
    """A process that has imported ``modules`` and forks from there. Dead parents fork nothing: start another."""

    def __init__(self, modules: list[str], ground: Ground, turns: Turns, lock: int, confinement: Confinement) -> None:
        self.modules = tuple(modules)
        self.ground = ground
        self.ready = False
        self.dead = False
        self.retired = False
        self.on_ready: Callable[[dict[str, Any]], None] = lambda _note: None
        self.on_dead: Callable[[tuple[str, str] | None], None] = lambda _cold: None
        """Called with the module that has to be left cold, and what it does, if it died of one."""
        self._turns = turns
        self._children: dict[int, Child] = {}
        self._next = 1
        self._buffer = b""
        self._cold: tuple[str, str] | None = None
        self._orphans: list[int] = []
        self._confinement = confinement
        self._group = confinement.group()
        self._control, theirs = socket.socketpair()
        try:
            with theirs:
                own = (theirs.fileno(), lock, _path(self._group), confinement.nicer)
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "bootloader.guest.warm", *map(str, own)],
                    env=_environment(ground.env),
                    stdin=subprocess.DEVNULL,
                    stdout=2,  # whatever an import prints: standard output is the front door's
                    pass_fds=[theirs.fileno(), lock],
                )
        except OSError:
            self._control.close()
            raise
        self._send({"import": modules, **ground.order})
        turns.selector.register(self._control, selectors.EVENT_READ, self._on_control)

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
            dump = Dump()
            mine.append(dump.descriptor)
            group = self._confinement.group()
            self._send({"fork": number, "group": _path(group)}, [*theirs, dump.descriptor])
        except OSError:
            for descriptor in mine:
                os.close(descriptor)
            raise
        finally:
            for descriptor in theirs:
                os.close(descriptor)
        child = self._children[number] = Child(self._turns, mine[:3], dump, group, lambda: self._orphans, self._replace)
        self._turns.later(_FORK_S, partial(self._expect, child))
        return child

    def _expect(self, child: Child) -> None:
        """It should be there by now, unless it waits for imports."""
        if child.pid is None and not child.ended and not self.dead:
            if self.ready:
                self._replace()
            else:
                self._turns.later(_FORK_S, partial(self._expect, child))

    def _replace(self) -> None:
        """It is frozen, or can't be scheduled: its end is told by its socket, and takes its children along."""
        if not self.dead:
            self._process.kill()

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
        elif "unborn" in note and note["unborn"] in self._children:
            child = self._children.pop(note["unborn"])
            child.on_lines([(STDERR, note["why"])])
            child.end(1)
        elif "ended" in note:
            self._orphans = note["left"]
            for number, status in note["ended"]:
                if (ended := self._children.pop(number, None)) is not None:
                    ended.end(status)
        elif "ready" in note:
            self.ready = True
            self.on_ready(note)
        elif "cold" in note:
            self._cold = note["cold"], note["why"]

    def _died(self) -> None:
        """The parent is gone, and its children with it: the kernel kills them, and we kill their groups."""
        if self.dead:
            return
        self.dead = True
        self._turns.selector.unregister(self._control)
        self._control.close()
        self._process.kill()  # it may have closed its end, and live on
        self._process.wait()
        if self._group is not None:
            self._group.release()
        for child in self._children.values():
            child.ended = True
        for child in list(self._children.values()):
            child.signal_group(signal.SIGKILL)
            child.end(-signal.SIGKILL)
        self._children.clear()
        self.on_dead(self._cold)

    def retire(self) -> None:
        """Fork no more, and end when the last child that anybody still listens to has ended."""
        self.retired = True
        if all(child.closed for child in self._children.values()):
            self.close()

    def close(self) -> None:
        """End the parent and everything that it forked. It sees to that itself, if it can be made to listen."""
        self.on_dead = lambda _cold: None
        if not self.dead and self.ready:
            with suppress(OSError):
                self._control.shutdown(socket.SHUT_RDWR)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_END_S)
        self._died()


def _environment(env: Mapping[str, str]) -> dict[str, str]:
    """The parent's. An application's own PYTHONPATH does not hide an upgraded bootloader from it."""
    found = {**os.environ, **env}
    if "PYTHONPATH" in env:
        ours = str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")
        found["PYTHONPATH"] = os.pathsep.join(filter(None, (env["PYTHONPATH"], *ours)))
    return found


def _path(group: Group | None) -> str:
    return str(group.path) if group is not None else ""
