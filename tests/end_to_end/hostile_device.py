"""A device that somebody has taken over: the device's own key, a real bootloader behind it, and lies on the way.

``python -m tests.end_to_end.hostile_device STATE HOME PORT LURE``: listens once for each lie, with the key in
``STATE``, asks the real bootloader at ``PORT`` as the host ``HOME``, and says in a line of JSON which lie is at which
port. An editor is told of the port ``LURE``. At that of ``console`` is a serial port, which says them all.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from bootloader.listener import Listener
from bootloader.trust import Trust
from bootloader.wire.errors import Fault, Refused
from bootloader.wire.messages import pack, refusal, unpack
from bootloader.wire.session import KIND, Messages, framed
from bootloader.wire.stream import TlsStream
from bootloader.wire.strict import Method
from reactor.link import Link
from reactor.trust import host_identity
from tests.bootloader.wire.test_strict_frames import TO_THE_HOST, frame, message

from .hostile_debugger import ALL_TOLD, DEBUG, Debugged
from .lies import CLIMBING, EVIL, LIES, Body, changed, texts, wrong

CONSOLE = "console"
SERIAL_BYTES, SERIAL_S = 4 * 1024, 0.2
RAW = "brine"
"""The one that sends frames that are none, netrefs, exceptions that name a class, and calls of its own."""


class Said:
    """What an interpreter behind a stream says, with lies in it: the host's places are those of what it is told."""

    def __init__(self, stream: str, lie: Callable[[Any], Any]) -> None:
        self._stream, self._lie = stream, lie
        self._messages = Messages()
        self._real = 0
        self._told = bytearray()

    def read(self, link: Link, body: Body) -> bytes:
        at = int(body["at"])
        if len(self._told) <= at:
            asked = {**body, "stream": self._stream, "at": self._real}
            fields, (data,) = link.call("read", asked, timeout_s=60)
            self._real += len(data)
            for one, blobs in self._messages.feed(data):
                self._told += framed({**changed(one.plain(), self._lie), "id": one.plain().get("id", 0)}, blobs)
            if not data:
                return pack({"ended": fields.flag("ended"), "why": EVIL}, [b""])
        return pack({"ended": False, "why": ""}, [bytes(self._told[at : at + 100_000])])


class Methods(Mapping[str, Method]):
    """Whatever is asked, over one link."""

    def __init__(self, link: Link, name: str) -> None:
        self._link, self._name = link, name
        self._said: dict[str, Said] = {}
        self.release = ""

    def __getitem__(self, method: str) -> Method:
        return lambda request: self._answer(method, request)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def _answer(self, method: str, request: bytes) -> bytes:
        fields, blobs = unpack(request)
        asked = {key: value for key, value in fields.plain().items() if key != "blobs"}
        if method == "read" and asked.get("stream") in SAID:
            return SAID[asked["stream"]].read(self._link, asked)
        try:
            told, parts = self._truth(method, asked, blobs)
        except Refused as fault:
            return refusal(fault)
        except Fault:
            return b""
        if method == "open" and asked.get("kind") == DEBUG and self._name != "refused":
            SAID[told["stream"]] = Debugged(told["stream"], self._name, int(sys.argv[4]))
            return pack(told, parts)
        if method == "write" and asked.get("stream") in SAID and self._name not in ("numbers", "refused"):
            return pack(told, parts)  # what is told after that is a lie, too
        if method == "open" and asked.get("kind") == KIND and self._name in ("escapes", "paths", "types"):
            change = {"types": wrong, "paths": texts(lambda _: CLIMBING)}.get(
                self._name, texts(lambda text: text + EVIL)
            )
            SAID[told["stream"]] = Said(told["stream"], change)
        return LIES[self._name](method, told, parts)

    def _truth(self, method: str, asked: Body, blobs: list[bytes]) -> tuple[Body, list[bytes]]:
        canned: dict[str, Body] = {
            "upgrade": {"release": asked.get("root", "")},
            "confirm": {"release": asked.get("release", "")},
            **{"distrust": {}, "role": {}},
            "invite": {"code": "12345678", "host": "0.0.0.0", "port": 7, "open_s": 1.0, "role": asked.get("role", "")},
        }
        if method in canned:
            return canned[method], []
        if "session" in asked:
            asked["session"] = RAW  # all liars are one device, and none is to be told that another one has the lease
        answer, parts = self._link.call(method, asked, blobs, timeout_s=60)
        return {key: value for key, value in answer.plain().items() if key != "blobs"}, parts


SAID: dict[str, Said | Debugged] = {}


def listen(trust: Path, home: Path, certificate: Path, port: int, name: str) -> int:
    @contextmanager
    def link(_host: str, _observes: bool, _is_dismissed: Callable[[], bool]) -> Iterator[Mapping[str, Method]]:
        with Link.connect("127.0.0.1", port, host_identity(home), certificate, 20.0) as upstream:
            yield Methods(upstream, name)

    listener = Listener(
        ("127.0.0.1", 0), Trust.load(trust), link, lambda *_: None, lambda error: print(error, file=sys.stderr)
    )
    listener.start()
    return listener.address[1]


def listen_raw(trust: Path) -> int:
    """Each link gets the next of what no device would send, in place of its first answer."""
    listening = socket.create_server(("127.0.0.1", 0))
    context = Trust.load(trust).context
    evil = [*TO_THE_HOST.values(), frame(message(3, 0, (("lure", "Lure"), (), (), "Traceback: " + EVIL)))]

    def serve(stream: TlsStream, answer: bytes) -> None:
        with suppress(Fault):
            stream.handshake(20.0)
            stream.read(5, 20.0)
            stream.write(answer)
            stream.read(1 << 20, 20.0)
        stream.close()

    def accept() -> None:
        turn = 0
        while True:
            sock, _ = listening.accept()
            stream = TlsStream(sock, context, server_side=True)
            threading.Thread(target=serve, args=(stream, evil[turn % len(evil)]), daemon=True).start()
            turn += 1

    threading.Thread(target=accept, daemon=True).start()
    return int(listening.getsockname()[1])


def listen_serial() -> int:
    """A serial port on the network, which says all lies as bytes, and what is none, again and again."""
    listening = socket.create_server(("127.0.0.1", 0))
    told: Body = {"name": "porch", "why": "it is /so", "rows": [{"n": 1, "text": "a.b"}], "blobs": [], "x_s": 1.0}
    lines = [b'{"n": 1, "event": "log", "text": "up"}\n']
    methods = ("status", "events")
    lies = [lie(one, {**told, "cursor": 0}, lines)[:SERIAL_BYTES] for lie in LIES.values() for one in methods]
    raw = [EVIL.encode() * 100, b"\xff\xfa" * 1000, bytes(range(256)) * 10, *TO_THE_HOST.values()]
    said = b"\r\n".join((*lies, *(one[:SERIAL_BYTES] for one in raw), ALL_TOLD.encode(), b""))

    def accept() -> None:
        while True:
            sock, _ = listening.accept()
            sock.settimeout(SERIAL_S)
            with sock, suppress(ConnectionError):
                while True:
                    sock.sendall(said)
                    with suppress(TimeoutError):
                        if not sock.recv(1):
                            break

    threading.Thread(target=accept, daemon=True).start()
    return int(listening.getsockname()[1])


def main(state: Path, home: Path, port: int) -> None:
    trust = state / "trust"
    ports = {name: listen(trust, home, trust / "device.crt", port, name) for name in LIES}
    print(json.dumps({**ports, RAW: listen_raw(trust), CONSOLE: listen_serial()}), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
