"""A debugger in the running application: debugpy's own half, at the end of a stream, and nothing that listens.

Owns the way in and the way out. The host has sent what debugpy needs where the application's environment has none; it
lies beside the tree, never in it. Once the stream ends, nothing stops any more, and the application runs as before.
What debugpy says on the stream is between it and the host's debug adapter.
"""

from __future__ import annotations

import io
import json
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

_ARCHIVE_BYTES = 32 * 1024 * 1024
_LINE_CHARS = 2000
_LEAVE_S = 5.0
"""So long who comes waits for the one before to be gone altogether."""
_QUIET = "PYDEVD_DISABLE_FILE_VALIDATION"
"""Else it warns that Python's own modules are frozen, on the application's standard error."""


class Debugger:
    """``cache``: the folder for what a host has sent. ``keep_to_itself``: told of the modules that it brought in."""

    def __init__(self, cache: str, keep_to_itself: Callable[[frozenset[str]], None]) -> None:
        self._cache = cache
        self._keep_to_itself = keep_to_itself
        self._attached = threading.Lock()

    def attach(self, end: socket.socket, more: Mapping[str, Any]) -> None:
        """Debug for who is at the other end of the stream, until that is closed."""
        thread = threading.Thread(target=self._serve, args=(end, more), name="debugger", daemon=True)
        thread.pydev_do_not_trace = thread.is_pydev_daemon_thread = True  # type: ignore[attr-defined]
        thread.start()

    def _serve(self, end: socket.socket, more: Mapping[str, Any]) -> None:
        with end:
            if not self._attached.acquire(timeout=_LEAVE_S):
                return _say(end, failed="another debugger is attached to it")
            try:
                self._debug(end, more)
            except Exception as error:  # noqa: BLE001 - whatever debugpy raises is told to who wanted it
                _say(end, failed=f"{type(error).__name__}: {error}"[:_LINE_CHARS])
            finally:
                self._attached.release()
        return None

    def _debug(self, end: socket.socket, more: Mapping[str, Any]) -> None:
        if "gevent.monkey" in sys.modules and sys.modules["gevent.monkey"].is_module_patched("threading"):
            return _say(end, failed="gevent has replaced Python's threads in it, which debugpy can't do with")
        before = frozenset(sys.modules)
        found = self._imported(end, more)
        if found is None:
            return _say(end, failed="debugpy is not installed there, nor has it come whole")
        pydevd, version = found
        self._keep_to_itself(frozenset(sys.modules) - before)
        other = pydevd.get_global_debugger()
        if other is not None and not other.pydb_disposed:
            return _say(end, failed="it debugs itself already: debugpy was started in its own code")
        _say(end, ready=version)
        connection = _Connection(fileno=end.detach())
        with _connecting(pydevd, connection):
            pydevd.settrace(
                host="the stream",
                port=1,
                suspend=False,
                wait_for_ready_to_run=False,  # for an editor that leaves before it has said so, that would be for ever
                patch_multiprocessing=False,
                notify_stdin=False,
                dont_trace_start_patterns=(os.path.dirname(os.path.dirname(__file__)),),
            )
        connection.over.wait()
        _leave(pydevd)
        return None

    def _imported(self, end: socket.socket, more: Mapping[str, Any]) -> tuple[Any, str] | None:
        """pydevd, the part of debugpy that is in the application, and debugpy's version; None where there is none."""
        with _environment(_QUIET, "1"):
            try:
                return _modules()
            except ImportError:
                folder = self._received(end, more)
            if folder is None:
                return None
            sys.path.insert(0, folder)
            try:
                return _modules()
            finally:
                sys.path.remove(folder)

    def _received(self, end: socket.socket, more: Mapping[str, Any]) -> str | None:
        """The folder with what the host has, by its hash: from before, or now."""
        name, size = str(more.get("archive", "")), more.get("size")
        if len(name) != 64 or not name.isalnum() or not isinstance(size, int) or not 0 < size <= _ARCHIVE_BYTES:
            return None
        place = os.path.join(self._cache, name)
        if os.path.isdir(place):
            return place
        _say(end, need=name)
        data = _read(end, size)
        import hashlib  # here, and not in each application that nobody debugs

        if hashlib.sha256(data).hexdigest() != name:
            return None
        return _unpacked(data, self._cache, place)


class _Connection(socket.socket):
    """Tells of its end, whichever side it comes from."""

    def __init__(self, fileno: int) -> None:
        super().__init__(fileno=fileno)
        self.over = threading.Event()

    def recv(self, *arguments: Any) -> bytes:
        try:
            data = super().recv(*arguments)
        except OSError:
            data = b""
        if not data:
            self.over.set()
        return data

    def close(self) -> None:
        self.over.set()
        super().close()


def _modules() -> tuple[Any, str]:
    import debugpy  # type: ignore[import-not-found,import-untyped,unused-ignore]
    import debugpy.server  # type: ignore[import-not-found,import-untyped,unused-ignore]

    return sys.modules["pydevd"], str(debugpy.__version__)


@contextmanager
def _connecting(pydevd: Any, connection: socket.socket) -> Iterator[None]:
    """What would connect to a port is given the stream."""
    before = pydevd.start_client
    pydevd.start_client = lambda _host, _port: connection
    try:
        yield
    finally:
        pydevd.start_client = before


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _leave(pydevd: Any) -> None:
    """Nothing stops any more: no breakpoint is left, what was stopped goes on, nothing is traced."""
    debugger = pydevd.get_global_debugger()
    if debugger is not None:
        from _pydevd_bundle.pydevd_api import PyDevdAPI  # type: ignore[import-not-found,unused-ignore]

        PyDevdAPI().request_disconnect(debugger, resume_threads=True)
    pydevd.stoptrace()
    if pydevd.get_global_debugger() is debugger:  # a thread of its own is at it still
        pydevd.set_global_debugger(None)


def _unpacked(data: bytes, cache: str, place: str) -> str:
    import shutil
    import tempfile
    import zipfile

    os.makedirs(cache, exist_ok=True)
    for old in os.listdir(cache):
        shutil.rmtree(os.path.join(cache, old), ignore_errors=True)
    aside = tempfile.mkdtemp(dir=cache)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        archive.extractall(aside)
    os.rename(aside, place)
    return place


def _read(end: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = end.recv(min(65536, size - len(data)))
        if not part:
            raise EOFError("the stream ended before debugpy was there")
        data += part
    return bytes(data)


def _say(end: socket.socket, **fields: Any) -> None:
    end.sendall(json.dumps(fields).encode() + b"\n")
