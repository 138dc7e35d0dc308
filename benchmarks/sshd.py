"""A private sshd on a loopback port, with keys, configuration and log of its own in one folder.

It stands for the board in what people do today. Neither the machine's sshd nor the user's ``~/.ssh`` is touched.
"""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

from .processes import Program, finish

START_S = 10.0
_SEPARATION = Path("/run/sshd")

_SERVER = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/user_key.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
MaxStartups 100
"""

_CLIENT = """\
Host board kept
  HostName 127.0.0.1
  Port {port}
  IdentityFile {folder}/user_key
  IdentitiesOnly yes
  UserKnownHostsFile {folder}/known_hosts
  StrictHostKeyChecking accept-new
  BatchMode yes
  LogLevel ERROR
Host kept
  ControlMaster auto
  ControlPath {folder}/master
  ControlPersist 600
"""


def absent() -> str:
    """What is not installed, or empty."""
    return ", ".join(name for name in ("sshd", "ssh", "ssh-keygen", "rsync") if not find(name))


def find(name: str) -> str | None:
    """The path of a program, also where only root looks; sshd insists on being started by its whole path."""
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")


class Sshd:
    """A running server. ``ssh -F config`` reaches it as ``board`` (a connection each) and ``kept`` (one for all)."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.config = folder / "ssh_config"
        for name in ("host_key", "user_key"):
            finish(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], what=name, timeout_s=10)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        (folder / "sshd_config").write_text(_SERVER.format(folder=folder, port=port))
        self.config.write_text(_CLIENT.format(folder=folder, port=port))
        self._made = os.geteuid() == 0 and not _SEPARATION.exists()
        if self._made:
            _SEPARATION.mkdir(mode=0o755)
        command = [find("sshd") or "sshd", "-D", "-e", "-f", str(folder / "sshd_config")]
        self._program = Program(command, cwd=folder, log=folder / "log")
        try:
            self._program.until(lambda: "listening on" in self._program.tail(), "listening", START_S)
        except BaseException:
            self.end()
            raise

    @property
    def shell(self) -> str:
        """What rsync's ``-e`` gets."""
        return f"ssh -F {self.config}"

    def run(self, host: str, command: str, timeout_s: float) -> None:
        """Runs a shell's command there."""
        finish(["ssh", "-F", str(self.config), host, command], what=f"ssh {host}", timeout_s=timeout_s)

    def end(self) -> None:
        """Ends the server, and the kept connection where there is one."""
        try:
            if (self.config.parent / "master").exists():
                finish(["ssh", "-F", str(self.config), "-O", "exit", "kept"], what="ssh -O exit", timeout_s=5)
        finally:
            self._program.end()
            if self._made:
                _SEPARATION.rmdir()
