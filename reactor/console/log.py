"""The file that keeps what a serial port said: its bytes as they came, at the end of what is there already.

With stamps, each line is preceded by when it began; nothing else is ever added. A disk that says no ends the log, which
is told once, and not the console.
"""

from __future__ import annotations

from pathlib import Path

from bootloader.wire.errors import Fault

from .stamp import Stamped


class Log:
    """The file at ``path``, open for more."""

    def __init__(self, path: Path, *, stamped: bool) -> None:
        self.path = path
        self._stamped = Stamped() if stamped else None
        try:
            self._file = path.open("ab", buffering=0)
        except OSError as error:
            raise Fault("log-failed", f"can't be written: {error.strerror}", to=str(path)) from None

    def write(self, data: bytes, stamp: str) -> None:
        """Add ``data``, which came at ``stamp``. OSError where it can't be; it is not tried again."""
        if self._file.closed:
            return
        if self._stamped is not None:
            data = self._stamped.feed(data.decode("latin-1"), stamp).encode("latin-1")
        try:
            while data:
                data = data[self._file.write(data) or 0 :]
        except OSError:
            self._file.close()
            raise

    def close(self) -> None:
        """No more."""
        self._file.close()
