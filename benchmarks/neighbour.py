"""``python -m benchmarks.neighbour ATTACK PORT HOME``: somebody without a key that is obeyed, at a device's door.

Goes on as fast as he is let until he is killed, and writes a byte for each thing that he has done to it.
"""

from __future__ import annotations

import os
import select
import socket
import ssl
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from bootloader.wire.stream import pairing_host_context
from reactor import trust

AT_ONCE = 128
HANDSHAKES_AT_ONCE = 8
_CALL_S = 20.0
_WAIT_S = 0.1
_HALF_A_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"

Address = tuple[str, int]
Attack = Callable[[Address, Path], None]
"""Takes where the device listens, and the home of a host that it does not obey."""


def connections(where: Address, _home: Path) -> None:
    """From ever other addresses, each with half a hello, and a new one for each that is ended."""
    _crowd(where, _HALF_A_HELLO[:4], spread=250)


def slow_loris(where: Address, _home: Path) -> None:
    """From a few addresses, as many as are let in, each with a byte of a hello now and then."""
    _crowd(where, b"", spread=8, drip=_HALF_A_HELLO)


def garbage(where: Address, _home: Path) -> None:
    """From ever other addresses, 4 KiB of what is no TLS, and a new connection for each that is ended."""
    _crowd(where, os.urandom(4096), spread=250)


def handshakes(where: Address, home: Path) -> None:
    """Whole ones, with a certificate that is not known, and then what no host may say: they cost a device most."""
    identity = trust.host_identity(home)
    context = pairing_host_context()
    context.load_cert_chain(identity.certificate, identity.key)
    for number in range(HANDSHAKES_AT_ONCE):
        if not os.fork():
            _shake(where, context, f"127.2.0.{number + 1}")
    os.wait()


def _shake(where: Address, context: ssl.SSLContext, source: str) -> None:
    while True:
        with (
            suppress(OSError),
            socket.create_connection(where, _CALL_S, (source, 0)) as sock,
            context.wrap_socket(sock) as tls,
        ):
            with suppress(OSError):
                tls.sendall(b"\xff" * 64)
            tls.recv(1)
        _count()


def _crowd(where: Address, first: bytes, *, spread: int, drip: bytes = b"") -> None:
    """Some connections at a time, from ``spread`` addresses in turns. ``drip``: a byte of it to each, in rounds."""
    there: dict[int, socket.socket] = {}
    made, round_s, byte = 0, time.monotonic(), 0
    with select.epoll() as ends:
        while True:
            while len(there) < AT_ONCE:
                sock = socket.socket()
                sock.setblocking(False)
                sock.bind((f"127.1.{made // spread % 250}.{made % spread + 1}", 0))
                sock.connect_ex(where)
                with suppress(OSError):
                    sock.send(first)
                there[sock.fileno()] = sock
                ends.register(sock, select.EPOLLIN)
                made += 1
                _count()
            for number, _ in ends.poll(_WAIT_S):
                ends.unregister(number)
                there.pop(number).close()
            if drip and time.monotonic() - round_s > _WAIT_S:
                round_s, byte = time.monotonic(), (byte + 1) % len(drip)
                for sock in there.values():
                    with suppress(OSError):
                        sock.send(drip[byte : byte + 1])


ATTACKS: Mapping[str, Attack] = {
    "a flood of connections": connections,
    "slow-loris handshakes": slow_loris,
    "garbage": garbage,
    "whole handshakes": handshakes,
}


def _count() -> None:
    os.write(1, b".")


if __name__ == "__main__":
    ATTACKS[sys.argv[1]](("127.0.0.1", int(sys.argv[2])), Path(sys.argv[3]))
