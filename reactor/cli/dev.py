"""``reactor dev``: the loop. Watch, ship, show what the target says, until Ctrl-C; the key ``r`` restarts what runs."""

from __future__ import annotations

import argparse

from bootloader.wire.errors import Fault

from ..keys import pressed
from ..loop import Loop
from ..terminal import Terminal
from . import options
from .options import add_shipping as add

__all__ = ["add", "run"]


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Run until interrupted: 0. 1 where no target can be shipped to."""
    project = options.project_of(arguments)
    targets = options.targets_of(arguments, project, attach=False)
    terminal.belongs_to([root.folder for root in project.roots])
    terminal.many = len(targets) > 1
    loop = Loop(project, targets, terminal.tell, watching=True, tell_many=terminal.tell_all)
    try:
        loop.watch()
        try:
            loop.first()
        except Fault as fault:
            terminal.fault(fault)
        with pressed(lambda key: loop.restart() if key == "r" else None):
            loop.run()
        return 1
    except KeyboardInterrupt:
        terminal.interrupted()
        return 0
    finally:
        loop.close()
