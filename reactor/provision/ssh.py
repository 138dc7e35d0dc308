"""A board's shell, over the user's own ssh: its configuration, its agent, its known hosts.

One script a call, and bytes for its standard input. Owns how a script becomes root, and what ssh's complaints mean.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable

from bootloader.wire.errors import Fault

from ..report import clean

_MOST_BYTES = 256 * 1024
_LINE_BYTES = 4096
_SHORT = 300
_LOOK_S = 120.0


class Ssh:
    """The shell of ``destination``, as ssh knows it; ``command`` is the ssh to use, with options."""

    def __init__(self, destination: str, command: str = "ssh") -> None:
        words = shlex.split(command)
        if not words or shutil.which(words[0]) is None:
            raise Fault("no-ssh", "there is no such command", to=command, do="install the OpenSSH client")
        if not destination or destination.startswith("-"):
            raise Fault("bad-destination", "not USER@HOST, as ssh takes it", to=repr(destination))
        self.destination = destination
        self.password: str | None = None
        self.on_sent: Callable[[int, int], None] = lambda _done, _total: None
        interactive = sys.stdin is not None and sys.stdin.isatty()
        self._words = [*words, *([] if interactive else ["-oBatchMode=yes"]), "-oServerAliveInterval=15", "-C", "-T"]
        self._config = words

    def address(self) -> str:
        """Where ssh goes for that destination, by its configuration; the destination's own host where it can't say."""
        plain = self.destination.rpartition("@")[2]
        done = subprocess.run([*self._config, "-G", self.destination], capture_output=True, text=True, check=False)
        found = [line.split(" ", 1)[1] for line in done.stdout.splitlines() if line.startswith("hostname ")]
        return found[0].strip() if found else plain

    def run(
        self,
        script: str,
        stdin: bytes = b"",
        *,
        root: str = "",
        password: str | None = None,
        on_line: Callable[[str], None] = lambda _line: None,
        most_s: float = _LOOK_S,
    ) -> str:
        """What ``script`` prints there, which ``on_line`` hears as it comes. ``root``: a command that makes it root's,
        and reads ``password`` first, where there is one.

        A :class:`Fault` where the board can't be reached, or the script fails, with what that said last.
        """
        if password is not None:
            stdin = password.encode() + b"\n" + stdin
        inner = f"sh -c {shlex.quote(script)}"
        command = f"{root} {inner}" if root else inner
        ssh = subprocess.Popen(
            [*self._words, self.destination, command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert ssh.stdin is not None
        assert ssh.stdout is not None
        assert ssh.stderr is not None
        errors: list[bytes] = []
        feed = threading.Thread(target=_feed, args=(ssh, stdin), name="ssh input", daemon=True)
        hear = threading.Thread(target=_hear, args=(ssh, errors), name="ssh errors", daemon=True)
        alarm = threading.Timer(most_s, ssh.kill)
        alarm.daemon = True
        said: list[str] = []
        size = 0
        try:
            for thread in (feed, hear, alarm):
                thread.start()
            while line := ssh.stdout.readline(_MOST_BYTES):
                size += len(line)
                if size > _MOST_BYTES:
                    raise Fault("too-much", "the board says far more than it was asked", to=self.destination)
                said.append(line.decode(errors="replace"))
                on_line(said[-1].rstrip("\r\n"))
            code = ssh.wait()
            hear.join()
        finally:
            alarm.cancel()
            ssh.kill()
            ssh.wait()
            feed.join()
            ssh.stdout.close()
        if code:
            raise self._fault(code, b"".join(errors).decode(errors="replace"), most_s)
        return "".join(said)

    def _fault(self, code: int, errors: str, most_s: float) -> Fault:
        lines = [clean(line).strip() for line in errors.splitlines() if line.strip()]
        last = (lines or [""])[-1][:_SHORT]
        if code == 255:
            do = f"see that this works: {shlex.join([*self._config, self.destination, 'true'])}"
            if "HOST IDENTIFICATION HAS CHANGED" in errors:
                host = self.destination.rpartition("@")[2]
                last = "its ssh key is another one than before"
                do = f"if it was set up anew: ssh-keygen -R {host}; if not, somebody stands between"
            return Fault("ssh-failed", last or "ssh could not reach it", to=self.destination, do=do)
        if code < 0:
            return Fault("ssh-failed", f"it did not end within {most_s:.0f} s", to=self.destination, do="try again")
        return Fault("step-failed", last or f"exit code {code}", to=self.destination)


def _feed(ssh: subprocess.Popen[bytes], content: bytes) -> None:
    assert ssh.stdin is not None
    try:
        with ssh.stdin as pipe:
            pipe.write(content)
    except OSError:
        return  # it ended before it had read all, and its exit code says why


def _hear(ssh: subprocess.Popen[bytes], errors: list[bytes]) -> None:
    """The last of what it complains of."""
    assert ssh.stderr is not None
    with ssh.stderr as pipe:
        while line := pipe.readline(_LINE_BYTES):
            errors.append(line)
            del errors[:-50]
