"""What ``--gadget`` adds to a plan: a board that is a network and a serial port on a USB cable, at each boot. Pure.

What the kernel is told is a matter of the board's own command, ``bootloader gadget``. Here is what that takes: a unit,
the right to the serial port, and on a Raspberry Pi lines in a file that its firmware reads.
"""

from __future__ import annotations

from shlex import join, quote

from bootloader.wire.errors import Fault

from .facts import Facts

UNIT = "/etc/systemd/system/bootloader-gadget.service"
PORT = "/dev/ttyGS0"
CONFIGS = ("/boot/firmware/config.txt", "/boot/config.txt")
"""Where a Raspberry Pi's firmware has its settings, on systems of today and of before."""

OVERLAY = "dtoverlay=dwc2,dr_mode=peripheral"
MARK = "# live-reactor:"
_BEGIN, _END = f"{MARK} for reactor provision --gadget", f"{MARK} end"


def refuse(facts: Facts) -> None:
    """A :class:`Fault` where the board can't be one, with the way out."""
    usb = facts.usb
    if facts.init != "systemd":
        do = "have its init run 'bootloader gadget up --watch' as root, and provision it without --gadget"
        raise Fault("no-gadgets", "it has no systemd, which is to make it a USB gadget", to=facts.name, do=do)
    if not usb.offered:
        do = "a kernel with CONFIG_USB_CONFIGFS has it (libcomposite); or leave --gadget off"
        raise Fault("no-gadgets", "its kernel offers no USB gadgets", to=facts.name, do=do)
    if usb.controllers == ():
        do = "its device tree has to say so, with dr_mode peripheral or otg; or leave --gadget off"
        if usb.config:
            do = f"add the line {OVERLAY} at the end of {usb.config}, after [all], restart it, and do this again"
        raise Fault("no-udc", "it has no USB port that can be a device's", to=facts.name, do=do)


def unit(packaged: str, launcher: str, name: str) -> str:
    """The package's own unit, for that command and name."""
    commands = {
        "ExecStart=": f"ExecStart={launcher} {join(('gadget', 'up', '--watch', '--name', name))}",
        "ExecStop=": f"ExecStop={launcher} gadget down",
    }
    return "".join(
        next((new for start, new in commands.items() if line.startswith(start)), line) + "\n"
        for line in packaged.splitlines()
    )


def raising(launcher: str, name: str, *, runs: bool) -> str:
    """The script that has it be one, now and from each start on; one that runs is pulled for that, and comes back."""
    if runs:
        return "systemctl daemon-reload\nsystemctl restart --no-block bootloader-gadget\n"
    up = f"{launcher} gadget up --name {quote(name)} >/dev/null\n"  # by itself first, as that says what is in the way
    orders = ("daemon-reload", "enable --quiet bootloader-gadget", "start bootloader-gadget")
    return up + "".join(f"systemctl {order}\n" for order in orders)


def lowering(launcher: str) -> str:
    """The script that has it be none any more."""
    return (
        "systemctl disable --now --quiet bootloader-gadget || true\n"
        f"[ ! -x {launcher} ] || {launcher} gadget down || true\n"
        f"rm -f {UNIT}\nsystemctl daemon-reload\n"
        "systemctl reset-failed --quiet bootloader-gadget 2>/dev/null || true\n"
    )


def told(config: str) -> str:
    """A Raspberry Pi's settings with what has its USB port be a device's; as they are, where that is there."""
    if MARK in config:
        return config
    end = "" if config.endswith("\n") or not config else "\n"
    return f"{config}{end}{_BEGIN}\n[all]\n{OVERLAY}\n{_END}\n"


def untold(path: str) -> str:
    """The script that takes that out again."""
    return f"sed -i '/^{_BEGIN}$/,/^{_END}$/d' {path}\nsync\n"
