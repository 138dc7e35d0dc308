"""A real bootloader to be fuzzed over real sockets: at its door, past the handshake, in its service, at its window.

What it answers to good requests is also what the inputs for the host's side are made from.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from bootloader.wire.errors import Fault, LinkDown, Refused, Untrusted
from bootloader.wire.manifest import EMPTY
from bootloader.wire.messages import Fields, answer, pack
from bootloader.wire.overlay import diff
from bootloader.wire.stream import client_context, connect, fingerprint, pairing_host_context
from reactor import trust

from ..chaos.device import Device
from ..chaos.generations import make
from . import pure

SOON_S = 20.0
MOST_GROWTH_BYTES = 96 * 1024 * 1024

_HARMLESS = (
    *("hello", "status", "manifest", "missing", "upload", "apply", "stack", "history", "boots", "events", "write"),
    *("read", "close", "trust", "role", "distrust", "confirm", "upgrade", "nothing such"),
)
"""What is asked with odd messages. The others do what they do whatever the message holds."""


class Live:
    """One bootloader, one host that it obeys, one window to pair in."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._pem = device.certificate.read_text("ascii")
        identity = trust.host_identity(device.home)
        self._context = client_context(identity.certificate, identity.key, self._pem)
        self._link = device.link("fuzz")
        self._pid = device.pid
        self._turn = 0
        self._rss = self._rss_bytes()
        self._root = device.root()
        self._hosts = self._trusted()
        self._window = 0

    def _call(self, method: str, body: dict[str, Any]) -> tuple[Fields, list[bytes]]:
        return self._link.call(method, body, timeout_s=SOON_S)

    def _trusted(self) -> list[list[Any]]:
        return self._call("trust", {})[0].rows("hosts")

    def _rss_bytes(self) -> int:
        return int(Path(f"/proc/{self._pid}/status").read_text().partition("VmRSS:")[2].split()[0]) * 1024

    # seeds

    def said(self) -> list[bytes]:
        """What it answers to good requests."""
        asks: dict[str, dict[str, Any]] = {
            **{"hello": {}, "status": {"measure_s": 0.1}, "history": {}, "boots": {}, "trust": {}, "events": {}},
            **{
                "stack": {"application": "app"},
                "manifest": {"root": self._root},
                "missing": {"names": [["0" * 64, 3]]},
            },
        }
        told = []
        for method, body in asks.items():
            fields, blobs = self._call(method, body)
            told.append(pack({key: value for key, value in fields.plain().items() if key != "blobs"}, blobs))
        with suppress(Refused):
            self._call("manifest", {"root": "0" * 64})
        return told

    def lines(self) -> list[bytes]:
        """Its events."""
        return [self._call("events", {})[1][0]]

    def asks(self) -> list[bytes]:
        """Good requests, none of which can do anything: what they name is not there."""
        body, blobs = diff(EMPTY, pure.TREE).message()
        bodies: tuple[dict[str, Any], ...] = (
            *({}, {"limit": 3}, {"root": self._root}, {"names": [["0" * 64, 7]]}, {"application": "app"}),
            *({"cursor": 1, "max_events": 5, "boot": "x"}, {"cursor": -1, "attached": False}, {"release": "0" * 64}),
            *({"name": "nobody", "role": "observers"}, {"stream": "x", "at": 0, "max_bytes": 9}),
        )
        return [
            *(pack(one) for one in bodies),
            pack({"parts": [["0" * 64, 0, 3]]}, [b"abc"]),
            pack({"stream": "x", "at": 0}, [b"abc"]),
            pack(body, blobs),
        ]

    def frames(self) -> list[bytes]:
        """Good frames."""
        return [pure.request(name, message) for name in ("hello", "status", "history") for message in self.asks()[:3]]

    # parts

    def service(self, data: bytes) -> bool:
        """A request of a host that is obeyed: an answer, or a refusal in our own words."""
        self._turn += 1
        method = _HARMLESS[self._turn % len(_HARMLESS)]
        try:
            answer(self._link._caller.call(method, data, SOON_S))
        except Refused as refused:
            if refused.code == "internal-error":  # whatever is asked, a request meets no fault inside
                raise
            return refused.code not in ("malformed", "unknown-method")
        return True

    def past(self, data: bytes) -> bool:
        """Bytes of a host that is obeyed, in place of frames: what comes is frames, or the end."""
        stream = connect("127.0.0.1", self._device.port, self._context, fingerprint(self._pem), SOON_S)
        try:
            stream.write(data)
            with suppress(OSError):  # it was faster
                socket.socket.shutdown(stream._ssl, socket.SHUT_WR)
            head = stream.read(5, SOON_S)
            stream.read(int.from_bytes(head[:4], "big") + 1, SOON_S)
        except (LinkDown, Untrusted):  # the end, or the alert about one in mid-message
            return False
        finally:
            stream.close()
        return True

    def door(self, data: bytes) -> bool:
        """Bytes of anybody, in place of TLS: alerts, or the beginning of a handshake that does not end."""
        with socket.create_connection(("127.0.0.1", self._device.port), SOON_S) as sock:
            said = b""
            with suppress(OSError):
                sock.sendall(data)
                sock.shutdown(socket.SHUT_WR)
                while part := sock.recv(65536):
                    said += part
        assert said[:1] in (b"", b"\x15", b"\x16"), said[:100]
        return said[:1] == b"\x16"

    def window(self, data: bytes) -> bool:
        """Bytes of anybody in the window to pair in: a refusal, or the device's share; never more."""
        if not self._window:
            self._window = self._call("invite", {})[0].integer("port")
        try:
            stream = connect("127.0.0.1", self._window, pairing_host_context(), None, SOON_S)
        except LinkDown:  # too many tries, or two minutes
            self._window = 0
            return False
        try:
            stream.write(data)
            with suppress(OSError):  # it was faster
                socket.socket.shutdown(stream._ssl, socket.SHUT_WR)
            size = int.from_bytes(stream.read(4, SOON_S), "big")
            told, _ = answer(bytes(stream.read(size, SOON_S)))
            assert told.plain().keys() == {"share", "blobs"}
        except (Refused, LinkDown, Untrusted):
            return False
        finally:
            stream.close()
        return True

    def at_rest(self) -> None:
        """It is as it was, whatever was said to it."""
        self._call("status", {})
        assert int(self._call("hello", {})[0].integer("pid")) == self._pid, "it was started again"
        assert self._device.root() == self._root
        assert self._trusted() == self._hosts
        assert self._rss_bytes() - self._rss < MOST_GROWTH_BYTES, "it has grown"
        events = b"".join(self._call("events", {"cursor": -200})[1])
        assert b'"internal-error"' not in events, events[-2000:]

    def close(self) -> None:
        """Leave it."""
        self._link.close()


def hello() -> bytes:
    """The first bytes of a handshake, as a host sends them."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    out = ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), out).do_handshake()
    return out.read()


@contextmanager
def living(scratch: Path, chance: Any) -> Iterator[Live]:
    """One that runs an application."""
    device = Device(scratch / "state", scratch / "home", scratch / "log")
    device.meet()
    device.start()
    try:
        good = make(1, None, chance)
        device.ship(good)
        device.says(good.says)
        live = Live(device)
        try:
            yield live
        finally:
            live.close()
    finally:
        with suppress(Fault):
            device.cut()
