"""A change from one generation to the next: what it is made of, and how far it has come.

Filled by whoever asks for it, and by the supervisor, which carries it out. Decides nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..ladder import NOTHING, Decision
from ..wire.launch import Launch
from .patch import Patch

_ORDER_BYTES = 256 * 1024


@dataclass(eq=False)
class Transition:
    """``decide`` gets the names of what runs, and why that can't be patched, where that is known; ``switch`` makes the
    new tree live, and ``record`` writes that down, and returns its generation's number.

    ``proven``: its tree has been healthy. ``before`` is the folder of the tree that is live, ``paths`` what differs,
    ``programs`` the Python files of these, where they are known before the tree is built, or None for those that are
    gone; ``unchecked`` are those that must compile first.
    ``build`` makes the new tree and returns its folder; it is called on the thread that asks, while applications are
    asked whether they can be patched. ``note`` comes next there, while files are compiled and applications stop; the
    switch comes after both.
    """

    launch: Launch
    decide: Callable[[tuple[str, ...], str], Decision]
    switch: Callable[[], None]
    record: Callable[[Decision], int]
    began: float
    proven: bool = False
    before: Path = Path()
    paths: tuple[str, ...] = ()
    programs: Mapping[str, bytes | None] | None = None
    unchecked: set[str] = field(default_factory=set)
    build: Callable[[], Path] = Path
    note: Callable[[], None] = lambda: None
    tree: Path | None = None
    """The folder of the new tree, once it is built."""
    noted: bool = False
    checking: bool = False
    """Whether files are being compiled."""
    stages_ms: dict[str, float] = field(default_factory=dict)
    decision: Decision = NOTHING
    patch: Patch | None = None
    """What running applications are asked, where they are to take it in place."""
    asking: bool = False
    """Whether they have not answered yet, before the switch or after it."""
    unpatchable: str = ""
    """Why they can't, or can't be asked."""
    reports: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What was replaced in each application that was patched."""
    switched: Future[int] = field(default_factory=Future)
    told: threading.Event = field(default_factory=threading.Event)
    """Set as soon as it is known how the change fares: its applications run, or one has failed."""
    number: int = 0
    """Counts the changes of this start of the bootloader; its events carry it as ``change``."""
    generation: int = 0
    fate: str = ""

    @property
    def at_hand(self) -> Mapping[str, bytes]:
        """What is to compile, where that is known before the tree is built, and fits in an order."""
        known = self.programs or {}
        found = {path: content for path in self.unchecked if (content := known.get(path)) is not None}
        return found if len(found) == len(self.unchecked) and sum(map(len, found.values())) <= _ORDER_BYTES else {}

    @property
    def checked(self) -> bool:
        """Whether its tree is there, and all that has to compile does."""
        return self.tree is not None and not self.unchecked

    @property
    def may_switch(self) -> bool:
        """Whether nobody has to say anything more before the switch."""
        return self.noted and self.checked and not self.asking and (self.patch is None or not self.unpatchable)

    def came_about(self) -> None:
        """Tell who asked for it, unless they have given up, or the bootloader ends."""
        if not self.switched.done():
            self.switched.set_result(self.generation)

    def stage(self, name: str) -> None:
        """The time since the last stage ended belongs to ``name``."""
        now = time.monotonic()
        self.stages_ms[name] = round((now - self.began) * 1000, 3)
        self.began = now
