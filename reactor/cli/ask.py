"""The commands that ask each target one thing: ``status``, ``history``, ``rollback``, ``logs``."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from bootloader.wire.errors import Fault
from bootloader.wire.messages import Fields

from ..follow import Paths, parse, translate
from ..link import Link
from ..project import Project
from ..report import clean, size
from ..targets import Target
from ..terminal import Terminal
from . import options

_WAIT_S = 5.0
_ROLLBACK_S = 120.0
_FATE_S = 60.0


def add_status(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``status``."""
    options.add_project(parser, positional=False)
    options.add_output(parser)


def add_history(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``history``."""
    add_status(parser)
    parser.add_argument("-n", type=int, default=20, metavar="N", help="how many generations (%(default)s)")


def add_rollback(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``rollback``."""
    add_status(parser)
    parser.add_argument(
        "generation",
        nargs="?",
        type=int,
        default=0,
        metavar="GENERATION",
        help="its number (the last other healthy one)",
    )


def add_logs(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``logs``."""
    add_status(parser)
    parser.add_argument("-n", type=int, default=100, metavar="N", help="how many lines from the end (%(default)s)")
    parser.add_argument("-f", "--follow", action="store_true", help="go on until Ctrl-C")


Ask = Callable[[argparse.Namespace, Terminal, Project, Target, Link], bool]


def _each(arguments: argparse.Namespace, terminal: Terminal, ask: Ask) -> int:
    """Ask every target; 0 if each of them answered well."""
    project = options.project_of(arguments)
    well = True
    for target in options.targets_of(arguments, project, attach=True):
        try:
            with _link(target) as link:
                well = ask(arguments, terminal, project, target, link) and well
        except Fault as fault:
            terminal.fault(fault, target.name)
            well = False
    return 0 if well else 1


@contextmanager
def _link(target: Target) -> Iterator[Link]:
    try:
        with target.connect("ask") as link:
            yield link
    finally:
        target.close()


def status(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """What each target is and runs."""
    return _each(arguments, terminal, _status)


def _status(_arguments: argparse.Namespace, terminal: Terminal, _project: Project, target: Target, link: Link) -> bool:
    answer, _ = link.call("status", {})
    body = _cleaned(answer.plain())
    if terminal.as_json:
        terminal.tell({"event": "status", "target": target.name, **body})
        return True
    generation = answer.child("generation")
    number = generation.integer("generation", 0)
    fate = clean(generation.text("fate", "")) if number else ""
    what = f"generation {number} ({fate}), root {clean(answer.text('root'))[:12]}" if number else "nothing pushed yet"
    terminal.line(f"{target.name}: {what}, {answer.integer('files')} files")
    terminal.line(
        f"  bootloader {clean(answer.text('version'))}, Python {clean(answer.text('python'))},"
        f" {clean(answer.text('machine'))}, up {answer.number('up_s'):.0f} s,"
        f" {size(answer.integer('disk_free_bytes'))} of disk free"
    )
    rows = []
    for app in answer.objects("applications"):
        pid = app.integer("pid", 0) if app.plain().get("pid") is not None else 0
        rows.append((clean(app.text("application")), clean(app.text("state")), str(pid or "-"), clean(app.text("why"))))
    if rows:
        terminal.table(("application", "state", "pid", "why"), rows)
    else:
        terminal.line("  no application runs")
    return True


def history(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """The generations of each target, newest first."""
    return _each(arguments, terminal, _history)


def _history(arguments: argparse.Namespace, terminal: Terminal, _project: Project, target: Target, link: Link) -> bool:
    answer, _ = link.call("history", {"limit": arguments.n})
    live = answer.text("root")
    rows = []
    for one in answer.objects("generations"):
        body = _cleaned(one.plain())
        if terminal.as_json:
            terminal.tell({"event": "generation", **body, "target": target.name, "live": one.text("root") == live})
            continue
        when = datetime.fromtimestamp(one.number("at"), UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
        mark = "*" if one.text("root") == live else ""
        why = ": ".join(part for part in (clean(one.text("rung")), clean(one.text("why"))) if part)
        fate = clean(one.text("fate"))
        number = f"{one.integer('generation')}{mark}"
        rows.append((number, when, fate, one.text("root")[:12], clean(one.text("who")), why))
    if not terminal.as_json:
        if rows:
            terminal.table(("generation", "when", "fate", "root", "who", "why"), rows)
        else:
            terminal.line(f"{target.name}: nothing pushed yet")
    return True


def rollback(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Back to an earlier generation; 0 if each target became healthy on it."""
    return _each(arguments, terminal, _rollback)


def _rollback(arguments: argparse.Namespace, terminal: Terminal, project: Project, target: Target, link: Link) -> bool:
    hello, _ = link.call("hello", {})
    cursor = _end_of_events(link)
    answer, _ = link.call("rollback", {"generation": arguments.generation}, timeout_s=_ROLLBACK_S)
    change = answer.integer("change")
    healthy, why = False, "the target did not say what became of it"
    paths = Paths(clean(hello.text("live")), project)
    for event in _pulled(link, hello.text("boot"), cursor, _FATE_S):
        if event.text("event", "") == "generation" and event.integer("change", 0) == change:
            fate, why = event.text("state", ""), clean(event.text("why", ""))
            if fate != "running":
                healthy = fate == "healthy"
                break
            continue
        told = translate(event, paths)
        if told is not None:
            terminal.tell({"target": target.name, **told})
    terminal.tell(
        {
            "event": "result",
            "target": target.name,
            "root": clean(answer.text("root")),
            "generation": answer.integer("generation"),
            "files": [],
            "rung": "rollback",
            "reason": clean(answer.text("why")) + ("" if healthy else f"; {why}"),
            "healthy": healthy,
        }
    )
    return healthy


def logs(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """What the applications of each target have said."""
    try:
        return _each(arguments, terminal, _logs)
    except KeyboardInterrupt:
        return 0


def _logs(arguments: argparse.Namespace, terminal: Terminal, project: Project, target: Target, link: Link) -> bool:
    hello, _ = link.call("hello", {})
    paths = Paths(clean(hello.text("live")), project)
    wait_s = None if arguments.follow else 0.0
    for event in _pulled(link, hello.text("boot"), -max(1, arguments.n), wait_s):
        told = translate(event, paths)
        if told is not None and told["event"] in ("log", "state", "problem"):
            terminal.tell({"target": target.name, **told})
    return True


def _end_of_events(link: Link) -> int:
    answer, _ = link.call("events", {"cursor": -1, "max_events": 1})
    return answer.integer("cursor")


def _pulled(link: Link, boot: str, cursor: int, for_s: float | None) -> Iterator[Fields]:
    """Events past ``cursor``: what there is (0), for so many seconds without one, or for ever (None)."""
    body: dict[str, Any] = {"boot": boot, "cursor": cursor}
    while True:
        wait_s = _WAIT_S if for_s is None else min(_WAIT_S, for_s)
        answer, blobs = link.call("events", {**body, "wait_s": wait_s}, timeout_s=wait_s + 10)
        events = list(parse(blobs[0] if blobs else b""))
        yield from events
        body["cursor"] = answer.integer("cursor")
        if not events and for_s is not None:
            for_s -= _WAIT_S
            if for_s <= 0:
                return


def _cleaned(body: Any) -> Any:
    """JSON values of a target with every text made harmless."""
    if isinstance(body, dict):
        return {clean(str(key)): _cleaned(value) for key, value in body.items() if key != "blobs"}
    if isinstance(body, list):
        return [_cleaned(value) for value in body]
    return clean(body) if isinstance(body, str) else body
