"""``reactor debug``: an editor's debugger, attached to a running application."""

from __future__ import annotations

import argparse
from contextlib import closing

from bootloader.wire.errors import Fault

from ..debugger import LOOPBACK, Debugger
from ..terminal import Terminal
from . import options

_PORT = 5678


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    options.add_project(parser, positional=False)
    options.add_output(parser)
    options.add_take(parser)
    parser.add_argument("-a", "--application", default="", metavar="APP", help="which application (the main one)")
    parser.add_argument(
        "--port", type=int, default=_PORT, help=f"where the editor comes, on {LOOPBACK}; 0 for any ({_PORT})"
    )


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Wait for editors, until Ctrl-C."""
    project = options.project_if_any(arguments)
    targets = options.targets_of(arguments, project, attach=True, start=False)
    if len(targets) > 1:
        raise Fault("one-target", "a debugger is attached to one target at a time", do="name one with -t")
    (target,) = targets
    about = {"event": "debug", "target": target.name, "application": arguments.application, "address": LOOPBACK}

    def tell(state: str, why: str) -> None:
        terminal.tell({**about, "port": debugger.port, "state": state, "why": why})

    with closing(target):
        target.connect("debug").close()  # it is there, or that is said at once
        options.take_if_asked(arguments, targets, "debug")
        with closing(Debugger(target, arguments.application, project, arguments.port, tell)) as debugger:
            tell("listening", "")
            debugger.serve()
    return 0
