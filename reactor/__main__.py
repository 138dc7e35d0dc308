"""The host's front door: arguments in, a command, an exit code out."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress

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


def _main() -> int:
    try:
        from .cli import (
            console,
            create,
            debug,
            dev,
            devices,
            doctor,
            history,
            logs,
            pair,
            provision,
            push,
            repl,
            restart,
            rollback,
            stack,
            status,
            trusting,
            unprovision,
            upgrade,
        )
    except ModuleNotFoundError as error:
        _say(f"{error.name} is missing; the host needs: pip install 'live-reactor[host]'")
        return 1
    from bootloader.wire.errors import Fault

    from .cli.options import terminal_of

    parser = argparse.ArgumentParser(prog="reactor", description="Live reload for hardware: the host's half.")
    parser.add_argument("--version", action="version", version=f"reactor {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    table: tuple[tuple[str, str, Callable[..., None], Callable[..., int]], ...] = (
        ("dev", "the loop: watch, ship, show", dev.add, dev.run),
        ("push", "ship once; 0 only if it became healthy", push.add, push.run),
        ("devices", "which devices there are, and whether they are trusted", devices.add, devices.run),
        ("status", "what a target is and runs", status.add, status.run),
        ("stack", "where an application is, thread by thread", stack.add, stack.run),
        ("debug", "attach an editor's debugger to an application", debug.add, debug.run),
        ("history", "the generations of a target", history.add, history.run),
        ("restart", "stop what runs, and start it again", restart.add, restart.run),
        ("rollback", "back to an earlier generation", rollback.add, rollback.run),
        ("repl", "Python in the live application", repl.add, repl.run),
        ("logs", "what the applications have said", logs.add, logs.run),
        ("console", "a serial port, until the escape key", console.add, console.run),
        ("new", "make a project that runs", create.add, create.run),
        ("upgrade", "renew the bootloader of a target", upgrade.add, upgrade.run),
        ("provision", "make a board with a stock Linux a target", provision.add, provision.run),
        ("unprovision", "take all of it from a board again", unprovision.add, unprovision.run),
        ("doctor", "what is wrong here and with a target, and what to do", doctor.add, doctor.run),
        ("pair", "know a device by the code that it shows", pair.add, pair.run),
        ("trust", "who is trusted, here and by devices", trusting.add, trusting.run),
    )
    for name, what, add, run in table:
        command = commands.add_parser(name, help=what, description=f"{what[0].upper()}{what[1:]}.")
        add(command)
        command.set_defaults(run=run)
    arguments = parser.parse_args()
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
