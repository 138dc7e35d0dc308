"""A virtual machine as a board: a stock Debian, booted by QEMU: ssh on loopback, its serial console on a socket.

    with Machine.booted(folder) as board:       # a disk of its own: what is done to it is gone with the folder
        board.ssh("uname -a")
        board.cut()                             # the power
        board.boot()

Its image is built once by ``build``, in some minutes, and kept in ``$XDG_CACHE_HOME/reactor-tests`` (``~/.cache``),
named by the hash of that script: some 860 MB. :class:`Unavailable` says what is missing where it can't be had.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
NEEDS = {
    "mmdebstrap": "mmdebstrap",
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "ssh": "openssh-client",
}
"""The commands, and the Debian packages that have them."""

BUILD_S = 1800.0
BOOT_S = 600.0
_CUT = "-oServerAliveInterval=3"
"""Without, ssh goes on waiting for a machine that went without a word."""

PROBE_S = 8.0
"""How long a kernel may take to its first word under KVM, which is there on some machines and does not work."""


class Unavailable(Exception):
    """Why no such machine can be had here."""


def place() -> Path:
    """Where the image is, once it is built: named by what builds it."""
    digest = hashlib.sha256((HERE / "build").read_bytes()).hexdigest()[:16]
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "reactor-tests" / digest


def image() -> Path:
    """The folder with the disk, the kernel and the key to log in; built, if it is not there yet."""
    missing = [package for command, package in NEEDS.items() if shutil.which(command) is None]
    if missing:
        raise Unavailable(f"not installed here: apt-get install {' '.join(missing)}")
    folder = place()
    if not folder.exists():
        if os.geteuid() != 0:
            raise Unavailable("only root can build its image")
        new = folder.with_suffix(".new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        done = subprocess.run(
            [HERE / "build", new], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=BUILD_S
        )
        if done.returncode:
            raise Unavailable(f"its image could not be built: {done.stderr.strip()[-300:]}")
        for old in folder.parent.glob("*"):
            if old != new:
                shutil.rmtree(old)
        new.rename(folder)
    return folder


class Machine:
    """One with its disk in ``folder``. ``port``: what 7717 of the guest is on loopback; ``console``: a Unix socket."""

    _is_kvm_tried = False
    """In this process, in vain."""

    def __init__(self, folder: Path, memory_mb: int = 1024) -> None:
        self.folder = folder
        self._image = image()
        self._memory_mb = memory_mb
        self._qemu: subprocess.Popen[bytes] | None = None
        self._log = folder / "console.log"
        self.console = folder / "console"
        self.took_s = 0.0
        """The last boot, to where it is reached by ssh."""
        self.ssh_port, self.port = _free_port(), _free_port()
        self.config = folder / "ssh_config"
        self.config.write_text(
            f"Host board\n  HostName 127.0.0.1\n  Port {self.ssh_port}\n  User pi\n  IdentityFile {self._image}/id\n"
            f"  IdentitiesOnly yes\n  UserKnownHostsFile {folder}/known_hosts\n  StrictHostKeyChecking accept-new\n"
            "  ConnectTimeout 120\n  LogLevel ERROR\n"
        )
        create: list[str | Path] = [
            "qemu-img",
            "create",
            "-q",
            "-f",
            "qcow2",
            "-F",
            "raw",
            "-b",
            self._image / "disk.ext4",
            folder / "disk",
        ]
        subprocess.run(create, check=True)

    @classmethod
    @contextmanager
    def booted(cls, folder: Path) -> Iterator[Machine]:
        """One that runs, and is reached by ssh."""
        machine = cls(folder)
        try:
            machine.boot()
            yield machine
        finally:
            machine.cut()

    def boot(self) -> float:
        """Switch it on and wait until it is reached by ssh; how long that took, in seconds."""
        self._start()
        return self._until("true")

    def restart(self) -> float:
        """Have it end all that runs and start anew, as `reboot` there does; how long that took."""
        was = self.ssh("cat /proc/sys/kernel/random/boot_id").strip()
        self._ssh("systemctl reboot", _CUT)  # it may cut this very connection
        return self._until(f"! grep -q {was} /proc/sys/kernel/random/boot_id")

    def _until(self, command: str) -> float:
        began, pause = time.monotonic(), threading.Event()
        while self._ssh(command, "-oConnectTimeout=10", _CUT).returncode:
            assert self._qemu is not None
            assert self._qemu.poll() is None, f"QEMU ended: {self._said()[-500:]}"
            assert time.monotonic() < began + BOOT_S, f"it did not boot: {self._said()[-500:]}"
            pause.wait(0.2)
        self.took_s = time.monotonic() - began
        return self.took_s

    def cut(self) -> None:
        """Take the power from it: what it has not written to its disk is lost."""
        if self._qemu is not None:
            self._qemu.kill()
            self._qemu.wait()
            self._qemu = None

    def ssh(self, command: str, *, user: str = "root", stdin: bytes = b"", wait_s: float = 300.0) -> str:
        """What ``command`` prints there, as root if nothing else is said; it has to succeed."""
        done = self._ssh(command, user=user, stdin=stdin, wait_s=wait_s)
        assert not done.returncode, f"{command}: {done.stderr.decode()[-500:]}"
        return done.stdout.decode()

    def _ssh(
        self, command: str, *options: str, user: str = "root", stdin: bytes = b"", wait_s: float = 300.0
    ) -> subprocess.CompletedProcess[bytes]:
        words: list[str | Path] = ["ssh", "-F", self.config, "-oBatchMode=yes", *options, f"{user}@board", command]
        return subprocess.run(words, input=stdin, capture_output=True, timeout=wait_s, check=False)

    def _said(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def _start(self) -> None:
        if os.access("/dev/kvm", os.R_OK | os.W_OK) and not Machine._is_kvm_tried:
            self._run("-accel", "kvm", "-cpu", "host")
            deadline, pause = time.monotonic() + PROBE_S, threading.Event()
            while time.monotonic() < deadline:
                if self._said():
                    return
                pause.wait(0.1)
            self.cut()
            Machine._is_kvm_tried = True
        self._run("-accel", "tcg,thread=multi", "-cpu", "max")

    def _run(self, *accelerator: str) -> None:
        self._log.unlink(missing_ok=True)
        forwards = f"hostfwd=tcp:127.0.0.1:{self.ssh_port}-:22,hostfwd=tcp:127.0.0.1:{self.port}-:7717"
        words: Sequence[str | Path] = [
            "setpriv", "--pdeathsig", "KILL",  # whatever ends the tests ends it
            "qemu-system-x86_64", *accelerator, "-smp", "2", "-m", str(self._memory_mb),
            "-kernel", self._image / "vmlinuz", "-initrd", self._image / "initrd.img",
            "-append", "root=/dev/vda rw console=ttyS0 loglevel=6 panic=-1",
            "-drive", f"file={self.folder}/disk,if=virtio", "-netdev", f"user,id=net,{forwards}",
            "-device", "virtio-net-pci,netdev=net",
            "-chardev", f"socket,id=console,path={self.console},server=on,wait=off,logfile={self._log}",
            "-serial", "chardev:console", "-display", "none", "-monitor", "none", "-nodefaults",
        ]  # fmt: skip
        self._qemu = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
