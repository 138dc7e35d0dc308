"""Calls a target all the time while something happens to it, and says how long the longest call took.

It is a process of its own, so that it measures the target and not the test. Beside each call another process is asked
for its line back: what that takes is the machine's doing, not the target's.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from time import monotonic
from types import TracebackType

from reactor import trust
from reactor.link import Link
from tests.bootloader.target import SOON_S, Target, let_go

DEADLINE_S = 1.0
"""In which a target answers, whatever its applications do."""

_EVERY_S = 0.01
_TOP = Path(__file__).parents[2]
_ECHO = "import sys\nfor line in sys.stdin: print(line, end='', flush=True)"


class Probe:
    """As a context manager: from its start to its end, at which it tells of a call that took too long, or failed."""

    def __init__(self, target: Target) -> None:
        where = [str(target.home), str(target.state / "trust" / "device.crt"), str(target.listening["port"])]
        self._command = [sys.executable, "-m", __name__, *where]

    def __enter__(self) -> Probe:
        self._process = subprocess.Popen(
            self._command, cwd=_TOP, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        self.watch(1)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if error is None:
                self.watch(1)
        finally:
            self._process.kill()
            self._process.wait()
            let_go(self._process)

    def watch(self, calls: int = 30) -> None:
        """Wait until so many more calls have been answered, all of them as fast as a target has to."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"%d\n" % calls)
        self._process.stdin.flush()
        told = json.loads(self._process.stdout.readline() or "{}")
        assert told, "a call failed"
        assert told["longest_s"] < DEADLINE_S, told


def _probe(home: str, certificate: str, port: str) -> None:
    with suppress(OSError):  # a host is another machine, which no load of this one's slows down; root can have that
        Path("/proc/self/autogroup").write_text("-19")
        os.setpriority(os.PRIO_PROCESS, 0, -19)
    link = Link.connect("127.0.0.1", int(port), trust.host_identity(Path(home)), Path(certificate), SOON_S, "probe")
    with link, subprocess.Popen([sys.executable, "-c", _ECHO], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as echo:
        count = due = 0
        longest_s = 0.0
        _echoed_s(echo)
        while True:
            if select.select([sys.stdin], [], [], _EVERY_S)[0]:
                line = sys.stdin.readline()
                if not line:
                    break
                due = count + int(line)
            before_s, began = _echoed_s(echo), monotonic()
            link.call("status", {}, timeout_s=SOON_S)
            took_s = monotonic() - began
            longest_s = max(longest_s, took_s - max(before_s, _echoed_s(echo)))
            count += 1
            if count == due:
                print(json.dumps({"calls": count, "longest_s": round(longest_s, 3)}), flush=True)


def _echoed_s(echo: subprocess.Popen[bytes]) -> float:
    """How long another process takes to give a line back."""
    assert echo.stdin is not None
    assert echo.stdout is not None
    began = monotonic()
    echo.stdin.write(b"line\n")
    echo.stdin.flush()
    assert echo.stdout.readline() == b"line\n"
    return monotonic() - began


if __name__ == "__main__":
    _probe(*sys.argv[1:])
