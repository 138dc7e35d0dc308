"""``reactor restart``: what runs stops, and starts again."""

from __future__ import annotations

import argparse

from ..terminal import Terminal
from . import ask, options


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    ask.add(parser)
    options.add_take(parser)


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Restart: 0 if each target became healthy again."""
    return ask.each(arguments, terminal, lambda asked: ask.change(asked, "restart", {}, take=arguments.take))
