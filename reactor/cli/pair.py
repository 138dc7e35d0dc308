"""``reactor pair DEVICE``: type the code that a device shows, and it obeys this host, which knows it from then on."""

from __future__ import annotations

import argparse
import re
import sys
import threading
import time
from contextlib import closing
from functools import partial
from pathlib import Path

from bootloader.wire.errors import Fault, LinkDown
from bootloader.wire.line import PAIRING
from bootloader.wire.pairing import PORT, spoken

from .. import gadgets, pairing, trust
from ..discovery import Discovery
from ..report import clean, whole
from ..targets.linked import split
from ..targets.wired import Wire, is_wired
from ..terminal import Terminal
from . import ask, options

_SEARCH_S = 3.0
"""How long a device may take to be found that has only just opened its window."""

_OTHERS_S = 0.8
"""How long to look for another one of that name."""

_LOOK_S = 0.2
_SHORT_ID = 8


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    where = f"its name, HOST[:PORT] as it shows it (port {PORT}), usb[:SERIAL], or serial:PORT[:BAUD]"
    where += " (the one that announces itself)"
    parser.add_argument("device", nargs="?", metavar="DEVICE", help=where)
    parser.add_argument("--code", metavar="CODE", help="the code that the device shows (asked for)")
    parser.add_argument("--name", metavar="NAME", help="what this host is to call the device (as it calls itself)")
    parser.add_argument(
        "--open", action="store_true", help="have the targets, which obey this host, open a window for another one"
    )
    parser.add_argument("--observe", action="store_true", help="with --open: that one may look, and change nothing")
    ask.add(parser)


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Pair, or have a window opened: 0 if that was done."""
    if arguments.open:
        role = "observers" if arguments.observe else "hosts"
        return ask.each(arguments, terminal, lambda asked: _invite(asked, role), start=False)
    if arguments.observe:
        raise Fault("not-open", "what a host may do is said where the window is opened", do="use --open --observe")
    if arguments.name is not None:
        trust.check_name(arguments.name)
    device, home = arguments.device or "", trust.default_home()
    if is_wired(device):
        code = arguments.code or _asked(terminal)
        with closing(Wire(device)) as wire:
            paired = wire.over(PAIRING, lambda sock, where: pairing.pair_over(sock, where, code, home, arguments.name))
    else:
        places = _places(device)
        code = arguments.code or _asked(terminal)
        paired = _pair(places, code, home, arguments.name)
    fields = {"address": paired.address, "fingerprint": paired.fingerprint, "known_as": paired.known_as}
    fields["role"] = paired.role
    if terminal.as_json:
        terminal.tell({"event": "paired", "target": paired.name, **fields})
    else:
        does, command = ("lets this host look", "status") if paired.role == "observers" else ("obeys this host", "dev")
        terminal.line(f"{paired.name} {does}, as {paired.known_as}: reactor {command} -t {paired.name}")
    return 0


def _places(device: str) -> list[tuple[str, int]]:
    """Where the window may be: at an address, or where whoever announces that name says that one is open."""
    if gadgets.is_usb(device):
        return [(split(address)[0], PORT) for address in gadgets.only(gadgets.found(), device).addresses]
    if re.search(r"[.:]", device) and not device.endswith(options.LOCAL_NAME):
        return [split(device, PORT)]
    found = _announced(device.removesuffix(options.LOCAL_NAME))
    if len(found) > 1:
        do = f"name one by its id: {', '.join(one[:_SHORT_ID] for one in sorted(found))}; or give the address it shows"
        raise Fault("several-devices", "several devices wait to be paired with", to=device, do=do)
    if found:
        return next(iter(found.values()))
    if not device:
        do = "have the device open a window (`bootloader pair`), or give the address that it shows"
        raise Fault("no-device", "no device announces that it waits to be paired with", do=do)
    return [split(device, PORT)]


def _announced(name: str) -> dict[str, list[tuple[str, int]]]:
    """The windows that are announced, as soon as there is one; what is found without multicast is none."""
    changed, until = threading.Event(), time.monotonic() + _SEARCH_S
    try:
        with Discovery(changed.set) as discovery:
            while True:
                changed.wait(_LOOK_S)
                changed.clear()
                discovery.refresh()
                found = pairing.windows(discovery.found, name)
                if time.monotonic() > until or (name and found and time.monotonic() > until - _SEARCH_S + _OTHERS_S):
                    return found
    except Fault:
        if not name:
            raise
        return {}  # a name may be a host's, too


def _pair(places: list[tuple[str, int]], code: str, home: Path, name: str | None) -> pairing.Paired:
    """At the first of them that answers. Where none does, one is told that says more than that no way leads there."""
    faults, until = list[LinkDown](), time.monotonic() + gadgets.ADDRESS_S
    for host, port in places:
        try:
            return gadgets.once_there(host, partial(pairing.pair, host, port, code, home, name), until)
        except LinkDown as fault:
            faults.append(fault)
    raise min(faults, key=gadgets.has_no_way)


def _asked(terminal: Terminal) -> str:
    if terminal.as_json or not sys.stdin.isatty():
        raise Fault("no-code", "nobody can be asked for the code", do="give it with --code")
    try:
        return input("code: ")
    except EOFError:
        raise Fault("no-code", "no code was given", do="type the one that the device shows") from None


def _invite(asked: ask.Asked, role: str) -> bool:
    told, _ = asked.link.call("invite", {"role": role})
    if told.text("role", "hosts") != role:
        raise Fault(
            "other-protocol", "its window lets a host do everything", to=asked.name, do="upgrade it: reactor upgrade"
        )
    code, port, open_s = clean(told.text("code")), whole(told.integer("port")), told.number("open_s")
    if asked.terminal.as_json:
        fields = {"code": code, "port": port, "open_s": open_s, "role": role}
        asked.terminal.tell({"event": "pairing", "target": asked.name, **fields})
    else:
        asked.terminal.line(
            f"{asked.name}: code {spoken(code)}, at port {port}, for {open_s:.0f} s: reactor pair HOST:{port}"
        )
    return True
