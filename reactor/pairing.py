"""This host's part of pairing by a code: prove it, see it proven, and know the device from then on.

The device is kept only when it has proven the code for the certificate that it showed, and is told to keep this host
only then. Everything it says is read with distrust. Knows nothing of how a device is found or a code is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from socket import socket

from bootloader.wire import pairing as exchange
from bootloader.wire.errors import Malformed, Untrusted
from bootloader.wire.pairing import Proof, octets, receive, send
from bootloader.wire.stream import TlsStream, connect, fingerprint, pairing_host_context, secured, shown

from . import trust
from .discovery import Found
from .report import clean
from .settings import RESERVED

_CONNECT_S = 5.0
_ID_CHARS = 6
"""How many digits of an id are enough to name one."""

_SHORT_ID = 8
_NAME_CHARS = 64

_HANDSHAKE_S = 10.0
_ANSWER_S = 20.0


@dataclass(frozen=True, slots=True)
class Paired:
    """``name``: what this host calls the device; ``known_as``: what the device calls this host."""

    name: str
    address: str
    fingerprint: str
    known_as: str
    role: str
    """``hosts`` or ``observers``: it may do everything there, or look."""


def windows(found: Iterable[Found], named: str) -> dict[str, list[tuple[str, int]]]:
    """Where devices of a name, or whose id begins so, say that a window is open; all of them, where none is ``named``.

    By their ids, two of which may have one name. Whoever announces that proves nothing by it: the code does.
    """
    where: dict[str, list[tuple[str, int]]] = {}
    for one in found:
        told = one.presence
        is_meant = named in ("", told.name) or (len(named) >= _ID_CHARS and told.id.startswith(named.lower()))
        if told.pairing and is_meant:
            hosts = [address.rpartition(":")[0].strip("[]") for address in one.addresses]
            where.setdefault(told.id, []).extend((host, int(told.pairing)) for host in hosts)
    return where


def named(itself: str, key: str) -> str:
    """What this host calls a device that calls ``itself`` so: never an address, and nothing that is reserved."""
    name = re.sub(r"[^A-Za-z0-9_@-]", "-", clean(itself)).lstrip("-@_")[:_NAME_CHARS]
    return name if name and name not in RESERVED else f"{name or 'device'}-{key[:_SHORT_ID]}"


def pair(host: str, port: int, code: str, home: Path, name: str | None = None) -> Paired:
    """Pair with the device whose window is open at ``host`` and ``port``, and know it as ``name``, else as it says.

    :class:`Refused` where the device says no, :class:`Untrusted` where whoever answers does not know the code.
    """
    code = exchange.digits(code)
    stream = connect(host, port, pairing_host_context(), None, _CONNECT_S)
    return _paired(stream, lambda told: shown((host, told)), code, home, name)


def pair_over(sock: socket, where: str, code: str, home: Path, name: str | None = None) -> Paired:
    """The same with the device that ``sock`` leads to, which is to be found at ``where``."""
    code = exchange.digits(code)
    stream = secured(sock, pairing_host_context(), None, _HANDSHAKE_S, where)
    return _paired(stream, lambda _: where, code, home, name)


def _paired(stream: TlsStream, address: Callable[[int], str], code: str, home: Path, name: str | None) -> Paired:
    try:
        me = trust.host_identity(home).certificate.read_text("ascii")
        return _exchange(stream, address, code, me, home, name)
    finally:
        stream.close()


def _exchange(
    stream: TlsStream, address: Callable[[int], str], code: str, me: str, home: Path, name: str | None
) -> Paired:
    pem = stream.peer_pem
    proof = Proof(code, is_host=True, host=fingerprint(me), device=stream.peer_fingerprint)
    try:
        send(stream, {"name": trust.host_name(), "certificate": me, "share": proof.share.hex()})
        share = octets(receive(stream, _ANSWER_S), "share")
    except Untrusted as refusal:  # of the certificate, which no open window looks at
        do = "give the port that the device shows beside its code"
        raise Untrusted(
            "it takes links of hosts that it obeys there, and pairs with none", to=stream.peer, do=do
        ) from refusal
    proof.take(share)
    send(stream, {"confirmation": proof.confirmation(of_host=True).hex()})
    told = receive(stream, _ANSWER_S)
    if not proof.confirms(octets(told, "confirmation"), of_host=False):
        do = "do not trust this network"
        raise Untrusted("whoever answers there does not know the code, or stands between", to=stream.peer, do=do)
    port = told.integer("port")
    if not 0 < port < 65536:
        raise Malformed("it does not say where it listens", to=stream.peer)
    name = name or named(told.text("name"), stream.peer_fingerprint)
    where = address(port)
    trust.remember(home, name, pem, where)  # before the device keeps this host: it could not be paired with again
    send(stream, {"kept": True})
    told = receive(stream, _ANSWER_S)
    role = "observers" if told.text("role", "") == "observers" else "hosts"
    return Paired(name, where, stream.peer_fingerprint, clean(told.text("name")), role)
