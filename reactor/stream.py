"""The host's end of a stream to something in an application's process, over as many links as it takes.

Owns two links, one to write over and one that waits for what comes, and how far either way has come: a link that is cut
is made again, and nothing is lost or comes twice. Knows nothing of what the bytes mean.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from bootloader.wire.errors import CallTimeout, Fault, LinkClosed, LinkDown, Malformed, Refused
from bootloader.wire.limits import STREAM_BYTES

from .link import Link
from .report import clean, whole
from .targets import Target

_WAIT_S = 20.0
_SLACK_S = 10.0
_WRITE_BYTES = 256 * 1024
_AGAIN_S = 50.0
"""How long a link is tried again: the target keeps the stream a little longer."""

_FIRST_PAUSE_S, _MOST_PAUSE_S = 0.05, 2.0

OnLink = Callable[[str, str], None]
"""Gets ``down``, with why, or ``up``."""


class StreamEnded(Fault):
    """The other end is gone: its process ended, or it closed the stream."""

    def __init__(self, what: str, *, to: str = "") -> None:
        super().__init__("stream-ended", what, to=to)


@dataclass(frozen=True, slots=True)
class End:
    """Who is at the other end."""

    application: str
    pid: int
    generation: int


class Stream:
    """Opened by construction. One thread reads, another may write, any closes."""

    def __init__(
        self,
        target: Target,
        kind: str,
        application: str = "",
        more: Mapping[str, Any] | None = None,
        *,
        beside: bool = False,
        on_link: OnLink = lambda _state, _why: None,
    ) -> None:
        """``application``: empty for the main one; ``beside``: a process of its own, in the same environment."""
        self._target = target
        self._kind = kind
        self._on_link = on_link
        self._closing = threading.Event()
        self._connecting = threading.Lock()
        self._links: dict[str, Link] = {}
        self._read = self._written = 0
        body = {"kind": kind, "application": application, "more": dict(more or {}), "beside": beside}
        try:
            answer, _ = self._link("calls").call("open", body, timeout_s=_WAIT_S)
            self._id = answer.text("stream")
            self.end = End(
                clean(answer.text("application")), whole(answer.integer("pid")), whole(answer.integer("generation"))
            )
        except BaseException:
            self.close()
            raise

    def read(self, wait_s: float = _WAIT_S) -> bytes:
        """What has come, or comes within ``wait_s``; empty where nothing does. :class:`StreamEnded` at the end."""
        body = {"stream": self._id, "at": self._read, "max_bytes": STREAM_BYTES, "wait_s": wait_s}
        fields, blobs = self._call("reads", "read", body, (), wait_s + _SLACK_S)
        if len(blobs) != 1 or len(blobs[0]) > STREAM_BYTES:
            raise Malformed("the target's answer can't be of a stream")
        self._read += len(blobs[0])
        if fields.flag("ended", False) and not blobs[0]:
            raise StreamEnded(clean(fields.text("why", "")) or "its other end is gone")
        data: bytes = blobs[0]
        return data

    def write(self, data: bytes) -> None:
        """Write all of it, however long the other end takes to read it."""
        rest = memoryview(data)
        while rest and not self._closing.is_set():
            part = bytes(rest[:_WRITE_BYTES])
            body = {"stream": self._id, "at": self._written}
            fields, _ = self._call("calls", "write", body, (part,), _WAIT_S)
            came = fields.integer("taken") - self._written
            if not 0 <= came <= len(part):
                raise Malformed("the target took what was not sent")
            self._written += came
            rest = rest[came:]

    def close(self) -> None:
        """End the stream, and with it what is at its other end."""
        already = self._closing.is_set()
        self._closing.set()
        link = self._links.get("calls")
        if not already and link is not None and not link.closed and hasattr(self, "_id"):
            with suppress(Fault):  # then it ends with its links
                link.call("close", {"stream": self._id}, timeout_s=2.0)
        for link in list(self._links.values()):
            link.close()

    def _link(self, name: str) -> Link:
        with self._connecting:
            link = self._links.get(name)
            if link is None or link.closed:
                if self._closing.is_set():
                    raise LinkClosed()
                link = self._links[name] = self._target.connect(f"{self._kind} {name}")
            return link

    def _call(self, name: str, method: str, body: Mapping[str, Any], blobs: tuple[bytes, ...], timeout_s: float) -> Any:
        """One call, over as many links as it takes: the counts in it make it the same call each time."""
        down_since, pause_s = 0.0, _FIRST_PAUSE_S
        while True:
            try:
                answer = self._link(name).call(method, body, blobs, timeout_s)
            except Refused as refused:
                if refused.code == "no-stream":
                    raise StreamEnded(
                        "the target has forgotten it, as it started again or was away for too long"
                    ) from None
                raise
            except (LinkDown, CallTimeout) as fault:
                now = time.monotonic()
                if not down_since:
                    down_since = now
                    self._on_link("down", clean(fault.what))
                self._drop(name)
                if self._closing.wait(pause_s) or now - down_since > _AGAIN_S:
                    raise
                pause_s = min(_MOST_PAUSE_S, pause_s * 2)
            else:
                if down_since:
                    self._on_link("up", "")
                return answer

    def _drop(self, name: str) -> None:
        link = self._links.pop(name, None)
        if link is not None:
            link.close()
