"""Linux's inotify, by the C library: a descriptor, watches on folders, and a thread that reads what happens in them.

Decides nothing, and knows neither projects nor rules. It is read here and not by watchdog, whose reader takes more
steps for an event than there is time at a save.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import struct
import threading
from collections.abc import Callable
from typing import NamedTuple

MODIFY, ATTRIB, CLOSE_WRITE = 0x2, 0x4, 0x8
MOVED_FROM, MOVED_TO, CREATE, DELETE = 0x40, 0x80, 0x100, 0x200
DELETE_SELF, MOVE_SELF, UNMOUNT = 0x400, 0x800, 0x2000
OVERFLOW, IGNORED = 0x4000, 0x8000
ONLYDIR, DONT_FOLLOW, EXCL_UNLINK, ISDIR = 0x1000000, 0x2000000, 0x4000000, 0x40000000
"""The bits of inotify(7), which are the same on all machines."""

_HEAD = struct.Struct("iIII")
_BYTES = 64 * 1024
_JOIN_S = 2.0


class Event(NamedTuple):
    """What happened in the folder of a watch, to the file or folder of that name, or, without a name, to itself."""

    watch: int
    mask: int
    cookie: int
    name: bytes


class Kernel:
    """``on_event`` gets each event, ``on_rest`` is called when all that there was has been read: on its thread, which
    begins with :meth:`start`. OSError where there can't be one.
    """

    def __init__(self, on_event: Callable[[Event], None], on_rest: Callable[[], None]) -> None:
        self._on_event, self._on_rest = on_event, on_rest
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._inotify = self._asked(self._libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK))
        try:
            self._bell, self._ring = os.pipe()
        except OSError:
            os.close(self._inotify)
            raise
        self._gate = threading.Lock()
        self._is_open = True
        self._thread = threading.Thread(target=self._run, name="reactor-inotify", daemon=True)

    def start(self) -> None:
        """Read from now on."""
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether it still reads."""
        return self._thread.is_alive()

    def add(self, folder: str, mask: int) -> int:
        """Watch a folder for ``mask``: the number of the watch. OSError where that can't be."""
        with self._gate:
            if not self._is_open:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF), folder)
            return self._asked(self._libc.inotify_add_watch(self._inotify, os.fsencode(folder), mask), folder)

    def remove(self, watch: int) -> None:
        """Take a watch away, if it is there: its last event says :data:`IGNORED`."""
        with self._gate:
            if self._is_open:
                self._libc.inotify_rm_watch(self._inotify, watch)

    def close(self) -> None:
        """End the thread, and with it all watches; waits for it, but where it is the one that asks."""
        with self._gate:
            if self._is_open:
                os.write(self._ring, b"\0")
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(_JOIN_S)

    def _asked(self, answer: int, about: str | None = None) -> int:
        if answer < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), about)
        return answer

    def _run(self) -> None:
        waiting = select.poll()
        waiting.register(self._inotify, select.POLLIN)
        waiting.register(self._bell, select.POLLIN)
        try:
            while all(descriptor == self._inotify for descriptor, _ in waiting.poll()):
                data = os.read(self._inotify, _BYTES)
                at = 0
                while at < len(data):
                    watch, mask, cookie, size = _HEAD.unpack_from(data, at)
                    at += _HEAD.size + size
                    self._on_event(Event(watch, mask, cookie, data[at - size : at].rstrip(b"\0")))
                self._on_rest()
        finally:
            with self._gate:
                self._is_open = False
                for descriptor in (self._inotify, self._bell, self._ring):
                    os.close(descriptor)
