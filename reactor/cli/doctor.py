"""``reactor doctor``: what a first hour meets, looked at one by one: on this host, on targets, on boards over ssh."""

from __future__ import annotations

import argparse
import getpass
import ipaddress
import os
import time
from collections.abc import Iterable
from contextlib import closing

from bootloader.wire.errors import Fault, LinkDown
from bootloader.wire.limits import PORT
from bootloader.wire.stream import fingerprint

from .. import trust
from ..doctor import board, checks, device, host
from ..doctor.checks import DOUBTFUL, WELL, WRONG, Finding
from ..provision.board import Board, wish
from ..provision.ssh import Ssh
from ..report import clean
from ..targets import Target
from ..targets.embedded import Embedded
from ..targets.linked import Linked, split
from ..targets.wired import SCHEME, is_wired
from ..terminal import Terminal
from . import ask, options

_MARKS = {WELL: "✓", DOUBTFUL: "!", WRONG: "✗"}
_NOT_SEEN_BY_SSH = ("reach", "trust", "versions", "lost", "discovery")


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    more = "also look at these, as -t names them; a board as USER@HOST over ssh, target or not"
    parser.add_argument("more", nargs="*", metavar="TARGET", help=more)
    parser.add_argument("--port", type=options.count, default=PORT, metavar="N", help="that of a board (%(default)s)")
    parser.add_argument("--ssh", default="ssh", metavar="COMMAND", help="the ssh to use, with options (%(default)s)")
    ask.add(parser)


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Look and tell: 0 if nothing is wrong."""
    targets: list[Target] = []
    asked = dict.fromkeys([*arguments.target, *arguments.more])
    names = {one.name for one in trust.known(trust.default_home())}
    boards = [one for one in asked if "@" in one and SCHEME not in one and one not in names]
    arguments.target = [one for one in asked if one not in boards]
    if arguments.target or (not boards and os.environ.get("REACTOR_TARGET")):
        targets = options.targets_of(arguments, options.project_if_any(arguments), attach=True, start=False)
    addresses = {target.name: target.addresses for target in targets if isinstance(target, Linked)}
    wrong = _tell(terminal, "", _host([one for some in addresses.values() for one in some]))
    for target in targets:
        with closing(target):
            wrong += _tell(terminal, target.name, _device(target, addresses.get(target.name, [])))
    for to in boards:
        wrong += _tell(terminal, to, _board(to, arguments.ssh, arguments.port))
    return 1 if wrong else 0


def _host(addresses: list[str]) -> Iterable[Finding]:
    links = host.interfaces()
    yield from checks.interfaces(links)
    meant = [where for where, _ in map(split, addresses) if _is_literal(where)]
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
    if health is not None and health.announced is not None and isinstance(target, Linked):
        yield from _heard(target, announced=health.announced)
    if health is not None:
        found = list(checks.health(health))
        yield from (one for one in found if one.check != "unit" or not isinstance(target, Embedded))


def _heard(target: Linked, *, announced: bool) -> Iterable[Finding]:
    """Whether the network brings what the target says that it tells; over a serial line it tells nobody."""
    where = "" if is_wired(target.met_at) else split(target.met_at)[0]
    if _is_literal(where.partition("%")[0]):
        is_heard = device.is_heard(target.fingerprint) if announced else False
        if is_heard is not None:
            yield from checks.heard(where, host.interfaces(), announced=announced, is_heard=is_heard)


def _board(to: str, ssh: str, port: int) -> Iterable[Finding]:
    """What its shell tells, and then what its bootloader does, if this host is known there."""
    try:
        shell, began = Ssh(to, ssh), time.time()
        facts = Board(shell, port).facts
        clock_off_s = facts.clock_s - (began + time.time()) / 2
    except Fault as fault:
        yield Finding("login", WRONG, fault.what, fault.do or f"name it as ssh does: ssh {to}")
        return
    home = trust.default_home()
    try:
        name = wish(facts, home, None, "", port).name
    except Fault as fault:  # what this host knows under its name is another one, or it, before it was flashed
        yield Finding("trust", WRONG, f"{fault.to} {fault.what}", fault.do)
        name = ""
    yield from board.able(facts, port, clock_off_s)
    yield from board.runs(facts, port, trust.host_identity(home).certificate.read_text("ascii"), to)
    if facts.runs and facts.taken:
        address = f"{shell.address()}:{port}"
        which = fingerprint(facts.device) if facts.device else ""
        if name and which in {one.fingerprint for one in trust.known(home)}:
            with closing(Linked(name, address)) as target:
                yield from (one for one in _device(target, [address]) if one.check in _NOT_SEEN_BY_SSH)
        else:
            yield from checks.reached(list(device.attempts([address])))


def _tell(terminal: Terminal, target: str, findings: Iterable[Finding]) -> int:
    """Show each as it is found, in which a target may have words; how many are wrong."""
    wrong = 0
    for one in findings:
        wrong += one.state == WRONG
        message, hint = (clean(text).replace("\n", " ") for text in (one.what, one.do))
        if terminal.as_json:
            fields = {"check": one.check, "state": one.state, "message": message, "hint": hint}
            terminal.tell({"event": "finding", "target": target, **fields})
        else:
            what = f"{_MARKS[one.state]} {target or 'this host'}: {message}"
            terminal.line(f"{what}\n    {hint}" if hint else what)
    return wrong


def _is_literal(where: str) -> bool:
    """Whether the system's routes alone say which way leads there: no name, and no interface is named."""
    try:
        return not getattr(ipaddress.ip_address(where), "scope_id", None)
    except ValueError:
        return False


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "$USER"
