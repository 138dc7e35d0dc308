"""Both ends of a link in one process: keys, a door that shakes hands, a target that answers."""

from __future__ import annotations

import socket
import ssl
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from bootloader.wire.errors import Refused
from bootloader.wire.limits import FRAME_BYTES
from bootloader.wire.stream import TlsStream, client_context, server_context
from bootloader.wire.strict import Method
from reactor.trust import make_identity

SOON_S = 10.0
"""How long a test waits for what has to happen."""

Pair = tuple[TlsStream, TlsStream]
"""The host's end and the device's end of one connection."""


class Keys:
    """Certificates and keys by name, on disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name, common_name in (("device", "device"), ("host", "host"), ("twin", "host"), ("other", "other")):
            identity = make_identity(common_name)
            (folder / f"{name}.crt").write_text(identity.cert_pem)
            (folder / f"{name}.key").write_text(identity.key_pem)

    def pem(self, name: str) -> str:
        return (self.folder / f"{name}.crt").read_text()

    def server(self, name: str, *trusted: str) -> ssl.SSLContext:
        return server_context(self.folder / f"{name}.crt", self.folder / f"{name}.key", "".join(map(self.pem, trusted)))

    def client(self, name: str, *trusted: str) -> ssl.SSLContext:
        return client_context(self.folder / f"{name}.crt", self.folder / f"{name}.key", "".join(map(self.pem, trusted)))


class Door:
    """A listening socket whose connections become streams of the device."""

    def __init__(self, keys: Keys, pool: ThreadPoolExecutor, host: str = "127.0.0.1") -> None:
        self.context = keys.server("device", "host")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.listening = socket.create_server((host, 0), family=family)
        self.where: tuple[str, int] = self.listening.getsockname()[:2]
        self.streams: list[TlsStream] = []
        self.pool = pool

    def accept(self, timeout_s: float = SOON_S) -> Future[TlsStream]:
        def accepted() -> TlsStream:
            sock, _ = self.listening.accept()
            stream = TlsStream(sock, self.context, server_side=True)
            self.streams.append(stream)
            stream.handshake(timeout_s)
            return stream

        return self.pool.submit(accepted)

    def close(self) -> None:
        self.listening.close()
        for stream in self.streams:
            stream.close()


class Target:
    """What the device's end offers here, and what it was asked and heard of."""

    def __init__(self) -> None:
        self.faults: list[Exception] = []
        self.asked: list[bytes] = []
        self.release = threading.Event()
        self.methods: dict[str, Method] = {
            "echo": self.echo,
            "wait": self.wait,
            "crash": self.crash,
            "refuse": self.refuse,
            "text": lambda _: "text",  # type: ignore[dict-item, return-value]
            "long": lambda _: bytes(FRAME_BYTES),
        }

    def echo(self, request: bytes) -> bytes:
        self.asked.append(request)
        return request

    def wait(self, request: bytes) -> bytes:
        self.release.wait(SOON_S)
        return request

    def crash(self, _request: bytes) -> bytes:
        raise ZeroDivisionError("a secret of the target")

    def refuse(self, _request: bytes) -> bytes:
        raise Refused("stale-root", "it starts elsewhere", to="live", do="compare", root="ab")
