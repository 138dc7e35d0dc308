"""The host's front door: arguments in, a command, an exit code out."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from contextlib import suppress
from importlib import import_module

from . import __version__


def main() -> None:
    """Run the command of ``sys.argv``; exits 0 when done, 1 when it did not work, 2 on wrong use."""
    for number in (signal.SIGINT, signal.SIGTERM):  # a script's `&` has it ignored, and that is inherited
        signal.signal(number, signal.default_int_handler)
    if sys.stdout is None:  # closed by whoever started us: what opens next must not get its number
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    try:
        code = _main()
    except KeyboardInterrupt:
        code = 130
    except OSError as error:
        # Whoever read our output may be gone, and then nothing is left to say, or to whom; nor is it tried at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            what = error.filename or "the output can't be written"
            _say(f"{what}: {error.strerror or error}")
        code = 1
    sys.exit(code)


def _say(text: str) -> None:
    with suppress(OSError):
        print(f"reactor: {text}", file=sys.stderr)


_COMMANDS = {
    "dev": ("dev", "the loop: watch, ship, show"),
    "push": ("push", "ship once; 0 only if it became healthy"),
    "devices": ("devices", "which devices there are, and whether they are trusted"),
    "status": ("status", "what a target is and runs"),
    "stack": ("stack", "where an application is, thread by thread"),
    "debug": ("debug", "attach an editor's debugger to an application"),
    "history": ("history", "the generations of a target"),
    "restart": ("restart", "stop what runs, and start it again"),
    "rollback": ("rollback", "back to an earlier generation"),
    "repl": ("repl", "Python in the live application"),
    "logs": ("logs", "what the applications have said"),
    "console": ("console", "a serial port, until the escape key"),
    "new": ("create", "make a project that runs"),
    "upgrade": ("upgrade", "renew the bootloader of a target"),
    "provision": ("provision", "make a board with a stock Linux a target"),
    "unprovision": ("unprovision", "take all of it from a board again"),
    "doctor": ("doctor", "what is wrong here and with a target, and what to do"),
    "pair": ("pair", "know a device by the code that it shows"),
    "trust": ("trusting", "who is trusted, here and by devices"),
}
"""Each with its module, which is imported only for that command: a prompt's library takes longer than most answers."""


def _main() -> int:
    parser = argparse.ArgumentParser(prog="reactor", description="Live reload for hardware: the host's half.")
    parser.add_argument("--version", action="version", version=f"reactor {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    meant = next((argument for argument in sys.argv[1:] if not argument.startswith("-")), "")
    try:
        for name, (module, what) in _COMMANDS.items():
            command = commands.add_parser(name, help=what, description=f"{what[0].upper()}{what[1:]}.")
            if name == meant:
                own = import_module(f".cli.{module}", __package__)
                own.add(command)
                command.set_defaults(run=own.run)
        arguments = parser.parse_args()
        from bootloader.wire.errors import Fault

        from .cli.options import terminal_of
    except ModuleNotFoundError as error:
        do = "in a clone of live-reactor, pip install '.[host]'"
        _say(f"{error.name} is missing; the host needs more than a target: {do}")
        return 1
    with terminal_of(arguments) as terminal:
        try:
            code: int = arguments.run(arguments, terminal)
        except Fault as fault:
            terminal.fault(fault)
            code = 1
        except KeyboardInterrupt:
            terminal.interrupted()
            raise
        return code


if __name__ == "__main__":
    main()
