"""``reactor dev``: the loop. Watch, ship, show what the target says, take orders, until Ctrl-C."""

from __future__ import annotations

import argparse
import signal
import threading

from bootloader.wire.errors import Fault

from ..desk import Desk
from ..loop import Loop
from ..repl import Order, Repl
from ..terminal import Terminal
from . import console, options
from .stack import Stacks

_PATIENCE_S = 15.0
"""How long what is typed waits for a target that is starting."""


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    options.add_shipping(parser)
    parser.add_argument(
        "--console",
        nargs="?",
        const="",
        metavar="PORT",
        help="show a serial port's lines, too, as 'reactor console' finds it (each target's 'console' in the settings,"
        " else the one on USB)",
    )
    console.add_line(parser)


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Run until interrupted: 0. 1 where no target can be shipped to."""
    project = options.project_of(arguments)
    targets = options.targets_of(arguments, project, attach=False)
    terminal.belongs_to([root.folder for root in project.roots])
    terminal.many = len(targets) > 1
    serial = console.beside(arguments, project, [target.name for target in targets], terminal)
    desk = Desk(terminal, [target.name for target in targets], _interrupt)
    how = {"watching": True, "take": arguments.take, "fresh": arguments.fresh}
    loop = Loop(project, targets, desk.tell, tell_many=desk.tell_all, **how)
    stacks = Stacks(targets, project, desk.tell)
    desk.offer("stack", Order("[APP]", "where each application is, or APP", stacks.show, "f6"))
    if serial:
        desk.offer("console", Order("TEXT", "type that, and return, on the serial console", serial.send))
        desk.offer("break", Order("", "send a break over the serial console", serial.send_break))
    try:
        serial.start(loop.tell)
        loop.watch()
        try:
            loop.first()
        except Fault as fault:
            terminal.fault(fault)
        others = options.targets_of(arguments, project, attach=True, start=False)  # a REPL starts none, and ends none
        with desk.manned(loop, lambda tell: Repl(others, "", project, tell, terminal.columns, _PATIENCE_S), project):
            loop.run()
        return 1
    except KeyboardInterrupt:
        terminal.interrupted()
        return 0
    finally:
        serial.close()
        loop.close()


def _interrupt() -> None:
    """Have the main thread stop waiting, as Ctrl-C does where the terminal hears it itself."""
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
