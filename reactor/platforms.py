"""For which machine, C library and Python a wheel is to be; which tags of wheels that allows. Pure.

The tags are those of PEP 425, 600 and 656. A platform is what a target says of itself, so its texts are checked before
they become arguments.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from bootloader.wire.errors import Fault

OLDEST_PYTHON = (3, 11)
"""That a bootloader runs on."""

_MACHINE = re.compile(r"[a-z0-9_]{1,32}")
_MOST_MINOR = 200
"""Of the C library's version: tags are listed one by one."""

_OLDEST = {"x86_64": 5, "i686": 5}
_OLDEST_OF_OTHERS = 17
"""The minor versions of glibc from which on there are wheels, and with which the older names of tags begin."""

_OLD_NAMES = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}


@dataclass(frozen=True, slots=True)
class Platform:
    """A Linux with CPython. ``machine`` is the interpreter's and not the kernel's, as in tags (``x86_64``, ``aarch64``,
    ``armv7l``); ``libc`` is ``glibc`` or ``musl``; ``threaded``: that Python has no global lock.
    """

    machine: str
    libc: str
    libc_version: tuple[int, int]
    python: tuple[int, int, int]
    threaded: bool = False

    def __post_init__(self) -> None:
        told = (*self.libc_version, *self.python)
        if (
            not _MACHINE.fullmatch(self.machine)
            or self.libc not in ("glibc", "musl")
            or any(not 0 <= number < _MOST_MINOR for number in told)
        ):
            raise Fault("unknown-platform", "nobody makes wheels for such a platform", to=repr(str(self))[:120])

    def __str__(self) -> str:
        libc, python = ".".join(map(str, self.libc_version)), ".".join(map(str, self.python))
        return f"{self.machine}, {self.libc} {libc}, Python {python}{'t' if self.threaded else ''}"

    @property
    def abi(self) -> str:
        """Such as ``cp311``; wheels of the stable ABI go with it."""
        major, minor, _ = self.python
        return f"cp{major}{minor}{'t' if self.threaded else ''}"

    @property
    def tags(self) -> tuple[str, ...]:
        """The platform's part of a wheel's tag, in all ways that it may be written for this one, the best first."""
        major, minor = self.libc_version
        found: list[str] = []
        if self.machine == "armv6l":  # nobody promises anything for it; piwheels builds on Raspberry Pi OS
            return ("linux_armv6l",)
        if self.libc == "musl":
            found = [f"musllinux_{major}_{each}_{self.machine}" for each in range(minor, -1, -1)]
        else:
            for each in range(minor, _OLDEST.get(self.machine, _OLDEST_OF_OTHERS) - 1, -1):
                found.append(f"manylinux_{major}_{each}_{self.machine}")
                if each in _OLD_NAMES:
                    found.append(f"{_OLD_NAMES[each]}_{self.machine}")
        return (*found, f"linux_{self.machine}")

    @property
    def markers(self) -> dict[str, str]:
        """What a requirement's conditions (PEP 508) are about, such as ``python_version < "3.12"``."""
        whole = ".".join(map(str, self.python))
        return {
            "implementation_name": "cpython",
            "implementation_version": whole,
            "os_name": "posix",
            "platform_machine": self.machine,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Linux",
            "platform_version": "",
            "python_full_version": whole,
            "python_version": f"{self.python[0]}.{self.python[1]}",
            "sys_platform": "linux",
        }
