"""A card, before it goes into a board: its root file system, mounted on this host, gets what a board gets over ssh.

Owns how a board is known by its files alone: the interpreter's own header tells for which processor it is, the C
library its version. Nothing of it is run here. This host makes the device's key, as nobody can ask the device for it.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import stat
import sys
import time
from itertools import chain
from pathlib import Path

from bootloader.wire.errors import Fault

from .. import trust
from ..platforms import Platform
from . import gadget, plan
from .facts import Facts, Python, Usb, certificate, host_name
from .payload import Payload
from .root import Root

STATE = "/var/lib/bootloader"
"""Not in a home: who first boots a card may rename its user, and the home with it."""

_LIBRARIES = ("/lib", "/usr/lib")
_WANTS = "/etc/systemd/system/multi-user.target.wants"
_FIRMWARE = "/boot/firmware"
_MACHINES = {(2, 0x3E): "x86_64", (2, 0xB7): "aarch64", (2, 0xF3): "riscv64", (1, 0x28): "armv7l", (1, 0x03): "i686"}
"""By the class and the machine in the header of an ELF file."""

_LIBC = re.compile(rb"GNU C Library [^\0]{0,80}? version (\d{1,3})\.(\d{1,3})")
_HEADER_BYTES = 20
_LIBC_BYTES = 16 * 1024 * 1024
_TEXT_BYTES = 256 * 1024
_FIRST_USER = 1000


def look(folder: Path) -> Facts:
    """The facts of the root file system in ``folder``. A :class:`Fault` where that is none, or can't be written."""
    root = Root(folder)
    if not root.follow("/etc/passwd").exists():
        do = "mount the card's root file system, which is its second partition mostly, and name that folder"
        raise Fault("no-card", "holds no root file system", to=str(folder), do=do)
    if not any(root.follow(f"{place}/systemd/systemd").exists() for place in _LIBRARIES):
        raise Fault("no-card", "has no systemd", to=str(folder), do="boot it, and provision it over ssh")
    if not os.access(root.follow("/etc"), os.W_OK) or os.geteuid() != 0:
        command = [sys.executable, "-m", "reactor", "provision", "--to", str(folder)]
        do = f"sudo --preserve-env=HOME,REACTOR_HOME {shlex.join(command)}"
        raise Fault("no-root", "only root may write there", to=str(folder), do=do)
    users = [line.split(":") for line in _text(root, "/etc/passwd").splitlines()]
    is_there = any(len(user) > 2 and user[2] == str(_FIRST_USER) for user in users)
    free_kb = shutil.disk_usage(folder).free // 1024
    return Facts(
        kernel="Linux",
        name=host_name(_text(root, "/etc/hostname")) or "board",
        called="",
        user=str(_FIRST_USER if is_there else 0),
        uid=_FIRST_USER if is_there else 0,
        runs_as="",
        root="root",
        init="systemd",
        address="",
        mount="",
        state=STATE,
        clock_s=int(time.time()),
        free_kb=free_kb,
        state_free_kb=free_kb,
        writable=True,
        tar=True,
        taken=False,
        runs=False,
        enabled=False,
        kept_kb=0,
        pythons=_pythons(root),
        releases=frozenset(),
        left=(),
        files={gadget.UNIT: ""} if os.path.lexists(root.place(gadget.UNIT)) else {},
        obeys=(),
        device=certificate(_text(root, f"{STATE}/trust/device.crt")),
        usb=_usb(root),
    )


def check_boot(folder: Path) -> None:
    """A :class:`Fault` where a boot partition, which is to be told of a gadget, is not mounted."""
    root = Root(folder)
    if _usb(root).config or not root.follow(_FIRMWARE).is_dir():
        return
    do = f"mount the card's first partition at {folder}{_FIRMWARE}, and do it again"
    raise Fault("no-card", "its boot partition is not mounted, where its USB port is set up", to=str(folder), do=do)


