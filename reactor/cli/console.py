"""``reactor console``: a serial port in this terminal, in a pipe, or as ``--json``."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from bootloader.wire.errors import Fault

from .. import report
from ..console import END, Change, Console, Heard, Item, Remark, port
from ..console.beside import Beside
from ..console.choice import candidates
from ..console.harmless import Harmless
from ..console.keyboard import DEFAULT, Do, Keyboard, escape_key, help_lines, name
from ..console.log import Log
from ..console.raw import heard, raw
from ..console.stamp import Clock, Stamped, shown
from ..console.told import told
from ..project import Project
from ..settings import USB, Target
from ..terminal import Terminal
from . import options

_DIM, _USUAL = "\x1b[2m", "\x1b[0m"


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    parser.add_argument(
        "port",
        nargs="?",
        metavar="PORT",
        help=f"a device such as ttyACM0, socket://HOST:PORT, rfc2217://HOST:PORT, or {USB}: the one on USB"
        f" (the target's 'console' in the settings, else {USB})",
    )
    options.add_project(parser, positional=False)
    add_line(parser)
    parser.add_argument("--bits", type=int, choices=(5, 6, 7, 8), default=8, help="data bits (%(default)s)")
    parser.add_argument("--parity", choices=tuple(port.PARITIES), default="none", help="(%(default)s)")
    parser.add_argument("--stop", type=int, choices=(1, 2), default=1, help="stop bits (%(default)s)")
    parser.add_argument("--flow", choices=port.FLOWS, default="none", help="flow control (%(default)s)")
    parser.add_argument("--wait", action="store_true", help="wait for a port that is not there yet")
    parser.add_argument("--timestamps", action="store_true", help="when each line began, by this host's clock")
    parser.add_argument(
        "--log", type=Path, metavar="FILE", help="add what comes to FILE, byte by byte; with --timestamps, stamped too"
    )
    parser.add_argument(
        "--escape",
        type=_escape,
        default=DEFAULT,
        metavar="KEY",
        help="the key before a command of this program, such as ^T or ~ (%(default)s)",
    )
    options.add_output(parser)


def add_line(parser: argparse.ArgumentParser) -> None:
    """``--baud``, which ``dev`` has too."""
    parser.add_argument(
        "--baud", type=options.count, metavar="N", help=f"bits a second (the settings' 'baud', else {port.BAUD})"
    )


def _escape(text: str) -> bytes:
    try:
        return escape_key(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a key such as ^T or ~") from None


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Show the port until the user leaves, 0; 1 where it can't be opened."""
    wanted, baud = arguments.port, arguments.baud
    if wanted is None:
        wanted, usual = _of_settings(arguments)
        baud = baud or usual
    line = port.Line(baud or port.BAUD, arguments.bits, arguments.parity, arguments.stop, arguments.flow)
    where = port.checked(wanted or choose(terminal))
    clock = Clock(datetime.now(UTC), time.monotonic())
    log = Log(arguments.log, stamped=arguments.timestamps) if arguments.log else None
    console = Console(where, line, clock, log)
    try:
        console.start(wait=arguments.wait)
        try:
            if not terminal.as_json and _is_terminal(0) and _is_terminal(1):
                return _Interactive(console, clock, arguments).run()
            return _piped(console, clock, arguments, terminal)
        except KeyboardInterrupt:
            terminal.interrupted()
            return 0
    finally:
        console.close()


def _of_settings(arguments: argparse.Namespace) -> tuple[str | None, int | None]:
    """The port and the speed that the settings name for the one target that is meant, if they do."""
    project = options.project_if_any(arguments)
    names = options.names(arguments)
    if len(names) > 1:
        raise Fault("one-target", "only one console at a time", to=", ".join(names), do="name one with -t")
    profile = project.settings.profile(names[0]) if project is not None else Target()
    if arguments.target and profile.console is None:
        raise Fault("no-port", "has no 'console' in the settings", to=names[0], do="add it, or name the port")
    return profile.console, profile.baud


def choose(terminal: Terminal) -> str:
    """The port that is meant where none was named: where several are, and somebody can be asked, the one they pick."""
    ports = candidates(port.found())
    if len(ports) < 2 or terminal.as_json or not (_is_terminal(0) and _is_terminal(1)):
        return USB
    for number, one in enumerate(ports, 1):
        terminal.line(f"{number}  {one}")
    while True:
        try:
            answer = input(f"which, 1 to {len(ports)}? ").strip()
        except EOFError:
            return USB
        if answer.isdecimal() and 1 <= int(answer) <= len(ports):
            return ports[int(answer) - 1].path


