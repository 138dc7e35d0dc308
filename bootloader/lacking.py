"""What this device's Python lacks of its standard library, as stripped ones do, and what each such module costs.

Whoever needs one of them goes on without; here it is said.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

_COSTS = {
    "ctypes": "what survives the death of all above it is nobody's to end, and memory may be swapped out",
    "fcntl": "the state folder is no longer locked by what a dead bootloader has started",
    "resource": "only the system's groups bound what an application takes",
}


def lacking() -> Iterator[str]:
    """A text for each."""
    for name, cost in _COSTS.items():
        try:
            import_module(name)
        except Exception as error:  # noqa: BLE001 - a damaged one may raise anything
            yield f"'{name}' can't be imported here ({type(error).__name__}: {error}): {cost}"
    if getattr(import_module("blake3"), "SLOW", False):
        yield "'blake3' is Python alone here, as provisioned where nobody has a wheel of it: what is hashed takes long"
