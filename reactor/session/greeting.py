"""What a target says of itself at the beginning of a link, as far as it makes sense. Pure."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Self

from bootloader.wire.errors import Fault, Malformed
from bootloader.wire.limits import PROTOCOL
from bootloader.wire.messages import Fields

from ..report import clean, whole

_BOOT_CHARS = 64
_OLDEST_PYTHON = (3, 7)


@dataclass(frozen=True, slots=True)
class Greeting:
    """``boot``: which start of its this is; ``live``: where the tree lies there; ``python``: its version, for people;
    ``compiles``: the version that what is shipped has to compile with; ``platform``: what wheels have to be for, as it
    came.
    """

    boot: str
    live: str
    python: str
    compiles: tuple[int, int]
    platform: Fields

    @classmethod
    def read(cls, hello: Fields, name: str) -> Self:
        """The answer to ``hello`` of the target ``name``."""
        if hello.integer("protocol") != PROTOCOL:
            raise Fault(
                "other-protocol",
                f"it speaks protocol {whole(hello.integer('protocol'))}, this host speaks {PROTOCOL}",
                to=name,
                do="install the same version of live-reactor on both",
            )
        boot = hello.text("boot")
        if not 0 < len(boot) <= _BOOT_CHARS:
            raise Malformed("the target does not say which start of its this is", to=name)
        python = [whole(number) for number in hello.integers("python")[:3]]
        version = (python[0], python[1]) if len(python) > 1 else (0, 0)
        # One that can't be says nothing: then the target, which compiles what it gets, has the only word.
        compiles = version if _OLDEST_PYTHON <= version < (4, 0) else sys.version_info[:2]
        return cls(boot, clean(hello.text("live")), ".".join(map(str, python)), compiles, hello.child("platform"))
