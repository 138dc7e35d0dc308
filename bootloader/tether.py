"""The bootloader's end of the line to its keeper.

Owns the descriptor, and the thread that hears what the keeper says. The line's end is the keeper's end, however that
came about; the bootloader must not outlive it. Knows nothing of what is said.
"""

from __future__ import annotations

import json
import os
import queue
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress

from .wire.errors import Fault
from .wire.messages import Fields

_FIRST_S = 10.0
_BYTES = 64 * 1024


class Tether:
    """The line, with what the keeper said first in ``told``; ``listening`` is the socket that the last one held."""

    def __init__(self, descriptor: int) -> None:
        """Takes ``descriptor`` over, and waits for the first word; a :class:`Fault` where nobody says it."""
        self._lock = threading.Lock()
        self._answers: queue.Queue[bytes] = queue.Queue(1)
        try:
            os.set_inheritable(descriptor, False)
            self._line = socket.socket(fileno=descriptor)
            first, descriptors = self._first()
            self.told = Fields(json.loads(first))
        except (OSError, ValueError) as error:
            do = "start it as `bootloader run`, and leave its variables alone"
            raise Fault("no-keeper", f"its keeper says nothing that makes sense ({error})", do=do) from error
        self.listening = socket.socket(fileno=descriptors[0]) if descriptors else None

    def _first(self) -> tuple[bytes, list[int]]:
        """The first line, and what came along."""
        self._line.settimeout(_FIRST_S)
        text, descriptors = b"", list[int]()
        while not text.endswith(b"\n") and len(text) < _BYTES:
            data, more, _, _ = socket.recv_fds(self._line, _BYTES, 1)
            descriptors += more
            if not data:
                break
            text += data
        self._line.settimeout(None)
        for held in descriptors:
            os.set_inheritable(held, False)
        return text, descriptors

    def watch(self, on_end: Callable[[], object]) -> None:
        """Begin to listen; ``on_end`` is called, on a thread of this line's own, once the keeper is gone."""
        threading.Thread(target=self._listen, args=(on_end,), name="tether", daemon=True).start()

    def _listen(self, on_end: Callable[[], object]) -> None:
        with suppress(OSError), self._line.makefile("rb") as lines:  # a broken line is an ended one
            while line := lines.readline(_BYTES):
                with suppress(queue.Full):  # nobody asked
                    self._answers.put_nowait(line)
        on_end()

    def ask(self, note: Mapping[str, object], timeout_s: float) -> Fields:
        """What the keeper answers to ``note``; nothing where it does not. One thread at a time."""
        with suppress(queue.Empty):
            self._answers.get_nowait()  # one that came too late for whoever asked
        self.tell(note)
        try:
            return Fields(json.loads(self._answers.get(timeout=timeout_s)))
        except (queue.Empty, ValueError):
            return Fields({})

    def tell(self, note: Mapping[str, object], *descriptors: int) -> None:
        """Say something to the keeper; one that is gone hears nothing, and :meth:`watch` tells of that."""
        with self._lock, suppress(OSError):
            socket.send_fds(self._line, [json.dumps(note).encode() + b"\n"], descriptors)
