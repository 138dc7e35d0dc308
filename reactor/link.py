"""A pinned connection to one target, and its calls: a method's name and a message in, a message out.

Owns one connection and its reader thread; whoever needs two (control, events) makes two. Knows nothing of what the
methods mean, and takes nothing that the target sends on trust: shapes are checked where they are read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from socket import socket
from typing import Any, Self

from bootloader.wire.errors import Fault, OtherProtocol
from bootloader.wire.messages import Fields, answer, pack
from bootloader.wire.stream import client_context, connect, fingerprint, only_certificate, secured
from bootloader.wire.strict import Caller

from .room import Flow, Room
from .trust import Device, KeyPair

CALL_S = 10.0
BATCH_BYTES = 128 * 1024
"""No network is so slow that these alone look like a target that does not answer."""


class Link:
    """One live connection. Threads may share it; the first fault that is a link's ends it for all of them."""

    def __init__(self, caller: Caller, batch_bytes: int = BATCH_BYTES, fingerprint: str = "") -> None:
        """Use :meth:`connect`, or :meth:`over`."""
        self._caller = caller
        self.flow = Flow(batch_bytes)
        """How much to ask for at once where there may be many, so that others get a word in."""
        self.room = Room()
        """How much one call is to carry where there is much to send."""
        self.fingerprint = fingerprint
        """Of the device at the other end, where it was one of several."""

    @classmethod
    def connect(
        cls, address: str, port: int, identity: KeyPair, device_cert: Path, timeout_s: float, name: str = "link"
    ) -> Link:
        """The link to the target at ``address`` that holds the key of ``device_cert``; ``name`` names its thread.

        :class:`LinkDown` where nothing answers, :class:`Untrusted` where something else does.
        """
        pem, pin = _pem(device_cert)
        context = client_context(identity.certificate, identity.key, pem)
        return cls(Caller(connect(address, port, context, pin, timeout_s), name))

    @classmethod
    def over(
        cls,
        sock: socket,
        peer: str,
        identity: KeyPair,
        devices: Sequence[Device],
        timeout_s: float,
        name: str,
        batch_bytes: int = BATCH_BYTES,
    ) -> Link:
        """The link to one of ``devices`` over ``sock``, which leads to ``peer``; ``batch_bytes`` are soon there."""
        known = "".join(_pem(one.certificate)[0] for one in devices)
        context = client_context(identity.certificate, identity.key, known)
        stream = secured(sock, context, None, timeout_s, peer)
        if stream.peer_fingerprint not in {one.fingerprint for one in devices}:
            raise stream.distrust()
        return cls(Caller(stream, name), batch_bytes, stream.peer_fingerprint)

    def call(
        self,
        method: str,
        body: Mapping[str, Any],
        blobs: Sequence[bytes] = (),
        timeout_s: float = CALL_S,
    ) -> tuple[Fields, list[bytes]]:
        """What the target's ``method`` answers; :class:`Refused` where it says no.

        Besides that :class:`Malformed` (the answer makes no sense), :class:`CallTimeout`, :class:`LinkDown`,
        :class:`Untrusted` and :class:`LinkClosed`.
        """
        try:
            return answer(self._caller.call(method, pack(body, blobs), timeout_s))
        except OtherProtocol as other:
            here, there = (
                "in a newer clone of live-reactor, here: pip install '.[host]'",
                "reactor provision USER@HOST renews it there",
            )
            other.do = there if other.is_older else here
            raise

    @property
    def unacknowledged_bytes(self) -> int:
        """What was sent, and has not come to the target's system; 0 where this system does not tell."""
        return self._caller.unacknowledged_bytes

    @property
    def closed(self) -> bool:
        """Whether the link has ended, by whichever end."""
        return self._caller.closed

    def close(self) -> None:
        """End the link; waiting calls raise :class:`LinkClosed`."""
        self._caller.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _pem(certificate: Path) -> tuple[str, str]:
    """A device's certificate, and its fingerprint."""
    try:
        pem = only_certificate(certificate.read_text("ascii"))
        return pem, fingerprint(pem)
    except (OSError, ValueError) as error:
        what = f"the device's certificate can't be read ({error})"
        do = "remove that file, and pair with the device again"
        raise Fault("unusable-identity", what, to=str(certificate), do=do) from error
