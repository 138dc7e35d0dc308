"""``reactor trust DIR``: make the keys of a target whose state folder (or its copy) is here, and know it by name.

The folder ``DIR/trust`` is what the device needs; copied to the device's state folder, its bootloader obeys this host.
"""

from __future__ import annotations

import argparse

from bootloader.wire.errors import Fault

from .. import trust
from ..settings import EMBEDDED
from ..targets.linked import split
from ..terminal import Terminal
from . import options


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    parser.add_argument("folder", type=options.folder, metavar="DIR", help="the target's state folder, or a new one")
    parser.add_argument("--name", required=True, metavar="NAME", help="what this host calls the device")
    parser.add_argument("--address", required=True, metavar="HOST[:PORT]", help="where the device listens")
    options.add_output(parser)


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Make the keys: 0."""
    split(arguments.address)
    if arguments.name in (options.ALL, *EMBEDDED):
        raise Fault("bad-name", "means something else after -t", to=repr(arguments.name), do="choose another name")
    home = trust.default_home()
    folder = arguments.folder.absolute()
    trust.issue(folder, home, arguments.name)
    certificate = (folder / "trust" / "device.crt").read_text("ascii")
    trust.remember(home, arguments.name, certificate, arguments.address)
    text = f"{folder / 'trust'} holds the keys of {arguments.name}: copy it into the device's state folder"
    if terminal.as_json:
        terminal.notice("trusted", text)
    else:
        terminal.line(f"{text}; then: reactor dev -t {arguments.name}")
    for old in trust.namesakes(folder, home):
        text = f"{arguments.name} obeys another key of this host's name as well: if that is an old one, remove {old}"
        if terminal.as_json:
            terminal.notice("trusted", text)
        else:
            terminal.line(text)
    return 0
