"""``reactor new NAME``: a project that runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..terminal import Terminal
from . import options


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    parser.add_argument("name", metavar="NAME", help="the project's name; its folder is made here")
    options.add_output(parser)


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Write the project: 0."""
    from .new import write

    folder = Path(arguments.name)
    for path in write(folder.name, folder):
        terminal.tell({"event": "written", "target": "", "path": str(path)})
    if not terminal.as_json:
        terminal.line(f"{folder} is ready: reactor dev {folder}")
    return 0
