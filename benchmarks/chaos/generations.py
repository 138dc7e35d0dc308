"""Trees to be run: each tells a mixture of two from the whole of one.

Every file of a tree says by its content which tree it was made for, or an older one that it is unchanged since. The
application imports all its modules and tells, in one line that it prints and keeps in the file ``said``, what each of
them said, and the hash of every file in its tree; and the same of the modules that its layer has, or another one.
So whoever knows the tree knows the line, and a file too many, a stale bytecode, a lost deletion and another tree's
layer all show in it. While another one runs it dies, and leaves the file ``twice``.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass

from bootloader.wire.launch import PATH, Application, Launch
from bootloader.wire.layer import MODULES, layer_name
from bootloader.wire.manifest import PLAIN, RUNNABLE, Entry, Manifest, blob_name

from .wheels import NAMES, Made, layer

SAYS = "the tree is "
_TELL = """
import contextlib, fcntl, hashlib, importlib, json, pathlib, signal, sys, time

def main():
    alone = None
    with contextlib.suppress(OSError):  # a full disk
        alone = open("alone", "a")
    try:
        if alone is not None:
            fcntl.flock(alone, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pathlib.Path("twice").touch()
        print("it runs twice", flush=True)
        sys.exit(4)
    top = pathlib.Path(__file__).parent
    files = {}
    modules = {}
    for path in sorted(top.rglob("*")):
        if path.is_file() and ".reactor" not in path.parts:
            name = path.relative_to(top).as_posix()
            files[name] = hashlib.sha256(path.read_bytes()).hexdigest()
            if name.endswith(".py"):
                module = name[:-3].replace("/", ".").removesuffix(".__init__")
                modules[name] = importlib.import_module(module).SAYS
    packages = {}
    for name in NAMES:
        with contextlib.suppress(ModuleNotFoundError):
            package = importlib.import_module(name)
            packages[name] = [package.SAYS, hashlib.sha256(pathlib.Path(package.__file__).read_bytes()).hexdigest()]
    line = SENTENCE + json.dumps([files, modules, packages], sort_keys=True)
    with contextlib.suppress(OSError):  # a full disk
        pathlib.Path("said.new").write_text(line)
        pathlib.Path("said.new").replace("said")
    print(line, flush=True)
    FATE
"""
_WELL = "signal.pause()"
_ILL = "sys.exit(3)"

_PLACES = ("one.py", "two.py", "thing", "thing/inner.py", "thing/__init__.py", "pack/__init__.py", "pack/deep/three.py")
"""Where files may lie besides. ``thing`` is a file in some trees and a folder in others."""

_ASSETS = ("notes.txt", "empty", "tool.sh", "pack/big.bin")


NOTHING = ""
"""The root of a target that never got anything."""

INSTALLED = ""
"""What stands for the bootloader that a target was installed with."""


@dataclass(frozen=True, slots=True)
class Promise:
    """What must be true after a boot. ``may_run``: the roots of which one runs; ``kept``: those it can go back to;
    ``releases``: the bootloaders of which one runs them, by root.
    """

    may_run: frozenset[str]
    kept: frozenset[str]
    releases: frozenset[str] = frozenset({INSTALLED})


@dataclass(frozen=True, slots=True)
class Generation:
    """One tree: its files, the wheels of its layer, and what an application that runs the whole of it says."""

    number: int
    files: Mapping[str, bytes]
    modes: Mapping[str, int]
    well: bool
    wheels: tuple[Made, ...] = ()

    @property
    def manifest(self) -> Manifest:
        """The tree as the target knows it."""
        return Manifest(
            {
                path: Entry(blob_name(content), self.modes.get(path, PLAIN), len(content))
                for path, content in self.files.items()
            }
        )

    @property
    def says(self) -> str:
        """The line of its application."""
        own = {path: content for path, content in self.files.items() if not path.startswith(".reactor/")}
        files = {path: hashlib.sha256(content).hexdigest() for path, content in own.items()}
        modules = {path: _said(content) for path, content in own.items() if path.endswith(".py")}
        packages = {
            path.removeprefix(f"{MODULES}/").removesuffix(".py"): [_said(content), hashlib.sha256(content).hexdigest()]
            for path, content in self.packages.items()
            if path.endswith(".py")
        }
        return SAYS + json.dumps([files, modules, packages], sort_keys=True)

    @property
    def packages(self) -> dict[str, bytes]:
        """The files of its layer."""
        return {path: content for made in self.wheels for path, content in made.files.items()}

    @property
    def layer(self) -> str:
        """The name of its layer; empty where it has none."""
        return layer_name(made.wheel for made in self.wheels)


def make(number: int, before: Generation | None, chance: random.Random, *, well: bool = True) -> Generation:
    """Tree ``number``, with some files as they were ``before``. One that is not ``well`` ends at once, badly."""
    old = before.files if before is not None else {}
    places = [place for place in (*_PLACES, *_ASSETS) if chance.random() < 0.7]
    if chance.random() < 0.5:
        places = [place for place in places if place != "thing"]
    else:
        places = [place for place in places if not place.startswith("thing/")]
    files: dict[str, bytes] = {}
    for place in places:
        kept = place in old and chance.random() < 0.4
        files[place] = old[place] if kept else _content(place, number)
    says = f'SAYS = "{number}"\n'
    told = _TELL.replace("SENTENCE", repr(SAYS)).replace("NAMES", repr(NAMES)).replace("FATE", _WELL if well else _ILL)
    wheels = layer(number)
    files["app.py"] = (says + told).encode()
    files[PATH] = Launch(
        (Application("app", "app:main", settle_s=0.0 if well else 0.5, grace_s=2.0),),
        reload="restart",
        wheels=tuple(made.wheel for made in wheels),
    ).encode()
    modes = {place: RUNNABLE for place in files if place == "tool.sh" and chance.random() < 0.5}
    return Generation(number, files, modes, well, wheels)


def _said(content: bytes) -> str:
    """What a module says."""
    return content.split(b'"')[1].decode()


def _content(place: str, number: int) -> bytes:
    if place.endswith(".py"):
        return f'SAYS = "{number}"\n'.encode()
    if place == "empty":
        return b""
    if place.endswith(".bin"):
        return random.Random(number).randbytes(9000)
    return f"{place} of {number}\n".encode()
