"""What a process of an application's stands on before any of its code runs: environment, packages. Pure.

A warm parent has imported modules on one ground; a process that needs another one can't come of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..wire.launch import Launch
from ..wire.layer import MODULES, layer_name


@dataclass(frozen=True, slots=True)
class Ground:
    """``layer``: the folder of the layer, or an empty text; ``system``: whether what is installed on the device can be
    imported as well.
    """

    env: Mapping[str, str] = field(default_factory=dict)
    layer: str = ""
    system: bool = True

    @classmethod
    def of(cls, state: Path, launch: Launch) -> Ground:
        """What ``launch`` asks for, where ``state`` is the bootloader's folder: its main application's environment."""
        env = next((app.env for app in launch.applications if not app.init), {})
        name = layer_name(launch.wheels)
        return cls(env, str(state / "layers" / name) if name else "", launch.system_packages)

    @property
    def packages(self) -> tuple[str, bool]:
        """What it takes for a module to be the same one."""
        return self.layer, self.system

    @property
    def order(self) -> dict[str, Any]:
        """For a warm parent."""
        return {"layer": f"{self.layer}/{MODULES}" if self.layer else "", "system": self.system}
