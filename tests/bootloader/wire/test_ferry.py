"""Two ends of a line in one process: what was written arrives, and a refusal is of one socket, not of the next."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from contextlib import suppress
from queue import SimpleQueue

import pytest

from bootloader.wire.ferry import Ferry

SOON_S = 20.0
FULL_S = 0.2
BAUD = 1_000_000


class Ends:
    """A host's and a device's; ``let_in``: the sockets that came out at the device."""

    def __init__(self) -> None:
        self._line = socket.socketpair()
        for end in self._line:
            end.setblocking(False)
        self.let_in: SimpleQueue[socket.socket] = SimpleQueue()
        ours, theirs = (end.fileno() for end in self._line)
        self.host = Ferry(ours, is_host=True, baud=BAUD, name="host")
        self.device = Ferry(theirs, is_host=False, baud=BAUD, name="device", admit=self._admit)
        self.device.start()
        self.host.start()
        assert self.host.wait_up(SOON_S)

    def _admit(self, service: str, sock: socket.socket) -> str:
        if service != "link":
            return f"there is no {service}"
        self.let_in.put(sock)
        return ""

    def close(self) -> None:
        self.host.close()
        self.device.close()
        for end in self._line:
            end.close()


@pytest.fixture
def ends() -> Iterator[Ends]:
    made = Ends()
    yield made
    made.close()


def filled(sock: socket.socket) -> int:
    """How many bytes it takes, until it takes no more."""
    sock.setblocking(False)
    sent = 0
    while select.select([], [sock], [], FULL_S)[1]:
        with suppress(BlockingIOError):
            sent += sock.send(bytes(512))
    return sent


def test_what_was_written_before_a_socket_closed_arrives_though_both_ways_were_full(ends: Ends) -> None:
    ours = ends.host.open("link")
    theirs = ends.let_in.get(timeout=SOON_S)
    sent = filled(ours)
    filled(theirs)
    ours.close()
    theirs.settimeout(SOON_S)
    came = 0
    with suppress(ConnectionResetError):  # what it wrote itself was not read
        while data := theirs.recv(4096):
            came += len(data)
    theirs.close()
    assert came == sent


def test_why_one_socket_was_refused_is_not_said_of_the_next(ends: Ends) -> None:
    with ends.host.open("other") as refused:
        refused.settimeout(SOON_S)
        assert refused.recv(1) == b""
    assert ends.host.refusal == "there is no other"
    with ends.host.open("link"), ends.let_in.get(timeout=SOON_S):
        assert ends.host.refusal == ""
