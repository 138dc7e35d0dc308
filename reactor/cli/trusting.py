"""``reactor trust``: whom this host and its devices trust; and the keys of a device, made by hand.

``make DIR``: the folder ``DIR/trust`` is what a device needs; copied to its state folder, it obeys this host.
``list`` and ``remove`` are about the devices that this host knows; with ``-t``, about the hosts that those obey, and
so is ``role``.
"""

from __future__ import annotations

import argparse

from bootloader.wire.errors import Malformed

from .. import trust
from ..report import clean
from ..targets.linked import split
from ..terminal import Terminal
from . import ask, options

_MAY = {"hosts": "may do everything", "observers": "may look, and change nothing"}
"""The roles, and what each is."""

_SHORT = 16
"""Digits of a fingerprint that people are shown."""


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments, of each part."""
    parts = parser.add_subparsers(required=True, metavar="WHAT")
    make = parts.add_parser("make", help="the keys of a device", description="Make the keys of a device.")
    make.add_argument("folder", type=options.folder, metavar="DIR", help="the target's state folder, or a new one")
    make.add_argument("--name", required=True, metavar="NAME", help="what this host calls the device")
    make.add_argument("--address", required=True, metavar="HOST[:PORT]", help="where the device listens")
    options.add_output(make)
    make.set_defaults(part=_make)
    what = "The devices that this host knows; with -t, the hosts that those obey."
    listed = parts.add_parser("list", help="who is trusted, here or by a device", description=what)
    listed.set_defaults(part=_list)
    what = "Forget a device; with -t, have that one obey a host no more, whose open connections end."
    remove = parts.add_parser("remove", help="trust one no more, here or on a device", description=what)
    remove.add_argument("name", metavar="NAME", help="a device; with -t, a host, as the list has it")
    remove.set_defaults(part=_remove)
    what = "Say what a host may do on a device that obeys this one: its open connections end, and it links again."
    role = parts.add_parser("role", help="what a host may do on a device", description=what)
    role.add_argument("name", metavar="NAME", help="a host, as the device's list has it")
    role.add_argument("role", choices=tuple(_MAY), help="it may do everything, or it may look")
    role.set_defaults(part=_role)
    for one in (listed, remove, role):
        ask.add(one)


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Make, list or remove: 0 if that was done."""
    code: int = arguments.part(arguments, terminal)
    return code


def _list(arguments: argparse.Namespace, terminal: Terminal) -> int:
    if arguments.target:
        return ask.each(arguments, terminal, _hosts, start=False)
    devices = trust.known(trust.default_home())
    for one in devices:
        if terminal.as_json:
            told = {"event": "known", "target": one.name, "address": one.address, "fingerprint": one.fingerprint}
            terminal.tell(told)
    if not terminal.as_json:
        if devices:
            rows = [(one.name, one.address, one.fingerprint[:_SHORT]) for one in devices]
            terminal.table(("device", "address", "key"), rows)
        else:
            terminal.line("this host knows no device: reactor pair DEVICE")
    return 0


def _hosts(asked: ask.Asked) -> bool:
    told, _ = asked.link.call("trust", {})
    you = told.text("you")
    rows: list[tuple[str, str, str]] = []
    for row in told.rows("hosts")[: ask.MOST]:
        match row:
            case [str(name), str(which), str(role)]:
                rows.append((clean(name), clean(which), clean(role)))
            case _:
                raise Malformed("not [name, fingerprint, role]", to=asked.name)
    for name, which, role in rows:
        if asked.terminal.as_json:
            fields = {"name": name, "fingerprint": which, "role": role, "you": name == you}
            asked.terminal.tell({"event": "host", "target": asked.name, **fields})
    if not asked.terminal.as_json:
        shown = [(f"{name} (you)" if name == you else name, which[:_SHORT], role) for name, which, role in rows]
        asked.terminal.table((f"host of {asked.name}", "key", "role"), shown)
    return True


def _remove(arguments: argparse.Namespace, terminal: Terminal) -> int:
    name = arguments.name
    if arguments.target:
        return ask.each(arguments, terminal, lambda asked: _dismiss(asked, name), start=False)
    trust.forget(trust.default_home(), name)
    _say(terminal, f"this host does not know {name} any more; whether {name} obeys this host is up to it")
    return 0


def _dismiss(asked: ask.Asked, name: str) -> bool:
    asked.link.call("distrust", {"name": name})
    _say(asked.terminal, f"{asked.name} does not obey {name} any more", asked.name)
    return True


def _role(arguments: argparse.Namespace, terminal: Terminal) -> int:
    return ask.each(arguments, terminal, lambda asked: _assign(asked, arguments.name, arguments.role), start=False)


def _assign(asked: ask.Asked, name: str, role: str) -> bool:
    asked.link.call("role", {"name": name, "role": role})
    _say(asked.terminal, f"on {asked.name}, {name} {_MAY[role]}", asked.name)
    return True


def _say(terminal: Terminal, text: str, target: str = "") -> None:
    if terminal.as_json:
        terminal.tell({"event": "notice", "target": target, "code": "trusted", "text": text})
    else:
        terminal.line(text)


def _make(arguments: argparse.Namespace, terminal: Terminal) -> int:
    split(arguments.address)
    trust.check_name(arguments.name)
    home = trust.default_home()
    folder = arguments.folder.absolute()
    trust.issue(folder, home, arguments.name)
    certificate = (folder / "trust" / "device.crt").read_text("ascii")
    trust.remember(home, arguments.name, certificate, arguments.address)
    then = "" if terminal.as_json else f"; then: reactor dev -t {arguments.name}"
    _say(
        terminal, f"{folder / 'trust'} holds the keys of {arguments.name}: copy it into the device's state folder{then}"
    )
    for old in trust.namesakes(folder, home):
        text = f"{arguments.name} obeys another key of this host's name as well: if that is an old one, remove {old}"
        _say(terminal, text)
    return 0
