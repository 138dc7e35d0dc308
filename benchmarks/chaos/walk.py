"""A random walk: generations are sent, rolled back, killed in the middle; a simple model says what may run.

The model knows two things: which root runs, or, where a kill came in the middle of a change, which of two; and which
roots were healthy. A kill is no power cut: what the system has taken is there. So a change that was answered stays.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from bootloader.store.triage import MOST_HEALTHY_BOOTS
from bootloader.wire.errors import Fault

from .boots import left, named, running
from .device import SOON_S, Device
from .generations import NOTHING, Generation, Promise, make
from .probe import Probe
from .tally import OTHER, UNREACHABLE, Tally

PART = "random walk"
_TOLD = 100
_KEPT = 12
"""So many generations are gone back to; older ones may have been collected."""

_CUTS = MOST_HEALTHY_BOOTS - 2
"""So often in a row a target is cut off: once or twice more, and it gives up what runs, which is right."""


@dataclass
class Model:
    """``may_run``: the root that runs, or those of which one does. ``healthy``: roots that were, the oldest first."""

    known: dict[str, Generation] = field(default_factory=dict)
    may_run: frozenset[str] = frozenset({NOTHING})
    healthy: list[str] = field(default_factory=list)

    def runs(self, root: str) -> None:
        """It is known which root runs, and that it is well."""
        self.may_run = frozenset({root})
        if root in self.known and self.known[root].well:
            self.healthy = [*(one for one in self.healthy[-_KEPT:] if one != root), root]


class Walk:
    """One device, and what may be true of it."""

    def __init__(self, scratch: Path, tally: Tally, seed: str) -> None:
        self._device = Device(scratch / "state", scratch / "home", scratch / "log")
        self._tally = tally
        self._seed = seed
        self._chance = random.Random(f"{seed} walk")
        self._model = Model()
        self._number = 0
        self._last: Generation | None = None
        self._what = ""
        self._cuts = 0

    def go(self, steps: int, until_s: float) -> None:
        """So many steps, or until the clock says ``until_s``."""
        self._device.meet()
        self._device.start()
        try:
            for step in range(1, steps + 1):
                if time.monotonic() > until_s:
                    return
                if step % _TOLD == 0:
                    print(f"walk, seed {self._seed}: {step} steps of {steps}", file=sys.stderr, flush=True)
                self._tally.counts["steps of random walks"] += 1
                if not self._step(step):
                    return  # what comes after a broken promise proves nothing
        finally:
            self._device.cut()

    def _step(self, step: int) -> bool:
        acts: list[Callable[[], None]] = [self._push, self._push, self._push_ill, self._back, self._kill_bootloader]
        acts += [self._kill_in_push, self._kill_in_push, self._cut, self._cut_in_push, self._restart, self._kill_child]
        act = self._chance.choice(acts) if self._cuts < _CUTS else self._restart
        self._cuts += act in (self._kill_bootloader, self._kill_in_push, self._cut, self._cut_in_push)
        self._what = act.__name__.strip("_").replace("_", " ")
        where = f"seed {self._seed}, step {step} ({self._what})"
        before = self._broken()
        try:
            self._device.mark()
            act()
            self._look(where)
        except Fault as fault:
            self._tally.found(OTHER, PART, where, str(fault))
        return self._broken() == before

    def _broken(self) -> int:
        """Promises that make the model wrong for the rest of the walk; one about time does not."""
        return len(self._tally.findings) - self._tally.of(UNREACHABLE)

    def _look(self, where: str) -> None:
        """What runs, by its own words, against the model; and that it runs once."""
        promise, anew = Promise(self._model.may_run, frozenset()), self._what != "kill child"
        for kind, what in running(self._device, promise, self._model.known, anew=anew):
            self._tally.found(kind, PART, where, what)
        if others := left(self._device):
            self._tally.found(OTHER, PART, where, f"processes {sorted(others)} run besides the application")
        if (self._device.state / "data" / "app" / "twice").exists():
            self._tally.found(OTHER, PART, where, "an application was started while another one ran")
        root = self._device.root()
        if root in self._model.known:
            self._model.runs(root)

    # what may happen

    def _made(self, *, well: bool = True) -> Generation:
        self._number += 1
        self._last = make(self._number, self._last, self._chance, well=well)
        self._model.known[self._last.manifest.root] = self._last
        return self._last

    def _push(self) -> None:
        new = self._made()
        with self._probed():
            self._device.ship(new)
        self._cuts = 0
        self._model.may_run = frozenset({new.manifest.root})

    def _push_ill(self) -> None:
        """It dies at once, again and again, until the last healthy one takes its place."""
        new = self._made(well=False)
        with self._probed():
            self._device.ship(new)
            if not self._model.healthy:
                self._model.may_run = frozenset({new.manifest.root})
                return
            wanted = self._model.healthy[-1]
            deadline = time.monotonic() + SOON_S
            while (root := self._device.root()) != wanted:
                if time.monotonic() > deadline:
                    what = f"{named(root, self._model.known)} is live, which dies, and not the last healthy one"
                    raise Fault("chaos-crash-loop", what)
                time.sleep(0.1)
        self._model.may_run = frozenset({wanted})

    def _back(self) -> None:
        if not self._model.healthy:
            return self._push()
        history = self._device.call("history", limit=256).objects("generations")
        wanted = self._chance.choice(self._model.healthy)
        numbers = [one.integer("generation") for one in history if one.text("root") == wanted]
        if not numbers:
            raise Fault("chaos-forgotten", f"{named(wanted, self._model.known)} is not in the history any more")
        with self._probed():
            self._device.roll_back(numbers[0])
        self._model.may_run = frozenset({wanted})
        return None

    def _kill_bootloader(self) -> None:
        """The bootloader alone: whoever watches it starts it again."""
        with self._probed():
            os.kill(self._device.pid, signal.SIGKILL)
            self._device.reach()

    def _kill_child(self) -> None:
        """The warm parent, what stands by, or the application: it is there again after a while."""
        self._device.kill_child(self._chance)

    def _kill_in_push(self) -> None:
        with self._probed():
            self._in_push(lambda: os.kill(self._device.pid, signal.SIGKILL))
            self._device.reach()

    def _cut(self) -> None:
        self._device.cut()
        self._device.start()

    def _cut_in_push(self) -> None:
        self._in_push(self._device.kill)
        self._device.cut()
        self._device.start()

    def _restart(self) -> None:
        self._cuts = 0
        self._device.end()
        self._device.start()

    def _in_push(self, kill: Callable[[], object]) -> None:
        """Kill at a random moment of a push. One that was answered before stays."""
        new = self._made()
        moment = threading.Timer(self._chance.uniform(0, 0.08), kill)
        moment.start()
        answered = False
        with suppress(Fault):
            self._device.ship(new)
            answered = True
        moment.join()
        root = new.manifest.root
        self._model.may_run = frozenset({root}) if answered else self._model.may_run | {root}

    def _probed(self) -> Probe:
        return Probe(self._device, self._tally, PART, f"seed {self._seed}, {self._what}")


def walk(scratch: Path, tally: Tally, seed: str, steps: int, until_s: float) -> None:
    """One random walk of ``steps`` steps."""
    Walk(scratch, tally, seed).go(steps, until_s)
