"""Programs that contestants start: in a session of their own, their output in a file, ended as a group.

Every wait has a deadline; what does not happen in time is a :class:`~bootloader.wire.errors.Fault` that carries the
end of what the program printed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bootloader.wire.errors import Fault

REPOSITORY = Path(__file__).parents[1]
END_S = 3.0
TAIL_CHARS = 600


class Program:
    """One started program and the file of its output."""

    def __init__(
        self, command: Sequence[str], *, cwd: Path, log: Path, env: Mapping[str, str] | None = None, pipe: bool = False
    ) -> None:
        """``pipe``: its stdout goes to :attr:`process`'s pipe in place of the file."""
        self._log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                command,
                cwd=cwd,
                env={**os.environ, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if pipe else output,
                stderr=output,
                start_new_session=True,
            )

    def until(self, happened: Callable[[], bool], what: str, timeout_s: float) -> None:
        """Waits until ``happened()``; a program that ends or dawdles before is a fault."""
        end_s = time.monotonic() + timeout_s
        while not happened():
            if self.process.poll() is not None:
                raise self.fault(f"ended with {self.process.returncode} before {what}")
            if time.monotonic() > end_s:
                raise self.fault(f"no {what} within {timeout_s:.0f} s")
            time.sleep(0.005)

    def fault(self, what: str) -> Fault:
        """A fault of this program, with the end of what it printed."""
        return Fault("contestant-failed", f"{what}; it printed last: {self.tail() or '(nothing)'}")

    def tail(self) -> str:
        """The end of what it printed, as one line."""
        return " | ".join(self._log.read_text(errors="replace")[-TAIL_CHARS:].split("\n")).strip(" |")

    def end(self, ask: signal.Signals = signal.SIGTERM) -> None:
        """Asks the whole group to stop, waits, then makes it."""
        for number in (ask, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, number)
            except ProcessLookupError:
                break
            try:
                self.process.wait(END_S)
            except subprocess.TimeoutExpired:
                continue
        if self.process.stdout:
            self.process.stdout.close()


def finish(command: Sequence[str], *, what: str, timeout_s: float) -> float:
    """Runs ``command`` in ``/`` to its end; the seconds that it took. A failure is a fault with what it printed."""
    began_s = time.monotonic()
    try:
        done = subprocess.run(command, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        raise Fault("contestant-failed", f"not done within {timeout_s:.0f} s", to=what) from error
    if done.returncode != 0:
        printed = (done.stderr or done.stdout)[-TAIL_CHARS:].decode(errors="replace").strip()
        raise Fault("contestant-failed", f"exit {done.returncode}: {printed}", to=what)
    return time.monotonic() - began_s
