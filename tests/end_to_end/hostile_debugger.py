"""What debugpy in an application says to an editor, by way of a device that somebody has taken over."""

from __future__ import annotations

import json
from collections.abc import Iterator

from bootloader.wire.messages import pack
from reactor.dap import Messages, encode
from reactor.link import Link

from .lies import CLIMBING, EVIL, LEAVES, Body, changed

DEBUG = "debug"
ALL_TOLD = "that was all"
_DAP_OWN = ("type", "seq", "request_seq", "command", "event", "success")


def forged(lure: int) -> Iterator[bytes]:
    """What would have an editor or its adapter do something on their own machine, and the last word."""
    where = {"host": "127.0.0.1", "port": lure}
    run = {"kind": "integrated", "title": EVIL, "cwd": "/", "args": ["touch", CLIMBING]}
    begin = {"type": "node", "request": "launch", "name": EVIL, "program": CLIMBING, "connect": where}
    yield encode({"seq": 9001, "type": "request", "command": "runInTerminal", "arguments": run})
    started = {"request": "launch", "configuration": begin}
    yield encode({"seq": 9002, "type": "request", "command": "startDebugging", "arguments": started})
    for event, told in (
        ("debugpyAttach", begin),
        ("ptvsd_subprocess", begin),
        ("debugpySockets", {"sockets": [{**where, "internal": False}]}),
        ("debugpyWaitingForServer", where),
        ("output", {"category": "console", "output": EVIL}),
        ("output", {"category": "console", "output": ALL_TOLD}),
    ):
        yield encode({"seq": 9003, "type": "event", "event": event, "body": told})


class Debugged:
    """What debugpy in an application says, with lies in it, and at the end what nobody has asked for."""

    def __init__(self, stream: str, name: str, lure: int) -> None:
        """``name``: of the lie; ``lure``: a port of the editor's machine that nobody may come to."""
        self._stream, self._name, self._lure = stream, name, lure
        self._real = 0
        self._messages = Messages()
        self._told = bytearray()
        self._first: bytearray | None = bytearray()
        self._is_over = False

    def read(self, link: Link, body: Body) -> bytes:
        at = int(body["at"])
        if self._name == "flood" and self._is_over:
            self._told += encode({"seq": 1, "type": "event", "event": "output", "body": {"output": EVIL * 100}}) * 20
        if len(self._told) <= at:
            asked = {**body, "stream": self._stream, "at": self._real}
            fields, (data,) = link.call("read", asked, timeout_s=60)
            self._real += len(data)
            self._hear(data)
            if not data:
                return pack({"ended": fields.flag("ended"), "why": EVIL}, [b""])
        return pack({"ended": False, "why": ""}, [bytes(self._told[at : at + 100_000])])

    def _hear(self, data: bytes) -> None:
        if self._first is not None:
            self._first += data
            while self._first is not None and b"\n" in self._first:
                line, _, rest = bytes(self._first).partition(b"\n")
                told = json.loads(line)
                self._told += json.dumps(changed(told, LEAVES.get(self._name, lambda same: same))).encode() + b"\n"
                self._first, data = (None, rest) if "ready" in told else (bytearray(rest), b"")
            if self._first is not None:
                return
        for message in self._messages.feed(data):
            self._told += self._lied(message)
            if message.get("command") == "configurationDone":
                self._told += b"".join(forged(self._lure))
                self._is_over = True

    def _lied(self, message: Body) -> bytes:
        if self._name in LEAVES:
            lied = changed(message, LEAVES[self._name])
            return encode({**lied, **{key: message[key] for key in _DAP_OWN if key in message}})
        match self._name:
            case "many":
                message["body"] = {**(message.get("body") or {}), "more": [0] * 100_000}
            case "deep":
                body = b'{"type":"event","event":"output","body":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
                return b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
            case "swollen":
                return b"Content-Length: 4294967295\r\n\r\n" + b"{}," * 10_000
        return encode(message)
