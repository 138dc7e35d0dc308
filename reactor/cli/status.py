"""``reactor status``: what each target is and runs."""

from __future__ import annotations

import argparse

from bootloader.wire.messages import Fields

from .. import figures, lease
from ..clocks import moment
from ..figures import maybe as _maybe
from ..figures import span
from ..lease import Holder
from ..report import clean, duration, size, whole
from ..terminal import Terminal
from .ask import MOST, Asked, Told, add, each, generation_of

__all__ = ["add", "run"]

_MEASURE_S = 0.3
"""Over how long the processors' use is measured."""


def run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Ask, and show: 0 if each target answered."""
    return each(arguments, terminal, _ask)


def _ask(asked: Asked) -> bool:
    answer, _ = asked.link.call("status", {"measure_s": _MEASURE_S})
    holder = lease.read(answer.child("lease"))
    told = {**_told(answer), "lease": _lease(holder)}
    if asked.terminal.as_json:
        asked.terminal.tell({"event": "status", "target": asked.name, "running": asked.was_running, **told})
    else:
        _show(asked, told, holder)
    return True


def _told(answer: Fields) -> Told:
    newest, warm, confined = answer.child("generation"), answer.child("warm"), answer.child("confined")
    return {
        "name": clean(answer.text("name")),
        "version": clean(answer.text("version")),
        "python": clean(answer.text("python")),
        "machine": clean(answer.text("machine")),
        "up_s": answer.number("up_s"),
        "root": clean(answer.text("root")),
        "files_count": whole(answer.integer("files")),
        "generation": generation_of(newest) if "generation" in newest else None,
        "applications": [_application(one) for one in answer.objects("applications")[:MOST]],
        "attached": answer.flag("attached", False),
        "confined": {
            "groups": confined.flag("groups", False),
            "limits": [clean(one) for one in confined.texts("limits")[:MOST]],
        },
        "lost": [_loss(one) for one in (answer.objects("lost")[:MOST] if "lost" in answer else [])],
        "warm": {"ready": warm.flag("ready", False), "modules_count": whole(warm.integer("modules", 0))},
        "keeper": _keeper(answer.child("keeper")),
        "device": figures.device(answer.child("device")),
        "disk_free_bytes": whole(answer.integer("disk_free_bytes")),
        "disk_bytes": whole(answer.integer("disk_bytes")),
    }


def _lease(holder: Holder | None) -> Told | None:
    if holder is None:
        return None
    return {"holder": holder.host, "doing": holder.doing, "since": moment(holder.since), "yours": holder.yours}


def _loss(one: Fields) -> Told:
    return {"code": clean(one.text("code")), "text": clean(one.text("text"))}


def _keeper(keeper: Fields) -> Told:
    return {
        "release": clean(keeper.text("release", "")),
        "trial": keeper.flag("trial", False),
        "undone": clean(keeper.text("undone", "")),
        "restarts": whole(keeper.integer("restarts", 0)),
        "why": clean(keeper.text("why", "")),
    }


def _application(one: Fields) -> Told:
    return {
        "application": clean(one.text("application")),
        "state": clean(one.text("state")),
        "why": clean(one.text("why")),
        "pid": whole(one.integer("pid")) if one.plain().get("pid") is not None else None,
        "generation": whole(one.integer("generation")),
        "init": one.flag("init"),
        "after": [clean(name) for name in one.texts("after")[:MOST]],
        "waits_for": [clean(name) for name in one.texts("waits_for")[:MOST]],
        "waited_ms": _maybe(one, "waited_ms"),
        "ready": clean(one.text("ready", "settle")),
        "ready_ms": _maybe(one, "ready_ms"),
        "late": one.flag("late", False),
        "deaths": whole(one.integer("deaths", 0)),
        "restart_in_s": _maybe(one, "restart_in_s"),
        **figures.application(one),
    }


def _show(asked: Asked, told: Told, holder: Holder | None) -> None:
    terminal, newest = asked.terminal, told["generation"]
    what = "nothing pushed yet"
    if newest is not None:
        number, fate, files = newest["generation"], newest["fate"], told["files_count"]
        what = f"generation {number} ({fate}), root {told['root'][:12]}, {files} files"
    terminal.line(f"{asked.name}: {what}")
    state = f"up {span(told['up_s'])}" if asked.was_running else "does not run now"
    system = f"Python {told['python']}, {told['machine']}, {size(told['disk_free_bytes'])} of disk free"
    device = figures.shown(told["device"])
    keeper = told["keeper"]
    release = f" (release {keeper['release'][:12]}{', on trial' * keeper['trial']})" if keeper["release"] else ""
    terminal.line(f"  bootloader {told['version']}{release} on {system}, {state}")
    if device:
        terminal.line(f"  device: {device}")
    if keeper["restarts"]:
        times = "once" if keeper["restarts"] == 1 else f"{keeper['restarts']} times"
        terminal.line(f"  it was started again {times}; the last one {keeper['why']}")
    if keeper["undone"]:
        terminal.line(f"  an upgrade was undone: {keeper['undone']}")
    for loss in told["lost"]:
        terminal.line(f"  {loss['code']}: {loss['text']}")
    if holder is not None:
        terminal.line(f"  leased to {holder}{' (this host)' * holder.yours}")
    if told["attached"]:
        terminal.line("  a session of `reactor dev` is attached: what fails is left as its settings say")
    rows = [
        (
            f"  {one['application']}",
            one["state"],
            str(one["pid"] or "-"),
            *figures.cells(one),
            _start_of(one),
            _why(one),
        )
        for one in told["applications"]
    ]
    if rows:
        terminal.table(("  application", "state", "pid", "up", "cpu", "memory", "start", "why"), rows)
        for one in told["applications"]:
            for line in figures.imports(one):
                terminal.line(f"  {one['application']} {line}")
    elif asked.was_running:
        terminal.line("  no application runs")


def _start_of(one: Told) -> str:
    """How its start went: what it waited for, and how long until it was ready."""
    if one["waits_for"]:
        return f"waits for {', '.join(one['waits_for'])}"
    waited = one["waited_ms"] or 0
    parts = [f"waited {duration(waited)}"] if one["after"] and waited >= 1 else []
    if one["ready_ms"] is not None:
        parts.append(f"ready in {duration(one['ready_ms'])}")
    elif one["late"]:
        parts.append("late")
    return ", ".join(parts) or "-"


def _why(one: Told) -> str:
    """Why it is in its state, how often it died, and when it starts again."""
    deaths = f"died {one['deaths']} times" if one["deaths"] > 1 else ""
    again = f"starts again in {one['restart_in_s']:.1f} s" if one["restart_in_s"] is not None else ""
    return ", ".join(part for part in (one["why"], deaths, again) if part)
