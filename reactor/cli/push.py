"""``reactor push``: once. Exit 0 only if every target became healthy on the new root."""

from __future__ import annotations

import argparse
import threading
from typing import Any

from bootloader.wire.errors import Fault

from ..loop import Loop
from ..outcomes import NEVER_TOLD
from ..terminal import Terminal
from . import options
from .options import add_shipping as add

__all__ = ["add", "run"]

_LONGEST_S = 600.0


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Push once and wait for what becomes of it, on every target."""
    project = options.project_of(arguments)
    targets = options.targets_of(arguments, project, attach=True)
    terminal.belongs_to([root.folder for root in project.roots])
    terminal.many = len(targets) > 1
    longest_s = _LONGEST_S + max(app.settle_s for app in project.settings.launch("", ()).applications)
    healthy: dict[str, bool] = {}
    unshown: list[Exception] = []
    changed = threading.Condition()

    def tell(event: dict[str, Any]) -> None:
        try:
            terminal.tell(event)
        except Exception as error:
            unshown.append(error)
            raise
        finally:
            with changed:
                if event["event"] == "result":
                    healthy[str(event["target"])] = bool(event["healthy"])
                changed.notify_all()

    loop = Loop(project, targets, tell, watching=False, take=arguments.take, fresh=arguments.fresh)
    try:
        loop.first()
        sessions = {session.target.name: session for session in loop.sessions}
        with changed:
            changed.wait_for(
                lambda: unshown or all(name in healthy or one.fatal is not None for name, one in sessions.items()),
                longest_s,
            )
        if unshown:
            raise unshown[0]
        for name, session in sessions.items():
            if name not in healthy and session.fatal is None:
                terminal.fault(Fault("no-result", f"{NEVER_TOLD}, in {longest_s:g} s", to=name), name)
        return 0 if all(healthy.get(name, False) for name in sessions) else 1
    finally:
        loop.close()
