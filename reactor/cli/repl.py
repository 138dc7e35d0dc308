"""``reactor repl``: Python in the live application of each target; a line of it, a program, or a prompt."""

from __future__ import annotations

import argparse
import sys
from contextlib import closing

from bootloader.wire.errors import Fault

from ..keys import are_ours
from ..repl import Repl, told
from ..repl.remote import Remote, Told
from ..terminal import Terminal
from . import options

_PROGRAM_CHARS = 1024 * 1024
_INTERRUPT_S = 2.0


def add(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    options.add_project(parser, positional=False)
    options.add_output(parser)
    parser.add_argument("-a", "--application", default="", metavar="APP", help="which application (the main one)")
    options.add_take(parser)
    parser.add_argument("-c", dest="code", metavar="CODE", help="run this, show what it is worth, and end")


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """0, or how what was run ended: 1 where it raised, what it exited with, 130 where it was interrupted."""
    project = options.project_if_any(arguments)
    targets = options.targets_of(arguments, project, attach=True, start=False)
    if project is not None:
        terminal.belongs_to([root.folder for root in project.roots])
    terminal.many = len(targets) > 1
    options.take_if_asked(arguments, targets, "repl")
    if arguments.code is None and terminal.is_interactive and are_ours():
        from ..repl.talk import history_of, talk  # here, as a program need not wait for what a prompt takes

        repl = Repl(targets, arguments.application, project, terminal.tell, terminal.columns)
        repl.start()
        return talk(repl, terminal, history_of(project))
    source = arguments.code
    if source is None:
        source = sys.stdin.read(_PROGRAM_CHARS + 1) if sys.stdin is not None else ""
    if len(source) > _PROGRAM_CHARS:
        raise Fault("too-large", f"the program has more than {_PROGRAM_CHARS} characters", to="standard input")
    status = 0
    for target in targets:
        remote = Remote(target, arguments.application, project, terminal.tell if terminal.as_json else _print)
        try:
            with closing(remote):
                remote.start()
                status = max(status, _run(remote, source, terminal))
        except Fault as fault:
            terminal.fault(fault, target.name)
            status = max(status, 1)
    return status


def _run(remote: Remote, source: str, terminal: Terminal) -> int:
    """Run a program to its end, and show what it is worth; its exit status."""
    answer = remote.begin(source)
    try:
        answer.is_over.wait()
    except KeyboardInterrupt:
        remote.interrupt()
        answer.is_over.wait(_INTERRUPT_S)
        raise
    if terminal.as_json:
        terminal.tell({"event": "answer", "target": remote.target.name, **told(answer)})
        return answer.status
    if answer.text:
        print(answer.text, file=sys.stderr if answer.outcome == "exit" else sys.stdout, flush=True)
    if answer.cut:
        print(f"(cut: {answer.cut})", file=sys.stderr)
    if answer.traceback:
        print(answer.traceback.rstrip("\n"), file=sys.stderr)
    elif answer.why:
        print(answer.why, file=sys.stderr)
    return answer.status


def _print(event: Told) -> None:
    """What is told while a program runs: what it prints goes where it would here."""
    if event["event"] == "output":
        out = sys.stderr if event["stream"] == "stderr" else sys.stdout
        print(event["text"], end="" if event["part"] else "\n", file=out, flush=True)
    elif event["event"] == "session" and event["state"] not in ("up", "moved"):
        print(f"reactor: {event['text']}", file=sys.stderr)
