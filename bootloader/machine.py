"""What this device runs programs on, in the words that wheels are told apart by: machine, C library, Python.

Of the interpreter and not of the kernel, as a 32-bit system may run on a 64-bit one. Knows nothing of wheels.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

_NARROW = {"x86_64": "i686", "aarch64": "armv7l", "armv8l": "armv7l"}
"""What a machine of 64 bits is to a program of 32."""

_LOADER_S = 5.0


def platform() -> dict[str, Any]:
    """``machine``; ``libc`` (``glibc``, ``musl``, or an empty text for what is neither) and its version's numbers;
    Python's; ``threaded``: that it has no global lock.
    """
    machine = os.uname().machine
    if sys.maxsize < 2**32:
        machine = _NARROW.get(machine, machine)
    libc, version = _libc()
    return {
        "machine": machine,
        "libc": libc,
        "libc_version": version,
        "python": list(sys.version_info[:3]),
        "threaded": "t" in sys.abiflags,
    }


def _libc() -> tuple[str, list[int]]:
    with suppress(ValueError, OSError):
        told = os.confstr("CS_GNU_LIBC_VERSION") or ""
        if told.startswith("glibc "):
            return "glibc", _numbers(told)
    for loader in sorted(Path("/lib").glob("ld-musl-*.so.1")):
        with suppress(OSError, subprocess.TimeoutExpired):
            said = subprocess.run([loader], capture_output=True, timeout=_LOADER_S, check=False).stderr.decode(
                "latin-1"
            )
            if "Version" in said:
                return "musl", _numbers(said.partition("Version")[2])
    return "", []


def _numbers(text: str) -> list[int]:
    found = re.search(r"(\d+)\.(\d+)", text)
    return [int(found[1]), int(found[2])] if found else []
