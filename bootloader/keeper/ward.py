"""One bootloader that the keeper has started: its process, and the keeper's end of the line to it.

The line carries JSON lines, and now and then a descriptor; ``tether`` is its other end. What comes over it is not
trusted: a new release may say anything. Owns the descriptor. Decides nothing. Standard library alone.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from time import monotonic
from typing import Any

from .release import Release

_LINE_BYTES = 64 * 1024
_READS = 64


class Ward:
    """One bootloader that was started, and what it has said so far."""

    def __init__(self, pid: int, line: socket.socket, most_s: float, release: Release | None) -> None:
        self.pid = pid
        self.release = release
        self.line: socket.socket | None = line
        self.born = monotonic()
        self.silent_at = self.born + most_s
        self.well = False
        """Whether a heartbeat has come."""
        self.refused = False
        """Whether it said that it will not run here."""
        self.end_at: float | None = None
        """When it is killed, once it was asked to end."""
        self.killed_for = ""
        self._buffer = b""

    def read(self) -> list[tuple[dict[str, Any], list[int]]]:
        """What it has said by now: notes, each with the descriptors that came along. Its nonsense is left out."""
        notes: list[tuple[dict[str, Any], list[int]]] = []
        for _ in range(_READS):  # one that never ends talking is silent, as it does not beat
            if self.line is None:
                break
            try:
                data, descriptors, _, _ = socket.recv_fds(self.line, 4096, 4)
            except BlockingIOError:
                break
            except OSError:
                data, descriptors = b"", []
            for descriptor in descriptors:
                os.set_inheritable(descriptor, False)
            self._buffer += data
            *lines, self._buffer = self._buffer.split(b"\n")
            for line in lines:
                with suppress(ValueError, RecursionError):
                    note = json.loads(line)
                    if isinstance(note, dict):
                        notes.append((note, descriptors))
                        descriptors = []
            for descriptor in descriptors:
                os.close(descriptor)
            if not data or len(self._buffer) > _LINE_BYTES:
                self.hang_up()
        return notes

    def tell(self, note: Mapping[str, Any], descriptors: list[int]) -> None:
        """Say something; one that is gone, or does not listen, hears nothing."""
        if self.line is not None:
            with suppress(OSError):
                socket.send_fds(self.line, [json.dumps(note).encode() + b"\n"], descriptors)

    def hang_up(self) -> None:
        """Close the line: a bootloader that lives ends by that."""
        if self.line is not None:
            self.line.close()
            self.line = None
