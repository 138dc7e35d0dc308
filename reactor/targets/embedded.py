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
import time
from pathlib import Path
from typing import Any

from blake3 import blake3

from bootloader.wire.errors import Fault, LinkDown, Untrusted

from .. import trust
from ..link import Link

NAME = "local"
_START_S = 20.0
_STOP_S = 5.0
_CONNECT_S = 5.0
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
    """The embedded target of one project. With ``attach``, one that runs already (``reactor dev``) is used."""

    def __init__(self, project: Path, *, attach: bool) -> None:
        self.name = NAME
        self._home = trust.default_home()
        self._state = state_folder(project)
        self._attach = attach
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0

    def connect(self, purpose: str) -> Link:
        """A link to the running process; it is started where it does not run."""
        if self._attach and self._process is None:
            link = self._running(purpose)
            if link is not None:
                return link
        if self._process is None or self._process.poll() is not None:
            self._start()
        return self._link(self._port, purpose)

    def _running(self, purpose: str) -> Link | None:
        try:
            port = int((self._state / "run" / "address").read_text().split()[1])
            return self._link(port, purpose)
        except (OSError, ValueError, IndexError, LinkDown, Untrusted):
            return None

    def _link(self, port: int, purpose: str) -> Link:
        identity = trust.host_identity(self._home)
        certificate = self._state / "trust" / "device.crt"
        return Link.connect("127.0.0.1", port, identity, certificate, _CONNECT_S, name=f"{self.name} {purpose}")

    def _start(self) -> None:
        self._forget()
        trust.issue(self._state, self._home, self.name)
        where = ["--state", str(self._state), "--listen", "127.0.0.1:0", "--name", self.name]
        how = ["--grace", str(GRACE_S), "--hold", "--until-stdin-ends", "--json"]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bootloader", "run", *where, *how],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for this process, which then ends that one
        )
        told = self._first_line(self._process)
        if told.get("event") != "listening":
            self.close()
            what = told.get("what") or "the embedded target did not start"
            do = "end the other `reactor dev` of this project" if told.get("code") == "already-running" else ""
            raise Fault(
                str(told.get("code") or "no-target"), str(what), to=self.name, do=do or str(told.get("do") or "")
            )
        self._port = int(told["port"])

    def _first_line(self, process: subprocess.Popen[bytes]) -> dict[str, Any]:
        assert process.stdout is not None
        deadline, line = time.monotonic() + _START_S, b""
        while not line.endswith(b"\n") and time.monotonic() < deadline:
            if select.select([process.stdout], [], [], 0.1)[0]:
                byte = os.read(process.stdout.fileno(), 4096)
                if not byte:
                    break
                line += byte
        try:
            told = json.loads(line)
        except ValueError:
            return {}
        return told if isinstance(told, dict) else {}

    def _forget(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
            process.wait(_STOP_S)

    def close(self) -> None:
        """End the process that was started here, with everything it runs; one that was attached to goes on."""
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()  # the warm parent sees it and takes the applications with it
        self._forget()
