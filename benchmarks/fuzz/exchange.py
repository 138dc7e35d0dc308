"""The host's half of pairing, with whoever pretends to be a device: it keeps nobody that has not proven the code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

from bootloader.wire.errors import Fault
from bootloader.wire.messages import pack
from bootloader.wire.pairing import Proof
from bootloader.wire.stream import TlsStream, fingerprint
from reactor import pairing, trust

from .tape import Tape

CODE = "12345678"


class Exchange:
    """A host, and the certificate that it is shown."""

    def __init__(self, scratch: Path) -> None:
        self._home = scratch / "pairing home"
        self._me = trust.host_identity(self._home).certificate.read_text("ascii")
        self._device = trust.make_identity("porch")

    def seeds(self) -> list[bytes]:
        """What a device says, which does not know the code: shares that are points, confirmations, names."""
        proof = Proof("87654321", is_host=False, host=fingerprint(self._me), device=self._device.fingerprint)
        share = {"share": proof.share.hex()}
        proof.take(Proof(CODE, is_host=True, host=fingerprint(self._me), device=self._device.fingerprint).share)
        told = {"confirmation": proof.confirmation(of_host=False).hex(), "name": "porch", "port": 7717}
        last = {"name": "me", "role": "hosts"}
        return [_lead(share) + _lead(told) + _lead(last), _lead(share)]

    def asks(self) -> list[bytes]:
        """What a host says that guesses the code."""
        proof = Proof(CODE, is_host=True, host=fingerprint(self._me), device=self._device.fingerprint)
        return [_lead({"name": "me", "certificate": self._me, "share": proof.share.hex()})]

    def check(self, data: bytes) -> bool:
        """Whatever it says, nobody is known from then on."""
        tape = Tape(data, self._device.cert_pem, self._device.fingerprint)
        try:
            pairing._exchange(cast(TlsStream, tape), lambda _: "10.0.0.9:7717", CODE, self._me, self._home, None)
        except Fault as fault:
            assert trust.known(self._home) == []
            return fault.code == "untrusted"  # it came as far as the proof
        raise AssertionError("it was believed")


def _lead(body: Mapping[str, object]) -> bytes:
    message = pack(body)
    return len(message).to_bytes(4, "big") + message
