"""``reactor stack``: where every thread and every asyncio task of a running application is."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

from ..look import Told, where
from ..project import Project
from ..targets import Target
from ..terminal import Terminal
from . import options
from .ask import Asked, each
from .ask import add as add_asking


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    add_asking(parser)
    options.add_application(parser)


class Stacks:
    """The order of ``reactor dev``."""

    def __init__(self, targets: Sequence[Target], project: Project, tell: Callable[[Told], None]) -> None:
        self._targets = targets
        self._project = project
        self._tell = tell

    def show(self, application: str) -> None:
        """Where each application of each target is, or the one of that name."""
        for target in self._targets:
            with target.connect("stack") as link:
                for told in where(link, target.name, self._project, application):
                    self._tell(told)


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Look, and show: 0 if each target has told."""

    def ask(asked: Asked) -> bool:
        for told in where(asked.link, asked.name, asked.project, arguments.application):
            terminal.tell(told)
        return True

    return each(arguments, terminal, ask, start=False)
