"""How much slower this machine is than if it were ours alone: what others take is not the target's doing.

Measured when whatever attacked the target is gone, by a process of fixed work: how much longer it takes than it works.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

_WORK = "import asyncio, email.message, json, ssl, xml.dom.minidom"
_SAMPLES = 5
_OURS = 1.25
"""A factor up to here is a machine that is ours."""


_MOST = 3.0
"""What is slower by more is no place to measure at, and excuses no more."""


def slower() -> float:
    """The factor, the worst of some samples, within bounds; 1 on a machine that is ours."""
    worst = max(_sample() for _ in range(_SAMPLES))
    return min(worst, _MOST) if worst > _OURS else 1.0


def _sample() -> float:
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, "-I", "-c", _WORK])
    _, status, usage = os.wait4(process.pid, 0)
    took_s = time.monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    return took_s / (usage.ru_utime + usage.ru_stime)
