"""Calls a target all the time while something happens to it, and says how long the longest call took.

Beside each call another process is asked for its line back: what that takes is the machine's doing, not the target's.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from time import monotonic
from types import TracebackType

from tests.bootloader.target import SOON_S, Target, let_go

DEADLINE_S = 1.0
"""In which a target answers, whatever its applications do."""

_EVERY_S = 0.01
_ECHO = "import sys\nfor line in sys.stdin: print(line, end='', flush=True)"


class Probe:
    """As a context manager: from its start to its end. Whatever it met is raised at its end."""

    def __init__(self, target: Target) -> None:
        self._link = target.link("probe")
        self._over = threading.Event()
        self._answered = threading.Event()
        self._raised: BaseException | None = None
        self._thread = threading.Thread(target=self._run)
        self.calls = 0
        self.longest_s = 0.0
        """The longest call, less what the machine took for the line beside it."""

    def __enter__(self) -> Probe:
        self._echo = subprocess.Popen([sys.executable, "-c", _ECHO], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._machine_s()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()
        self._echo.kill()
        self._echo.wait()
        let_go(self._echo)
        self._link.close()
        if error is None:
            if self._raised is not None:
                raise self._raised
            assert self.calls > 0
            assert self.longest_s < DEADLINE_S, f"a call of {self.calls} took {self.longest_s:.2f} s"

    def watch(self, calls: int = 30) -> None:
        """Wait until so many more calls have been answered."""
        most = self.calls + calls
        deadline = monotonic() + SOON_S
        while self.calls < most and self._raised is None:
            assert monotonic() < deadline, f"{self.calls} of {most} calls were answered"
            self._answered.wait(DEADLINE_S)
            self._answered.clear()

    def _run(self) -> None:
        try:
            while not self._over.wait(_EVERY_S):
                before_s = self._machine_s()
                began = monotonic()
                self._link.call("status", {}, timeout_s=SOON_S)
                took_s = monotonic() - began
                machine_s = max(before_s, self._machine_s() if took_s > DEADLINE_S else 0.0)
                self.longest_s = max(self.longest_s, took_s - machine_s)
                self.calls += 1
                self._answered.set()
        except BaseException as error:  # noqa: BLE001 - raised at the end, on the test's own thread
            self._raised = error
            self._answered.set()

    def _machine_s(self) -> float:
        """How long another process takes to give a line back."""
        assert self._echo.stdin is not None
        assert self._echo.stdout is not None
        began = monotonic()
        self._echo.stdin.write(b"line\n")
        self._echo.stdin.flush()
        assert self._echo.stdout.readline() == b"line\n"
        return monotonic() - began
