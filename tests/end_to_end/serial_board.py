"""A board at the end of a serial line: agetty, login and a shell of this machine, in folders of its own.

As the one behind sshd, but for how it is reached: a getty, as init keeps one on a board's serial port. Who logs in is a
user whose sudo asks for the password.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Self

from benchmarks.cable import Cable

from .ssh_board import NAMESPACE, end

NAME, PASSWORD, HOME = "ada", "sesame & co", "/var/lib/ada"
_GETTY = """
case $5 in /root/*)  # of all that is there, Python alone, as only root may look
    mkdir /run/python
    mount --bind "$5" /run/python
    mount -t tmpfs -o mode=755 tmpfs /root
    mkdir -p "$5"
    mount --bind /run/python "$5" ;;
esac
useradd --create-home --home-dir "$4" --shell /bin/bash "$2"
echo "$2:$3" | chpasswd
echo "$2 ALL=(ALL) ALL" >/etc/sudoers.d/board
echo ready
exec >&2
while :; do setsid --wait agetty --noclear --local-line "$1" 115200 vt100 || sleep 0.1; done
"""


def lacking() -> list[str]:
    """What is not installed here, and would be needed."""
    needed = ("agetty", "login", "setsid", "useradd", "chpasswd", "sudo")
    return [name for name in needed if shutil.which(name, path=f"{os.environ['PATH']}:/sbin:/usr/sbin") is None]


class SerialBoard:
    """One whose getty runs. ``cable``: the line to it."""

    def __init__(self, folder: Path) -> None:
        for name in (".", "over"):
            (folder / name).mkdir()
        self.cable = Cable()
        words = (self.cable.device.removeprefix("/dev/"), NAME, PASSWORD, HOME, sys.base_prefix)
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                ["unshare", "--mount", "sh", "-c", NAMESPACE + _GETTY, "sh", folder / "over", *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        assert self._process.stdout is not None
        with self._process.stdout as told:  # before that, what is to be run there would be run here
            assert told.readline() == b"ready\n", self.log.read_text()

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
