"""What lies between a host and a target: a TCP proxy that can be slow, silent, or cut at any byte."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Literal

Way = Literal["there", "back"]
"""From the host to the target, or from the target to the host."""

CHUNK_BYTES = 64 * 1024


class Wire:
    """One connection through the proxy."""

    def __init__(self, purpose: str, host: socket.socket, target: socket.socket) -> None:
        self.purpose = purpose
        self._ends = {"there": (host, target), "back": (target, host)}
        self._flows = {"there": threading.Event(), "back": threading.Event()}
        self._left: dict[str, int | None] = {"there": None, "back": None}
        self._threads = []
        for way in ("there", "back"):
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
                sink.sendall(data)
                if self._left[way] == 0:
                    break
        self.cut()


class Proxy:
    """Listens at ``port`` and passes on to ``upstream``. ``purpose`` is what the next connection is called."""

    def __init__(self) -> None:
        self.upstream = 0
        self.purpose = ""
        self.wires: list[Wire] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, name="proxy", daemon=True)
        self._thread.start()

    def wire(self, purpose: str) -> Wire:
        """The newest connection for ``purpose``."""
        return next(wire for wire in reversed(self.wires) if wire.purpose == purpose)

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
            self.wires.append(Wire(self.purpose, host, target))
