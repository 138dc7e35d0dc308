"""Which board this is: an id that stays the same whatever is installed on it, as far as the board has one."""

from __future__ import annotations

from pathlib import Path

from ..wire.errors import Fault

ROOT = Path("/")
_IDS = (
    "proc/device-tree/serial-number",
    "sys/devices/soc0/serial_number",
    "sys/class/dmi/id/product_uuid",
    "etc/machine-id",
)
"""From what is burnt into a chip to what is on the disk, which a copied card has in common with others."""

_UNFILLED = "uninitialized"
"""What systemd has as the machine-id of an image that has never started."""

_LEAST_CHARS = 8
_LONGEST_BYTES = 256


def board_id(root: Path = ROOT) -> str:
    """The first of those that the board has and that tells something. A :class:`Fault` where there is none."""
    for name in _IDS:
        try:
            with root.joinpath(name).open("rb") as file:
                text = file.read(_LONGEST_BYTES).strip(b"\0 \n").decode("ascii")
        except (OSError, ValueError):
            continue
        is_filled = len(text) >= _LEAST_CHARS and len(set(text) - {"-"}) > 1 and text != _UNFILLED
        if is_filled:
            return text
    do = "make one: systemd-machine-id-setup"
    raise Fault("no-board-id", "this board has no serial number and no machine-id", do=do)
