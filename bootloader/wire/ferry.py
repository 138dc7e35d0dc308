"""Carries the bytes of sockets over a serial line, at either end of it.

Owns one thread, the descriptor of the line, and this process's end of each socket; whoever has the other end of one
sees a stream like any other, a slow one. Knows nothing of what the bytes are, and of how a line is opened.
"""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from secrets import token_bytes
from time import monotonic

from .channels import Came, Ended, Opened
from .errors import Fault, LinkDown
from .line import Cut, Line

_READ_BYTES = 4096
_SOCKET_BYTES = 4096
"""Most bytes that lie in a socket: what was written counts as sent, so it must not wait long here."""

_LAST_WORD_S = 0.5
_JOIN_S = 2.0

Admit = Callable[[str, socket.socket], str]


@dataclass(slots=True)
class _Berth:
    """This process's end of a socket."""

    sock: socket.socket
    waiting: bytes = b""
    """What has come over the line and is not in the socket yet."""
    is_over: bool = False
    """Whether more will come over the line."""


class Ferry:
    """One end of one line, from :meth:`start` until it is closed or the line is gone. ``line`` tells how it is."""

    def __init__(self, fd: int, *, is_host: bool, baud: int, name: str, admit: Admit | None = None) -> None:
        """``fd`` is non-blocking, and stays its owner's. ``admit`` takes the sockets that the other end asks for, each
        with the service that it is to lead to, or says why not; from this thread, and without waiting.
        """
        self.line = Line(is_host=is_host, baud=baud, now=monotonic(), draw=token_bytes)
        self.gone = ""
        """Why the line itself is gone, if it is."""
        self.refusal = ""
        """Why the other end has ended a channel that was opened here, the last time that it said so."""
        self.changed = threading.Condition()
        """Notified when a session begins or ends."""
        self._fd = fd
        self._is_host = is_host
        self._admit = admit or (lambda _service, _sock: "nothing is to be had here")
        self._berths: dict[int, _Berth] = {}
        self._asked: SimpleQueue[tuple[str, socket.socket]] = SimpleQueue()
        self._unsent = b""
        self._ending = self._is_over = False
        self._why = ""
        self._wake, self._waker = socket.socketpair()
        self._waker.setblocking(False)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def open(self, service: str) -> socket.socket:
        """A socket that leads to ``service`` at the other end; one that ends at once where there is no session."""
        ours, theirs = _pair()
        with self.changed:
            self.refusal = ""
            if self._is_over:
                ours.close()
            else:
                self._asked.put((service, ours))
        self._ring()
        return theirs

    def wait_up(self, timeout_s: float) -> bool:
        """Whether there is a session, within that time."""
        with self.changed:
            self.changed.wait_for(lambda: self.line.is_up or self.line.over or self.gone, timeout_s)
        return self.line.is_up and not self.gone

    def join(self) -> None:
        """Until the line is gone."""
        self._thread.join()

    def close(self, why: str = "this end has ended it") -> None:
        """End the session, tell the other end, and end each socket."""
        self._why = why
        self._ending = True
        self._ring()
        self._thread.join(_JOIN_S)

    def _ring(self) -> None:
        with self.changed, suppress(OSError):  # it has ended
            self._waker.send(b"\0")

    def _run(self) -> None:
        try:
            while not self._ending and not (self._is_host and self.line.over):
                self._turn()
            self.line.end(self._why)
            self._flush(monotonic() + _LAST_WORD_S)
        except OSError as error:
            self.gone = error.strerror or str(error)
        finally:
            self.line.end(self.gone)
            self._drop_all()
            self._wake.close()
            with self.changed:
                self._is_over = True
                self._waker.close()
                self.changed.notify_all()
            self._take_asked()

    def _turn(self) -> None:
        """Wait until something can be done, and do it."""
        was_up = self.line.is_up
        readable, writable = self._poll()
        if self._wake.fileno() in readable:
            self._wake.recv(4096)
        self._take_asked()
        for channel, berth in list(self._berths.items()):
            if berth.sock.fileno() in readable:
                self._load(channel, berth)
        if self._fd in readable:
            with suppress(BlockingIOError):
                data = os.read(self._fd, _READ_BYTES)
                if not data:
                    raise OSError("it hung up")
                self.line.take(data, monotonic())
        self._send()
        for channel, berth in list(self._berths.items()):
            if berth.sock.fileno() in writable:
                self._unload(channel, berth)
        if self.line.is_up != was_up:
            with self.changed:
                self.changed.notify_all()

    def _poll(self) -> tuple[set[int], set[int]]:
        """The descriptors that can be read, and those that can be written; those that broke are both."""
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        poll.register(self._fd, select.POLLIN | (select.POLLOUT if self._unsent else 0))
        for channel, berth in self._berths.items():
            wants = select.POLLIN if self.line.channels.room(channel) else 0
            wants |= select.POLLOUT if berth.waiting else 0
            if wants:
                poll.register(berth.sock, wants)
        wake_at = None if self._unsent else self.line.wake_at
        wait_ms = None if wake_at is None else max(0.0, (wake_at - monotonic()) * 1000 + 1)
        found = poll.poll(wait_ms)
        broken = select.POLLERR | select.POLLHUP | select.POLLNVAL
        return (
            {fd for fd, event in found if event & (select.POLLIN | broken)},
            {fd for fd, event in found if event & (select.POLLOUT | broken)},
        )

    def _send(self) -> None:
        """What the line has to say, as far as it is taken; nothing new is thought of before that is out."""
        while True:
            if not self._unsent:
                self._unsent = self.line.out(monotonic())
            self._hear()
            if not self._unsent:
                return
            try:
                self._unsent = self._unsent[os.write(self._fd, self._unsent) :]
            except BlockingIOError:
                return

    def _flush(self, until: float) -> None:
        """The last words, where they are taken soon."""
        self._send()
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        while self._unsent and (left_s := until - monotonic()) > 0 and poll.poll(left_s * 1000):
            self._send()

    def _hear(self) -> None:
        for event in self.line.events():
            match event:
                case Opened(channel, service):
                    self._let_in(channel, service)
                case Came(channel, data):
                    berth = self._berths.get(channel)
                    if berth is not None:
                        berth.waiting += data
                        self._unload(channel, berth)
                case Ended(channel, why):
                    self.refusal = why or self.refusal
                    berth = self._berths.get(channel)
                    if berth is not None:
                        berth.is_over = True
                        self._unload(channel, berth)
                case Cut():
                    self._drop_all()

    def _let_in(self, channel: int, service: str) -> None:
        ours, theirs = _pair()
        self._berths[channel] = _Berth(ours)
        why = self._admit(service, theirs)
        if why:
            theirs.close()
            self._drop(channel, why)

    def _take_asked(self) -> None:
        """Sockets that this process wants led to the other end."""
        with suppress(Empty):
            while True:
                service, sock = self._asked.get_nowait()
                try:
                    if not self.line.is_up:
                        raise LinkDown(self.line.over)
                    self._berths[self.line.channels.open(service)] = _Berth(sock)
                except Fault:
                    sock.close()

    def _load(self, channel: int, berth: _Berth) -> None:
        """From a socket to the line."""
        room = self.line.channels.room(channel)
        if not room:
            return  # it is readable as it has hung up, and what it said before is still to be had
        try:
            data = berth.sock.recv(room)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self.line.channels.write(channel, data)
        else:
            self._drop(channel)

    def _unload(self, channel: int, berth: _Berth) -> None:
        """From the line to a socket."""
        try:
            sent = berth.sock.send(berth.waiting) if berth.waiting else 0
        except BlockingIOError:
            return
        except OSError:  # nobody reads it; what was written there may still have to be sent, and then it ends
            sent = len(berth.waiting)
        berth.waiting = berth.waiting[sent:]
        self.line.channels.spend(channel, sent)
        if berth.is_over and not berth.waiting:
            self._drop(channel)

    def _drop(self, channel: int, why: str = "") -> None:
        self._berths.pop(channel).sock.close()
        self.line.channels.end(channel, why)

    def _drop_all(self) -> None:
        berths, self._berths = self._berths, {}
        for berth in berths.values():
            berth.sock.close()


def _pair() -> tuple[socket.socket, socket.socket]:
    """This process's end of a socket, and the other one; neither holds much."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    for sock in (ours, theirs):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BYTES)
    return ours, theirs
