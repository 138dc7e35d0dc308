"""What a process of an application is told before it becomes one: its entry, environment, folders and path.

The same for the application itself and for what is called on its behalf. Knows nothing of processes.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..wire.launch import Application, Launch
from ..wire.layer import MODULES, PROGRAMS
from .ground import Ground

NAME = "REACTOR_APPLICATION"
"""The variable that tells an application, and what it starts, its name."""


@dataclass(frozen=True, slots=True)
class Orders:
    """``tree``: the folder that it runs from; ``state``: where its data lie, among the bootloader's own."""

    state: Path
    tree: Path
    spec: Application
    launch: Launch
    generation: int

    @property
    def ground(self) -> Ground:
        """What its processes stand on."""
        return Ground.of(self.state, self.launch)

    def fields(self, entry: str) -> dict[str, Any]:
        """The orders to run ``entry``, as the process takes them. Makes the folder that it works in."""
        pycache, data = str(self.state / "pycache"), self.state / "data" / self.spec.name
        data.mkdir(parents=True, exist_ok=True)
        env = {
            **os.environ,
            "PYTHONPYCACHEPREFIX": pycache,  # its own Python processes keep no bytecode in the tree either,
            "PYTHONDONTWRITEBYTECODE": "",  # but they keep it: no start compiles what has not changed
            "PYTHONUNBUFFERED": "1",  # what they print comes as it is printed
            **self.spec.env,
            NAME: self.spec.name,
            "REACTOR_GENERATION": str(self.generation),
        }
        if layer := self.ground.layer:  # for what it starts itself
            for name, folder, usual in (("PATH", PROGRAMS, os.defpath), ("PYTHONPATH", MODULES, "")):
                env[name] = os.pathsep.join(filter(None, (f"{layer}/{folder}", env.get(name, usual))))
        return {
            "entry": entry,
            "env": env,
            "tree": str(self.tree),
            "data": str(data),
            "pycache": pycache,
            "path": [str(self.tree) if part == "." else str(self.tree / part) for part in self.launch.path],
        }
