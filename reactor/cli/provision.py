"""``reactor provision BOARD``: make a board with a stock Linux a target; says what it will do before it does it.

The board is reached over ssh, at the end of a serial line, or is a card that is mounted here.
"""

from __future__ import annotations

import argparse
import getpass
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from bootloader.wire.errors import Fault, Malformed
from bootloader.wire.limits import PORT
from bootloader.wire.private import KEY, check_mode
from bootloader.wire.stream import fingerprint, shown

from .. import __version__, trust
from ..owner import as_owner
from ..pace import Pace
from ..provision import card, gadget, plan
from ..provision.board import Board, Shell, payload_for, reach, wish
from ..provision.console import Console
from ..provision.facts import Facts, Python
from ..provision.payload import Payload
from ..provision.plan import Step
from ..provision.ssh import Ssh
from ..targets.linked import split
from ..terminal import Terminal
from . import options

_WIRED = re.compile(r"(?:([^@/:]+)@)?(serial:.+)")
_SHORTLY_S = 10.0
_MOST_CHARS = 1024


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    add_board(parser, optional=True)
    parser.add_argument("--to", type=options.folder, metavar="DIR", help="a card's root file system, mounted here")
    parser.add_argument("--name", metavar="NAME", help="what the device is called (its host name)")
    parser.add_argument("--listen", metavar="HOST", help="where it listens (0.0.0.0; with --gadget, ::)")
    parser.add_argument(
        "--gadget", action="store_true", help="be a network and a serial port on its USB cable, too, at each boot"
    )
    parser.add_argument("--address", metavar="HOST[:PORT]", help="where this host reaches it (where ssh does)")
    parser.add_argument("--fresh", action="store_true", help="ask the package index anew, whatever is cached")


