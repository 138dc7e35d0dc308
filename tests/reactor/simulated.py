"""A target in this process: the real listener and link, a real journal, and answers that can be made to lie."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from bootloader.journal import Journal
from bootloader.listener import Listener
from bootloader.trust import Trust
from bootloader.wire.errors import Refused
from bootloader.wire.limits import PROTOCOL
from bootloader.wire.manifest import EMPTY, Manifest
from bootloader.wire.messages import Fields, pack, unpack
from bootloader.wire.overlay import Overlay, apply
from reactor.link import Link
from reactor.trust import host_identity, issue

SOON_S = 10.0

Lie = tuple[dict[str, Any], list[bytes]] | bytes | Callable[[Fields, list[bytes]], bytes]


class Simulated:
    """Keeps trees as manifests, and finds every program healthy.

    ``lies`` are told in place of the true answer: a body and blobs, or raw bytes, or a function of the request.
    """

    def __init__(self, state: Path, home: Path, name: str = "device") -> None:
        self.name = name
        self.journal = Journal()
        self.past: Journal | None = None
        """What it has kept of an earlier start."""
        self.manifest: Manifest = EMPTY
        self.known = {EMPTY.root: EMPTY}
        self.generation = self.change = 0
        self.uploaded: dict[str, bytearray] = {}
        self.lies: dict[str, Lie] = {}
        self.calls: list[str] = []
        self.ending = threading.Event()
        self._home = home
        issue(state, home, name)
        self._certificate = state / "trust" / "device.crt"
        trust = Trust.load(state / "trust")
        own = ("hello", "history", "manifest", "missing", "upload", "apply", "start", "status", "events")
        names = (*own, "open", "write", "read", "close")  # who needs the last ones tells what to answer
        methods = {name: self._method(name) for name in names}
        self._listener = Listener(
            ("127.0.0.1", 0), trust, lambda *_: nullcontext(methods), lambda *_: None, lambda _: None
        )
        self._listener.start()

    def connect(self, purpose: str) -> Link:
        return Link.connect(*self._listener.address, host_identity(self._home), self._certificate, SOON_S, purpose)

    def close(self) -> bool:
        self.ending.set()
        self.journal.close(0)
        self._listener.close()
        return True

    def blob(self, name: str) -> bytes:
        """What it was given."""
        return bytes(self.uploaded[name])

    def truth(self, name: str, fields: Fields, blobs: list[bytes]) -> bytes:
        """The honest answer."""
        answer: bytes = getattr(self, f"_{name}")(fields, blobs)
        return answer

    def _method(self, name: str) -> Callable[[bytes], bytes]:
        def method(request: bytes) -> bytes:
            self.calls.append(name)
            fields, blobs = unpack(request)
            lie = self.lies.get(name)
            if lie is None:
                return self.truth(name, fields, blobs)
            if isinstance(lie, bytes):
                return lie
            return pack(*lie) if isinstance(lie, tuple) else lie(fields, blobs)

        return method

    def _hello(self, _fields: Fields, _blobs: list[bytes]) -> bytes:
        told = {"protocol": PROTOCOL, "boot": self.journal.boot, "python": [3, 11, 0], "live": "/device/live"}
        return pack({**told, "root": self.manifest.root, "generation": self.generation})

    def _history(self, _fields: Fields, _blobs: list[bytes]) -> bytes:
        newest = {"generation": self.generation, "root": self.manifest.root, "who": "x", "rung": "restart", "why": "y"}
        return pack({"root": self.manifest.root, "generations": [newest]})

    def _manifest(self, fields: Fields, _blobs: list[bytes]) -> bytes:
        return pack({}, [self.known[fields.text("root")].text])

    def _missing(self, fields: Fields, _blobs: list[bytes]) -> bytes:
        return pack({"missing": [name for name, _ in fields.rows("names") if name not in self.uploaded]})

    def _upload(self, fields: Fields, blobs: list[bytes]) -> bytes:
        for (name, offset, _), part in zip(fields.rows("parts"), blobs, strict=True):
            content = self.uploaded.setdefault(name, bytearray())
            if offset != len(content):
                del self.uploaded[name]
                raise Refused("wrong-part", "a part out of order")
            content += part
        return pack({})

    def _apply(self, fields: Fields, blobs: list[bytes]) -> bytes:
        overlay = Overlay.decode(fields, blobs)
        manifest = apply(overlay, self.manifest)
        for name, blob in overlay.blobs.items():
            whole = blob if isinstance(blob, bytes) else blob.delta.apply(self.blob(blob.base))
            self.uploaded[name] = bytearray(whole)
        for path, entry in overlay.edits.items():
            if entry is not None and path.endswith(".py") and entry.blake3 in self.uploaded:
                _compile(self.blob(entry.blake3), path)
        self.manifest = manifest
        self.known[self.manifest.root] = self.manifest
        self.generation += 1
        return pack({**self._changed(), "rung": "restart", "why": "code changed", "stages_ms": {"stop": 0.1}})

    def _start(self, _fields: Fields, _blobs: list[bytes]) -> bytes:
        return pack({**self._changed(), "started": ["main"]})

    def _changed(self) -> dict[str, Any]:
        self.change += 1
        told = {"change": self.change, "generation": self.generation}
        self.journal.add("generation", {**told, "state": "running"})
        self.journal.add("generation", {**told, "state": "healthy"})
        return {**told, "root": self.manifest.root}

    def _status(self, _fields: Fields, _blobs: list[bytes]) -> bytes:
        return pack({"applications": [{"application": "main", "state": "healthy"}]})

    def _events(self, fields: Fields, _blobs: list[bytes]) -> bytes:
        cursor = fields.integer("cursor") if fields.text("boot") == self.journal.boot else 0
        most, size = fields.integer("max_events"), fields.integer("max_bytes")
        if self.past is not None and fields.text("boot") == self.past.boot:
            cursor, lost, lines = self.past.pull(fields.integer("cursor"), most, size, 0)
            return pack({"boot": self.past.boot, "cursor": cursor, "lost": lost, "ended": not lines}, [lines])
        cursor, lost, lines = self.journal.pull(cursor, most, size, fields.number("wait_s"))
        return pack(
            {"boot": self.journal.boot, "cursor": cursor, "lost": lost, "ended": self.journal.ended(cursor)}, [lines]
        )


def _compile(source: bytes, path: str) -> None:
    try:
        compile(source, path, "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        raise Refused("syntax-error", "does not compile", to=path, file=path) from error
