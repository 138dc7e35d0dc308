"""The proof by which a host and a device that share a short code come to trust each other: SPAKE2, and no way around.

Both ends use this. A code of a few digits can't be tried offline, whoever listens, answers or stands between: each
exchange tests one code. What it binds are the fingerprints of both certificates, the device's being the one that the
connection's TLS has proven, so whoever ends the TLS in the middle makes two exchanges that do not fit. Knows messages,
and nothing of windows, attempts and where trust is kept. SPAKE2 is the package ``spake2``'s.
"""

from __future__ import annotations

import hmac
import secrets
import struct
from collections.abc import Mapping
from typing import Any

from . import limits
from .errors import Fault, Malformed
from .messages import Fields, answer, pack, refusal
from .stream import TlsStream

PORT = limits.PORT + 1
"""Where a window listens, if it can; else it says where."""

CODE_DIGITS = 8
MESSAGE_BYTES = 8 * 1024
"""Most bytes of one message of a pairing."""

_SHARE_BYTES = 64
_LENGTH = struct.Struct(">I")


def new_code() -> str:
    """A code that nobody can guess in a few tries, as digits."""
    return f"{secrets.randbelow(10**CODE_DIGITS):0{CODE_DIGITS}}"


def spoken(code: str) -> str:
    """A code as it is shown: in two halves."""
    return f"{code[: CODE_DIGITS // 2]}-{code[CODE_DIGITS // 2 :]}"


def digits(text: str) -> str:
    """The code in what somebody typed; a :class:`Fault` where that can't be one."""
    code = "".join(text.replace("-", " ").split())
    if len(code) != CODE_DIGITS or not (code.isascii() and code.isdecimal()):
        raise Fault("bad-code", f"a code has {CODE_DIGITS} digits", do="type the one that the device shows")
    return code


class Proof:
    """One end of one exchange. It is of no use for a second one."""

    def __init__(self, code: str, *, is_host: bool, host: str, device: str) -> None:
        """``host`` and ``device``: the fingerprints of their certificates, as this end knows them."""
        try:
            from spake2 import SPAKE2_A, SPAKE2_B
        except Exception as error:  # a stripped Python lacks what it needs; a damaged one raises anything
            what = f"no pairing without the package 'spake2' ({type(error).__name__}: {error})"
            raise Fault(
                "no-pairing", what, do="install it here, or bring the keys with `reactor trust make`"
            ) from error
        side = SPAKE2_A if is_host else SPAKE2_B
        self._side = side(code.encode(), idA=b"host " + host.encode(), idB=b"device " + device.encode())
        self._key = b""
        self.share: bytes = self._side.start()
        """What the other end is to :meth:`take`."""

    def take(self, share: bytes) -> None:
        """The other end's share. From here on, :meth:`confirms` tells whether it had the same code."""
        try:
            self._key = self._side.finish(share)
        except Exception as error:  # whatever the package makes of bytes that are no point of its curve
            raise Malformed(f"not a share of this exchange ({type(error).__name__})") from error

    def confirmation(self, *, of_host: bool) -> bytes:
        """What proves that an end has the key."""
        return hmac.digest(self._key, b"live-reactor pairing: " + (b"host" if of_host else b"device"), "sha256")

    def confirms(self, told: bytes, *, of_host: bool) -> bool:
        """Whether ``told`` is that end's confirmation."""
        return bool(self._key) and hmac.compare_digest(told, self.confirmation(of_host=of_host))


def send(stream: TlsStream, body: Mapping[str, Any]) -> None:
    """One message."""
    message = pack(body)
    stream.write(_LENGTH.pack(len(message)), message)


def send_refusal(stream: TlsStream, fault: Fault) -> None:
    """The message that says no."""
    message = refusal(fault)
    stream.write(_LENGTH.pack(len(message)), message)


def receive(stream: TlsStream, idle_s: float) -> Fields:
    """The next message; :class:`~bootloader.wire.errors.Refused` where the other end says no."""
    (size,) = _LENGTH.unpack(stream.read(_LENGTH.size, idle_s))
    if size > MESSAGE_BYTES:
        raise Malformed(f"a message of {size} bytes, the most is {MESSAGE_BYTES}")
    fields, blobs = answer(bytes(stream.read(size, idle_s)))
    if blobs:
        raise Malformed("a message of a pairing has no blobs")
    return fields


def octets(fields: Fields, key: str) -> bytes:
    """Bytes that travel as hexadecimal digits, a few of them."""
    text = fields.text(key)
    try:
        if len(text) > 2 * _SHARE_BYTES:
            raise ValueError("too long")
        return bytes.fromhex(text)
    except ValueError as error:
        raise Malformed(f"not a few bytes ({error})", to=f"field '{key}'") from error
