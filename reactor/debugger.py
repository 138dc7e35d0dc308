"""A debugger for an application on a target: an editor here, debugpy's adapter here, its other half there, by a stream.

Owns the port on this host's loopback where the editor comes, and for each that came, an adapter process and a stream.
Whoever comes has to be of this user, where the system tells. Knows nothing of what is debugged. Nothing on the target
listens, and nothing else here: debugpy's adapter would have two ports on loopback where it takes whoever comes for an
editor, and attaches to any process of this user for that, or takes it for the application.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import os
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from bootloader.wire.errors import Fault, Refused

from . import dap
from .link import Link
from .project import Project
from .report import clean
from .stream import Stream, StreamEnded
from .targets import Target

LOOPBACK = "127.0.0.1"
_RECV_BYTES = 64 * 1024
_LINE_BYTES = 8 * 1024
_READY_S = 60.0
_LINE_S = 5.0
_END_S = 5.0

# Its only ways in: standard input and output, for the editor, and a socket that it inherits, for the application.
_ADAPTER = """
import socket, sys, threading
from debugpy.common import sockets

class Nowhere:
    def getsockname(self):
        return "127.0.0.1", 1

    def close(self):
        pass

def serve(name, handler, *_args, **_more):
    if name == "Server":
        threading.Thread(target=handler, args=(application,), daemon=True).start()
    return Nowhere()

application = socket.socket(fileno=int(sys.argv.pop()))
sockets.serve = serve
from debugpy.adapter.__main__ import main
main()
"""

Tell = Callable[[str, str], None]
"""Gets ``attached`` or ``detached``, and why."""


class Debugger:
    """``application``: empty for the main one. Listens from construction on; ``port`` 0 is any free one."""

    def __init__(self, target: Target, application: str, project: Project | None, port: int, tell: Tell) -> None:
        self._target = target
        self._application = application
        self._project = project
        self._tell = tell
        _debugpy()
        try:
            self._listening = socket.create_server((LOOPBACK, port), backlog=1)
        except OSError as error:
            why = f"can't listen there: {error.strerror or error}"
            raise Fault("port-in-use", why, to=f"{LOOPBACK}:{port}", do="use --port, or 0 for any") from error
        self.port: int = self._listening.getsockname()[1]

    def serve(self) -> None:
        """Serve one editor after the other, for ever."""
        while True:
            editor, peer = self._listening.accept()
            with editor:
                if not _is_ours(peer, editor.getsockname()):
                    self._tell("refused", "another user of this machine has come")
                    continue
                session = _Session(editor, self._target, self._application, self._project, self._tell)
                try:
                    session.run()
                finally:
                    session.close()

    def close(self) -> None:
        """Listen no more."""
        self._listening.close()


class _Session:
    """One editor, from its coming to its going."""

    def __init__(
        self, editor: socket.socket, target: Target, application: str, project: Project | None, tell: Tell
    ) -> None:
        self._editor = editor
        self._target = target
        self._application = application
        self._project = project
        self._tell = tell
        self._sending = threading.Lock()
        self._request: dap.Message = {}
        self._is_begun = False
        self._stream: Stream | None = None
        self._threads: list[threading.Thread] = []
        self._server, theirs = socket.socketpair()
        with theirs:
            self._adapter = subprocess.Popen(
                [sys.executable, "-P", "-c", _ADAPTER, str(theirs.fileno())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C is for this process
            )

    def run(self) -> None:
        """Relay until the editor is gone."""
        self._begin(self._from_adapter, "adapter")
        messages, adapter = dap.Messages(), self._adapter.stdin
        assert adapter is not None
        try:
            while data := self._editor.recv(_RECV_BYTES):
                for message in messages.feed(data):
                    if why := dap.refused(message):
                        self._send(dap.failure(message, why))
                        continue
                    if message.get("command") == "attach":
                        self._request = message
                    adapter.write(dap.encode(dap.to_adapter(message, self._mappings())))
                    adapter.flush()
        except OSError:
            return  # the editor, or the adapter, is gone
        except Fault as fault:
            self._tell("refused", clean(str(fault)))

    def close(self) -> None:
        """End all of it. The application goes on."""
        self._adapter.kill()  # first, as Ctrl-C may come while the rest is waited for
        if self._stream is not None:
            self._stream.close()
        for one in (self._server, self._editor):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._adapter.wait()
        for thread in self._threads:
            thread.join(_END_S)
        for pipe in (self._adapter.stdin, self._adapter.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        self._server.close()

    def _begin(self, what: Callable[[], None], name: str) -> None:
        thread = threading.Thread(target=what, name=f"debug {name}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _send(self, message: dap.Message) -> None:
        with self._sending, suppress(OSError):  # its reader tells that it is gone
            self._editor.sendall(dap.encode(message))

    def _from_adapter(self) -> None:
        messages, adapter, is_joined = dap.Messages(), self._adapter.stdout, False
        assert adapter is not None
        try:
            while data := os.read(adapter.fileno(), _RECV_BYTES):
                for message in messages.feed(data):
                    if dap.is_waiting(message) and not is_joined:  # the next one would be the device's
                        is_joined = True
                        self._begin(self._join, "attach")
                    elif dap.is_harmless(message):
                        self._is_begun |= message.get("event") == "initialized"
                        self._send(message)
        except Fault as fault:
            self._tell("refused", clean(str(fault)))
        with suppress(OSError):
            self._editor.shutdown(socket.SHUT_RDWR)

    def _join(self) -> None:
        """Bring the application's half to the adapter."""
        try:
            self._stream = _opened(self._target, self._application)
        except (Fault, OSError) as error:
            self._tell("refused", clean(str(error)))
            self._let_go(clean(str(error)))
            return
        self._tell("attached", f"pid {self._stream.end.pid}")
        self._begin(self._to_target, "out")
        why, messages = "the editor has left", dap.Messages()
        try:
            while True:
                for message in messages.feed(self._stream.read()):
                    self._server.sendall(dap.encode(message))
        except StreamEnded as ended:
            why = ended.what
        except (Fault, OSError) as error:
            why = clean(str(error))
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._tell("detached", why)
        if not self._is_begun:  # its adapter would wait for another one for ever
            self._let_go(why)

    def _let_go(self, why: str) -> None:
        """The editor is told that nothing comes of it."""
        self._send(dap.failure(self._request, why))
        with suppress(OSError):
            self._editor.shutdown(socket.SHUT_RDWR)

    def _to_target(self) -> None:
        assert self._stream is not None
        with suppress(OSError, Fault):  # either end is gone, which the other direction tells of
            while data := self._server.recv(_RECV_BYTES):
                self._stream.write(data)
        self._stream.close()

    @cache  # noqa: B019 - a session ends with its editor
    def _mappings(self) -> list[dict[str, str]]:
        """This host's folders, and where they lie on the target; the innermost first."""
        if self._project is None:
            return []
        with self._target.connect("debug") as link:
            live = _live(link)
        roots = sorted(self._project.roots, key=lambda root: -len(root.prefix))
        return [{"localRoot": str(root.folder), "remoteRoot": f"{live}/{root.prefix}".rstrip("/")} for root in roots]


