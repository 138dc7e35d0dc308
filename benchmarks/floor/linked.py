"""``python -m benchmarks.floor.linked TREE IDENTITY``: what the way of a save costs, with nothing decided on it.

As :mod:`.patched`, with what a target does besides that can't be left out: TLS and RPyC's frames, a process for the
link and one for the application, the content verified and kept under its name, a second tree, and one rename that makes
it live. Nothing is compared, nothing can be refused or undone, nobody hears of anything. Prints its port.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

from bootloader.wire.limits import FRAME_BYTES
from bootloader.wire.manifest import blob_name
from bootloader.wire.messages import pack, unpack
from bootloader.wire.stream import TlsStream, server_context
from bootloader.wire.strict import serve

HANDSHAKE_S = 10.0


class Target:
    """``tree``: the first of the two; ``application`` runs what is there."""

    def __init__(self, tree: Path, application: subprocess.Popen[bytes]) -> None:
        self._tree, self._application = tree, application
        self._objects, self._live = tree.with_name("objects"), tree.with_name("live")
        self._objects.mkdir()

    def apply(self, request: bytes) -> bytes:
        """One saved file; answered when the application has it."""
        fields, (content,) = unpack(request)
        name, path = fields.text("blake3"), fields.text("path")
        if blob_name(content) != name:
            raise ValueError("it is not what it says")
        _write(self._objects / "new", content)
        (self._objects / "new").rename(self._objects / name)
        (self._tree / path).unlink()
        _write(self._tree / path, content)
        self._live.with_name("next").symlink_to(self._tree)
        self._live.with_name("next").rename(self._live)
        orders, answers = self._application.stdin, self._application.stdout
        assert orders is not None
        assert answers is not None
        orders.write(json.dumps({"path": path}).encode() + b"\n")
        answers.readline()
        return pack({})


def _write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        os.write(descriptor, content)
    finally:
        os.close(descriptor)


def main(tree: Path, identity: Path) -> None:
    """Runs until its host goes, or it is killed."""
    command = [sys.executable, "-m", "benchmarks.floor.taking", str(tree)]
    application = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
    certificate = identity / "host.crt"
    context = server_context(certificate, identity / "host.key", certificate.read_text())
    with socket.create_server(("127.0.0.1", 0)) as server:
        print(server.getsockname()[1], flush=True)
        connection, _ = server.accept()
    stream = TlsStream(connection, context, server_side=True)
    stream.handshake(HANDSHAKE_S)
    serve(stream, {"apply": Target(tree, application).apply}, _fail, FRAME_BYTES)


def _fail(error: Exception) -> None:
    print(error, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
