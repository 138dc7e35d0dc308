"""Python's own output as records on the one pipe that the bootloader reads (``wire.records``).

``sys.stdout`` and ``sys.stderr`` become writers of records, and a log record that goes to either carries its level.
How lines look stays the application's business: its handlers and formats are untouched.
"""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import select
import sys
import threading
from typing import Any

from bootloader.wire.records import NOTE, STDERR, STDOUT, encode, level_kind


class _Level(threading.local):
    kind = ""
    """Of the log record that this thread writes, if it does."""


_level = _Level()


def _write(pipe: int, kind: str, payload: bytes) -> None:
    for record in encode(kind, payload):
        while True:
            try:
                os.write(pipe, record)  # at most PIPE_BUF: all of it, or an error
                break
            except BlockingIOError:  # somebody made the pipe non-blocking: asyncio does that to stdout
                select.select([], [pipe], [])
            except OSError as error:
                if error.errno != errno.EBADF or pipe == 1:
                    raise
                pipe = 1  # the application closed every descriptor that it does not know; this one leads there too


class _Records(io.RawIOBase):
    """A raw stream whose every write is records of one kind."""

    def __init__(self, pipe: int, kind: str, descriptor: int) -> None:
        self._pipe = pipe
        self._kind = kind
        self._descriptor = descriptor

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def write(self, data: Any) -> int:
        payload = data if type(data) is bytes else bytes(data)
        _write(self._pipe, _level.kind or self._kind, payload)
        return len(payload)


class Output:
    """The output of this process. ``pipe`` is a descriptor of its own, so that closing 1 and 2 costs no report."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe
        self._noting = threading.Lock()

    def install(self) -> None:
        """Replace ``sys.stdout`` and ``sys.stderr``, and have log records carry their level."""
        sys.stdout = _text(_Records(self._pipe, STDOUT, 1))
        sys.stderr = _text(_Records(self._pipe, STDERR, 2))
        original = logging.StreamHandler.emit

        def emit(handler: Any, record: logging.LogRecord) -> None:
            _level.kind = level_kind(record.levelno)
            try:
                original(handler, record)
            finally:
                _level.kind = ""

        logging.StreamHandler.emit = emit  # type: ignore[method-assign,assignment]

    def note(self, **fields: Any) -> None:
        """Tell the bootloader something. A long note is many writes, so threads take turns."""
        with self._noting:
            _write(self._pipe, NOTE, json.dumps(fields).encode() + b"\n")


class Text(io.TextIOWrapper):
    """Python's own; its class is one of ours, so that the object can become another one's (``repl.sink``)."""


def _text(raw: io.RawIOBase) -> Text:
    """Written a line at a time, as ``python -u`` does it: a buffer besides would only be one more step for each."""
    buffer: Any = raw
    return Text(buffer, encoding="utf-8", errors="backslashreplace", line_buffering=True)
