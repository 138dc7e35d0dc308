"""The options that commands share, and the targets that they name.

A flag beats ``REACTOR_TARGET`` (names separated by commas), which beats the default, the embedded target. A name is
``local``, a target of the project's settings, a device that this host knows, or an address.
"""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path

from bootloader.wire.errors import Fault

from .. import trust
from ..project import Project
from ..settings import EMBEDDED
from ..targets import Target
from ..targets.embedded import NAME as LOCAL
from ..targets.embedded import Embedded
from ..targets.linked import Linked
from ..terminal import Terminal

ALL = "all"


def add_output(parser: argparse.ArgumentParser) -> None:
    """``--json``."""
    parser.add_argument("--json", action="store_true", help="one JSON object a line, for programs")


def add_project(parser: argparse.ArgumentParser, *, positional: bool) -> None:
    """The project's folder, and the targets."""
    if positional:
        parser.add_argument("path", nargs="?", default=".", metavar="PATH", help="the project's folder (this folder)")
    else:
        parser.add_argument("--path", default=".", metavar="PATH", help="the project's folder (this folder)")
    parser.add_argument(
        "-t",
        "--target",
        action="append",
        default=[],
        metavar="TARGET",
        help="local, a name from the settings, a known device, HOST[:PORT], or all; may be repeated",
    )


def project_of(arguments: argparse.Namespace) -> Project:
    """The project that the arguments name."""
    return Project.open(arguments.path)


def targets_of(arguments: argparse.Namespace, project: Project, *, attach: bool) -> list[Target]:
    """The targets that the arguments, the environment or the default name. ``attach``: use a running embedded one."""
    names = arguments.target or [name for name in os.environ.get("REACTOR_TARGET", "").split(",") if name.strip()]
    wanted = [name.strip() for name in names] or [LOCAL]
    if ALL in wanted:
        wanted = [name for name, target in project.settings.targets.items() if target.address]
        if not wanted:
            raise Fault("no-targets", "the settings name no target with an address", to=ALL, do="add one, or use -t")
    return [_target(name, project, attach=attach) for name in dict.fromkeys(wanted)]


def _target(name: str, project: Project, *, attach: bool) -> Target:
    if name in EMBEDDED:
        return Embedded(project.folder, attach=attach)
    profile = project.settings.targets.get(name)
    if profile is not None and profile.address:
        return Linked(name, profile.address)
    if profile is not None:
        raise Fault("no-address", "has no 'address' in the settings", to=name, do="add it, or name another target")
    device = next((one for one in trust.known(trust.default_home()) if one.name == name), None)
    if device is not None:
        return Linked(name, device.address)
    if re.search(r"[.:]", name):
        return Linked(name, name)
    known = ", ".join([LOCAL, *project.settings.targets]) or LOCAL
    raise Fault("unknown-target", "no target of that name", to=name, do=f"known here: {known}; or give HOST:PORT")


def terminal_of(arguments: argparse.Namespace, targets: int = 1) -> Terminal:
    """The screen that the arguments ask for."""
    return Terminal(as_json=arguments.json, verbose=getattr(arguments, "verbose", False), many=targets > 1)


def folder(text: str) -> Path:
    """A folder given as an argument."""
    return Path(text).expanduser()