def write(folder: Path, facts: Facts, wish: plan.Wish, python: Python, payload: Payload, home: Path) -> str:
    """Put it there, with keys, to be started at each boot; the device's certificate.

    Where all of it goes is known before any of it is written, so that a link that leads out changes nothing.
    """
    root = Root(folder)
    code, state = root.place(plan.CODE), root.follow(facts.state)
    planned = plan.files(facts, wish, python, payload.root)
    files = {root.place(path): file for path, file in planned.items()}
    wanted = {root.place(f"{_WANTS}/{Path(path).name}"): path for path in planned if path.endswith(".service")}
    config = root.follow(facts.usb.config) if wish.gadget and facts.usb.config else None
    if config is not None and not _is_small_file(config.lstat()):
        raise root.odd(facts.usb.config, "is no small file, as settings are")
    _check_trust(root, f"{facts.state}/trust")
    try:
        if code.is_dir() and not code.is_symlink():
            shutil.rmtree(code)
        else:  # a pipe would be waited for
            code.unlink(missing_ok=True)
        for path, content in {**payload.contents, "SHA256SUMS": payload.sums}.items():
            file = code / payload.root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        for file, (mode, text) in files.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.unlink(missing_ok=True)  # it may be a link
            file.write_text(text)
            file.chmod(int(mode, 8))
        for link, path in wanted.items():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(path)
        if config is not None:
            config.write_bytes(os.fsencode(gadget.told(os.fsdecode(config.read_bytes()))))
        trust.issue(state, home, wish.name, wish.host)
        os.chown(state, facts.uid, facts.uid, follow_symlinks=False)
        for path, folders, names in os.walk(state):
            for name in (*folders, *names):
                os.chown(Path(path) / name, facts.uid, facts.uid, follow_symlinks=False)
        os.sync()
        return certificate(_text(root, f"{facts.state}/trust/device.crt"))
    except OSError as error:
        do = "look at the card, and do it again"
        raise Fault("not-written", f"can't be written ({error.strerror})", to=str(error.filename), do=do) from error


def _usb(root: Root) -> Usb:
    """What a gadget needs of it; whether it has a port for one shows only in the board."""
    modules = root.follow("/lib/modules")
    kernels = [f"/lib/modules/{each.name}" for each in modules.iterdir()] if modules.is_dir() else []
    offered = any(
        b"libcomposite" in root.read(f"{kernel}/modules.builtin", _TEXT_BYTES)
        or any(root.follow(f"{kernel}/kernel/drivers/usb/gadget").glob("libcomposite.ko*"))
        for kernel in kernels
    )
    config = next((path for path in gadget.CONFIGS if root.follow(path).is_file()), "")
    groups = {line.split(":")[0] for line in _text(root, "/etc/group").splitlines()}
    return Usb(
        offered=offered,
        controllers=None,
        config=config,
        told=bool(config) and gadget.MARK in _text(root, config),
        group=next((name for name in ("dialout", "uucp") if name in groups), ""),
    )


def _check_trust(root: Root, path: str) -> None:
    """Refuse what is no folder or small file where keys are read and written."""
    top = root.place(path)
    inside = (Path(folder) / name for folder, folders, files in os.walk(top) for name in (*folders, *files))
    for each in chain([top], inside):  # in this order: a walk begins at a link's end
        if os.path.lexists(each):
            told = each.lstat()
            if not _is_small_file(told) and not stat.S_ISDIR(told.st_mode):
                raise root.odd(f"{path}/{each.relative_to(top)}", "is neither a folder nor a small file, as keys are")


def _is_small_file(told: os.stat_result) -> bool:
    return stat.S_ISREG(told.st_mode) and told.st_size <= _TEXT_BYTES


def _pythons(root: Root) -> tuple[Python, ...]:
    found = []
    for place in ("/usr/bin", "/usr/local/bin"):
        for file in sorted(root.follow(place).glob("python3.[0-9]*"), reverse=True):
            told = re.fullmatch(r"python3\.(\d{1,2})", file.name)
            if told is not None and file.is_file() and not file.is_symlink():
                version, path = (3, int(told[1]), 0), f"{place}/{file.name}"
                found.append(Python(path, "CPython", version, _platform(root, path, version), ()))
    return tuple(found)


def _platform(root: Root, python: str, version: tuple[int, int, int]) -> Platform | None:
    header = root.read(python, _HEADER_BYTES)
    if len(header) < _HEADER_BYTES or header[:4] != b"\x7fELF":
        return None
    machine = _MACHINES.get((header[4], int.from_bytes(header[18:20], "little")))
    if machine == "armv7l" and "raspbian" in _text(root, "/etc/os-release"):
        machine = "armv6l"  # it is built for the oldest board that it runs on, and this card may go into that one
    found = _LIBC.search(_libc(root))
    if machine is None or found is None:
        return None
    return Platform(machine, "glibc", (int(found[1]), int(found[2])), version)


def _libc(root: Root) -> bytes:
    """The C library's own file; nothing where it is not found."""
    for place in _LIBRARIES:
        for folder in sorted(root.follow(place).glob("*/")):
            path = f"{place}/{folder.name}/libc.so.6"
            if not folder.is_symlink() and (content := root.read(path, _LIBC_BYTES)):
                return content
    return b""


def _text(root: Root, path: str) -> str:
    return root.read(path, _TEXT_BYTES).decode("utf-8", errors="replace")
