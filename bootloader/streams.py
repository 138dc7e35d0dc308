"""Streams: bytes between a host and something in an application's process, relayed through the host's links.

Owns each stream's socket, how far either end has come, and its end. A stream is its host's, and outlives a link: both
ends count bytes, so what a cut link swallowed is sent once more, and nothing twice. What is not read stays with its
writer, which waits; nothing grows here. Knows nothing of what the bytes mean, and has no thread: the links' threads
read and write.
"""

from __future__ import annotations

import hmac
import os
import secrets
import select
import socket
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from .wire.errors import Refused
from .wire.limits import MOST_STREAMS, STREAM_BYTES

GRACE_S = 60.0
"""How long a stream whose last link has ended waits for another one of its host."""

_ATTACH_S = 5.0
_ROOM_S = 1.0
"""How long a write waits for room before it answers how much was taken."""

_TOKEN_BYTES = 32
_SOCKET_PATH_BYTES = 100
"""What a Unix socket's address may be long on every system."""


@dataclass(frozen=True, slots=True)
class Attached:
    """Who is at the target's end. ``why``: asked once it has ended; ``end``: nobody is at the other end any more."""

    application: str
    pid: int
    generation: int
    why: Callable[[], str]
    end: Callable[[], None]


class Attachments(Protocol):
    """Has a process open its end of a stream."""

    def attach(self, application: str, order: Mapping[str, Any], within_s: float) -> Attached:
        """``application``: empty for the main one."""
        ...

    def beside(self, application: str, order: Mapping[str, Any]) -> Attached:
        """As :meth:`attach`, in a process of its own, with the application's code and environment."""
        ...


@dataclass(eq=False)
class _Stream:
    host: str
    socket: socket.socket
    attached: Attached
    taken: int = 0
    """Bytes that the target's end has got."""
    begin: int = 0
    """Of all that came from the target's end, where what is ``held`` begins."""
    held: bytes = b""
    """What a link has carried, and the host has not said that it came."""
    is_over: bool = False
    users: set[Hashable] = field(default_factory=set)
    timer: threading.Timer | None = None
    reading: threading.Lock = field(default_factory=threading.Lock)
    writing: threading.Lock = field(default_factory=threading.Lock)


