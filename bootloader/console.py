"""What is done at the device's own console: whom it obeys, and a window to pair in.

For whoever may read the device's key. A bootloader that runs on the state folder notices by itself whom it is to obey;
a window it is asked for, over a link to itself. Prints nothing.
"""

from __future__ import annotations

from pathlib import Path

from .itself import ask
from .trust import Trust, dismiss
from .wire.errors import Fault
from .wire.messages import Fields

_ANSWER_S = 10.0


def hosts(state: Path) -> list[tuple[str, str, str]]:
    """Name, fingerprint and folder of each host that the device obeys."""
    return Trust.load(state / "trust").rows()


def remove(state: Path, name: str) -> None:
    """Obey a host no more."""
    try:
        found = dismiss(state / "trust", name)
    except OSError as error:
        raise Fault("not-written", f"can't be removed ({error.strerror})", to=name) from error
    if not found:
        known = ", ".join(one for one, _, _ in hosts(state)) or "nobody"
        raise Fault("unknown-host", "this device does not obey a host of that name", to=name, do=f"it obeys {known}")


def invite(state: Path) -> Fields:
    """Have the bootloader that runs on ``state`` open a window: ``code``, ``host``, ``port``, ``open_s``."""
    do = "start it: bootloader run"
    try:
        host, port = (state / "run" / "address").read_text("ascii").split()
        return ask((host, int(port)), Trust.load(state / "trust"), "invite", _ANSWER_S)
    except (OSError, ValueError) as error:
        raise Fault("not-running", f"no bootloader answers there ({error})", to=str(state), do=do) from error
