"""``reactor rollback [GENERATION]``: back to an earlier generation."""

from __future__ import annotations

import argparse

from ..terminal import Terminal
from . import ask, options


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    ask.add(parser)
    options.add_take(parser)
    parser.add_argument(
        "generation",
        nargs="?",
        type=options.count,
        default=0,
        metavar="GENERATION",
        help="its number (the last other healthy one)",
    )


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Go back: 0 if each target became healthy on what it ran before."""
    request = {"generation": arguments.generation}
    return ask.each(arguments, terminal, lambda asked: ask.change(asked, "rollback", request, take=arguments.take))
