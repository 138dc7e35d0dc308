"""One serial console: its port is read on a thread of its own, and waited for where it is unplugged.

Owns that thread, the one that sends, and what has come and was not taken yet. What happens is taken from it, as values,
one after the other (:meth:`Console.get`). It knows neither screens nor keys nor settings. What has come is bytes of a
device, and harmless only after :mod:`reactor.console.harmless`, or after lines were made of it and cleaned.

Bounds: what was not taken yet is at most ``_INBOX_BYTES``. Then a remote port is not read for a while, which its sender
notices; of a port of this machine the oldest is dropped and counted, for a UART does not wait. What was not sent yet is
at most ``_OUTBOX_BYTES``, and is dropped where the port is gone: nobody wants the keys of before in another boot.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass

from bootloader.wire.errors import Fault

from ..settings import USB
from .choice import Found, again, only
from .log import Log
from .port import Gone, Line, Port, found, is_remote
from .stamp import Clock, shown

_INBOX_BYTES = 4 * 2**20
_OUTBOX_BYTES = 2**20
_END_S = 2.0
_FIRST_PAUSE_S = 0.1
_SOON_S = 0.5
_LATER_S = 5.0


@dataclass(frozen=True, slots=True)
class Heard:
    """Bytes from the port, and when they came, by the monotonic clock."""

    data: bytes
    at: float


@dataclass(frozen=True, slots=True)
class Change:
    """The port is ``up``, is ``down``, or is waited for (``waiting``); ``why`` is for people, and may be empty."""

    state: str
    why: str


@dataclass(frozen=True, slots=True)
class Remark:
    """Something worth knowing that changes nothing: a notice's code and text; no code where only a screen has it."""

    code: str
    text: str


Item = Heard | Change | Remark

END = Change("left", "")
"""Nothing more is to be taken: whoever takes has put it there."""


def pause_s(tries: int, *, is_dear: bool) -> float:
    """How long to wait after so many tries in a row to open a port. ``is_dear``: each costs somebody something."""
    most = _LATER_S if is_dear else _SOON_S
    return min(_FIRST_PAUSE_S * float(2 ** min(tries, 10)), most)


