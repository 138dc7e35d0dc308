"""A serial cable without hardware: two pseudo-terminals, and a thread that carries bytes between them, as fast as told.

What goes through can be counted, spoiled and cut; a pseudo-terminal by itself knows no baud rate. A program that hangs
up on its end, as a login does on the one that it is about to open, cuts nothing.
"""

from __future__ import annotations

import fcntl
import os
import select
import termios
import threading
import tty
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Literal, Self

Way = Literal["there", "back"]
"""From the host to the device, or from the device to the host."""

_CHUNK_BYTES = 64
_BITS = 10
_HUNG_UP_S = 0.02


@dataclass(slots=True)
class _Lane:
    """One direction: from one pseudo-terminal's main end to the other's."""

    source: int
    sink: int
    way: Way
    on_its_way: bytes = b""
    arrives_at: float = 0.0
    silent_until: float = 0.0
    count_bytes: int = 0


class Cable:
    """``device`` and ``host`` are the paths of its two ends."""

    def __init__(self, baud: int | None = None, spoil: Callable[[Way, bytes], bytes] = lambda _, data: data) -> None:
        """``spoil`` gets what goes each way, and gives what arrives."""
        self.spoil = spoil
        self.baud = baud
        mains, self._ports = [], []
        for _ in range(2):
            main, port = os.openpty()
            tty.setraw(port)
            os.set_blocking(main, False)
            mains.append(main)
            self._ports.append(port)
        self.device, self.host = map(os.ttyname, self._ports)
        self._mains = mains
        self._lanes = [_Lane(mains[1], mains[0], "there"), _Lane(mains[0], mains[1], "back")]
        self._wake, self._waker = os.pipe()
        self._thread = threading.Thread(target=self._run, name="cable", daemon=True)
        self._thread.start()

    @property
    def count_bytes(self) -> dict[Way, int]:
        """How many bytes went each way so far."""
        return {lane.way: lane.count_bytes for lane in self._lanes}

    def say(self, way: Way, data: bytes) -> None:
        """Somebody else says something on the line."""
        sink = next(lane.sink for lane in self._lanes if lane.way == way)
        with suppress(BlockingIOError):
            os.write(sink, data)

    def let_go(self) -> None:
        """Whoever had an end for itself alone is dead: the system sees that only where nobody else has it open."""
        for port in self._ports:
            fcntl.ioctl(port, termios.TIOCNXCL)

    def close(self) -> None:
        """Unplug it, for good."""
        os.write(self._waker, b"\0")
        self._thread.join()
        for fd in (*self._mains, *self._ports, self._wake, self._waker):
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        while True:
            poll = select.poll()
            poll.register(self._wake, select.POLLIN)
            for lane in self._lanes:
                if monotonic() >= lane.silent_until:
                    lane.silent_until = 0.0
                    if not lane.on_its_way:
                        poll.register(lane.source, select.POLLIN)
            waits = [lane.arrives_at - monotonic() for lane in self._lanes if lane.on_its_way]
            waits += [lane.silent_until - monotonic() for lane in self._lanes if lane.silent_until]
            ready = {fd for fd, _ in poll.poll(max(0.0, min(waits)) * 1000 if waits else None)}
            if self._wake in ready:
                return
            for lane in self._lanes:
                self._carry(lane, lane.source in ready)

    def _carry(self, lane: _Lane, is_ready: bool) -> None:
        now = monotonic()
        if lane.on_its_way and now >= lane.arrives_at:
            with suppress(BlockingIOError):
                lane.on_its_way = lane.on_its_way[os.write(lane.sink, lane.on_its_way) :]
            if lane.on_its_way:
                lane.arrives_at = now + 0.001  # its reader is slow
        elif is_ready and not lane.on_its_way:
            try:
                data = os.read(lane.source, _CHUNK_BYTES if self.baud else 4096)
            except BlockingIOError:
                return
            except OSError:  # whoever has it open has hung up
                lane.silent_until = now + _HUNG_UP_S
                return
            lane.count_bytes += len(data)
            lane.on_its_way = self.spoil(lane.way, data)
            if self.baud:
                lane.arrives_at = max(now, lane.arrives_at) + len(data) * _BITS / self.baud
