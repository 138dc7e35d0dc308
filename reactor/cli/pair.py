"""``reactor pair DEVICE``: type the code that a device shows, and it obeys this host, which knows it from then on."""

from __future__ import annotations

import argparse
import sys
from contextlib import closing

from bootloader.wire.errors import Fault
from bootloader.wire.line import PAIRING
from bootloader.wire.pairing import PORT, spoken

from .. import pairing, trust
from ..report import clean, whole
from ..settings import EMBEDDED
from ..targets.linked import split
from ..targets.wired import Wire, is_wired
from ..terminal import Terminal
from . import ask, options


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    where = f"HOST or HOST:PORT, as the device shows it (port {PORT}), or serial:PORT[:BAUD]"
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
    if arguments.device is None:
        raise Fault("no-device", "no device was named", do="give the address that it shows: reactor pair HOST:PORT")
    if arguments.name in (options.ALL, *EMBEDDED):
        raise Fault("bad-name", "means something else after -t", to=repr(arguments.name), do="choose another name")
    device, home = arguments.device, trust.default_home()
    host, port = split(device, PORT)
    code = arguments.code or _asked(terminal)
    if is_wired(device):
        with closing(Wire(device)) as wire:
            paired = wire.over(PAIRING, lambda sock, where: pairing.pair_over(sock, where, code, home, arguments.name))
    else:
        paired = pairing.pair(host, port, code, home, arguments.name)
    fields = {"address": paired.address, "fingerprint": paired.fingerprint, "known_as": paired.known_as}
    fields["role"] = paired.role
    if terminal.as_json:
        terminal.tell({"event": "paired", "target": paired.name, **fields})
    else:
        does, command = ("lets this host look", "status") if paired.role == "observers" else ("obeys this host", "dev")
        terminal.line(f"{paired.name} {does}, as {paired.known_as}: reactor {command} -t {paired.name}")
    return 0


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
