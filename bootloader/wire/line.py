"""One end of a serial line that carries byte streams: from what comes and the time to what is sent and events. Pure.

The host calls with a frame of nothing but letters and digits, which does no harm whoever listens, and says nothing else
until the device has answered. The answer names the session, and each frame of it does, too: what is left of an earlier
one, or comes back as an echo, is left alone. A host that calls anew begins anew; a device that knows a session no more
says so. Nothing here is secret or proves anything: what goes through the streams is TLS, from end to end.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from .carrier import WINDOW, Carrier
from .channels import Channels, Event
from .errors import Malformed
from .framing import BODY_BYTES, Deframer, framed, harmless

VERSION = 1
LINK, PAIRING = "link", "pairing"
"""What a channel may lead to."""

CALL_EVERY_S = 0.5
KEEP_S = 3.0
"""How often an end says something, so that the other one knows that it is there."""

SILENT_S = 10.0
"""How long an end may say nothing."""

_TURNAROUND_S = 0.15
"""How long an end may take to answer, besides what lies before its answer on the line."""

_CALL, _WELCOME = b"live", b"reactor"
_CALLED = re.compile(rb"live(\d{1,3})x([0-9a-f]{16}) \d+")
_WELCOMED = re.compile(rb"reactor(\d{1,3})x([0-9a-f]{16})x([0-9a-f]{4})")
_EPOCH_BYTES = 2
_BITS = 10
"""Of a byte, with those that begin and end it."""

_MOST_UNSAID = 8


@dataclass(frozen=True, slots=True)
class Cut:
    """The session, and every channel of it, has ended."""

    why: str


class Line:
    """``is_up``: whether there is a session; ``over``: why the last one has ended.

    A device's line begins anew when a host calls; a host's is of one session, and of no use afterwards.
    """

    def __init__(self, *, is_host: bool, baud: int, now: float, draw: Callable[[int], bytes]) -> None:
        """``draw`` gives so many random bytes."""
        self.is_up = False
        self.over = ""
        self.is_echoed = False
        """Whether what a host says comes back: something else than a device listens."""
        self.channels = Channels(lets_in=not is_host)
        self._is_host = is_host
        self._draw = draw
        self._again_s = _TURNAROUND_S + 2 * WINDOW * BODY_BYTES * _BITS / baud  # a window there, and one back
        self._deframer = Deframer()
        self._call = draw(8).hex().encode() if is_host else b""
        self._epoch = bytes(_EPOCH_BYTES)
        self._carrier = Carrier(self._again_s)
        self._own, self._others = (b"h", b"d") if is_host else (b"d", b"h")
        self._said_at = now - CALL_EVERY_S
        self._heard_at = now
        self._unsaid = deque[bytes](maxlen=_MOST_UNSAID)  # the newest, where nobody takes what is said
        self._events: list[Event | Cut] = []

    @property
    def noise(self) -> bytes:
        """The last bytes that came and were no frame."""
        return self._deframer.odd

    @property
    def wake_at(self) -> float | None:
        """When to ask for :meth:`out` again, if nothing happens before."""
        if self.is_up:
            again_at = self._carrier.wake_at
            keep_at = min(self._said_at + KEEP_S, self._heard_at + SILENT_S)
            return keep_at if again_at is None else min(keep_at, again_at)
        return self._said_at + CALL_EVERY_S if self._is_host and not self.over else None

    def events(self) -> list[Event | Cut]:
        """What has happened since this was asked last."""
        events, self._events = self._events, []
        return events

    def take(self, data: bytes, now: float) -> None:
        """Bytes that came."""
        for body in self._deframer.feed(data):
            if self._is_host:
                self.is_echoed = self.is_echoed or _CALLED.fullmatch(body) is not None
                if match := _WELCOMED.fullmatch(body):
                    self._welcomed(int(match[1]), match[2], bytes.fromhex(match[3].decode()), now)
            elif match := _CALLED.fullmatch(body):
                self._called(int(match[1]), match[2], now)
            if body[:1] == self._others:
                self._carried(body[1 : 1 + _EPOCH_BYTES], body[1 + _EPOCH_BYTES :], now)

    def out(self, now: float) -> bytes:
        """The bytes to send now."""
        if self.is_up and now - self._heard_at >= SILENT_S:
            self._end(f"the other end has said nothing for {SILENT_S:.0f} s")
        bodies = [*self._unsaid]
        self._unsaid.clear()
        if self.is_up:
            while self._carrier.has_room and (packet := self.channels.next()) is not None:
                self._carrier.send(packet)
            if now - self._said_at >= KEEP_S:
                self._carrier.owe()
            bodies += [self._own + self._epoch + body for body in self._carrier.out(now)]
        elif self._is_host and not self.over and now - self._said_at >= CALL_EVERY_S:
            bodies.append(harmless(b"%b%dx%b" % (_CALL, VERSION, self._call)))
        if bodies:
            self._said_at = now
        return b"".join(map(framed, bodies))

    def end(self, why: str) -> None:
        """End the session; the other end is told so by the next :meth:`out`."""
        if self.is_up:
            self._unsaid.append(self._own + self._epoch)
            self._end(why)
        self.over = self.over or why

    def _end(self, why: str) -> None:
        self.is_up, self.over = False, why
        self.channels = Channels(lets_in=not self._is_host)
        self._events.append(Cut(why))

    def _called(self, version: int, call: bytes, now: float) -> None:
        """At a device: a host begins, or has not heard the answer."""
        if version == VERSION and not (self.is_up and call == self._call):
            if self.is_up:
                self._end("the host has begun anew")
            self._call, self._epoch = call, self._draw(_EPOCH_BYTES)
            self._carrier = Carrier(self._again_s)
            self.is_up, self.over, self._heard_at = True, "", now
        self._unsaid.append(b"%b%dx%bx%b" % (_WELCOME, VERSION, call, self._epoch.hex().encode()))

    def _welcomed(self, version: int, call: bytes, epoch: bytes, now: float) -> None:
        if call != self._call or self.is_up or self.over:
            return
        if version != VERSION:
            self._end(f"the device speaks version {version} of this line, this host version {VERSION}")
            return
        self.is_up, self._epoch, self._heard_at = True, epoch, now

    def _carried(self, epoch: bytes, body: bytes, now: float) -> None:
        if not self.is_up or epoch != self._epoch:
            if not self._is_host and body:
                self._unsaid.append(self._own + epoch)
            return
        self._heard_at = now
        if not body:
            self._end("the other end has ended the session")
            return
        try:
            self._events += filter(None, map(self.channels.take, self._carrier.take(body)))
        except Malformed as fault:
            self.end(f"the other end broke the protocol: {fault.what}")
