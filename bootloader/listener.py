"""Accepts links: an explicit address, a bound on everything, and no RPyC byte read from a peer that is not obeyed.

Owns the listening socket, the thread that accepts, and a thread for each connection, in which the handshake, the
look-up of the host's name and then its requests happen. Knows nothing of what the requests are.
"""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from time import monotonic

from .trust import SELF, Trust
from .wire.errors import Fault, LinkClosed, LinkDown, Malformed
from .wire.limits import FRAME_BYTES
from .wire.stream import TlsStream, shown
from .wire.strict import Method, serve

HANDSHAKE_S = 5.0
MOST_CONNECTIONS = 64
MOST_PER_ADDRESS = 16

SHAKEN_S = 1.0
"""A peer that has not shaken hands by then gives way where there is no room: silence keeps no host out."""

_BACKLOG = 64
_STARVED_S = 0.25
"""How long accepting pauses where the process has no descriptor or thread left."""

_CLOSE_S = 5.0
_TOLD_EVERY_S, _LONGEST_S = 1.0, 60.0
"""How often of one kind something is told that whoever may change nothing can do as often as they like: at first, and
where it goes on. What is told is kept, and what is kept pushes out what was.
"""

MOST_LOOKING = 32
"""Of the connections, those of hosts that may only look: the others are for who may do everything."""

LOOK_BYTES = 64 * 1024
"""Most bytes of one message of a host that may only look: its requests are short, and so is what they can cost."""

OnEvent = Callable[[str, Mapping[str, str | int]], None]
Letting = Callable[[str, bool, Callable[[], bool]], AbstractContextManager[Mapping[str, Method]]]
"""Takes a host's name, whether it may only look, and what tells whether it is that no more. Entered for what that host
may call, and left when the link has ended.
"""


class Dismissed(LinkClosed):
    """This end closed the link, as its host is not obeyed any more, or is something else now."""


@dataclass(frozen=True, slots=True)
class _Place:
    """A connection that has a thread; from which address it is, and since when."""

    stream: TlsStream
    host: str
    since: float


@dataclass(slots=True)
class _Told:
    """When something of a kind was told last, for how long it is not then, and how many came since."""

    at: float
    pause_s: float = 0.0
    suppressed: int = 0


