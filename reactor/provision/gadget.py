"""What ``--gadget`` adds to a plan: a board that is a network and a serial port on a USB cable, at each boot. Pure.

What the kernel is told is a matter of the board's own command, ``bootloader gadget``. Here is what that takes: a unit,
the right to the serial port, and on a Raspberry Pi lines in a file that its firmware reads.
"""

from __future__ import annotations

from shlex import join, quote

from bootloader.wire.errors import Fault

from .facts import Facts, Usb

UNIT = "/etc/systemd/system/bootloader-gadget.service"
PORT = "/dev/ttyGS0"
CONFIGS = ("/boot/firmware/config.txt", "/boot/config.txt")
"""Where a Raspberry Pi's firmware has its settings, on systems of today and of before."""

OVERLAY = "dtoverlay=dwc2,dr_mode=peripheral"
MARK = "# live-reactor:"
_BEGIN, _END = f"{MARK} for reactor provision --gadget", f"{MARK} end"
_LINES = f"{_BEGIN}\n[all]\n{OVERLAY}\n{_END}\n"


def is_to_be_told(usb: Usb) -> bool:
    """Whether its firmware has to be told, and can be, before its port is a device's."""
    return not usb.controllers and bool(usb.config) and not (usb.told or usb.odd or usb.holds)


def waits(usb: Usb) -> bool:
    """Whether that takes a start of the board first."""
    return usb.controllers == () and (usb.told or is_to_be_told(usb))


def refuse(facts: Facts) -> None:
    """A :class:`Fault` where the board can't be one, with the way out."""
    usb = facts.usb
    if facts.init != "systemd":
        do = "have its init run 'bootloader gadget up --watch' as root, and provision it without --gadget"
        raise Fault("no-gadgets", "it has no systemd, which is to make it a USB gadget", to=facts.name, do=do)
    if not usb.offered:
        do = "a kernel with CONFIG_USB_CONFIGFS has it (libcomposite); or leave --gadget off"
        raise Fault("no-gadgets", "its kernel offers no USB gadgets", to=facts.name, do=do)
    if usb.controllers == () and not waits(usb):
        what = "it has no USB port that can be a device's"
        do = "its device tree has to say so, with dr_mode peripheral or otg; or leave --gadget off"
        if usb.holds:
            what = f"its USB port is in use: it would lose {usb.holds}"
            do = "unplug that, if it can be (Ethernet of a model B is built in); or leave --gadget off"
        elif usb.config:
            do = f"see to {usb.config}, which {usb.odd}: the line {OVERLAY} is to be there; or leave --gadget off"
        raise Fault("no-udc", what, to=facts.name, do=do)


def later(facts: Facts) -> str:
    """What is to be known of its USB half at the end, where that is not up."""
    usb = facts.usb
    if not waits(usb):
        return ""
    if usb.told and usb.state not in ("", "inactive"):  # it was started in vain, and so after a start of the board
        return f"{usb.config} says that its USB port is a device's, and it has none: the board may have no such port"
    restart = "reboot" if facts.uid == 0 else "sudo reboot"
    return f"its network half is live, and its USB half begins at its next start; restart it once: {restart}"


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


def is_up(usb: Usb) -> bool:
    """Whether it is one as far as it can be by now."""
    return usb.enabled if waits(usb) else usb.state == "active"


def raising(launcher: str, name: str, usb: Usb) -> str:
    """The script that has it be one, now and from each start on; one that runs is pulled for that, and comes back."""
    enable = "systemctl daemon-reload\nsystemctl enable --quiet bootloader-gadget\n"
    if waits(usb):
        return enable
    if usb.state == "active":
        return f"{enable}systemctl restart --no-block bootloader-gadget\n"
    up = f"{launcher} gadget up --name {quote(name)} >/dev/null\n"  # by itself first, as that says what is in the way
    return f"{up}{enable}systemctl start bootloader-gadget\n"


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
    return f"{config}{end}{_LINES}"


def telling(path: str) -> str:
    """The script that does the same to the file ``path``: all of it or nothing."""
    file = quote(path)
    return f"""
if ! grep -q '^{MARK}' {file}; then
    cp {file} {file}.new
    [ -z "$(tail -c 1 {file})" ] || echo >>{file}.new
    printf %s {quote(_LINES)} >>{file}.new
    sync
    mv -f {file}.new {file}
    sync
fi
"""


def untelling(path: str) -> str:
    """The script that takes that out again."""
    return f"sed -i '/^{_BEGIN}$/,/^{_END}$/d' {quote(path)}\nsync\n"
