"""A serial port that is had over the network: pyserial's own RFC 2217 server before it, or a plain socket."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_EXPORTER = """
import socket, sys, threading
import serial
from serial import rfc2217

def words(*args):
    print(*args, flush=True)

class Port(serial.Serial):
    cts = dsr = ri = cd = True
    def _update_dtr_state(self):  # a pseudo-terminal has no such lines
        pass
    _update_rts_state = _update_dtr_state
    def _update_break_state(self):
        words("break", self._break_state)
        super()._update_break_state()
    def _reconfigure_port(self, force_update=False):
        super()._reconfigure_port(force_update)
        words("line", self._baudrate, self._parity)

class Connection:
    def __init__(self, to):
        self.to, self.lock = to, threading.Lock()
    def write(self, data):
        with self.lock:
            self.to.sendall(data)

class Plain:
    def __init__(self, port, connection):
        self.connection = connection
    def escape(self, data):
        return [data]
    filter = escape

scheme, name = sys.argv[1:]
server = socket.create_server(("127.0.0.1", 0))
words("port", server.getsockname()[1])
while True:
    to, _ = server.accept()
    port = serial.serial_for_url(name, timeout=0.05) if "://" in name else Port(name, timeout=0.05)
    manager = (rfc2217.PortManager if scheme == "rfc2217" else Plain)(port, Connection(to))
    alive = True
    def forward():
        while alive:
            data = port.read(port.in_waiting or 1)
            if data:
                manager.connection.write(b"".join(manager.escape(data)))
    reader = threading.Thread(target=forward, daemon=True)
    reader.start()
    while data := to.recv(1024):
        port.write(b"".join(manager.filter(data)))
    alive = False
    reader.join()
    port.close()
    words("left")
"""


@contextmanager
def exporter(port: object, scheme: str = "rfc2217") -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The program that exports ``port``, a path or a ``socket://``, for one caller after the other; its URL."""
    command = [sys.executable, "-c", _EXPORTER, scheme, str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, f"{scheme}://127.0.0.1:{process.stdout.readline().split()[1]}"
        finally:
            process.kill()