def beside(arguments: argparse.Namespace, project: Project, targets: Sequence[str], terminal: Terminal) -> Beside:
    """The consoles that ``--console`` asks for: none, the named one, those in the settings of targets, or USB's."""
    profiles = {target: project.settings.profile(target) for target in targets}
    named: dict[str, str] = {}
    if arguments.console:
        if Path(arguments.console).is_dir():
            do = "write --console after the folder, or --console=PORT"
            raise Fault("bad-port", "is a folder", to=arguments.console, do=do)
        named = {targets[0] if len(targets) == 1 else "": arguments.console}
    elif arguments.console is not None:
        named = {target: profile.console for target, profile in profiles.items() if profile.console}
        named = named or {targets[0] if len(targets) == 1 else "": choose(terminal)}
    clock = Clock(datetime.now(UTC), time.monotonic())
    consoles = {}
    for target, wanted in named.items():
        usual = profiles[target].baud if target else None
        line = port.Line(arguments.baud or usual or port.BAUD)
        consoles[Console(port.checked(wanted), line, clock)] = target
    return Beside(consoles, clock)


def _is_terminal(number: int) -> bool:
    try:
        return os.isatty(number)
    except OSError:
        return False


def _piped(console: Console, clock: Clock, arguments: argparse.Namespace, terminal: Terminal) -> int:
    """What comes in goes to the port, and the port's lines go out. Whatever else happens is told beside them."""
    aside = terminal if terminal.as_json else Terminal(as_json=False, output=sys.stderr)
    with _fed(console):
        for event in told(console, clock):
            if event["event"] != "console" or terminal.as_json:
                aside.tell(event)
                continue
            stamp = shown(datetime.fromisoformat(str(event["at"]))) if arguments.timestamps else ""
            terminal.line(stamp + str(event["text"]))
    return 0


@contextmanager
def _fed(console: Console) -> Iterator[None]:
    """Meanwhile, the port gets this program's input, as fast as it takes it. The end of that is not the end."""
    if sys.stdin is None:
        yield
        return

    def came(data: bytes) -> None:
        if data:
            console.send(data, wait=True)

    with heard(sys.stdin.fileno(), came):
        yield


class _Interactive:
    """The port as a terminal's own: keys go to it as they are, and what it says is shown as it comes."""

    def __init__(self, console: Console, clock: Clock, arguments: argparse.Namespace) -> None:
        self._console = console
        self._clock = clock
        self._escape: bytes = arguments.escape
        self._keyboard = Keyboard(self._escape)
        self._harmless = Harmless()
        self._stamped = Stamped() if arguments.timestamps else None
        self._begins_line = True
        self._is_refused = False

    def run(self) -> int:
        """Until the user leaves."""
        with raw(0, self._typed):
            try:
                self._say(f"{name(self._escape)} ? for help, {name(self._escape)} . to leave")
                while (item := self._console.get()) != END:
                    if item is not None:
                        self._show(item)
            except KeyboardInterrupt:  # from outside: Ctrl-C is for the device
                return 0
            finally:
                self._write(self._harmless.undo())
                self._end_line()
        return 0

    def _typed(self, keys: bytes) -> None:
        if not keys:
            self._console.put(END)
        for order in self._keyboard.feed(keys):
            if isinstance(order, bytes):
                is_sent = self._console.send(order)
                if not is_sent and not self._is_refused:
                    self._console.put(Remark("", "keys are not sent: the port is not there, or takes no more"))
                self._is_refused = not is_sent
            elif order is Do.QUIT:
                self._console.put(END)
            elif order is Do.BREAK:
                self._typed_break()
            elif order is Do.STAMPS:
                self._stamped = None if self._stamped else Stamped()
            elif order is Do.HELP:
                for text in help_lines(self._escape):
                    self._console.put(Remark("", text))

    def _typed_break(self) -> None:
        if not self._console.send(None):
            self._console.put(Remark("", "no break was sent: the port is not there"))

    def _show(self, item: Item) -> None:
        if isinstance(item, Heard):
            text = self._harmless.feed(item.data)
            if self._stamped is not None:
                text = self._stamped.feed(text, shown(self._clock.moment(item.at)))
            if text:
                self._begins_line = text.endswith("\n")
            self._write(text)
        elif isinstance(item, Change):
            if item.state == "down":  # whatever was under way on the device is not any more
                self._write(self._harmless.undo())
            self._say(f"{self._console.name} {_WORDS[item.state]}{f': {item.why}' if item.why else ''}")
        else:
            self._say(item.text)

    def _say(self, text: str) -> None:
        self._end_line()
        self._write(f"{_DIM}{report.clean(text)}{_USUAL}\r\n")

    def _end_line(self) -> None:
        if not self._begins_line:
            self._write("\r\n")
        self._begins_line = True

    def _write(self, text: str) -> None:
        data = text.encode("utf-8", "replace")
        while data:
            data = data[os.write(1, data) :]


_WORDS = {"up": "is open", "down": "is gone", "waiting": "is waited for"}
