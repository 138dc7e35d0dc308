"""A serial line, at both ends: whoever has the cable may say anything, and has proved nothing.

An input is a row of frames' bodies, each after its length in one byte, so that what is changed is what frames say; each
is put into a frame of its own, and in the end all of it goes over the line as it is.
"""

from __future__ import annotations

from collections.abc import Iterator

from bootloader.wire.carrier import PACKET_BYTES, WINDOW
from bootloader.wire.channels import CREDIT_BYTES, MOST_CHANNELS, Came, Opened
from bootloader.wire.framing import BODY_BYTES, Deframer, framed
from bootloader.wire.line import LINK, Line

_CALL = b"live1x" + b"00" * 8 + b" 0"


def seeds() -> Iterator[bytes]:
    """What a host says of its own, and what a device does, past the first words."""
    host, device = _ends()
    said: dict[Line, list[bytes]] = {host: [], device: []}
    channels = [host.channels.open(LINK), host.channels.open(LINK)]
    for turn in range(12):
        now = 1.0 + turn
        for end, other in ((host, device), (device, host)):
            for channel in channels:
                if room := end.channels.room(channel):
                    end.channels.write(channel, bytes(room))
            out = end.out(now)
            said[end] += Deframer().feed(out)
            other.take(out, now)
            for event in other.events():
                if isinstance(event, Came):
                    other.channels.spend(event.channel, len(event.data))
        if turn == 9:
            host.channels.end(channels[0], "done")
    for bodies in said.values():
        yield b"".join(bytes([min(255, len(body))]) + body[:255] for body in bodies)


def at_device(data: bytes) -> bool:
    """A device holds what it may, opens what it may, and says no more than it was asked."""
    return _check(_ends()[1], data)


def at_host(data: bytes) -> bool:
    """A host does not open anything for a device."""
    return _check(_ends()[0], data)


def _ends() -> tuple[Line, Line]:
    """Both, in a session that is always the same."""
    host, device = (Line(is_host=is_host, baud=115200, now=0.0, draw=bytes) for is_host in (True, False))
    host.take(device.out(0.0), 0.0)
    device.take(framed(_CALL), 0.0)
    host.take(device.out(0.0), 0.0)
    assert host.is_up
    assert device.is_up
    return host, device


def _check(end: Line, data: bytes) -> bool:
    used = False
    held: dict[int, int] = {}
    rest, now = data, 1.0
    while rest:
        body, rest = rest[1 : 1 + rest[0]], rest[1 + rest[0] :]
        end.take(framed(body), now)
        for event in end.events():
            used = True
            assert not isinstance(event, Opened) or end._own == b"d", "a device opened something at its host"
            if isinstance(event, Came):
                held[event.channel] = held.get(event.channel, 0) + len(event.data)
                assert len(event.data) <= PACKET_BYTES
            elif not isinstance(event, Opened):
                held.clear()
        assert all(size <= CREDIT_BYTES for size in held.values()), "more is held than was granted"
        assert len(end.channels._open) <= MOST_CHANNELS
        assert len(end._carrier._early) <= WINDOW
        assert len(end.out(now)) <= 4 * WINDOW * BODY_BYTES
    end.take(data, now)
    end.out(now)
    return used
