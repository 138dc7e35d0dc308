"""``reactor stack``: where every thread and every asyncio task of a running application is."""

from __future__ import annotations

import argparse

from ..look import where
from ..terminal import Terminal
from . import options
from .ask import Asked, each
from .ask import add as add_asking


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    add_asking(parser)
    options.add_application(parser)


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Look, and show: 0 if each target has told."""

    def ask(asked: Asked) -> bool:
        for told in where(asked.link, asked.name, asked.project, arguments.application):
            terminal.tell(told)
        return True

    return each(arguments, terminal, ask, start=False)
