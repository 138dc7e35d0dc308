"""What lies between a host and a target: a TCP proxy that can be slow, silent, or cut at any byte."""

from __future__ import annotations

import queue
import random
import socket
import threading
import time
from collections.abc import Collection
from contextlib import suppress
from typing import Literal

Way = Literal["there", "back"]
"""From the host to the target, or from the target to the host."""

CHUNK_BYTES = 64 * 1024
PACKET_BYTES = 1400


class Shape:
    """How slow it is: bytes a second each way, for all connections together, seconds one way, and which part of the
    packets takes ``stall_s`` longer, as one that is lost does: what follows on its connection waits for it.
    """

    def __init__(
        self, bytes_s: float, delay_s: float, stalls: float = 0.0, stall_s: float = 0.0, seed: int = 0
    ) -> None:
        self.delay_s = delay_s
        self._bytes_s = bytes_s
        self._stalls, self._stall_s = stalls, stall_s
        self._chance = random.Random(seed)
        self._lock = threading.Lock()
        self._free_at = {"there": 0.0, "back": 0.0}

    def sent(self, way: Way, size: int) -> float:
        """When a packet has gone out that comes now, after all that came before it."""
        with self._lock:
            self._free_at[way] = max(self._free_at[way], time.monotonic()) + size / self._bytes_s
            stall_s = self._stall_s if self._chance.random() < self._stalls else 0.0
            return self._free_at[way] + stall_s


class Wire:
    """One connection through the proxy."""

    def __init__(self, purpose: str, host: socket.socket, target: socket.socket, held: Collection[Way] = ()) -> None:
        self.purpose = purpose
        self.shape: Shape | None = None
        self.passed = {"there": 0, "back": 0}
        self._ends = {"there": (host, target), "back": (target, host)}
        self._flows = {"there": threading.Event(), "back": threading.Event()}
        self._left: dict[str, int | None] = {"there": None, "back": None}
        self._threads = []
        for way in ("there", "back"):
            if way not in held:
                self._flows[way].set()
            thread = threading.Thread(target=self._pump, args=(way,), name=f"proxy {purpose} {way}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def hold(self, *ways: Way) -> None:
        """Let nothing more through, and say nothing about it."""
        for way in ways:
            self._flows[way].clear()

    def release(self, *ways: Way) -> None:
        """Let through what was held, and what follows."""
        for way in ways:
            self._flows[way].set()

    def cut_after(self, way: Way, size: int) -> None:
        """Cut when ``size`` more bytes have passed."""
        self._left[way] = size

    def cut(self) -> None:
        """End it, for both ends."""
        for sock, _ in self._ends.values():
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self.release("there", "back")

    def close(self) -> None:
        self.cut()
        for thread in self._threads:
            thread.join()
        for sock, _ in self._ends.values():
            sock.close()

    def _pump(self, way: Way) -> None:
        source, sink = self._ends[way]
        with suppress(OSError):
            while data := source.recv(CHUNK_BYTES):
                self._flows[way].wait()
                left = self._left[way]
                if left is not None:
                    data = data[:left]
                    self._left[way] = left - len(data)
                if self.shape is None:
                    sink.sendall(data)
                    self.passed[way] += len(data)
                else:
                    self._shaped(way, source, sink, data, self.shape)
                    break
                if self._left[way] == 0:
                    break
        self.cut()

    def _shaped(self, way: Way, source: socket.socket, sink: socket.socket, data: bytes, shape: Shape) -> None:
        """From here on, packet by packet, each when it is due."""
        due: queue.Queue[tuple[float, bytes]] = queue.Queue(32)

        def deliver() -> None:
            pause, packet = threading.Event(), due.get()
            with suppress(OSError):
                while packet[1]:
                    pause.wait(max(0.0, packet[0] - time.monotonic()))
                    sink.sendall(packet[1])
                    self.passed[way] += len(packet[1])
                    packet = due.get()
            self.cut()
            while packet[1]:  # whoever puts them in has to come to the end of it
                packet = due.get()

        thread = threading.Thread(target=deliver, name=f"proxy {self.purpose} {way} late", daemon=True)
        thread.start()
        sent_at = 0.0
        with suppress(OSError):
            while data:
                packet, data = data[:PACKET_BYTES], data[PACKET_BYTES:]
                sent_at = max(sent_at, shape.sent(way, len(packet)))
                due.put((sent_at + shape.delay_s, packet))
                data = data or source.recv(PACKET_BYTES)
        due.put((0.0, b""))
        thread.join()


class Proxy:
    """Listens at ``port`` and passes on to ``upstream``. ``purpose`` is what the next connection is called."""

    def __init__(self) -> None:
        self.upstream = 0
        self.purpose = ""
        self.wires: list[Wire] = []
        self._shape: Shape | None = None
        self.cuts: list[tuple[str, Way, int]] = []
        """What the next connections of a purpose are to be cut after."""
        self._held: tuple[Way, ...] = ()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, name="proxy", daemon=True)
        self._thread.start()

    def wire(self, purpose: str) -> Wire:
        """The newest connection for ``purpose``."""
        return next(wire for wire in reversed(self.wires) if wire.purpose == purpose)

    def slow(self, shape: Shape) -> None:
        """Connections that there are, and those to come, are like that."""
        self._shape = shape
        for wire in self.wires:
            wire.shape = shape

    def hold(self, *ways: Way) -> None:
        """Let nothing more through, of connections that there are, and of those to come."""
        self._held = ways
        for wire in self.wires:
            wire.hold(*ways)

    def release(self) -> None:
        """Let through what was held, and what follows."""
        ways, self._held = self._held, ()
        for wire in self.wires:
            wire.release(*ways)

    def passed(self, way: Way, purpose: str) -> int:
        """How many bytes have passed, over all connections for ``purpose``."""
        return sum(wire.passed[way] for wire in self.wires if wire.purpose == purpose)

    def cut(self) -> None:
        """End all connections."""
        for wire in self.wires:
            wire.cut()

    def close(self) -> None:
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()
        for wire in self.wires:
            wire.close()

    def _accept(self) -> None:
        while True:
            try:
                host, _ = self._listening.accept()
                target = socket.create_connection(("127.0.0.1", self.upstream))
            except ConnectionRefusedError:
                host.close()
                continue
            except OSError:
                return
            for sock in (host, target):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.wires.append(Wire(self.purpose, host, target, self._held))
            self.wires[-1].shape = self._shape
            for one in [one for one in self.cuts if one[0] == self.purpose][:1]:
                self.cuts.remove(one)
                self.wires[-1].cut_after(one[1], one[2])
