"""Which rung of the reload ladder a change takes, for which applications, and why, in words for the user. Pure.

Rungs, lightest first: *patch* (not taken yet: every change restarts), *restart*, *hold* (what does not compile is
refused before it gets here; what dies may be held, see ``breaker``), *rollback*.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from .wire.launch import DEPENDS, Application, Launch
from .wire.launch import PATH as LAUNCH_PATH

RESTART, HOLD, ROLLBACK = "restart", "hold", "rollback"


@dataclass(frozen=True, slots=True)
class Decision:
    """``restart``: names of the applications that stop and start again; those in neither list go on untouched."""

    rung: str
    why: str
    stop: tuple[str, ...]
    start: tuple[str, ...]


NOTHING = Decision("", "", (), ())


def decide(before: Launch | None, after: Launch, changed: Iterable[str], running: Collection[str]) -> Decision:
    """What a change of the files ``changed`` asks for, where the applications ``running`` run now.

    An init application is left alone while neither its settings, nor its own top-level package, nor a sibling
    project has changed.
    """
    paths = sorted(changed)
    old = {app.name: app for app in before.applications} if before is not None else {}
    new = {app.name: app for app in after.applications}
    moved = before is not None and before.path != after.path
    start = tuple(
        app.name
        for app in after.applications
        if app.name not in running or not app.init or moved or app != old.get(app.name) or _touches(app, paths)
    )
    stop = tuple(name for name in running if name not in new or name in start)
    return Decision(RESTART, _why(old, paths, stop), stop, start)


def fall(live: str, healthy: Sequence[str], base: str, fallen: Collection[str]) -> tuple[str, ...]:
    """The roots to go back to from ``live``, which is given up, best first; none where it stays down.

    ``healthy``: those that have been, newest first. ``base``: empty where there is none. ``fallen``: those that were
    given up since somebody last changed anything. After one of them the base is all that is left: what breaks a second
    one is not in the code.
    """
    others = [] if fallen else [root for root in healthy if root != live]
    last = [base] if base and base != live and base not in fallen else []
    return tuple(dict.fromkeys([*others, *last]))


def _touches(app: Application, paths: list[str]) -> bool:
    package = app.entry.partition(":")[0].partition(".")[0]
    own = {package, f"{package}.py"}
    return any(path.startswith(DEPENDS + "/") or not own.isdisjoint(path.split("/")) for path in paths)


def _why(old: dict[str, Application], paths: list[str], stopped: tuple[str, ...]) -> str:
    if not stopped:
        return "first start" if not old else "it was not running"
    if LAUNCH_PATH in paths:
        return "its settings changed"
    code = [path for path in paths if path.endswith((".py", ".so"))]
    if not code:
        return "only assets changed" if paths else "asked to"
    return "code changed"
