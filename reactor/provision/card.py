"""A card, before it goes into a board: its root file system, mounted on this host, gets what a board gets over ssh.

Owns how a board is known by its files alone: the interpreter's own header tells for which processor it is, the C
library its version. Nothing of it is run here. This host makes the device's key, as nobody can ask the device for it.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from pathlib import Path

from bootloader.wire.errors import Fault
from bootloader.wire.private import unsealed

from .. import trust
from ..platforms import Platform
from . import plan
from .facts import Facts, Python
from .payload import Payload

STATE = "/var/lib/bootloader"
"""Not in a home: who first boots a card may rename its user, and the home with it."""

_WANTED = "etc/systemd/system/multi-user.target.wants/bootloader.service"
_MACHINES = {(2, 0x3E): "x86_64", (2, 0xB7): "aarch64", (2, 0xF3): "riscv64", (1, 0x28): "armv7l", (1, 0x03): "i686"}
"""By the class and the machine in the header of an ELF file."""

_LIBC = re.compile(rb"GNU C Library [^\0]{0,80}? version (\d{1,3})\.(\d{1,3})")
_HEADER_BYTES = 20
_FIRST_USER = 1000


def look(folder: Path) -> Facts:
    """The facts of the root file system in ``folder``. A :class:`Fault` where that is none, or can't be written."""
    if not (folder / "etc" / "passwd").exists():
        do = "mount the card's root file system, which is its second partition mostly, and name that folder"
        raise Fault("no-card", "holds no root file system", to=str(folder), do=do)
    if not any((folder / place / "systemd" / "systemd").exists() for place in ("lib", "usr/lib")):
        raise Fault("no-card", "has no systemd", to=str(folder), do="boot it, and provision it over ssh")
    if not os.access(folder / "etc", os.W_OK) or os.geteuid() != 0:
        do = f"sudo --preserve-env=HOME,REACTOR_HOME reactor provision --to '{folder}'"
        raise Fault("no-root", "only root may write there", to=str(folder), do=do)
    users = [line.split(":") for line in _text(folder / "etc" / "passwd").splitlines()]
    is_there = any(len(user) > 2 and user[2] == str(_FIRST_USER) for user in users)
    free_kb = shutil.disk_usage(folder).free // 1024
    device = folder / STATE.lstrip("/") / "trust" / "device.crt"
    return Facts(
        kernel="Linux",
        name=_text(folder / "etc" / "hostname").strip().split(".")[0] or "board",
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
        pythons=_pythons(folder),
        releases=frozenset(),
        left=(),
        files={},
        obeys=(),
        device=unsealed(device.read_bytes()).decode("ascii") if device.exists() else "",
    )


def write(folder: Path, facts: Facts, wish: plan.Wish, python: Python, payload: Payload, home: Path) -> str:
    """Put it there, with keys, to be started at each boot; the device's certificate."""
    code, state = folder / plan.CODE.lstrip("/"), folder / facts.state.lstrip("/")
    try:
        shutil.rmtree(code, ignore_errors=True)
        for path, content in {**payload.contents, "SHA256SUMS": payload.sums}.items():
            file = code / payload.root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        for path, (mode, text) in plan.files(facts, wish, python, payload.root).items():
            file = folder / path.lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            file.chmod(int(mode, 8))
        wanted = folder / _WANTED
        wanted.parent.mkdir(parents=True, exist_ok=True)
        wanted.unlink(missing_ok=True)
        wanted.symlink_to(plan.UNIT)
        trust.issue(state, home, wish.name)
        for each in (state, *state.rglob("*")):
            os.chown(each, facts.uid, facts.uid, follow_symlinks=False)
        os.sync()
        return unsealed((state / "trust" / "device.crt").read_bytes()).decode("ascii")
    except OSError as error:
        do = "look at the card, and do it again"
        raise Fault("not-written", f"can't be written ({error.strerror})", to=str(error.filename), do=do) from error


def _pythons(folder: Path) -> tuple[Python, ...]:
    found = []
    for place in ("usr/bin", "usr/local/bin"):
        for file in sorted((folder / place).glob("python3.[0-9]*"), reverse=True):
            told = re.fullmatch(r"python3\.(\d{1,2})", file.name)
            if told is not None and file.is_file() and not file.is_symlink():
                version = 3, int(told[1]), 0
                found.append(Python(f"/{place}/{file.name}", "CPython", version, _platform(folder, file, version), ()))
    return tuple(found)


def _platform(folder: Path, python: Path, version: tuple[int, int, int]) -> Platform | None:
    with python.open("rb") as file:
        header = file.read(_HEADER_BYTES)
    machine = _MACHINES.get((header[4], int.from_bytes(header[18:20], "little"))) if header[:4] == b"\x7fELF" else None
    if machine == "armv7l" and "raspbian" in _text(folder / "etc" / "os-release"):
        machine = "armv6l"  # it is built for the oldest board that it runs on, and this card may go into that one
    places = (folder / place for place in ("lib", "usr/lib"))
    libc = next((path for place in places for path in sorted(place.glob("*/libc.so.6"))), None)
    found = _LIBC.search(libc.read_bytes()) if libc is not None else None
    if machine is None or found is None:
        return None
    return Platform(machine, "glibc", (int(found[1]), int(found[2])), version)


def _text(path: Path) -> str:
    return path.read_text("utf-8", errors="replace") if path.exists() else ""
