"""Keeps a process ready to become the next application, with what applications import imported already.

Owns the warm parents (one that forks, at times one that warms up aside), the process that stands by, and ``warm.json``:
what to import ahead. Lives in the supervisor's turns. Knows nothing of generations; losing all of it costs time alone.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..journal import Journal
from ..wire.launch import Launch
from ..wire.limits import FILE_S
from ..wire.records import BYTES, NOTE
from .call import Call, Outcome, Task
from .child import Child
from .confine import Confinement
from .ground import Ground
from .process import WarmParent
from .turns import Turns

_LATER_S = 0.1
"""So that warming another parent does not take the processor from the application that is just starting."""
_STANDBY_S = 0.05
_AGAIN_S = 1.0
_STUCK_S = 100.0
"""A process that compiles one file for so long does not come to an end."""
_MODULES = 2000
_TRIES = 8
_GONE = "ModuleNotFoundError"

Problem = dict[str, Any]


def check_s(count: int) -> float:
    """How long so many files may take to compile; none where there are none."""
    return _STUCK_S + count * FILE_S if count else 0.0


@dataclass(frozen=True, slots=True)
class _Check:
    tree: Path
    paths: tuple[str, ...]
    programs: Mapping[str, bytes]
    on_problem: Callable[[Problem], None]
    again: bool = False


class Warmth:
    """``lock`` is the state folder's, which the parents hold too; ``confinement`` has a group for each process."""

    def __init__(self, folder: Path, journal: Journal, lock: int, turns: Turns, confinement: Confinement) -> None:
        self._folder = folder
        self._journal = journal
        self._lock = lock
        self._turns = turns
        self._confinement = confinement
        self._closing = False
        self._warm: WarmParent | None = None
        self._next_warm: WarmParent | None = None
        self._tries = 0
        self._bare: set[WarmParent] = set()
        """Those that fork one call each."""
        self._standby: Child | None = None
        self._checks: dict[int, _Check] = {}
        self._numbers = itertools.count(1)
        self._ground = Ground()
        self._modules: list[str] = []
        self._cold: set[str] = set()
        self._remember()

    def start(self) -> None:
        """Start a parent, which imports what the applications of the last time imported; not before what these were
        imported from has been looked at.
        """
        if not self._ground.layer:
            self._start()

    def _start(self) -> None:
        try:
            self._begin()
        except OSError as error:
            self._journal.add("notice", {"code": "no-warm-parent", "text": f"no process can be started: {error}"})

    def _begin(self) -> None:
        self._warm = self._make(self._note)
        self._turns.later(0, self._ensure_standby)

    def told(self) -> dict[str, Any]:
        """The parent, for ``status``."""
        warm = self._warm
        return {"ready": warm is not None and warm.ready, "modules": len(warm.modules) if warm is not None else 0}

    def close(self) -> None:
        """End the parents and all that they forked."""
        self._closing = True
        for warm in (self._warm, self._next_warm, *self._bare):
            if warm is not None:
                warm.close()

    # the process that stands by

    def take(self) -> Child:
        """A process to become an application; another one stands by soon."""
        if self._checks:
            return self.fork()  # an application that died starts again while the next save is compiled
        child, self._standby = self._stand_by(), None
        self._turns.later(_STANDBY_S, self._ensure_standby)
        return child

    def check(
        self,
        tree: Path,
        paths: Collection[str],
        on_problem: Callable[[Problem], None],
        programs: Mapping[str, bytes] = MappingProxyType({}),
    ) -> None:
        """Compile the Python files ``paths`` there, as ``programs`` has them, or else ``tree``; ``on_problem`` gets
        ``{}``, or a problem's fields.
        """
        self._order(_Check(tree, tuple(sorted(paths)), programs, on_problem))

    def _order(self, check: _Check) -> None:
        child, number = self._stand_by(), next(self._numbers)
        self._checks[number] = check
        live, pycache = self._folder / "live", self._folder / "pycache"
        folders = {"tree": str(check.tree), "live": str(live), "pycache": str(pycache)}
        programs = {path: content.decode(BYTES) for path, content in check.programs.items()}
        child.order(check=check.paths, programs=programs, id=number, **folders)
        self._turns.later(check_s(len(check.paths)), lambda: self._drop() if number in self._checks else None)

    def _stand_by(self) -> Child:
        if self._standby is None or self._standby.ended:
            child = self._standby = self.fork()
            child.on_lines = self._lines
            child.on_end = lambda status: self._ended(child, status)
        return self._standby

    def fork(self) -> Child:
        """Another process; the one that stands by goes on standing by."""
        if self._warm is None or self._warm.dead:
            self._begin()
        assert self._warm is not None
        return self._warm.fork()

    def call(self, task: Task, on_outcome: Callable[[Outcome], None]) -> None:
        """Call a callable of an application's in a process of its own; the one that stands by goes on standing by.

        It can't wait until a parent has imported what it is to import, nor hang where the parent does: then it gets
        one of its own, which imports nothing ahead.
        """
        bare: list[WarmParent] = []

        def fork(again: bool) -> Child:
            if self._closing:
                raise OSError("the bootloader ends")
            warm, ground = self._warm, task.orders.ground
            fits = warm is not None and warm.ground.packages == ground.packages
            if warm is not None and fits and warm.ready and not warm.dead and not again:
                return warm.fork()
            bare.append(WarmParent([], ground, self._turns, self._lock, self._confinement))
            self._bare.add(bare[-1])
            return bare[-1].fork()

        def told(outcome: Outcome) -> None:
            for parent in bare:
                self._bare.discard(parent)
                self._turns.attempt(parent.close)
            on_outcome(outcome)

        Call(task, self._turns, self._journal, fork, told).begin()

    def _ensure_standby(self) -> None:
        if not self._closing and self._warm is not None and not self._warm.dead:
            self._stand_by()

    def _lines(self, lines: Sequence[tuple[str, str]]) -> None:
        for kind, text in lines:
            if kind == NOTE:
                note = json.loads(text)
                check = self._checks.pop(note["checked"], None)
                if check is not None:
                    check.on_problem(note["problem"])
            else:
                self._journal.add("notice", {"code": "standby", "text": text})

    def _ended(self, child: Child, status: int) -> None:
        child.close()
        if child is self._standby:
            self._standby = None
            self._check_again(f"the process that compiles what changed ended with status {status}")

    def _check_again(self, what: str) -> None:
        """Its end was not the code's fault, most likely; a second one would be."""
        checks, self._checks = self._checks, {}
        for check in checks.values():
            if check.again or self._closing:
                check.on_problem({"code": "check-failed", "what": what})
            else:
                self._order(replace(check, again=True))

    def _fail_checks(self, what: str) -> None:
        checks, self._checks = self._checks, {}
        for check in checks.values():
            check.on_problem({"code": "check-failed", "what": what})

    def _drop(self) -> None:
        """It belongs to a parent that is replaced, or is stuck. The end of its orders ends it, if it reads them."""
        if self._standby is not None:
            child, self._standby = self._standby, None
            child.kill()
            child.close()
            self._fail_checks("the process that compiles what changed was replaced")

    # what the parent imports

    @property
    def _file(self) -> Path:
        return self._folder / "warm.json"

    def _remember(self) -> None:
        """What applications imported the last time, and with which environment."""
        try:
            kept = json.loads(self._file.read_bytes())
            env = {str(name): str(value) for name, value in kept["env"].items()}
            ground = Ground(env, str(kept.get("layer", "")), kept.get("system", True) is not False)
            modules, cold = [str(name) for name in kept["modules"]], {str(name) for name in kept["cold"]}
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            self._journal.lose("warmth-lost", f"{self._file.name}: {error}")
            return
        self._ground, self._modules, self._cold = ground, modules[:_MODULES], cold

    def _keep(self) -> None:
        aside = self._file.with_suffix(".new")
        try:
            ground = {"env": dict(self._ground.env), "layer": self._ground.layer, "system": self._ground.system}
            text = json.dumps({"modules": self._modules, "cold": sorted(self._cold), **ground})
            aside.write_text(text)
            aside.replace(self._file)
        except OSError as error:
            self._journal.add("notice", {"code": "warmth-lost", "text": f"it is not kept for the next start: {error}"})

    def learn(self, modules: list[str]) -> None:
        """An application imported ``modules``: those that the parent lacks are warmed in another one, aside."""
        known = set(self._modules)
        new = [name for name in modules if name not in known and not self._is_cold(name)]
        if new:
            self._modules = (self._modules + new)[:_MODULES]
            self._turns.later(_LATER_S, self._warm_another)

    def _is_cold(self, name: str) -> bool:
        """Whether it is left cold, or a package is that it is in, and which would be imported with it."""
        parts = name.split(".")
        return any(".".join(parts[:end]) in self._cold for end in range(1, len(parts) + 1))

    def fit(self, launch: Launch) -> None:
        """Modules read the environment when they are imported, and come from somewhere: another ground needs another
        parent, and now.
        """
        ground = Ground.of(self._folder, launch)
        if ground.packages != self._ground.packages:
            self._cold.clear()  # what could not be imported ahead may be another version now
        self._ground = ground
        if self._next_warm is not None and self._next_warm.ground != ground:
            self._next_warm.close()
            self._next_warm = None
        if self._warm is None or self._warm.ground != ground:
            old, self._tries = self._warm, 0
            self._drop()
            self._start()
            if old is not None:
                old.retire()

    # the parents

    def _make(self, on_ready: Callable[[dict[str, Any]], None]) -> WarmParent:
        modules = [name for name in self._modules if not self._is_cold(name)] if self._tries < _TRIES else []
        warm = WarmParent(modules, self._ground, self._turns, self._lock, self._confinement)
        warm.on_ready = on_ready
        warm.on_dead = lambda cold: self._died(warm, cold)
        return warm

    def _warm_another(self) -> None:
        if self._closing or self._next_warm is not None:
            return
        has = set(self._warm.modules) if self._warm is not None else set()
        if all(name in has or self._is_cold(name) for name in self._modules):
            return
        self._next_warm = self._make(self._replace)

    def _replace(self, note: dict[str, Any]) -> None:
        """The parent that warmed aside is ready. The old one keeps its children until they are gone."""
        self._note(note)
        old, self._warm, self._next_warm = self._warm, self._next_warm, None
        if not self._checks:
            self._drop()
        if old is not None:
            old.retire()
        self._ensure_standby()
        self._warm_another()

    def _note(self, note: dict[str, Any]) -> None:
        self._tries = 0
        failed = note["failed"]
        self._modules = [name for name in self._modules if name not in failed]
        for name in [name for name, why in failed.items() if why.startswith(_GONE)]:
            del failed[name]  # it is required no more: if it comes back, it is learnt again
        self._cold = set(islice((self._cold | failed.keys()), _MODULES))
        for name, why in failed.items():
            self._journal.add("notice", {"code": "not-warm", "text": f"{name} could not be imported ahead: {why}"})
        self._keep()

    def _died(self, warm: WarmParent, cold: tuple[str, str] | None) -> None:
        """A parent died: its applications died with it, and have said so. The next one starts without ``cold``."""
        if cold is not None:
            self._cold.add(cold[0])  # the next one has less to import, so this comes to an end
            text = f"{cold[0]} {cold[1]} when it is imported, so it is imported at each start"
            self._journal.add("notice", {"code": "left-cold", "text": text})
        else:
            self._tries += 1
            self._journal.add("notice", {"code": "warm-parent-died", "text": "the warm parent ended and is replaced"})
        if warm is self._next_warm:
            self._next_warm = None
            if cold is not None:
                self._warm_another()
        elif warm is self._warm:
            self._turns.later(0 if self._tries < _TRIES else _AGAIN_S, self._revive)

    def _revive(self) -> None:
        if not self._closing and (self._warm is None or self._warm.dead):
            self._start()
