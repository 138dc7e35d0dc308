"""Packets over a line that loses some: in order, once each, or not at all. Pure: (state, what came, now) to frames.

A line does not overtake itself. So each end tells the number of the last *transmission* that it heard, beside which
packets it has, and the other one knows at once what was lost: all that was sent before and is not there. Only where
nothing comes back does a timer try, with one frame, as one answer tells all. Numbers of packets go round at 256, of
which 8 are under way at most.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from .framing import BODY_BYTES

WINDOW = 8
"""Most packets under way: 0.2 s of a line of 115,200 baud, so that what is urgent does not wait long behind others."""

PACKET_BYTES = 256

_ROUND, _TURNS = 256, 65536
_STATE = struct.Struct(">BBH")
_PACKET = struct.Struct(">BH")
_PATIENT = 2
"""So many times something is sent again without growing pauses: a line is not congested, it is noisy."""

_MOST_DOUBLINGS = 4

assert _STATE.size + _PACKET.size + PACKET_BYTES < BODY_BYTES


@dataclass(slots=True)
class _Sent:
    packet: bytes
    turn: int = 0
    is_due: bool = True


class Carrier:
    """One end of one session; the other end has another one."""

    def __init__(self, again_s: float) -> None:
        """``again_s``: after how long of silence something is sent again."""
        self._again_s = again_s
        self._again_at: float | None = None
        self._silences = 0
        self._base = self._next = 0
        self._turn = 0
        self._under_way: dict[int, _Sent] = {}
        self._expected = 0
        self._early: dict[int, bytes] = {}
        self._heard = 0
        self._owes = False

    @property
    def has_room(self) -> bool:
        """Whether a packet may be sent now."""
        return (self._next - self._base) % _ROUND < WINDOW

    @property
    def wake_at(self) -> float | None:
        """When to ask for :meth:`out` again, if nothing comes before."""
        return self._again_at

    def send(self, packet: bytes) -> None:
        """Send a packet, for which there is room."""
        assert self.has_room
        assert len(packet) <= PACKET_BYTES
        self._under_way[self._next] = _Sent(packet)
        self._next = (self._next + 1) % _ROUND

    def out(self, now: float) -> list[bytes]:
        """What is to be sent now: packets, else the mere state where the other end waits for it."""
        if self._again_at is not None and now >= self._again_at:
            self._silences += 1
            next(iter(self._under_way.values())).is_due = True
            self._again_at = None
        bodies = []
        for number, sent in self._under_way.items():
            if sent.is_due:
                self._turn = sent.turn = (self._turn + 1) % _TURNS
                sent.is_due = False
                bodies.append(self._state() + _PACKET.pack(number, sent.turn) + sent.packet)
        if not bodies and self._owes:
            bodies.append(self._state())
        self._owes = self._owes and not bodies
        if self._under_way and self._again_at is None:
            doublings = max(0, min(self._silences - _PATIENT, _MOST_DOUBLINGS))
            self._again_at = now + self._again_s * 2**doublings
        return bodies

    def owe(self) -> None:
        """Tell the other end the state, whatever else there is to tell."""
        self._owes = True

    def take(self, body: bytes) -> list[bytes]:
        """What the other end's carrier has sent; the packets that are there now, in order."""
        if len(body) < _STATE.size:
            return []
        self._learn(*_STATE.unpack_from(body))
        rest = body[_STATE.size :]
        if len(rest) <= _PACKET.size:
            return []
        number, self._heard = _PACKET.unpack_from(rest)
        self._owes = True
        if (number - self._expected) % _ROUND < WINDOW:
            self._early[number] = rest[_PACKET.size :]
        packets = []
        while self._expected in self._early:
            packets.append(self._early.pop(self._expected))
            self._expected = (self._expected + 1) % _ROUND
        return packets

    def _state(self) -> bytes:
        early = sum(1 << at for at in range(8) if (self._expected + 1 + at) % _ROUND in self._early)
        return _STATE.pack(self._expected, early, self._heard)

    def _learn(self, expected: int, early: int, heard: int) -> None:
        """What the other end has, and so what it has not."""
        came = (expected - self._base) % _ROUND
        if came > (self._next - self._base) % _ROUND:
            return  # it makes no sense
        gone = [(self._base + at) % _ROUND for at in range(came)]
        gone += [(expected + 1 + at) % _ROUND for at in range(8) if early >> at & 1]
        has_come = [self._under_way.pop(number, None) for number in gone]
        self._base = expected
        if any(has_come):
            self._silences = 0
            self._again_at = None
        for sent in self._under_way.values():
            if (heard - sent.turn) % _TURNS < _TURNS // 2 and sent.turn:
                sent.is_due = True
        if not self._under_way:
            self._again_at = None
