"""The embedded target: a bootloader on loopback that this host starts itself, with the same link as a real one.

Owns the process and its state folder (one for each project, kept between runs). Its keys are made here, with no step
for the user. The process ends with this one, however this one ends: it watches its standard input.
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from blake3 import blake3

from bootloader.wire.errors import Fault, LinkClosed

from .. import trust
from ..link import Link

NAME = "local"
_START_S = 20.0
_STOP_S = 5.0
_CONNECT_S = 5.0
_POLL_S = 0.1
GRACE_S = 0.5
"""How long applications may take to stop when the whole target ends, so that Ctrl-C is done within a second."""


def state_folder(project: Path) -> Path:
    """Where the embedded target of the project in ``project`` keeps its state."""
    chosen = os.environ.get("REACTOR_HOME")
    if chosen:
        states = Path(chosen).expanduser().absolute() / "embedded"
    else:
        from platformdirs import user_state_path

        states = user_state_path("reactor") / "embedded"
    name = re.sub(r"[^A-Za-z0-9._-]", "-", project.name)[:40]
    return states / f"{name}-{blake3(os.fsencode(project)).hexdigest()[:10]}"


class Embedded:
    """The embedded target of one project.

    With ``attach``, one that runs already (``reactor dev``) is used. Without ``start``, only such a one is.
    """

    def __init__(self, project: Path, *, attach: bool, start: bool = True) -> None:
        self.name = NAME
        self._home = trust.default_home()
        self._state = state_folder(project)
        self._attach = attach
        self._start = start
        self._lock = threading.Lock()  # starting and ending the process
        self._closing = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0

    def connect(self, purpose: str) -> Link:
        """A link to the running process; it is started where it does not run."""
        if self._attach and self._process is None:
            link = self._running(purpose)
            if link is not None:
                return link
        if not self._start:
            raise Fault("not-running", "the embedded target does not run", to=self.name, do="`reactor dev` runs it")
        with self._lock:
            if self._closing.is_set():
                raise LinkClosed("the embedded target was ended", to=self.name)
            if self._process is None or self._process.poll() is not None:
                self._end()
                self._process, self._port = self._started()
        return self._link(self._port, purpose)

    @property
    def started(self) -> bool:
        """Whether its process was started here."""
        return self._process is not None

    def close(self) -> bool:
        """End the process that was started here, with everything it runs; one that was attached to goes on."""
        self._closing.set()
        with self._lock:
            started = self.started
            self._end()
        return started

    def _running(self, purpose: str) -> Link | None:
        try:
            port = int((self._state / "run" / "address").read_text().split()[1])
            return self._link(port, purpose)
        except (OSError, ValueError, IndexError, Fault):
            return None  # what is wrong with more than this start of it shows when it is started

    def _link(self, port: int, purpose: str) -> Link:
        identity = trust.host_identity(self._home)
        certificate = self._state / "trust" / "device.crt"
        return Link.connect("127.0.0.1", port, identity, certificate, _CONNECT_S, name=f"{self.name} {purpose}")

    def _started(self) -> tuple[subprocess.Popen[bytes], int]:
        """A new process, and the port that it listens on."""
        trust.issue(self._state, self._home, self.name)
        where = ["--state", str(self._state), "--listen", "127.0.0.1:0", "--name", self.name]
        how = ["--grace", str(GRACE_S), "--hold", "--until-stdin-ends", "--json"]
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "bootloader", "run", *where, *how],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for this process, which then ends that one
        )
        try:
            told = self._first_line(process)
            port = told.get("port")
            if told.get("event") == "listening" and isinstance(port, int):
                return process, port
            raise self._not_started(told)
        except BaseException:
            _end(process)
            raise

    def _not_started(self, told: Mapping[str, Any]) -> Fault:
        if self._closing.is_set():
            return LinkClosed("the embedded target was ended", to=self.name)
        do = told.get("do") or ""
        if told.get("code") == "already-running":
            do = "end the other `reactor dev` of this project"
        what = told.get("what") or "the embedded target did not start"
        return Fault(str(told.get("code") or "no-target"), str(what), to=self.name, do=str(do))

    def _first_line(self, process: subprocess.Popen[bytes]) -> dict[str, Any]:
        """What the process says first; nothing where it says nothing, or nothing that can be read."""
        assert process.stdout is not None
        deadline, told = time.monotonic() + _START_S, b""
        while b"\n" not in told and time.monotonic() < deadline and not self._closing.is_set():
            if select.select([process.stdout], [], [], _POLL_S)[0]:
                part = os.read(process.stdout.fileno(), 4096)
                if not part:
                    break
                told += part
        try:
            first = json.loads(told.partition(b"\n")[0])
        except ValueError:
            return {}
        return first if isinstance(first, dict) else {}

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask the process to end, then make it; its warm parent sees that and takes the applications with it."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGCONT)  # it may be frozen, and would not hear
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        with suppress(subprocess.TimeoutExpired):  # what even that does not end is the system's
            process.wait(_STOP_S)
    process.stdout.close()
