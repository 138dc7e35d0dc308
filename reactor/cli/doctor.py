"""``reactor doctor``: what a first hour meets, looked at one by one, on this host and on the targets that are named."""

from __future__ import annotations

import argparse
import getpass
import os
from collections.abc import Iterable
from contextlib import closing

from bootloader.wire.errors import LinkDown

from .. import trust
from ..doctor import checks, device, host
from ..doctor.checks import DOUBTFUL, WELL, WRONG, Finding
from ..targets import Target
from ..targets.embedded import Embedded
from ..targets.linked import Linked, split
from ..terminal import Terminal
from . import ask, options

_MARKS = {WELL: "✓", DOUBTFUL: "!", WRONG: "✗"}


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    parser.add_argument("more", nargs="*", metavar="TARGET", help="also look at these, as -t names them")
    ask.add(parser)


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Look and tell: 0 if nothing is wrong."""
    targets: list[Target] = []
    arguments.target += arguments.more
    if arguments.target or os.environ.get("REACTOR_TARGET"):
        targets = options.targets_of(arguments, options.project_if_any(arguments), attach=True, start=False)
    addresses = {target.name: target.addresses for target in targets if isinstance(target, Linked)}
    wrong = _tell(terminal, "", _host([one for some in addresses.values() for one in some]))
    for target in targets:
        with closing(target):
            wrong += _tell(terminal, target.name, _device(target, addresses.get(target.name, [])))
    return 1 if wrong else 0


def _host(addresses: list[str]) -> Iterable[Finding]:
    links = host.interfaces()
    yield from checks.interfaces(links)
    meant = [where for where, _ in map(split, addresses) if where.replace(".", "").isdecimal()]
    yield from checks.routes(host.routes(), links, meant)
    yield from checks.drivers(list(host.functions()))
    yield from checks.ports(host.ports(), modem_manager=host.modem_manager(), user=_user())
    yield from checks.multicast(*host.multicast())
    yield from checks.keys(host.keys(trust.default_home()))


def _device(target: Target, addresses: list[str]) -> Iterable[Finding]:
    fault, health = device.asked(target)
    if isinstance(fault, LinkDown) and addresses:
        found = list(checks.reached(list(device.attempts(addresses))))
        yield from found or [checks.trusted(target.name, fault.code, fault.what, fault.do)]
        return
    if fault is None:
        yield checks.trusted(target.name, "", "", "")
    else:
        what = fault.what if fault.to in ("", target.name) else f"{fault.to}: {fault.what}"
        yield checks.trusted(target.name, fault.code, what, fault.do)
    if health is not None:
        found = list(checks.health(target.name, health))
        yield from (one for one in found if one.check != "unit" or not isinstance(target, Embedded))


def _tell(terminal: Terminal, target: str, findings: Iterable[Finding]) -> int:
    """Show each as it is found; how many are wrong."""
    wrong = 0
    for one in findings:
        wrong += one.state == WRONG
        if terminal.as_json:
            fields = {"check": one.check, "state": one.state, "message": one.what, "hint": one.do}
            terminal.tell({"event": "finding", "target": target, **fields})
        else:
            what = f"{_MARKS[one.state]} {target or 'this host'}: {one.what}"
            terminal.line(f"{what}\n    {one.do}" if one.do else what)
    return wrong


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "$USER"