class Console:
    """The console at ``name``, with its bytes sent as ``line`` says. Nothing runs before :meth:`start`."""

    def __init__(self, name: str, line: Line, clock: Clock, log: Log | None = None) -> None:
        self.name = name
        self._line = line
        self._clock = clock
        self._log = log
        self._remote = is_remote(name)
        self._device: Found | None = None
        self._path = name
        self._port: Port | None = None
        self._was_up = False
        self._ended = threading.Event()
        self._more = threading.Condition()
        self._inbox: deque[Item] = deque()
        self._held_bytes = 0
        self._lost_bytes = 0
        self._outbox: deque[bytes | None] = deque()
        self._unsent_bytes = 0
        self._threads = [
            threading.Thread(target=self._run, name=f"console {name}", daemon=True),
            threading.Thread(target=self._send, name=f"console {name} out", daemon=True),
        ]

    def start(self, *, wait: bool) -> None:
        """Begin. Unless ``wait``, a port that can't be opened at once is the Fault that says why."""
        if not wait:
            self._take(self._open())
        for thread in self._threads:
            thread.start()

    def get(self, timeout_s: float | None = None) -> Item | None:
        """What happened next; None where nothing did in that time."""
        with self._more:
            self._more.wait_for(lambda: self._inbox or self._lost_bytes, timeout_s)
            if self._lost_bytes:
                lost, self._lost_bytes = self._lost_bytes, 0
                return Remark("console-lost", f"{lost} bytes of {self.name} came faster than they were shown")
            if not self._inbox:
                return None
            item = self._inbox.popleft()
            if isinstance(item, Heard):
                self._held_bytes -= len(item.data)
                self._more.notify_all()
            return item

    def put(self, item: Item) -> None:
        """Have :meth:`get` give ``item`` when its turn comes."""
        with self._more:
            self._inbox.append(item)
            self._more.notify_all()

    def send(self, data: bytes | None, *, wait: bool = False) -> bool:
        """Have ``data`` sent, or a break for None. False where it is not: the port is not there, or takes no more.

        ``wait``: until there is a port and room, or the end.
        """
        with self._more:

            def ready() -> bool:
                return self._port is not None and self._unsent_bytes < _OUTBOX_BYTES

            while wait and not ready() and not self._ended.is_set():
                self._more.wait(_SOON_S)
            if not ready():
                return False
            self._outbox.append(data)
            self._unsent_bytes += len(data or b"")
            self._more.notify_all()
            return True

    def drain(self, timeout_s: float) -> bool:
        """Wait until everything was sent; whether it was."""
        with self._more:
            return self._more.wait_for(lambda: not self._outbox, timeout_s)

    def close(self) -> None:
        """End it, and give the port back."""
        self._ended.set()
        with self._more:
            self._more.notify_all()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(_END_S)
        if self._port is not None and not any(thread.is_alive() for thread in self._threads):
            self._port.close()
        if self._log is not None:
            self._log.close()

    # the port

    def _open(self) -> Port:
        """Open it where it is now. It may have come back under another name."""
        there = () if self._remote else found()
        device = self._device
        if device is not None:
            device = again(device, there)
            if device is None:
                raise Fault("no-port", "is unplugged", to=self._path)
        elif self.name == USB:
            device = only(there)
        path = device.path if device is not None else self.name
        port = Port(path, self._line)
        if self.name == USB:
            self.name = path
        self._device = self._device or next((one for one in there if one.usb is not None and one.path == path), None)
        self._path = path
        return port

    def _take(self, port: Port) -> None:
        moved = f", as {self._path}" if self._path != self.name else ""
        settings = "" if self.name.startswith("socket:") else str(self._line)
        self.put(Change("up", f"back{moved}" if self._was_up else settings))
        if port.shared_with:
            text = f"{self._path} is open in {port.shared_with} too, which takes a part of what it says"
            self.put(Remark("port-shared", text))
        self._was_up = True
        with self._more:
            self._port = port
            self._more.notify_all()

    def _run(self) -> None:
        """Read for as long as there is a port, and wait for it where there is none."""
        tries, said = 0, ""
        while not self._ended.is_set():
            if self._port is None:
                try:
                    self._take(self._open())
                    tries, said = 0, ""
                except Fault as fault:
                    if fault.what != said and not (self._was_up and fault.code == "no-port"):
                        said = fault.what
                        self.put(Change("waiting", f"{fault.what} ({fault.do})" if fault.do else fault.what))
                    is_dear = self._remote or fault.code == "port-held"  # who holds it takes a look at every process
                    self._ended.wait(pause_s(tries, is_dear=is_dear))
                    tries += 1
                    continue
            assert self._port is not None
            try:
                data = self._port.read()
            except Gone as gone:
                self._lose(str(gone))
                continue
            if data:
                self._hear(data, time.monotonic())

    def _lose(self, why: str) -> None:
        with self._more:
            port, self._port = self._port, None
            self._outbox.clear()
            self._unsent_bytes = 0
            self._more.notify_all()
        if port is not None:
            port.close()
        self.put(Change("down", f"the connection ended: {why}" if self._remote else f"unplugged: {why}"))

    def _hear(self, data: bytes, at: float) -> None:
        if self._log is not None:
            try:
                self._log.write(data, shown(self._clock.moment(at)))
            except OSError as error:
                self.put(Remark("log-failed", f"{self._log.path}: no more is written: {error.strerror}"))
        with self._more:
            while self._remote and self._held_bytes >= _INBOX_BYTES and not self._ended.is_set():
                self._more.wait(_SOON_S)
            self._inbox.append(Heard(data, at))
            self._held_bytes += len(data)
            if self._held_bytes > _INBOX_BYTES:
                self._drop()
            self._more.notify_all()

    def _drop(self) -> None:
        """Let the oldest that was heard go; what happened to the port stays."""
        kept: deque[Item] = deque()
        while self._held_bytes > _INBOX_BYTES // 2:
            item = self._inbox.popleft()
            if isinstance(item, Heard):
                self._held_bytes -= len(item.data)
                self._lost_bytes += len(item.data)
            else:
                kept.append(item)
        self._inbox.extendleft(reversed(kept))

    def _send(self) -> None:
        while not self._ended.is_set():
            with self._more:
                self._more.wait_for(lambda: self._outbox or self._ended.is_set())
                port, data = self._port, self._outbox[0] if self._outbox else b""
            if port is None:
                continue
            try:
                done = self._send_some(port, data)
            except Gone:  # the reader finds it gone, too, and clears what was to be sent
                self._ended.wait(_FIRST_PAUSE_S)
                continue
            with self._more:
                if self._outbox and self._outbox[0] is data:
                    self._outbox.popleft()
                    if data is not None and done < len(data):
                        self._outbox.appendleft(data[done:])
                    self._unsent_bytes -= done
                    self._more.notify_all()

    def _send_some(self, port: Port, data: bytes | None) -> int:
        if data is not None:
            return port.write(data) if data else 0
        try:
            port.send_break()
        except Fault as fault:
            self.put(Remark(fault.code, str(fault)))
        else:
            self.put(Remark("break-sent", f"{self.name}: a break was sent"))
        return 0
