"""``python -m benchmarks.floor.host FOLDER PORT``: sends each saved Python file of FOLDER to the target on PORT."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import sys
from collections.abc import Iterator

IN_CLOSE_WRITE, IN_MOVED_TO = 0x08, 0x80
EVENT = struct.Struct("iIII")
FRAME = struct.Struct(">HI")
READ_BYTES = 64 * 1024


def _watch(top: str) -> tuple[int, dict[int, str]]:
    libc = ctypes.CDLL(None, use_errno=True)
    handle = libc.inotify_init1(os.O_CLOEXEC)
    folders = {}
    for folder, _, _ in os.walk(top):
        number = libc.inotify_add_watch(handle, folder.encode(), IN_CLOSE_WRITE | IN_MOVED_TO)
        if number < 0:
            raise OSError(ctypes.get_errno(), "inotify_add_watch", folder)
        folders[number] = folder
    return handle, folders


def saved(top: str) -> Iterator[tuple[str, bytes]]:
    """Each Python file below ``top`` that is saved from now on: its path there, and what it holds."""
    handle, folders = _watch(top)
    print("watching", flush=True)
    while True:
        events = os.read(handle, READ_BYTES)
        at = 0
        while at < len(events):
            number, _, _, length = EVENT.unpack_from(events, at)
            name = events[at + EVENT.size : at + EVENT.size + length].rstrip(b"\0").decode()
            at += EVENT.size + length
            if name.endswith(".py"):
                path = f"{folders[number]}/{name}"
                with open(path, "rb") as file:
                    yield path[len(top) + 1 :], file.read()


def main(top: str, port: int) -> None:
    """Watches and sends until the target goes away."""
    target = socket.create_connection(("127.0.0.1", port), timeout=10)
    target.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for path, content in saved(top):
        inside = path.encode()
        target.sendall(FRAME.pack(len(inside), len(content)) + inside + content)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
