"""Several byte streams over one carrier of packets, none of which can hold up another or fill a memory. Pure.

The host opens a channel, naming what it is to lead to. Each end may send so many bytes as the other one has granted,
and grants more when it has got rid of some. Whatever the other end says that this one would not have said is
:class:`Malformed`, and ends all of it.
"""

from __future__ import annotations

import struct
from collections import deque
from dataclasses import dataclass, field

from .carrier import PACKET_BYTES
from .errors import Fault, Malformed

MOST_CHANNELS = 8
CREDIT_BYTES = 8 * 1024
"""Most bytes of a channel that one end holds for a reader that is slow."""

_OPEN, _DATA, _GRANT, _END = b"odge"
_HEAD = struct.Struct(">BB")
_COUNT = struct.Struct(">H")
_NAMES = 256
_MOST_TEXT = PACKET_BYTES - _HEAD.size


@dataclass(frozen=True, slots=True)
class Opened:
    """The other end wants to be led to ``service``."""

    channel: int
    service: str


@dataclass(frozen=True, slots=True)
class Came:
    """Bytes of a channel."""

    channel: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Ended:
    """The other end has ended a channel. This end is to do so, too."""

    channel: int
    why: str


Event = Opened | Came | Ended


@dataclass(slots=True)
class _Channel:
    credit: int = CREDIT_BYTES
    """How much may be sent."""
    granted: int = CREDIT_BYTES
    """How much may come."""
    spent: int = 0
    """How much has come and gone, and is to be granted again."""
    waiting: bytes = b""
    why: str | None = None
    """With which words it is to end here."""
    has_ended_here: bool = False
    has_ended_there: bool = False


@dataclass(slots=True)
class Channels:
    """One end's channels. ``lets_in``: whether the other end may open some, as a host may at a device."""

    lets_in: bool = True
    _open: dict[int, _Channel] = field(default_factory=dict)
    _urgent: deque[bytes] = field(default_factory=deque)

    def open(self, service: str) -> int:
        """A new channel, which is to lead to ``service``."""
        free = next((one for one in range(_NAMES) if one not in self._open), None)
        if free is None or len(self._open) >= MOST_CHANNELS:
            raise Fault("busy", f"there are {MOST_CHANNELS} connections over this line", do="end one of them")
        self._open[free] = _Channel()
        self._urgent.append(_HEAD.pack(_OPEN, free) + service.encode())
        return free

    def room(self, channel: int) -> int:
        """How many bytes :meth:`write` would take now."""
        one = self._open.get(channel)
        if one is None or one.waiting or one.why is not None or one.has_ended_there:
            return 0
        return min(one.credit, PACKET_BYTES - _HEAD.size)

    def write(self, channel: int, data: bytes) -> None:
        """Send some bytes, for which there is room."""
        assert 0 < len(data) <= self.room(channel)
        self._open[channel].waiting = data

    def spend(self, channel: int, size: int) -> None:
        """So many bytes that came were got rid of: as many more may come."""
        one = self._open.get(channel)
        if one is None or one.has_ended_here or one.has_ended_there:
            return
        one.spent += size
        if 2 * one.spent >= CREDIT_BYTES:
            self._urgent.append(_HEAD.pack(_GRANT, channel) + _COUNT.pack(one.spent))
            one.granted += one.spent
            one.spent = 0

    def end(self, channel: int, why: str = "") -> None:
        """End a channel, after what it has to send still."""
        one = self._open.get(channel)
        if one is not None and one.why is None:
            one.why = why

    def next(self) -> bytes | None:
        """The next packet to send; of several channels one after the other."""
        if self._urgent:
            return self._urgent.popleft()
        for channel, one in self._open.items():
            if one.waiting and not one.has_ended_there:
                data, one.waiting = one.waiting, b""
                one.credit -= len(data)
                self._open[channel] = self._open.pop(channel)  # it is the last one now
                return _HEAD.pack(_DATA, channel) + data
            if one.why is not None and not one.has_ended_here:
                one.has_ended_here = True
                self._forget(channel)
                return _HEAD.pack(_END, channel) + one.why.encode()[:_MOST_TEXT]
        return None

    def take(self, packet: bytes) -> Event | None:
        """A packet of the other end."""
        if len(packet) < _HEAD.size:
            raise Malformed("a packet without a head")
        kind, channel = _HEAD.unpack_from(packet)
        body = packet[_HEAD.size :]
        if kind == _OPEN:
            return self._opened(channel, body)
        one = self._open.get(channel)
        if one is None or one.has_ended_there:
            raise Malformed("a packet of a channel that is not open")
        match kind:
            case _ if kind == _DATA:
                one.granted -= len(body)
                if one.granted < 0:
                    raise Malformed("more bytes than were granted")
                return Came(channel, body) if body and one.why is None else None
            case _ if kind == _GRANT and len(body) == _COUNT.size:
                one.credit += _COUNT.unpack(body)[0]
                if one.credit > CREDIT_BYTES:
                    raise Malformed("more is granted than was taken")
                return None
            case _ if kind == _END:
                one.has_ended_there = True
                self._forget(channel)
                return Ended(channel, body.decode(errors="replace"))
        raise Malformed("a packet of no kind that is known")

    def _opened(self, channel: int, name: bytes) -> Opened:
        if channel in self._open or not self.lets_in:
            raise Malformed("a channel is opened twice, or by a device")
        if len(self._open) >= MOST_CHANNELS:
            raise Malformed("too many channels")
        self._open[channel] = _Channel()
        return Opened(channel, name.decode(errors="replace"))

    def _forget(self, channel: int) -> None:
        one = self._open[channel]
        if one.has_ended_here and one.has_ended_there:
            del self._open[channel]