class Listener:
    """Listens from construction, accepts from :meth:`start`, ends with :meth:`close`.

    Events: ``link-up`` and ``link-down`` (``host``, ``address``, and ``why`` it ended); ``link-refused`` (``reason``,
    ``why``, ``address``, and how many of the same reason were ``suppressed`` since the last): at most one a second
    a reason, and soon one a minute, as for the links of a host that may only look; ``link-stuck`` (``threads`` that
    :meth:`close` could not wait for).
    """

    def __init__(
        self,
        address: tuple[str, int],
        trust: Trust,
        link: Letting,
        on_event: OnEvent,
        on_fault: Callable[[Exception], None],
        listening: socket.socket | None = None,
    ) -> None:
        """Binds ``address`` (port 0: any free one), or takes over ``listening``, which is bound already.

        ``on_event`` and ``on_fault`` are called from the listener's threads, and must neither raise nor wait.
        """
        self.trust = trust
        self._link = link
        self._on_event = on_event
        self._on_fault = on_fault
        self._lock = threading.Lock()
        self._closing = False
        self._links: dict[threading.Thread, _Place] = {}
        self._told: dict[str, _Told] = {}
        self._expected = ""
        self._listening = listening or _bind(address)
        self._listening.setblocking(False)
        self.address: tuple[str, int] = self._listening.getsockname()[:2]
        """Where it listens, with the port that was chosen."""
        self._wake, self._waker = socket.socketpair()
        self._accepting = threading.Thread(target=self._accept, name="listener", daemon=True)

    def expect(self, where: str) -> None:
        """A link of this device to itself comes from there: however crowded it is, that one is let in."""
        self._expected = where

    def obey(self, trust: Trust) -> None:
        """From here on, this is who is obeyed. Links of hosts that are not, or are something else now, end at once."""
        before, self.trust = self.trust, trust  # first: a handshake that ends now is judged by the new one
        with self._lock:
            streams = [place.stream for place in self._links.values()]
        for stream in streams:
            if stream.peer_fingerprint and not trust.is_alike(before, stream.peer_fingerprint):
                stream.close(partial(Dismissed, "what this host may do here was changed", to=stream.peer))

    def fileno(self) -> int:
        """The descriptor that it listens on."""
        return self._listening.fileno()

    def admit(self, sock: socket.socket, where: str) -> None:
        """Take a connection that came ``where`` no network leads: one of a few, and let in however crowded it is."""
        self._admit(sock, where, where, always=True)

    def start(self) -> None:
        """Begin to accept."""
        self._accepting.start()

    def close(self) -> None:
        """Stop accepting, end every link, and wait for the threads; not from one of them."""
        with self._lock:
            if self._closing:
                return
            self._closing = True
            links = dict(self._links)
        self._waker.send(b"\0")
        for place in links.values():
            place.stream.close()
        deadline = monotonic() + _CLOSE_S
        threads = [thread for thread in (self._accepting, *links) if thread.is_alive()]
        for thread in threads:
            thread.join(max(0.0, deadline - monotonic()))
        for sock in (self._listening, self._wake, self._waker):
            sock.close()
        stuck = [thread.name for thread in threads if thread.is_alive()]
        if stuck:
            self._on_event("link-stuck", {"threads": ", ".join(stuck)})

    def _accept(self) -> None:
        poll = select.poll()
        poll.register(self._listening, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        while not self._closing:
            poll.poll()
            try:
                sock, peer = self._listening.accept()
            except (BlockingIOError, ConnectionError):
                continue  # it went before it was let in
            except OSError as error:
                self._refuse("starved", f"no connection can be accepted ({error.strerror})", "")
                self._pause()
                continue
            self._admit(sock, peer[0], shown(peer))

    def _admit(self, sock: socket.socket, host: str, where: str, *, always: bool = False) -> None:
        """Give a connection its thread, where there is room; it counts from here on."""
        crowded = "" if always else self._crowded(host)
        if crowded and where != self._expected:
            sock.close()
            self._refuse("too-many", crowded, where)
            return
        try:
            stream = TlsStream(sock, self.trust.context, server_side=True, peer=where)
        except LinkDown as fault:
            self._refuse(fault.code, fault.what, where)
            return
        thread = threading.Thread(target=self._carry, args=(stream,), name=f"link {where}", daemon=True)
        with self._lock:
            if self._closing:
                stream.close()
                return
            self._links[thread] = _Place(stream, host, monotonic())
            try:
                thread.start()
            except RuntimeError as error:
                del self._links[thread]
                starved = str(error)
            else:
                return
        stream.close()
        self._refuse("starved", starved, where)
        self._pause()

    def _crowded(self, host: str) -> str:
        """Why there is no room for one from ``host``, where nobody is late with shaking hands and gives way."""
        with self._lock:
            there = [place for place in self._links.values() if not place.stream.closed]
            going = len(self._links) - len(there)
            near = [place for place in there if place.host == host]
        if len(there) < MOST_CONNECTIONS and len(near) < MOST_PER_ADDRESS:
            return ""
        late_since = monotonic() - SHAKEN_S
        for place in near if len(near) >= MOST_PER_ADDRESS else there:
            if not place.stream.peer_fingerprint and place.since <= late_since and going < MOST_CONNECTIONS:
                place.stream.close(partial(LinkDown, "it gave way to another peer", to=place.stream.peer))
                return ""
        return f"there are {len(there)} links, {len(near)} of them from there"

    def _carry(self, stream: TlsStream) -> None:
        """One connection, from its first byte to its end."""
        try:
            host, observes = self._greet(stream)
            if host == SELF:
                self._serve(stream, host, observes)
            elif host is not None:
                is_told = not observes or self._due(f"link of {host}") is not None
                if is_told:
                    self._on_event("link-up", {"host": host, "address": stream.peer})
                why = self._serve(stream, host, observes)
                if is_told:
                    self._on_event("link-down", {"host": host, "address": stream.peer, "why": why})
        finally:
            stream.close()
            with self._lock:
                del self._links[threading.current_thread()]

    def _greet(self, stream: TlsStream) -> tuple[str | None, bool]:
        """The name of the host at the other end, and whether it may only look; None for a peer that is refused."""
        try:
            stream.handshake(HANDSHAKE_S)
            trust = self.trust  # one for both questions; where another takes its place, `obey` ends this link
            host = trust.host_of(stream.peer_fingerprint)
            if host is None:
                raise stream.distrust()
            observes = trust.observes(stream.peer_fingerprint)
            if observes and not self._is_room_to_look(trust):
                self._refuse("too-many", f"there are {MOST_LOOKING} links of hosts that may look", stream.peer)
                return None, False
            return host, observes
        except LinkClosed:
            return None, False
        except Fault as fault:
            self._refuse(fault.code, fault.what, stream.peer)
            return None, False

    def _is_room_to_look(self, trust: Trust) -> bool:
        """Those who may only look can't keep out who may do everything, however many links they make and hold."""
        with self._lock:
            peers = [place.stream.peer_fingerprint for place in self._links.values() if not place.stream.closed]
        return sum(map(trust.observes, peers)) <= MOST_LOOKING

    def _serve(self, stream: TlsStream, host: str, observes: bool) -> str:
        """Answer the host until the link ends, and say why it did."""
        try:
            with self._link(host, observes, lambda: isinstance(stream.fault, Dismissed)) as methods:
                serve(stream, methods, self._on_fault, LOOK_BYTES if observes else FRAME_BYTES)
        except Malformed as fault:
            return fault.what
        return stream.fault.what

    def _refuse(self, reason: str, why: str, where: str) -> None:
        """Tell of a refusal, unless the last of its kind is too near: a flood of peers is no flood of events."""
        suppressed = self._due(reason)
        if suppressed is not None:
            told: Mapping[str, str | int] = {"reason": reason, "why": why, "address": where, "suppressed": suppressed}
            self._on_event("link-refused", told)

    def _due(self, kind: str) -> int | None:
        """How many of a kind were not told of since one was, where this one is to be; None where it is not."""
        now = monotonic()
        with self._lock:
            told = self._told.setdefault(kind, _Told(now - _LONGEST_S))
            if now - told.at < told.pause_s:
                told.suppressed += 1
                return None
            goes_on = now - told.at < told.pause_s + _LONGEST_S
            suppressed, told.suppressed = told.suppressed, 0
            told.at, told.pause_s = now, min(2 * told.pause_s, _LONGEST_S) if goes_on else _TOLD_EVERY_S
            return suppressed

    def _pause(self) -> None:
        """Let others give something back; a process without descriptors would spin otherwise."""
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        poll.poll(_STARVED_S * 1000)


def _bind(address: tuple[str, int]) -> socket.socket:
    host, port = address
    try:
        # As bytes: a text is taken through IDNA, whose tables (unicodedata) a stripped Python lacks.
        family, _, _, _, where = socket.getaddrinfo(host.encode(), port, type=socket.SOCK_STREAM)[0]
        everywhere = host == "::" and socket.has_dualstack_ipv6()  # IPv4 as well
        listening = socket.create_server(where, family=family, backlog=_BACKLOG, dualstack_ipv6=everywhere)
    except (OSError, OverflowError) as error:
        raise Fault(
            "listen-failed",
            f"can't listen ({error})",
            to=shown(address),
            do="free that port, or choose another address with --listen",
        ) from error
    return listening
