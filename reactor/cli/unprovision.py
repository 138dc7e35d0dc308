"""``reactor unprovision BOARD``: take all of it from a board again, and forget the device."""

from __future__ import annotations

import argparse
from functools import partial

from bootloader.wire.stream import fingerprint

from .. import trust
from ..provision import plan
from ..provision.board import Board
from ..terminal import Terminal
from .provision import add_board, ask_for_sudo, on_done, shell_of, told


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    add_board(parser)
    parser.add_argument("--keep-state", action="store_true", help="leave its key, its generations and its data")


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Unprovision: 0 if nothing of us is left there, or, with ``--dry-run``, if that was told."""
    home = trust.default_home()
    with shell_of(arguments, terminal) as shell:
        board = Board(shell, arguments.port, arguments.python, partial(ask_for_sudo, terminal, shell.destination))
        facts = board.facts
        which = fingerprint(facts.device) if facts.device else ""
        known = [one.name for one in trust.known(home) if one.fingerprint == which]
        name = known[0] if known else facts.name
        todo = plan.removal(facts, keep_state=arguments.keep_state)
        told(terminal, name, todo)
        if arguments.dry_run:
            return 0
        if todo:
            board.perform(todo, None, on_done(terminal, name))
    if not arguments.keep_state:
        for one in known:
            trust.forget(home, one)
    if terminal.as_json:
        terminal.tell({"event": "unprovisioned", "target": name})
    else:
        forgotten = f", and this host knows {' and '.join(known)} no more" if known and not arguments.keep_state else ""
        terminal.line(f"{name} is as it was before{forgotten}")
    return 0