def add_board(parser: argparse.ArgumentParser, *, optional: bool = False) -> None:
    """The arguments that name a board, and how it is done."""
    parser.add_argument(
        "board",
        nargs="?" if optional else None,
        metavar="BOARD",
        help="USER@HOST, as ssh knows it, or [USER@]serial:PORT[:BAUD], where its login is on a serial line",
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    parser.add_argument("--port", type=options.count, default=PORT, metavar="N", help="the bootloader's (%(default)s)")
    parser.add_argument("--python", default="", metavar="PATH", help="the board's Python (the first that will do)")
    parser.add_argument("--ssh", default="ssh", metavar="COMMAND", help="the ssh to use, with options (%(default)s)")
    parser.add_argument(
        "--password-file",
        type=Path,
        metavar="FILE",
        help="the user's password there, where one is asked for; nobody else may read it",
    )
    options.add_output(parser)


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Provision: 0 if the device was reached at the end, or with ``--dry-run``, if it could be done."""
    began = time.monotonic()
    if (arguments.to is None) == (arguments.board is None):
        do = "name USER@HOST or USER@serial:PORT, or with --to a card's folder"
        raise Fault("no-board", "one board is wanted", do=do)
    if arguments.to is not None:
        return _prepare(arguments, terminal, began)
    with shell_of(arguments, terminal) as shell:
        board = Board(shell, arguments.port, arguments.python, partial(ask_for_sudo, terminal, shell.destination))
        facts = board.facts
        wanted, python, payload, todo = _planned(arguments, terminal, facts)
        name = wanted.name
        if arguments.dry_run:
            return 0
        device = facts.device
        if todo:
            shell.on_sent = on_bytes(terminal, name, "ship")
            unpacked = on_bytes(terminal, name, "unpack")
            device = board.perform(todo, payload, on_done(terminal, name), unpacked).device or device
        if not device:
            raise Malformed("it does not tell its certificate", to=name, do=f"look at {facts.state}/trust there")
        host, port = shell.address(), arguments.port
        address = arguments.address or shown((host or facts.address or f"{facts.name}.local", port))
        split(address)
        trust.remember(trust.default_home(), name, device, address)
        if not host:
            board.answers(python, payload.root)
        if host or arguments.address:
            also = [shown((facts.address, port))] if facts.address and not arguments.address else []
            _reached(board, name, address, also)
        else:
            _tried(terminal, name, address if facts.address else "")
        board.sweep(payload.root)
    if wanted.gadget and (text := gadget.later(facts)):
        note(terminal, text)
    _tell_end(terminal, name, address, device, payload, any(step.name == "code" for step in todo), began)
    return 0


@contextmanager
def shell_of(arguments: argparse.Namespace, terminal: Terminal) -> Iterator[Shell]:
    """The board's shell, over ssh or a serial line."""
    known = None if arguments.password_file is None else _read(arguments.password_file)
    wired = _WIRED.fullmatch(arguments.board)
    if wired is None:
        ssh = Ssh(arguments.board, arguments.ssh)
        ssh.password = known
        yield ssh
        return

    def ask() -> str:
        question = f"password of {wired[1]} on {wired[2]}: "
        do = "name a file with it, --password-file, or run this in a terminal"
        what = "a password is asked for there, and nobody can be asked for it"
        return _asked(terminal, question, Fault("login-failed", what, to=arguments.board, do=do))

    console = Console(wired[2], wired[1] or "", ask)
    console.password = known
    if console.is_remote:
        note(
            terminal, "whoever is on the way to that port can read and change all of it, the password and the keys too"
        )
    with console:
        yield console


def _prepare(arguments: argparse.Namespace, terminal: Terminal, began: float) -> int:
    """Give a card what a board would get."""
    folder = arguments.to.absolute()
    facts, home = card.look(folder), trust.default_home()
    if arguments.gadget:
        card.check_boot(folder)
    with as_owner(home):
        wanted, python, payload, _ = _planned(arguments, terminal, facts)
    if arguments.dry_run:
        return 0
    device = card.write(folder, facts, wanted, python, payload, home)
    address = arguments.address or f"{facts.name}.local:{arguments.port}"
    with as_owner(home):
        trust.remember(home, wanted.name, device, address)
    _tell_end(terminal, wanted.name, address, device, payload, True, began)
    return 0


def _planned(
    arguments: argparse.Namespace, terminal: Terminal, facts: Facts
) -> tuple[plan.Wish, Python, Payload, tuple[Step, ...]]:
    """What is to be done, told; a :class:`Fault` where it can't be."""
    python = plan.python_of(facts)
    home, be_gadget = trust.default_home(), arguments.gadget
    wanted = wish(facts, home, arguments.name, arguments.listen, arguments.port, be_gadget=be_gadget)
    name = wanted.name
    say(terminal, name, "look", "done", described(facts, python))
    payload, lacks = payload_for(
        python, fresh=arguments.fresh, on_progress=lambda text: say(terminal, name, "fetch", "begun", text)
    )
    for text in (*plan.notes(facts, time.time()), *lacks):
        note(terminal, text)
    todo = plan.steps(facts, wanted, python, payload.root, payload.told, payload.size_bytes)
    plan.refuse(facts, wanted.port, payload.size_bytes, changes=bool(todo), be_gadget=bool(wanted.gadget))
    told(terminal, name, todo)
    return wanted, python, payload, todo


def _reached(board: Board, name: str, address: str, more: Sequence[str]) -> None:
    try:
        reach(name, address, more)
    except Fault as fault:
        do = f"let port {board.port} through its firewall, or say where it is reached with --address"
        said = f"; it says: {said}" if (said := board.why_not()) else ""
        raise Fault("not-reached", f"it is installed, and not reached ({fault}){said}", to=name, do=do) from fault


def _tried(terminal: Terminal, name: str, address: str) -> None:
    """Look whether what answers on the board itself is reached from here, too."""
    if not address:
        note(terminal, "it has no network yet; it is reached once it has one, under its name")
        return
    try:
        reach(name, address, [], _SHORTLY_S)
    except Fault as fault:
        note(terminal, f"it runs, and is not reached over the network from here ({fault})")


def note(terminal: Terminal, text: str) -> None:
    """Tell what is amiss, and does not matter."""
    if terminal.as_json:
        terminal.notice("provision", text)
    else:
        terminal.line(f"  note: {text}")


def _tell_end(
    terminal: Terminal, name: str, address: str, device: str, payload: Payload, sent: bool, began: float
) -> None:
    took_s = time.monotonic() - began
    if terminal.as_json:
        told = {
            "address": address,
            "fingerprint": fingerprint(device),
            "release": payload.root,
            "sent_bytes": len(payload.tar) if sent else 0,
            "took_s": round(took_s, 3),
        }
        terminal.tell({"event": "provisioned", "target": name, **told})
    else:
        terminal.line(f"{name} is ready, with bootloader {__version__}, in {took_s:.1f} s: reactor dev -t {name}")


def described(facts: Facts, python: Python) -> str:
    """A board, in a line."""
    where = f"{python.platform or f'Python {python.told}'} ({python.path})"
    init = "systemd" if facts.init == "systemd" else "no systemd"
    return f"{facts.user}@{facts.name}: {where}, {init}, {facts.free_kb / 1024:.0f} MB free"


def told(terminal: Terminal, name: str, todo: tuple[Step, ...]) -> None:
    """Say what is to be done."""
    for step in todo:
        say(terminal, name, step.name, "planned", step.text)
    if not todo:
        say(terminal, name, "none", "planned", "nothing is to be done there")


def say(terminal: Terminal, name: str, step: str, state: str, text: str) -> None:
    """Tell of a step."""
    if terminal.as_json:
        terminal.tell({"event": "step", "target": name, "step": step, "state": state, "text": text})
    elif state == "done" and not text:
        terminal.line(f"  ✓ {step}")
    else:
        terminal.line(text if step == "look" else f"  {step:<8} {text}")


def on_done(terminal: Terminal, name: str) -> Callable[[str], None]:
    """What tells of a step that is done."""
    return lambda step: say(terminal, name, step, "done", "")


def on_bytes(terminal: Terminal, name: str, what: str) -> Callable[[int, int], None]:
    """What tells how far it is, where that takes its time."""
    pace = Pace(time.monotonic())

    def tell(done: int, total: int) -> None:
        if pace.due(time.monotonic(), ended=done == total):
            bytes_ = {"done_bytes": done, "total_bytes": total}
            terminal.tell({"event": "progress", "target": name, "what": what, **bytes_})

    return tell


def ask_for_sudo(terminal: Terminal, destination: str, facts: Facts) -> str:
    """The password of the user on the board, for which sudo asks there."""
    do = (
        "let it become root without (NOPASSWD in /etc/sudoers.d), log in as root, name a file with it"
        " (--password-file), or run this in a terminal"
    )
    fault = Fault("no-root", "sudo asks for a password there, and nobody can be asked for it", to=facts.name, do=do)
    return _asked(terminal, f"password of {facts.user} on {destination}, for sudo there: ", fault)


def _asked(terminal: Terminal, question: str, otherwise: Fault) -> str:
    """A password, of a person; ``otherwise`` is raised where there is none."""
    if terminal.as_json or not sys.stdin.isatty():
        raise otherwise
    try:
        return getpass.getpass(question)
    except EOFError:
        raise otherwise from None


def _read(path: Path) -> str:
    """The password that is the first line of a file which nobody else may read."""
    try:
        with path.open(encoding="utf-8") as file:
            check_mode(path, os.fstat(file.fileno()).st_mode, KEY)
            return file.readline(_MOST_CHARS).rstrip("\r\n")
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        do = "name a file that this user can read"
        raise Fault("no-password", f"the password can't be read ({why})", to=str(path), do=do) from error