class Streams:
    """``folder``: where sockets may lie for the moment in which two ends meet. Called from the links' threads."""

    def __init__(self, folder: Path, attachments: Attachments) -> None:
        self._folder = folder
        self._attachments = attachments
        self._lock = threading.Lock()
        self._streams: dict[str, _Stream] = {}
        self._opening = 0

    def open(
        self, user: Hashable, host: str, kind: str, application: str, more: Mapping[str, Any], *, beside: bool = False
    ) -> dict[str, Any]:
        """A new stream of ``kind``; its id, and who is at its other end."""
        with self._lock:
            if len(self._streams) + self._opening >= MOST_STREAMS:
                raise Refused("too-many-streams", f"{MOST_STREAMS} are open", do="close one")
            self._opening += 1
        try:
            stream = self._met(host, kind, application, more, beside=beside)
            name = secrets.token_hex(16)
            with self._lock:
                self._streams[name] = stream
        finally:
            with self._lock:
                self._opening -= 1
        self._use(name, user, host)
        at = stream.attached
        return {"stream": name, "application": at.application, "pid": at.pid, "generation": at.generation}

    def write(self, user: Hashable, host: str, name: str, at: int, data: bytes) -> int:
        """Pass on ``data``, which begins at the ``at``-th byte; how many bytes the other end has got by now."""
        stream = self._use(name, user, host)
        with stream.writing:
            if not 0 <= at <= stream.taken:
                raise Refused("malformed", f"the bytes before {at} have not come", to="'at'")
            rest = memoryview(data)[stream.taken - at :]
            deadline = time.monotonic() + _ROOM_S
            while rest and not stream.is_over:
                try:
                    sent = stream.socket.send(rest)
                except BlockingIOError:
                    if not _ready(stream.socket, select.POLLOUT, deadline - time.monotonic()):
                        break
                except OSError:  # the reader tells of the end
                    break
                else:
                    stream.taken += sent
                    rest = rest[sent:]
            return stream.taken

    def read(self, user: Hashable, host: str, name: str, at: int, most: int, wait_s: float) -> tuple[bytes, bool, str]:
        """What follows the first ``at`` bytes, at once or within ``wait_s``; whether that is its end, and why."""
        stream = self._use(name, user, host)
        if not stream.is_over and at == stream.begin + len(stream.held):
            _ready(stream.socket, select.POLLIN, wait_s)  # others may wait as well: the bytes are dealt out below
        with stream.reading:
            if at == stream.begin + len(stream.held) and stream.held:
                stream.begin, stream.held = at, b""
            if at != stream.begin:
                raise Refused("malformed", f"what follows byte {at} is not there any more", to="'at'")
            if not stream.held and not stream.is_over:
                try:
                    stream.held = stream.socket.recv(max(1, min(STREAM_BYTES, most)))
                    stream.is_over = not stream.held
                except BlockingIOError:
                    pass  # another link was faster, or nothing came in time
                except OSError:
                    stream.is_over = True
            is_over = stream.is_over and not stream.held
            return stream.held, is_over, stream.attached.why() if is_over else ""

    def close(self, host: str, name: str) -> None:
        """End a stream; one that is not there any more has ended."""
        with suppress(Refused):
            self._find(name, host)
            self._drop(name)

    def left(self, user: Hashable) -> None:
        """The link ``user`` has ended. What no other link uses has its grace time."""
        with self._lock:
            for name, stream in self._streams.items():
                if user in stream.users:
                    stream.users.discard(user)
                    if not stream.users:
                        stream.timer = threading.Timer(GRACE_S, self._drop, (name,))
                        stream.timer.name, stream.timer.daemon = "stream grace", True
                        stream.timer.start()

    def has(self, host: str) -> bool:
        """Whether a stream of that host is open."""
        with self._lock:
            return any(stream.host == host for stream in self._streams.values())

    def end(self, host: str | None = None, *, but: str | None = None) -> None:
        """End all of them, or all of one host, or all ``but`` one host's."""
        with self._lock:
            names = [name for name, one in self._streams.items() if host in (None, one.host) and one.host != but]
        for name in names:
            self._drop(name)

    def _find(self, name: str, host: str) -> _Stream:
        stream = self._streams.get(name)
        if stream is None or stream.host != host:
            raise Refused("no-stream", "there is no such stream, or it has ended", to=name[:32])
        return stream

    def _use(self, name: str, user: Hashable, host: str) -> _Stream:
        with self._lock:
            stream = self._find(name, host)
            stream.users.add(user)
            timer, stream.timer = stream.timer, None
        if timer is not None:
            timer.cancel()
        return stream

    def _drop(self, name: str) -> None:
        with self._lock:
            stream = self._streams.pop(name, None)
        if stream is None:
            return
        stream.is_over = True
        if stream.timer is not None:
            stream.timer.cancel()
        with suppress(OSError):  # its other end is gone
            stream.socket.shutdown(socket.SHUT_RDWR)  # which wakes who reads and writes
        stream.attached.end()
        with stream.reading, stream.writing:
            stream.socket.close()

    def _met(self, host: str, kind: str, application: str, more: Mapping[str, Any], *, beside: bool) -> _Stream:
        """The stream, once the process has come to where it was asked to, and has proven that it is the one."""
        token = secrets.token_hex(_TOKEN_BYTES)
        with _meeting(self._folder) as (listening, address):
            order = {"kind": kind, "address": address, "token": token, "more": dict(more)}
            if beside:
                attached = self._attachments.beside(application, order)
            else:
                attached = self._attachments.attach(application, order, _ATTACH_S)
            try:
                ours = _proven(listening, token.encode())
            except BaseException:
                attached.end()
                raise
        return _Stream(host, ours, attached)


@contextmanager
def _meeting(folder: Path) -> Iterator[tuple[socket.socket, str]]:
    """A socket that this user alone can connect to, and its address, for as long as two ends take to meet."""
    place = folder / f"{secrets.token_hex(4)}.stream"
    aside: tempfile.TemporaryDirectory[str] | None = None
    if len(os.fsencode(place)) > _SOCKET_PATH_BYTES:
        aside = tempfile.TemporaryDirectory(prefix="stream-")
        place = Path(aside.name, "s")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            listening.bind(os.fsencode(place))
            place.chmod(stat.S_IRUSR | stat.S_IWUSR)  # nobody listens before that
            listening.listen(4)
            yield listening, str(place)
        except OSError as error:
            raise Refused("no-stream", f"no socket can be made for it: {error}") from error
        finally:
            place.unlink(missing_ok=True)
            if aside is not None:
                aside.cleanup()


def _proven(listening: socket.socket, token: bytes) -> socket.socket:
    """The connection of who knows the token. Whoever does not is let go."""
    deadline = time.monotonic() + _ATTACH_S
    while (left_s := deadline - time.monotonic()) > 0:
        listening.settimeout(left_s)
        try:
            ours, _ = listening.accept()
        except TimeoutError:
            break
        ours.settimeout(left_s)
        try:
            said = ours.recv(len(token), socket.MSG_WAITALL)
        except OSError:
            said = b""
        if hmac.compare_digest(said, token):
            ours.setblocking(False)
            return ours
        ours.close()
    raise Refused("no-stream", "the application did not come to where its end of the stream is")


def _ready(sock: socket.socket, event: int, wait_s: float) -> bool:
    """Whether ``sock`` is, or comes to be, ready for ``event``, or at its end."""
    waiting = select.poll()
    try:
        waiting.register(sock, event)
    except ValueError:  # closed meanwhile
        return True
    return bool(waiting.poll(max(0.0, wait_s) * 1000))