def _live(link: Link) -> str:
    hello, _ = link.call("hello", {})
    return clean(hello.text("live"))


def _opened(target: Target, application: str) -> Stream:
    """The stream to debugpy in the application, which gets this host's where it has none."""
    name, archive = _archive()
    stream = Stream(target, "debug", application, {"archive": name, "size": len(archive)})
    try:
        line, rest = _line(stream, b"", application)
        if "need" in line:
            stream.write(archive)
            line, rest = _line(stream, rest, application)
        if "ready" not in line:
            raise Refused("not-debuggable", clean(str(line.get("failed", "")))[:1000], to=application)
        if rest:
            raise Refused("malformed", "it says more than it was asked", to=application)
        return stream
    except BaseException:
        stream.close()
        raise


def _line(stream: Stream, rest: bytes, application: str) -> tuple[dict[str, Any], bytes]:
    """The next line that the application's end says, and what has come after it."""
    deadline = time.monotonic() + _READY_S
    while b"\n" not in rest:
        if len(rest) > _LINE_BYTES:
            raise Refused("malformed", "the application's end of the stream makes no sense")
        if time.monotonic() > deadline:
            raise Refused("not-debuggable", f"no debugger answers there within {_READY_S:.0f} s", to=application)
        rest += stream.read(_LINE_S)
    line, _, rest = rest.partition(b"\n")
    try:
        told = json.loads(line)
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict):
        raise Refused("malformed", "the application's end of the stream makes no sense")
    return told, rest


def _debugpy() -> Path:
    """The folder of this host's debugpy."""
    spec = importlib.util.find_spec("debugpy")
    if spec is None or not spec.submodule_search_locations:
        raise Fault("no-debugpy", "debugpy is not installed on this host", do="pip install debugpy")
    return Path(next(iter(spec.submodule_search_locations)))


@cache
def _archive() -> tuple[str, bytes]:
    """What of debugpy runs on any machine, with its hash: Python files, and what reaches all threads on Python 3.11."""
    folder, made = _debugpy(), io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder).as_posix()
            if path.suffix == ".py" or (path.suffix == ".so" and "pydevd_attach_to_process/" in name):
                archive.writestr(zipfile.ZipInfo(f"debugpy/{name}"), path.read_bytes(), zipfile.ZIP_DEFLATED)
    data = made.getvalue()
    return hashlib.sha256(data).hexdigest(), data


def _is_ours(peer: tuple[str, int], here: tuple[str, int]) -> bool:
    """Whether who has come by loopback is this user, where the system tells who it is."""
    try:
        table = Path("/proc/net/tcp").read_text()
    except OSError:
        return True
    return owner(table, peer, here) == os.getuid()


def owner(table: str, local: tuple[str, int], remote: tuple[str, int]) -> int | None:
    """The user whose connection goes from ``local`` to ``remote``, from the text of ``/proc/net/tcp``."""
    ends = [_hexadecimal(*local), _hexadecimal(*remote)]
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 7 and fields[1:3] == ends and fields[7].isdecimal():
            return int(fields[7])
    return None


def _hexadecimal(address: str, port: int) -> str:
    number = int.from_bytes(socket.inet_aton(address), sys.byteorder)
    return f"{number:08X}:{port:04X}"
