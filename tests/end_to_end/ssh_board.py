"""A board behind a real sshd on loopback: this machine, with folders of its own where provisioning writes.

It runs as root in a mount namespace: ``/etc``, ``/opt``, ``/usr/local`` and ``/var/lib`` are overlays of one in memory,
``/run`` is empty, so there is no systemd either. The user's ssh has a configuration and keys of its own, too.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import distribution
from pathlib import Path

SSHD = "/usr/sbin/sshd"
NAMESPACE = """
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$1"
mkdir "$1/etc" "$1/opt" "$1/local" "$1/lib" "$1/work"
for place in etc opt local lib; do
    case $place in local) over=/usr/local ;; lib) over=/var/lib ;; *) over=/$place ;; esac
    mkdir "$1/work/$place"
    mount -t overlay overlay -o "lowerdir=$over,upperdir=$1/$place,workdir=$1/work/$place" "$over"
done
mount -t tmpfs tmpfs /run
shift
"""
"""Makes the namespace, in a folder that is the first argument."""

_LISTEN = """
mkdir /run/sshd
exec "$1" -D -e -f "$2"
"""


def unavailable() -> str:
    """Why no such board can be had here; empty where it can."""
    if os.geteuid() != 0:
        return "only root can have folders of its own"
    missing = [name for name in (SSHD, "ssh", "ssh-keygen", "unshare", "nsenter") if shutil.which(name) is None]
    return f"not installed here: {', '.join(missing)}" if missing else ""


class SshBoard:
    """One that listens for ssh. ``ssh``: the command, with options, that reaches ``root@board``."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        for key in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True)
        shutil.copy(folder / "user.pub", folder / "authorized")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        config = folder / "sshd_config"
        config.write_text(
            f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized\n"
            "PidFile none\nStrictModes no\nUsePAM no\nPermitRootLogin yes\nPasswordAuthentication no\n"
        )
        client = folder / "ssh_config"
        client.write_text(
            f"Host board\n  HostName 127.0.0.1\n  Port {port}\n  User root\n  IdentityFile {folder}/user\n"
            f"  IdentitiesOnly yes\n  UserKnownHostsFile {folder}/known\n  StrictHostKeyChecking accept-new\n"
        )
        self.ssh = f"ssh -F {client}"
        (folder / "over").mkdir()
        self.log = folder / "sshd.log"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                ["unshare", "--mount", "sh", "-c", NAMESPACE + _LISTEN, "sh", folder / "over", SSHD, config],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def run(self, command: str) -> str:
        """What ``command`` prints there, by a login over ssh."""
        words = [*self.ssh.split(), "-oConnectionAttempts=20", "board", command]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
        assert not done.returncode, f"{done.stderr}\n{self.log.read_text()}"
        return done.stdout

    def close(self) -> None:
        """End it, and whatever it has started."""
        end(self._process)


def end(process: subprocess.Popen[bytes]) -> None:
    """End whatever is in the mount namespace of ``process``, which it has made."""
    with suppress(OSError):
        mine, ours = (Path(f"/proc/{pid}/ns/mnt").readlink() for pid in (process.pid, os.getpid()))
        for entry in Path("/proc").iterdir() if mine != ours else ():
            with suppress(OSError, ValueError):
                if (entry / "ns" / "mnt").readlink() == mine:
                    os.kill(int(entry.name), signal.SIGKILL)
    process.kill()
    process.wait()


NEEDED = ("blake3", "rpyc", "plumbum", "typing_extensions")


def wheels(folder: Path, names: Sequence[str] = (*NEEDED, "zeroconf", "ifaddr")) -> None:
    """The wheels that a target is provisioned with, as an index would have them: made of what is installed here.

    Of spake2, which is another version here, there is no more than its name: the target boots without.
    """
    folder.mkdir()
    for name in names:
        installed = distribution(name)
        told = installed.read_text("WHEEL") or ""
        tags = [line.removeprefix("Tag: ") for line in told.splitlines() if line.startswith("Tag: ")]
        stem = f"{installed.metadata['Name'].replace('-', '_')}-{installed.version}"
        with zipfile.ZipFile(folder / f"{stem}-{tags[-1]}.whl", "w") as wheel:
            for file in installed.files or ():
                if ".." not in file.parts and "__pycache__" not in file.parts:
                    wheel.write(str(installed.locate_file(file)), str(file))
    with zipfile.ZipFile(folder / "spake2-0.8-py3-none-any.whl", "w") as wheel:
        wheel.writestr("spake2-0.8.dist-info/METADATA", "Metadata-Version: 2.1\nName: spake2\nVersion: 0.8\n")
        wheel.writestr("spake2-0.8.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("spake2-0.8.dist-info/RECORD", "")
