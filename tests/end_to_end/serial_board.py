"""A board at the end of a serial line: agetty, login and a shell of this machine, in folders of its own.

As the one behind sshd, but for how it is reached: a getty, as init keeps one on a board's serial port.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Self

from benchmarks.cable import Cable

from .ssh_board import NAMESPACE, end

NAME, PASSWORD = "root", "sesame & co"
_GETTY = """
echo "$2:$3" | chpasswd
while :; do setsid --wait agetty --noclear --local-line "$1" 115200 vt100 || sleep 0.1; done
"""


def lacking() -> list[str]:
    """What is not installed here, and would be needed."""
    needed = ("agetty", "login", "setsid", "chpasswd")
    return [name for name in needed if shutil.which(name, path=f"{os.environ['PATH']}:/sbin:/usr/sbin") is None]


class SerialBoard:
    """One whose getty runs. ``cable``: the line to it."""

    def __init__(self, folder: Path) -> None:
        for name in (".", "over"):
            (folder / name).mkdir()
        self.cable = Cable()
        line = self.cable.device.removeprefix("/dev/")
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                ["unshare", "--mount", "sh", "-c", NAMESPACE + _GETTY, "sh", folder / "over", line, NAME, PASSWORD],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def run(self, command: str) -> str:
        """What ``command`` prints there, as root, beside the line."""
        words = ["nsenter", f"--mount=/proc/{self._process.pid}/ns/mnt", "sh", "-c", command]
        return subprocess.run(words, capture_output=True, text=True, timeout=60, check=True).stdout

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End it, and whatever it has started."""
        end(self._process)
        self.cable.close()
