"""What people do today: a shell loop of inotifywait, ``rsync -az`` over ssh, and a restart over ssh.

``rsync-kept`` is the careful version: one inotifywait that keeps its watches, one ssh connection for everything.
``rsync-naive`` is what most write first: wait for one event, open a connection to copy, open another to restart.
"""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

from benchmarks import sshd
from benchmarks.processes import Program, finish
from benchmarks.projects import WAYS, Project
from benchmarks.sshd import Sshd

SETUP_S, STOP_S = 60.0, 10.0

_RESTART = """\
#!/bin/sh
# Stops the application, waits until it is gone, starts it again.
cd {there} || exit 1
if pid=$(cat ../pid 2>/dev/null); then
    kill "$pid" 2>/dev/null
    while kill -0 "$pid" 2>/dev/null; do sleep 0.01; done
fi
nohup {python} -m station.main >../application.log 2>&1 </dev/null &
echo $! >../pid
"""

_KEPT = """\
inotifywait -m -r -e close_write -e moved_to . | while read -r event; do
    while read -r -t 0.001 event; do :; done  # what came with it
    rsync -az -e {shell} ./ kept:{there}/ && {shell_words} -n kept sh {there}.restart
done
"""

_NAIVE = """\
while inotifywait -r -e close_write -e moved_to .; do
    rsync -az -e {shell} ./ board:{there}/ && {shell_words} -n board sh {there}.restart
done
"""


class Rsync:
    """One of the two loops, its own sshd at the other end."""

    ways: tuple[str, ...] = WAYS

    def __init__(self, name: str, host: str, loop: str) -> None:
        self.name = name
        self._host = host
        self._loop = loop
        self._sshd: Sshd | None = None
        self._program: Program | None = None

    def absent(self) -> str:
        """Needs sshd, ssh, rsync, inotifywait and bash."""
        missing = [sshd.absent(), *(name for name in ("inotifywait", "bash") if not shutil.which(name))]
        names = ", ".join(name for name in missing if name)
        return f"{names} not installed" if names else ""

    def setup(self, project: Project, scratch: Path) -> None:
        """Starts the board's sshd, copies the project once, starts the application there and the loop here."""
        self._sshd = board = Sshd(scratch / "sshd")
        there = scratch / "station"
        restart = scratch / "station.restart"
        restart.write_text(_RESTART.format(there=shlex.quote(str(there)), python=shlex.quote(sys.executable)))
        copy = ["rsync", "-az", "-e", board.shell, f"{project.folder}/", f"{self._host}:{there}/"]
        finish(copy, what="rsync", timeout_s=SETUP_S)
        board.run(self._host, f"sh {shlex.quote(str(restart))}", SETUP_S)
        loop = self._loop.format(there=there, shell=shlex.quote(board.shell), shell_words=board.shell)
        self._program = Program(["bash", "-c", loop], cwd=project.folder, log=scratch / "log")

    def settle(self) -> None:
        """The loop must still run."""
        if self._program and self._program.process.poll() is not None:
            raise self._program.fault("the loop ended")

    def teardown(self) -> None:
        """Ends the loop, the application, the connection and the server."""
        if self._program:
            self._program.end()
        if self._sshd:
            try:
                pid = self._sshd.config.parents[1] / "pid"
                if pid.exists():
                    self._sshd.run(self._host, f"kill $(cat {shlex.quote(str(pid))})", STOP_S)
            finally:
                self._sshd.end()


def kept() -> Rsync:
    """What careful people do."""
    return Rsync("rsync-kept", "kept", _KEPT)


def naive() -> Rsync:
    """What most people do."""
    return Rsync("rsync-naive", "board", _NAIVE)
