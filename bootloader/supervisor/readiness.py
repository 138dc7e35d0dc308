"""Hears from applications that they are ready, the way systemd's services say it (``NOTIFY_SOCKET``, sd_notify(3)).

Owns the datagram socket. The kernel tells who sent a message, so a process speaks for its own group alone. The socket
has no place on the disk: it needs no folder that can be written, and none that an application of another user can
enter. Where the system has no such sockets, nobody can say it, and applications that would are late.
"""

from __future__ import annotations

import os
import selectors
import socket
import struct
from collections.abc import Callable
from contextlib import suppress

VARIABLE = "NOTIFY_SOCKET"

_MESSAGE_BYTES = 4096
_MESSAGES = 64
"""Read at one turn at most: the rest waits for its own."""

_CREDENTIALS = struct.Struct("3i")


class Readiness:
    """``on_ready`` gets the process group of who is ready, on the thread of ``selector``."""

    def __init__(self, selector: selectors.BaseSelector, on_ready: Callable[[int], None]) -> None:
        """Raises OSError where there can be no socket."""
        self._selector = selector
        self._on_ready = on_ready
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            self._socket.bind("")  # the kernel makes a name
            name = self._socket.getsockname()
        except (OSError, AttributeError) as error:
            self._socket.close()
            raise OSError(f"this system has no sockets for it: {error}") from error
        self.address = "@" + name[1:].decode()
        """What the variable has to say."""
        selector.register(self._socket, selectors.EVENT_READ, self._hear)

    def _hear(self) -> None:
        for _ in range(_MESSAGES):
            try:
                # There is no room for descriptors: what is sent along is closed by the kernel, as the sender waits for.
                message, told, _, _ = self._socket.recvmsg(_MESSAGE_BYTES, socket.CMSG_LEN(_CREDENTIALS.size))
            except BlockingIOError:
                return
            for _level, kind, content in told:
                if kind == socket.SCM_CREDENTIALS and b"READY=1" in message.split(b"\n"):
                    with suppress(ProcessLookupError):  # it is gone, and with it the proof of who it was
                        self._on_ready(os.getpgid(_CREDENTIALS.unpack(content)[0]))

    def close(self) -> None:
        """Hear no more."""
        self._selector.unregister(self._socket)
        self._socket.close()
