"""``reactor push``: once. Exit 0 only if every target became healthy on the new root."""

from __future__ import annotations

import argparse
import threading
from typing import Any

from ..loop import Loop
from ..terminal import Terminal
from . import options

_LONGEST_S = 600.0


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    options.add_project(parser, positional=True)
    options.add_output(parser)
    parser.add_argument("-v", "--verbose", action="store_true", help="every state, and where the time goes")


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Push once and wait for what becomes of it, on every target."""
    project = options.project_of(arguments)
    targets = options.targets_of(arguments, project, attach=True)
    results: dict[str, bool] = {}
    done = threading.Condition()

    def tell(event: dict[str, Any]) -> None:
        terminal.tell(event)
        with done:
            if event["event"] == "result":
                results[str(event["target"])] = bool(event["healthy"])
            done.notify_all()

    loop = Loop(project, targets, tell, watching=False)
    try:
        loop.first()
        with done:
            names = {session.target.name: session for session in loop.sessions}
            done.wait_for(
                lambda: all(name in results or session.fatal is not None for name, session in names.items()), _LONGEST_S
            )
            return 0 if all(results.get(name, False) for name in names) else 1
    except KeyboardInterrupt:
        return 1
    finally:
        loop.close()
