"""One change that running applications take in place: what they are asked, and what they answer.

All of them prepare, which touches nothing; only where each can, the tree is switched, and then they commit. Those that
want to know of changed files that are no code are told then, and may say no as well. Decides nothing, and lives in the
supervisor's turns. Knows nothing of how a process replaces its code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..wire.records import BYTES
from .application import Application

PREPARE_S = 2.0
COMMIT_S = 10.0
"""It may import what the new code asks for."""

_SLACK_S = 0.5
"""So much later than the process itself, which sees to the limit and says why, it is not waited for any more."""

_NAMES = 3
_WHY_CHARS = 500
_TEXT_CHARS = 300
_ITEMS = 50
_LISTS = ("modules", "patched", "added", "removed", "notes")

OnOver = Callable[[str], None]


class Patch:
    """``on_over`` is called once for each step: with nothing, or with the words of the first that could not do it."""

    def __init__(self, apps: Sequence[Application]) -> None:
        self._apps = apps
        self.generations = {app.spec.name: app.generation for app in apps}
        """What each of them was before."""
        self.reports: dict[str, dict[str, Any]] = {}
        """What each application tells of what was replaced, as far as that makes sense."""
        self.compiled: set[str] = set()
        """Files of the new tree that compile, as applications found when they were asked."""
        self._assets: list[str] = []

    def behind(self, paths: Sequence[str]) -> str:
        """Why one can't be asked at all: it runs older code of ``paths`` than the tree has; empty where none does."""
        code = [path for path in paths if path.endswith(".py")]
        for app in self._apps:
            if missed := sorted(app.missed.intersection(code)):
                return f"{app.spec.name} runs an older `{missed[0]}`"
        return ""

    def prepare(
        self, old: Path, new: Path, paths: Sequence[str], programs: Mapping[str, bytes | None], on_over: OnOver
    ) -> None:
        """Ask whether they can go from the tree ``old`` to ``new``, where ``paths`` differ. ``programs``: what those
        hold that do not lie in ``new`` yet, or None for what is gone.
        """
        texts = {path: None if content is None else content.decode(BYTES) for path, content in programs.items()}
        order = {"old": str(old), "new": str(new), "paths": list(paths), "programs": texts}
        self._ask("prepare", dict.fromkeys(self._apps, (PREPARE_S, order)), on_over)

    def commit(self, paths: Sequence[str], on_over: OnOver) -> None:
        """The tree is switched: have them take it, and then what of ``paths`` is no code."""
        self._assets = [path for path in paths if not path.endswith(".py")]
        hooked = {app: app.spec for app in self._apps if ":" in app.spec.assets and self._assets}
        orders = {
            app: (spec.assets_s + _SLACK_S, {"entry": spec.assets, "limit_s": spec.assets_s, "paths": self._assets})
            for app, spec in hooked.items()
        }

        def committed(why: str) -> None:
            if why or not orders:
                on_over(why)
            else:
                self._ask("assets", orders, on_over)

        self._ask("commit", {app: (COMMIT_S, {}) for app in self._apps}, committed)

    def _ask(self, do: str, orders: Mapping[Application, tuple[float, dict[str, Any]]], on_over: OnOver) -> None:
        """Order ``do`` of applications: how long each may take, in seconds, and what else it is told."""
        waiting = {app.spec.name for app in orders}

        def heard(app: Application, answer: Mapping[str, Any]) -> None:
            name = app.spec.name
            if not waiting:
                return  # one has refused already
            waiting.discard(name)
            app.tell_raised(answer)
            self.compiled.update(_items(answer, "compiled", str))
            if isinstance(report := answer.get("report"), dict):
                self.reports[name] = _sane(report)
            if why := _why_not(name, answer):
                waiting.clear()
            if not waiting:
                on_over(why)

        for app, (within_s, fields) in orders.items():
            app.ask(do, within_s, partial(heard, app), **fields)

    @property
    def words(self) -> str:
        """What was replaced, and what goes on as it was, for the user."""
        reports = [self.reports[app.spec.name] for app in self._apps if app.spec.name in self.reports]
        names = [name for report in reports for key in ("patched", "added", "removed") for name in report[key]]
        old = sorted({row["name"] for report in reports for row in report["old"]})
        runs, until = ("runs its old body", "it is") if len(old) == 1 else ("run their old bodies", "they are")
        again = f"{_shown([f'`{name}`' for name in old])} {runs} until {until} called again"
        notes = [note for report in reports for note in report["notes"]][:_NAMES]
        took = sorted({f"`{app.spec.assets}`" for app in self._apps if ":" in app.spec.assets})
        assets = f"{_shown(took) or 'nobody'} was told of {_shown([f'`{path}`' for path in self._assets])}"
        code = _shown(names) or "nothing that was imported" * (not self._assets)
        parts = [code, assets * bool(self._assets), again * bool(old), *notes]
        return "; ".join(filter(None, parts))[:_WHY_CHARS]


def _shown(names: Sequence[str]) -> str:
    more = len(names) - _NAMES
    return ", ".join(names[:_NAMES]) + (f" and {more} more" if more > 0 else "")


def _sane(report: Mapping[str, Any]) -> dict[str, Any]:
    """What is as it should be of what a process tells: user code has its pipe, too."""
    texts = {key: [one[:_TEXT_CHARS] for one in _items(report, key, str)] for key in _LISTS}
    old = [
        {key: str(row.get(key, ""))[:_TEXT_CHARS] for key in ("name", "where")} for row in _items(report, "old", dict)
    ]
    more = report.get("more")
    return {**texts, "old": old, "more": more if isinstance(more, int) and 0 <= more < 2**31 else 0}


def _items(report: Mapping[str, Any], key: str, kind: type) -> list[Any]:
    found = report.get(key)
    return [one for one in found if isinstance(one, kind)][:_ITEMS] if isinstance(found, list) else []


def _why_not(name: str, answer: Mapping[str, Any]) -> str:
    """What kept an application from it; empty where nothing did."""
    if "unanswered" in answer:
        return f"{name} {answer['unanswered']}"
    if "failed" in answer:
        return f"{name} could not be patched: {answer['failed']}"[:_WHY_CHARS]
    return str(answer.get("refused", ""))[:_WHY_CHARS]
