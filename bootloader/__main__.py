"""The target's front door: arguments in, a running bootloader or what is done at its console, an exit code out.

`run` is two processes: what a user starts becomes the keeper, and what the keeper starts, with the same
arguments, the bootloader. The imports of the latter are made there, so that the keeper stays small.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from . import __version__
from .keeper.keeper import LINE, Keeper
from .keeper.watchdogs import Hardware, Systemd
from .wire.errors import Fault
from .wire.limits import PORT

if TYPE_CHECKING:
    from .boot import Bootloader
    from .pairing import Shown
    from .tether import Tether

BAUD = 115200
SHUTDOWN_GRACE_S = 3.0
ALONE_S = 10
"""How much longer than its applications take a bootloader whose keeper is gone may take to end."""

_FOLLOW_S = 0.2
"""How long the last lines of what happens may take to be read."""

_OUTPUT = b'"event": "log", '
"""How the line of one of those begins, after its number."""

SWITCH_S = 0.0005
"""How long one thread may keep the others waiting: a flood of logs must not be felt at a save."""


def main() -> None:
    """Run the command of ``sys.argv``; exits 0 when ended by a signal, 1 with a reason, 2 on wrong use."""
    arguments = _parser().parse_args()
    line = os.environ.pop(LINE, "")
    command: Callable[[argparse.Namespace], int] = arguments.command
    sys.exit(_run(arguments, int(line)) if line else command(arguments))


def _keep(arguments: argparse.Namespace) -> int:
    def say(text: str) -> None:
        _out(f"bootloader: {text}", sys.stderr)

    keeper = Keeper(
        sys.argv[1:],
        arguments.state.absolute(),
        Systemd(os.environ),
        Hardware(arguments.watchdog),
        grace_s=arguments.grace,
        until_stdin_ends=arguments.until_stdin_ends,
        say=say,
    )
    return keeper.run()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bootloader", description="The target's half of live reload for hardware.")
    parser.add_argument("--version", action="version", version=f"bootloader {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="run until ended by SIGTERM or SIGINT")
    run.add_argument("--state", type=Path, default=_state_folder(), metavar="DIR", help="state folder (%(default)s)")
    run.add_argument(
        "--base", type=Path, metavar="DIR", help="what to run when all else is lost (base in the state folder)"
    )
    run.add_argument(
        "--listen",
        type=_address,
        default=("127.0.0.1", PORT),
        metavar="ADDR",
        help=f"HOST, HOST:PORT or [IPV6]:PORT to listen on (127.0.0.1:{PORT}); 0.0.0.0 for every interface",
    )
    run.add_argument("--name", default=socket.gethostname(), help="what the target calls itself (%(default)s)")
    run.add_argument("--no-announce", action="store_true", help="do not tell the network that it is here")
    run.add_argument(
        "--rescue",
        type=_serial_port,
        metavar="PORT",
        help=f"a serial port to come in by when there is no network: PATH or PATH:BAUD ({BAUD})",
    )
    run.add_argument("--hold", action="store_true", help="start no application before a host says so")
    run.add_argument(
        "--grace",
        type=float,
        default=SHUTDOWN_GRACE_S,
        metavar="S",
        help="seconds that applications have to stop when it ends (%(default)g)",
    )
    run.add_argument("--until-stdin-ends", action="store_true", help="end when standard input does")
    run.add_argument("--watchdog", default="", metavar="DEV", help="the hardware's watchdog, such as /dev/watchdog")
    run.set_defaults(command=_keep)
    pair = commands.add_parser("pair", help="open a window in which a host that knows the code may pair")
    pair.add_argument("--observe", action="store_true", help="that host may look, and change nothing")
    pair.set_defaults(command=_pair)
    trust = commands.add_parser("trust", help="whom this device obeys").add_subparsers(required=True, metavar="WHAT")
    listed = trust.add_parser("list", help="the hosts that it obeys, and those that may look")
    listed.set_defaults(command=_list)
    remove = trust.add_parser("remove", help="obey a host no more; its open connections end")
    remove.add_argument("name", metavar="NAME", help="the host's name, as the list has it")
    remove.set_defaults(command=_remove)
    role = trust.add_parser("role", help="say what a host may do; its open connections end")
    role.add_argument("name", metavar="NAME", help="the host's name, as the list has it")
    role.add_argument("role", choices=("hosts", "observers"), help="may do everything, or may look")
    role.set_defaults(command=_role)
    for one in (pair, listed, remove, role):
        one.add_argument(
            "--state", type=Path, default=_state_folder(), metavar="DIR", help="state folder (%(default)s)"
        )
    for one in (run, pair, listed, remove, role):
        one.add_argument("--json", action="store_true", help="one JSON object a line")
    _add_gadget(commands)
    return parser


def _add_gadget(commands: Any) -> None:
    gadget = commands.add_parser("gadget", help="be a network and a serial port on a USB cable")
    whats = gadget.add_subparsers(required=True, metavar="WHAT", dest="what")
    up = whats.add_parser("up", help="be it, from now on; once more is as once")
    up.add_argument("--name", default=socket.gethostname(), help="what the host is told that it is (%(default)s)")
    up.add_argument("--network", default="", choices=("ncm", "ecm"), help="which kind (ncm, or what it is already)")
    up.add_argument("--controller", default="", metavar="UDC", help="which of /sys/class/udc (the first)")
    up.add_argument("--login", action="store_true", help="a login on the serial port")
    up.add_argument("--watch", action="store_true", help="stay, and see to it: ecm where a host says nothing over ncm")
    down = whats.add_parser("down", help="be it no more; nothing is left of it")
    status = whats.add_parser("status", help="how it is")
    for one in (up, down, status):
        one.add_argument("--json", action="store_true", help="one JSON object a line")
        one.set_defaults(command=_gadget)


def _pair(arguments: argparse.Namespace) -> int:
    from .console import invite
    from .pairing import Shown
    from .trust import HOSTS, OBSERVERS

    def show() -> None:
        told = invite(arguments.state.absolute(), OBSERVERS if arguments.observe else HOSTS)
        where = told.text("host"), told.integer("port")
        shown = Shown(told.text("code"), *where, told.number("open_s"), told.text("role"))
        _show(shown, arguments.json)

    return _at_console(arguments, show)


def _list(arguments: argparse.Namespace) -> int:
    from .console import hosts

    def show() -> None:
        for name, fingerprint, role in hosts(arguments.state.absolute()):
            if arguments.json:
                _line(event="host", name=name, fingerprint=fingerprint, role=role)
            else:
                _out(f"{name}  {fingerprint[:16]}  {role}")

    return _at_console(arguments, show)


def _remove(arguments: argparse.Namespace) -> int:
    from .console import remove

    return _at_console(arguments, lambda: remove(arguments.state.absolute(), arguments.name))


def _role(arguments: argparse.Namespace) -> int:
    from .console import become

    return _at_console(arguments, lambda: become(arguments.state.absolute(), arguments.name, arguments.role))


def _gadget(arguments: argparse.Namespace) -> int:
    ending = threading.Event()

    def do() -> None:
        from .gadget.board import board_id
        from .gadget.gadget import Gadget
        from .wire.cable import Cable

        gadget = Gadget(Cable.of(board_id()), ending.wait)
        if arguments.what == "up":
            gadget.up(arguments.name, arguments.network, arguments.controller)
            if arguments.login:
                gadget.login()
        if arguments.what == "down":
            gadget.down()
            return
        status = gadget.status()
        if arguments.json:
            _line(event="gadget", **asdict(status))
        else:
            _out(f"serial number {status.serial} on {status.controller}: {status.state}")
            _out(f"  {status.network}  {status.interface}  {' '.join(status.addresses)}\n  acm  {status.port}")
        if arguments.what == "up" and arguments.watch:
            gadget.watch(
                arguments.name,
                lambda text: _line(event="notice", code="gadget", text=text) if arguments.json else _out(text),
                login=arguments.login,
            )

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ending.set())
    return _at_console(arguments, do)


def _at_console(arguments: argparse.Namespace, do: Callable[[], None]) -> int:
    try:
        do()
    except Fault as fault:
        _complain(fault, arguments.json)
        return 1
    return 0


def _complain(fault: Fault, as_json: bool) -> None:
    if as_json:
        _line(event="problem", **fault.as_fields())
    else:
        _out(f"bootloader: {fault}", sys.stderr)


def _show(shown: Shown, as_json: bool) -> None:
    if as_json:
        where = {"host": shown.host, "port": shown.port}
        _line(event="pairing", code=shown.code, **where, open_s=shown.open_s, role=shown.role)
    else:
        _out(shown.text)


def _state_folder() -> Path:
    if os.geteuid() == 0:
        return Path("/var/lib/bootloader")
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "bootloader"


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, str(PORT)
    if not port.isdecimal() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"'{text}' is not HOST, HOST:PORT or [IPV6]:PORT")
    return host.strip("[]"), int(port)


def _serial_port(text: str) -> tuple[str, int]:
    path, colon, baud = text.rpartition(":")
    if not colon:
        path, baud = text, str(BAUD)
    if not path.startswith("/") or not baud.isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' is not PATH or PATH:BAUD, such as /dev/ttyGS0")
    return path, int(baud)


def _run(arguments: argparse.Namespace, line: int) -> int:
    """The bootloader itself, on its ``line`` to the keeper."""
    from .tether import Tether

    sys.setswitchinterval(SWITCH_S)
    bell, ring = os.pipe()
    os.set_blocking(ring, False)
    signal.set_wakeup_fd(ring)  # a signal that another thread is given, after a freeze, would not wake this one
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    tether: Tether | None = None
    booted: list[Bootloader] = []
    try:
        tether = Tether(line)

        def end() -> None:
            longest_s = max((one.longest_end_s for one in booted), default=arguments.grace)
            signal.alarm(math.ceil(longest_s) + ALONE_S)  # it ends this process, whatever that is at
            os.write(ring, b"end")

        tether.watch(end)
        _boot(arguments, tether, bell, booted.append)
    except Fault as fault:
        if tether is not None:
            tether.tell({"refused": fault.code})
        _complain(fault, arguments.json)
        return 1
    return 0


def _boot(arguments: argparse.Namespace, tether: Tether, bell: int, on_boot: Callable[[Bootloader], None]) -> None:
    """Boot, and end when the ``bell`` rings."""
    from .boot import Bootloader

    state = arguments.state.absolute()
    base = (arguments.base or state / "base").absolute()
    bootloader = Bootloader(
        state,
        arguments.listen,
        arguments.name,
        tether,
        base=base,
        hold=arguments.hold,
        grace_s=arguments.grace,
        announce=not arguments.no_announce,
        rescue=arguments.rescue,
    )
    on_boot(bootloader)
    follow = threading.Thread(target=_follow, args=(bootloader,), name="follow", daemon=True)

    def listening(address: tuple[str, int]) -> None:
        host, port = address
        if not arguments.json:
            _out(f"bootloader {__version__} on {host} port {port}, state in {state}")
        elif not tether.told.flag("said", False):  # once: one that is started again is where the last one was
            _line(event="listening", host=host, port=port, state=str(state), boot=bootloader.journal.boot)
            tether.tell({"said": True})

    try:
        fault = bootloader.reach.tell(listening)
        bootloader.pairing.to_console(lambda shown: _show(shown, arguments.json))
        if fault is not None and arguments.json:
            _line(event="problem", **fault.as_fields())
        elif not arguments.json:
            follow.start()
        os.read(bell, 1)
    finally:
        bootloader.close()
        if follow.is_alive():
            follow.join(_FOLLOW_S)


def _follow(bootloader: Bootloader) -> None:
    """Say what happens, for a terminal or the system's log; what applications print is theirs to fetch."""
    cursor = 0
    while not bootloader.journal.ended(cursor):
        cursor, _, lines = bootloader.journal.pull(cursor, 1000, 1024 * 1024, 3600)
        for line in lines.splitlines():
            if _OUTPUT in line[:48]:  # by the thousand, some time
                continue
            if text := _say(json.loads(line)):
                _out(text)


def _say(event: dict[str, Any]) -> str:
    match event["event"]:
        case "state":
            return f"{event['application']}: {event['state']}" + (f" ({event['why']})" if event["why"] else "")
        case "problem":
            return f"{event.get('application', '')}: {event.get('what', '')}"
        case "notice":
            return f"{event['code']}: {event['text']}"
        case "generation":
            return f"generation {event['generation']}: {event['state']}"
    return ""


def _line(**fields: Any) -> None:
    _out(json.dumps(fields))


def _out(text: str, to: TextIO | None = None) -> None:
    """Say it. That nobody reads it any more, a closed terminal or a full disk, ends no device."""
    with suppress(OSError, ValueError):
        print(text, file=to or sys.stdout, flush=True)


if __name__ == "__main__":
    main()
