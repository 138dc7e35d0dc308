"""What Python has no words for, asked of the C library itself.

Each answers whether the system did it. None does where there is no ``ctypes``, which a stripped Python is without, or
where the C library has no such function: ``lacking`` tells what that costs.
"""

from __future__ import annotations

import signal

try:
    import ctypes

    _libc: ctypes.CDLL | None = ctypes.CDLL(None, use_errno=True)
except Exception:  # noqa: BLE001 - a damaged one may raise anything
    _libc = None

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LOCK_WHAT_IS_USED = 1 | 2 | 4
"""``mlockall``: MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT."""
_LINE_BUFFERED = 1


def adopt_orphans() -> bool:
    """Whatever is left behind below this process comes to it, and not to process 1."""
    return _call("prctl", _PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def die_with_parent() -> bool:
    """SIGKILL to this process when its parent ends."""
    return _call("prctl", _PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def keep_in_memory() -> bool:
    """What this process uses is not swapped out."""
    return _call("mlockall", _LOCK_WHAT_IS_USED)


def buffer_by_line() -> bool:
    """What C code prints comes line by line, in its place, and is not lost at the end."""
    if _libc is None:
        return False
    try:
        stdout = ctypes.c_void_p.in_dll(_libc, "stdout")
    except ValueError:  # it has another name in this C library
        return False
    return _call("setvbuf", stdout, None, _LINE_BUFFERED, 0)


def _call(name: str, *arguments: object) -> bool:
    function = getattr(_libc, name, None)
    return function is not None and function(*arguments) == 0


def throw(thread: int, kind: type[BaseException]) -> bool:
    """Raise ``kind`` in the thread of that id, at its next step in Python."""
    if _libc is None:
        return False
    found: int = ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(kind))
    return found == 1
