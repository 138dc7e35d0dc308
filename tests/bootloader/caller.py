"""Real processes that call an application's code, without a bootloader around them."""

from __future__ import annotations

import json
import os
import queue
from pathlib import Path

from bootloader.journal import Journal
from bootloader.supervisor.call import Outcome, Task
from bootloader.supervisor.confine import Confinement
from bootloader.supervisor.orders import Orders
from bootloader.supervisor.turns import Turns
from bootloader.supervisor.warmth import Warmth
from bootloader.wire.launch import Application, Launch
from tests.bootloader.target import SOON_S, descendants


class Caller:
    """Calls functions of a module ``app``, from a tree of that file alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tree = folder / "tree"
        self.tree.mkdir()
        self.journal = Journal()
        self.faults: list[BaseException] = []
        self.turns = Turns("supervisor", self.faults.append)
        self.turns.start()
        self._lock = os.open(folder / "lock", os.O_CREAT | os.O_RDWR)
        self.warmth = Warmth(folder, self.journal, self._lock, self.turns, Confinement())
        self.turns.call(self.warmth.start, SOON_S)

    def begin(self, entry: str, *arguments: object, limit_s: float = SOON_S, **env: str) -> queue.Queue[Outcome]:
        spec = Application("app", "app:main", env=env)
        told: queue.Queue[Outcome] = queue.Queue()
        task = Task(Orders(self.folder, self.tree, spec, Launch((spec,)), 7), entry, arguments, limit_s)
        self.turns.call(lambda: self.warmth.call(task, told.put), SOON_S)
        return told

    def call(self, source: str, *arguments: object, limit_s: float = SOON_S, **env: str) -> Outcome:
        """What comes of ``app:call`` of the module ``source``."""
        (self.tree / "app.py").write_text(source)
        return self.begin("app:call", *arguments, limit_s=limit_s, **env).get(timeout=SOON_S)

    def logs(self) -> list[tuple[str, str]]:
        """What was printed: stream and text."""
        lines = map(json.loads, self.journal.pull(0, 10_000, 2**24, 0)[2].splitlines())
        return [(event["stream"], event["text"]) for event in lines if event["event"] == "log"]

    def warm_parent(self) -> int:
        """The process id of the warm parent, once that is ready: until then a call does without."""
        done: queue.Queue[object] = queue.Queue()
        self.turns.call(lambda: self.warmth.check(self.tree, (), done.put), SOON_S)
        done.get(timeout=SOON_S)
        return min(descendants(os.getpid()))

    def printed_pids(self) -> set[int]:
        """The processes that said their number."""
        pids = {int(text) for _, text in self.logs()}
        assert pids
        return pids

    def close(self) -> None:
        self.turns.call(self.warmth.close, SOON_S)
        self.turns.close(SOON_S)
        os.close(self._lock)
        assert self.faults == []
