"""The options that commands share, and the targets that they name.

A flag beats ``REACTOR_TARGET`` (names separated by commas), which beats the default, the embedded target. A name is
``local``, a target of the project's settings, a device that this host knows, or an address.
"""

from __future__ import annotations

import argparse
import os
import re
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from bootloader.wire.errors import Fault

from .. import lease, trust
from ..gadgets import is_usb
from ..project import Project
from ..settings import ALL, EMBEDDED, RESERVED
from ..targets import Target
from ..targets.embedded import NAME as LOCAL
from ..targets.embedded import Embedded
from ..targets.linked import Linked
from ..targets.plugged import plugged
from ..targets.wired import Wired, is_wired
from ..terminal import Terminal

LOCAL_NAME = ".local"
"""After a device's name: the same device."""

HERE = "."


def add_output(parser: argparse.ArgumentParser) -> None:
    """``--json``."""
    parser.add_argument("--json", action="store_true", help="one JSON object a line, for programs")


def add_project(parser: argparse.ArgumentParser, *, positional: bool) -> None:
    """The project's folder, and the targets."""
    if positional:
        parser.add_argument("path", nargs="?", default=HERE, metavar="PATH", help="the project's folder (this folder)")
    else:
        parser.add_argument("--path", default=HERE, metavar="PATH", help="the project's folder (this folder)")
    parser.add_argument(
        "-t",
        "--target",
        action="append",
        default=[],
        metavar="TARGET",
        help="local, a name from the settings, a known device, HOST[:PORT], usb[:SERIAL], serial:PORT[:BAUD], or all;"
        " may be repeated ($REACTOR_TARGET, else local)",
    )


def add_take(parser: argparse.ArgumentParser) -> None:
    """``--take``."""
    parser.add_argument("--take", action="store_true", help="take the lease from the session that has it")


def add_application(parser: argparse.ArgumentParser) -> None:
    """``-a``."""
    parser.add_argument("-a", "--application", metavar="APP", help="one application (each that runs)")


def add_shipping(parser: argparse.ArgumentParser) -> None:
    """What the commands that ship take."""
    add_project(parser, positional=True)
    add_output(parser)
    parser.add_argument("--fresh", action="store_true", help="look anew for what the project requires")
    parser.add_argument("-v", "--verbose", action="store_true", help="every state, and where the time of a save goes")
    add_take(parser)


def project_of(arguments: argparse.Namespace) -> Project:
    """The project that the arguments name."""
    return Project.open(arguments.path)


def project_if_any(arguments: argparse.Namespace) -> Project | None:
    """The project that the arguments name. None where no path was given, and this folder holds none."""
    try:
        return project_of(arguments)
    except Fault as fault:
        if fault.code != "not-a-project" or arguments.path != HERE:
            raise
        return None


def names(arguments: argparse.Namespace) -> list[str]:
    """The targets' names in the arguments, in the environment, or by default."""
    given = arguments.target or os.environ.get("REACTOR_TARGET", "").split(",")
    return [LOCAL if name.strip() in EMBEDDED else name.strip() for name in given if name.strip()] or [LOCAL]


def targets_of(
    arguments: argparse.Namespace, project: Project | None, *, attach: bool, start: bool = True
) -> list[Target]:
    """The targets that the arguments, the environment or the default name.

    ``attach``: use an embedded one that runs; ``start``: start it where it does not.
    """
    wanted = names(arguments)
    if project is None and not {LOCAL, ALL}.isdisjoint(wanted):
        project = project_of(arguments)  # they are of a project, so this says what is wrong with it
    profiles = project.settings.targets if project is not None else {}
    devices = {one.name: one.address for one in trust.known(trust.default_home()) if one.name not in RESERVED}
    if ALL in wanted:
        wanted = [name for name, profile in profiles.items() if profile.address or name in devices]
        if not wanted:
            raise Fault("no-targets", "the settings name no target with an address", to=ALL, do="add one, or use -t")

    def target(name: str) -> Target:
        if name == LOCAL and project is not None:
            return Embedded(project.folder, attach=attach, start=start)
        address = profiles[name].address if name in profiles else None
        if address or name in devices:
            where = address or devices[name]
            return Wired(name, where) if is_wired(where) and name not in devices else Linked(name, where)
        if name.endswith(LOCAL_NAME) and name.removesuffix(LOCAL_NAME) in devices:
            known_as = name.removesuffix(LOCAL_NAME)
            return Linked(known_as, devices[known_as])
        if is_usb(name):
            return plugged(name)
        if name in profiles:
            raise Fault("no-address", "has no 'address' in the settings", to=name, do="add it, or name another target")
        if is_wired(name):
            return Wired(name, name)
        if re.search(r"[.:]", name):
            return Linked(name, name)
        known = ", ".join(dict.fromkeys([LOCAL, *profiles, *devices]))
        raise Fault("unknown-target", "no target of that name", to=name, do=f"known here: {known}; or give HOST:PORT")

    return [target(name) for name in dict.fromkeys(wanted)]


def take_if_asked(arguments: argparse.Namespace, targets: Sequence[Target], doing: str) -> None:
    """``--take``, of what needs no more than that no other host has the lease: nobody has it then."""
    for target in targets if arguments.take else ():
        with target.connect(doing) as link:
            lease.have(link, doing, take=True)


def count(text: str) -> int:
    """A whole number from 1 on, given as an argument."""
    if not text.isdecimal() or not 0 < int(text) < 2**31:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 1 on")
    return int(text)


def moment(text: str) -> float:
    """A moment given as an argument, in seconds since 1970: so long ago, or a time, local if it does not say."""
    if match := re.fullmatch(r"(\d{1,6})([smhd])", text):
        return time.time() - int(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"'{text}' is neither such as 10m nor a time") from None


def terminal_of(arguments: argparse.Namespace) -> Terminal:
    """The screen that the arguments ask for."""
    terminal = Terminal(as_json=arguments.json, verbose=getattr(arguments, "verbose", False))
    path = getattr(arguments, "path", None)
    if path is not None:
        terminal.belongs_to([str(folder(path).absolute())])
    return terminal


def folder(text: str) -> Path:
    """A folder given as an argument."""
    return Path(text).expanduser()
