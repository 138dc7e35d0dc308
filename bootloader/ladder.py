"""Which rung of the reload ladder a change takes, for which applications, and why, in words for the user. Pure.

Rungs, lightest first: *patch* (the running applications take the change in place, if each of them can), *restart*,
*hold* (what does not compile is refused before it gets here; what dies may be held, see ``breaker``), *rollback*.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from .wire.errors import Refused
from .wire.launch import DEPENDS, Application, Launch
from .wire.launch import PATH as LAUNCH_PATH

PATCH, RESTART, HOLD, ROLLBACK = "patch", "restart", "hold", "rollback"
_NATIVE = (".so", ".pyd", ".dylib")


@dataclass(frozen=True, slots=True)
class Decision:
    """``patch``, ``stop``, ``start``: the names of the applications that take the change in place, stop, and start
    (again); those in none of them go on untouched.
    """

    rung: str
    why: str
    stop: tuple[str, ...]
    start: tuple[str, ...]
    patch: tuple[str, ...] = ()

    @property
    def concerned(self) -> tuple[str, ...]:
        """Those that run the new code afterwards."""
        return self.start + self.patch


NOTHING = Decision("", "", (), ())
_REPACKED = "what it requires changed"


def decide(
    before: Launch | None,
    after: Launch,
    changed: Iterable[str],
    running: Collection[str],
    *,
    reload: str = RESTART,
    unpatchable: str = "",
) -> Decision:
    """What a change of the files ``changed`` asks for, where the applications ``running`` run now.

    An init application is left alone while neither its settings, nor its own top-level package, nor a sibling project,
    nor the packages that all of them import have changed. ``reload`` is as in the settings; ``unpatchable``: why what
    runs can't take it in place, where that is known. Where ``reload`` allows nothing but that, it is :class:`Refused`.
    """
    paths = sorted(changed)
    old = {app.name: app for app in before.applications} if before is not None else {}
    new = {app.name: app for app in after.applications}
    repacked = before is not None and _repacked(before, after)
    moved = repacked or (before is not None and before.path != after.path)
    start = tuple(
        app.name
        for app in after.applications
        if app.name not in running or not app.init or moved or app != old.get(app.name) or _touches(app, paths)
    )
    stop = tuple(name for name in running if name not in new or name in start)
    unpatchable = unpatchable or _unpatchable(before, after, paths, stop)
    if before is not None and stop and reload != RESTART:
        if not unpatchable:
            return Decision(PATCH, "code changed", (), tuple(name for name in start if name not in running), stop)
        if reload == PATCH:
            do = 'press `r` in `reactor dev`, or set `reload = "auto"`, to have it restart'
            raise Refused("not-patchable", f"it can't be patched, and is not to restart: {unpatchable}", do=do)
    why = unpatchable if stop and reload != RESTART else ""
    return Decision(RESTART, why or _why(old, paths, stop, repacked=repacked), stop, start)


def fall(live: str, healthy: Sequence[str], base: str, fallen: Collection[str]) -> tuple[str, ...]:
    """The roots to go back to from ``live``, which is given up, best first; none where it stays down.

    ``healthy``: those that have been, newest first. ``base``: empty where there is none. ``fallen``: those that were
    given up since somebody last changed anything. After one of them the base is all that is left: what breaks a second
    one is not in the code.
    """
    others = [] if fallen else [root for root in healthy if root != live]
    last = [base] if base and base != live and base not in fallen else []
    return tuple(dict.fromkeys([*others, *last]))


def _repacked(before: Launch, after: Launch) -> bool:
    """Whether what is imported from elsewhere than the tree is another one."""
    return (before.wheels, before.system_packages) != (after.wheels, after.system_packages)


def _touches(app: Application, paths: list[str]) -> bool:
    package = app.entry.partition(":")[0].partition(".")[0]
    own = {package, f"{package}.py"}
    return any(path.startswith(DEPENDS + "/") or not own.isdisjoint(path.split("/")) for path in paths)


def _unpatchable(before: Launch | None, after: Launch, paths: list[str], stop: tuple[str, ...]) -> str:
    """Why the applications ``stop`` can't take a change of ``paths`` in place; empty where they might.

    What the settings say of the target's own conduct, such as ``reload``, is nothing to them.
    """
    if before is None:
        return "first start"
    if _repacked(before, after):
        return _REPACKED
    if (before.applications, before.path) != (after.applications, after.path):
        return "its settings changed"
    native = next((path for path in paths if path.endswith(_NATIVE)), "")
    if native:
        return f"`{native}` is native code"
    assets = [path for path in paths if not path.endswith(".py") and path != LAUNCH_PATH]
    deaf = next((app.name for app in after.applications if app.name in stop and app.assets == "restart"), "")
    if not assets or not deaf:
        return "" if paths else "asked to"
    return f"`{assets[0]}` changed, too" if any(path.endswith(".py") for path in paths) else "only assets changed"


def _why(old: dict[str, Application], paths: list[str], stopped: tuple[str, ...], *, repacked: bool) -> str:
    if not stopped:
        return "first start" if not old else "it was not running"
    if repacked:
        return _REPACKED
    if LAUNCH_PATH in paths:
        return "its settings changed"
    code = [path for path in paths if path.endswith((".py", *_NATIVE))]
    if not code:
        return "only assets changed" if paths else "asked to"
    return "code changed"
