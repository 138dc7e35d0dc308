"""A device that somebody has taken over: the device's own key, a real bootloader behind it, and lies on the way.

``python -m tests.end_to_end.hostile_device STATE HOME PORT``: listens once for each lie, with the key in ``STATE``,
asks the real bootloader at ``PORT`` as the host ``HOME``, and says in a line of JSON which lie is at which port.
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
from bootloader.wire.limits import FRAME_BYTES
from bootloader.wire.messages import pack, refusal, unpack
from bootloader.wire.session import KIND, Messages, framed
from bootloader.wire.stream import TlsStream
from bootloader.wire.strict import Method
from reactor.link import Link
from reactor.trust import host_identity
from tests.bootloader.wire.test_strict_frames import TO_THE_HOST, frame, message
from tests.reactor.test_report import HOSTILE

WHOLE_BYTES = 4 * 1024 * 1024
"""About how much a lie says that says as much as it can."""

EVIL = HOSTILE.replace("\ud800", "") + "\x1b]52;c;ZXZpbA==\x07"
CLIMBING = "../../../../../../etc/passwd"
_OWN = ("event", "state", "stream", "level", "boot", "kind", "outcome", "is", "status")
"""What has to be as it was for the rest to be read at all."""

Body = dict[str, Any]
Lie = Callable[[str, Body, list[bytes]], bytes]


def changed(value: Any, change: Callable[[Any], Any], key: str = "") -> Any:
    """``value``, with ``change`` made to each leaf of it but those that others hang on."""
    match value:
        case dict():
            return {name: changed(inner, change, name) for name, inner in value.items()}
        case list() if key != "python":
            return [changed(inner, change) for inner in value]
    return value if key in (*_OWN, "protocol") else change(value)


def leaves(change: Callable[[Any], Any]) -> Lie:
    """The truth, but for each value; so are the events, and what an interpreter says."""

    def lie(method: str, body: Body, blobs: list[bytes]) -> bytes:
        if method == "events":
            events = [json.loads(line) for line in blobs[0].splitlines()] if blobs else []
            told = [{**changed(event, change), "n": event["n"]} for event in events]
            return pack(body, [b"".join(json.dumps(event).encode() + b"\n" for event in told)])
        if method in ("read", "write", "open"):
            return pack(body, blobs)
        return bounded(changed(body, change), blobs)

    return lie


def bounded(body: Body, blobs: list[bytes]) -> bytes:
    """As much of it as fits a frame."""
    told = pack(body, blobs)
    while len(told) > FRAME_BYTES - 1024 and body:
        body.popitem()
        told = pack(body, blobs)
    return told


def texts(change: Callable[[str], Any]) -> Callable[[Any], Any]:
    return lambda value: change(value) if isinstance(value, str) else value


def many(_method: str, body: Body, blobs: list[bytes]) -> bytes:
    """Each list as long as fits."""
    told = {}
    for key, value in body.items():
        if isinstance(value, list) and value and key != "python":
            size = len(json.dumps(value)) // len(value) + 1
            value = value * (WHOLE_BYTES // size // len(value))
        told[key] = value
    return bounded(told, blobs)


def deep(method: str, body: Body, blobs: list[bytes]) -> bytes:
    """Nested as deep as one that reads it recursively would bear, and deeper in every third."""
    if method == "hello":
        return pack(body, blobs)
    depth = 100_000 if len(body) % 3 == 0 else 900
    text = json.dumps({**body, "blobs": [len(blob) for blob in blobs]})
    told = '{"deep":' + "[" * depth + "]" * depth + "," + text[1:]
    header = told.replace('"why":"', '"why":' + "[" * 300 + "]" * 300 + ',"y":"', 1).encode()
    return b"RL\x01" + len(header).to_bytes(4, "big") + header + b"".join(blobs)


def refused(method: str, body: Body, blobs: list[bytes]) -> bytes:
    """It says no to all but the greeting, in words of its own."""
    if method == "hello":
        return pack(body, blobs)
    place: dict[str, str | int] = {"file": CLIMBING, "line": 1, "column": 10**30, "text": EVIL}
    return refusal(Refused("lure.Lure", EVIL, to=CLIMBING, do=EVIL * 1000, **place))


def flood(method: str, body: Body, blobs: list[bytes]) -> bytes:
    """Events without end, each time as many as are taken."""
    if method != "events":
        return pack(body, blobs)
    first = max(0, int(body["cursor"]))
    line = {"event": "state", "application": "app", "state": "running", "why": "x" * 1000, "generation": 1}
    told = b"".join(json.dumps({"n": first + n, **line}).encode() + b"\n" for n in range(1, 5000))
    return pack({**body, "cursor": first + 4999}, [told])


def wrong(value: Any) -> Any:
    """Of another type."""
    return {str: 7, int: "7", bool: 1.5, float: [], type(None): {}}.get(type(value))


def swollen(method: str, body: Body, blobs: list[bytes]) -> bytes:
    """A frame full of the smallest values, which take many times as much where they are read."""
    if method == "hello":
        return pack(body, blobs)
    text = json.dumps({**body, "blobs": [len(blob) for blob in blobs]})
    header = ('{"more":[' + "{}," * (WHOLE_BYTES // 3) + "{}]," + text[1:]).encode()
    return b"RL\x01" + len(header).to_bytes(4, "big") + header + b"".join(blobs)


LIES: dict[str, Lie] = {
    "escapes": leaves(texts(lambda text: text + EVIL)),
    "long": leaves(texts(lambda text: (text + EVIL) * 3000)),
    "paths": leaves(texts(lambda text: CLIMBING if "/" in text or "." in text else text)),
    "types": leaves(wrong),
    "numbers": leaves(lambda value: 10**300 if type(value) is int else -1e308 if isinstance(value, float) else value),
    "many": many,
    "deep": deep,
    "swollen": swollen,
    "refused": refused,
    "flood": flood,
}
RAW = "brine"
"""The one that sends frames that are none, netrefs, exceptions that name a class, and calls of its own."""


class Said:
    """What an interpreter behind a stream says, with lies in it: the host's places are those of what it is told."""

    def __init__(self, link: Link, stream: str, lie: Callable[[Any], Any]) -> None:
        self._link, self._stream, self._lie = link, stream, lie
        self._messages = Messages()
        self._real = 0
        self._told = bytearray()

    def read(self, body: Body) -> bytes:
        at = int(body["at"])
        if len(self._told) <= at:
            asked = {**body, "stream": self._stream, "at": self._real}
            fields, (data,) = self._link.call("read", asked, timeout_s=60)
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
            return SAID[asked["stream"]].read(asked)
        try:
            told, parts = self._truth(method, asked, blobs)
        except Refused as fault:
            return refusal(fault)
        except Fault:
            return b""
        if method == "open" and asked.get("kind") == KIND and self._name in ("escapes", "paths", "types"):
            change = {"types": wrong, "paths": texts(lambda _: CLIMBING)}.get(
                self._name, texts(lambda text: text + EVIL)
            )
            SAID[told["stream"]] = Said(self._link, told["stream"], change)
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
        answer, parts = self._link.call(method, asked, blobs, timeout_s=60)
        return {key: value for key, value in answer.plain().items() if key != "blobs"}, parts


SAID: dict[str, Said] = {}


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


def main(state: Path, home: Path, port: int) -> None:
    trust = state / "trust"
    ports = {name: listen(trust, home, trust / "device.crt", port, name) for name in LIES}
    print(json.dumps({**ports, RAW: listen_raw(trust)}), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
