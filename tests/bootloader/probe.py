"""Calls a target all the time while something happens to it: each call has to be answered.

It is a process of its own, so that it goes on whatever the test waits for. How quickly a target answers is no matter of
a test, which any machine may run: ``python -m benchmarks.chaos`` counts that.
"""

from __future__ import annotations

import select
import subprocess
import sys
from pathlib import Path
from types import TracebackType

from bootloader.priority import urgent
from reactor import trust
from reactor.link import Link
from tests.bootloader.target import SOON_S, Target, let_go

_EVERY_S = 0.01
_TOP = Path(__file__).parents[2]


class Probe:
    """As a context manager: from its start to its end, at which it tells of a call that failed."""

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
        """Wait until so many more calls have been answered."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"%d\n" % calls)
        self._process.stdin.flush()
        assert self._process.stdout.readline(), "a call failed"


def _probe(home: str, certificate: str, port: str) -> None:
    link = Link.connect("127.0.0.1", int(port), trust.host_identity(Path(home)), Path(certificate), SOON_S, "probe")
    with link, urgent():  # a host is another machine, which no load of this one slows down
        count = due = 0
        while True:
            if select.select([sys.stdin], [], [], _EVERY_S)[0]:
                line = sys.stdin.readline()
                if not line:
                    break
                due = count + int(line)
            link.call("status", {}, timeout_s=SOON_S)
            count += 1
            if count == due:
                print(count, flush=True)


if __name__ == "__main__":
    _probe(*sys.argv[1:])
