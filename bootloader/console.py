"""What is done at the device's own console: whom it obeys, and a window to pair in.

For whoever may read the device's key. A bootloader that runs on the state folder notices by itself whom it is to obey;
a window it is asked for, over a link to itself. Prints nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .itself import ask
from .trust import Trust, assign, dismiss
from .wire.errors import Fault
from .wire.messages import Fields

_ANSWER_S = 10.0


def hosts(state: Path) -> list[tuple[str, str, str]]:
    """Name, fingerprint and folder of each host that the device obeys."""
    return Trust.load(state / "trust").rows()


def remove(state: Path, name: str) -> None:
    """Obey a host no more."""
    _change(state, name, dismiss)


def become(state: Path, name: str, role: str) -> None:
    """Let a host be one of ``role``."""
    _change(state, name, lambda folder, name: assign(folder, name, role))


def _change(state: Path, name: str, change: Callable[[Path, str], bool]) -> None:
    try:
        found = change(state / "trust", name)
    except OSError as error:
        raise Fault("not-written", f"whom this device obeys is as it was ({error.strerror})", to=name) from error
    if not found:
        known = ", ".join(one for one, _, _ in hosts(state)) or "nobody"
        raise Fault("unknown-host", "this device does not obey a host of that name", to=name, do=f"it obeys {known}")


def invite(state: Path, role: str) -> Fields:
    """Have the bootloader that runs on ``state`` open a window: ``code``, ``host``, ``port``, ``open_s``, ``role``."""
    do = "start it: bootloader run"
    try:
        host, port = (state / "run" / "address").read_text("ascii").split()
        return ask((host, int(port)), Trust.load(state / "trust"), "invite", _ANSWER_S, role=role)
    except (OSError, ValueError) as error:
        raise Fault("not-running", f"no bootloader answers there ({error})", to=str(state), do=do) from error
