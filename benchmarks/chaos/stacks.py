"""Whole stacks: a base, an init application, a safe state, a failure handler; on a target with cgroups and one without.

The application dies, or its init application does, and the handler answers or does not. What is promised then is looked
for: what runs, by its own word; whose code has made the outputs safe; what the handler's call came to; and that whoever
asks is told. In the end all generations are lost, and the base has to do.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bootloader.wire.errors import Fault
from bootloader.wire.launch import PATH, Application, Launch

from .boots import left, told
from .device import SOON_S, Device, Event, kinds
from .generations import Generation
from .tally import LOST, OTHER, Tally

PART = "stacks"

_DEATHS = 3
_HANDLER_S = 0.5
_FIRST = "import signal, sys\ndef main():\n    print('first', flush=True)\n    {does}\n"
_APP = """
import os, signal, sys, time

def off():
    with open("output", "w") as file:
        file.write("{number}")

def ask{missing}(told):
    {answers}

def main():
    print("{number}", flush=True)
    {does}
"""
_WAITS = "signal.pause()"


@dataclass(frozen=True, slots=True)
class Trouble:
    """What becomes of a stack: what its applications do, what its handler does, what that call has to come to, and
    whether the generation before it takes its place. Where the handler gives no answer, the breaker has to see to that.
    """

    name: str
    does: str = "sys.exit(3)"
    first: str = _WAITS
    answers: str = "return 'rollback'"
    missing: bool = False
    outcome: str = "answered"
    is_replaced: bool = True


TROUBLES = (
    Trouble("is rolled back by its handler"),
    Trouble("is killed", does="os.kill(os.getpid(), 9)"),
    Trouble("ends without cleanup, badly", does="os._exit(4)"),
    Trouble("is stopped by its handler", answers="return 'stop'", is_replaced=False),
    Trouble("has a handler that raises", answers="raise ValueError", outcome="raised"),
    Trouble("has a handler that hangs", answers="time.sleep(600)", outcome="timed-out"),
    Trouble("has a handler that is missing", missing=True, outcome="missing"),
    Trouble("has a handler that dies", answers="os._exit(0)", outcome="died"),
    Trouble("has an init application that dies", does=_WAITS, first="sys.exit(3)"),
)


def attack(scratch: Path, tally: Tally, until_s: float) -> None:
    """Have a target with cgroups, if there are any, and one without bear every trouble."""
    for name, command in kinds(tally).items():
        folder = scratch / name.replace(" ", "-")
        folder.mkdir()
        device = Device(folder / "state", folder / "home", folder / "log")
        device.command = command
        try:
            for where, what, kind in _borne(device, tally, until_s):
                tally.found(kind, PART, f"{name}, {where}", what)
        except Fault as fault:
            tally.found(OTHER, PART, name, str(fault))
        finally:
            device.cut()


def _borne(device: Device, tally: Tally, until_s: float) -> Iterator[tuple[str, str, str]]:
    """Each broken promise: where, what, and of which kind."""
    base = _provisioned(device)
    for number, trouble in enumerate(TROUBLES, 1):
        if time.monotonic() > until_s:
            return
        for good in (base, _stack(2 * number)) if number == 1 else (_stack(2 * number),):
            tally.counts["troubles of stacks"] += 1
            if good is not base:
                device.mark()
                device.ship(good)
                device.event(lambda event: _is_log(event, good), f"'{good.number}'")  # noqa: B023 - called at once
                device.well()
            device.mark()
            ill = _stack(2 * number + 101 * (good is base) + 1, trouble)
            device.ship(ill)
            where = trouble.name + ", with nothing but the base" * (good is base)
            try:
                yield from ((where, what, kind) for what, kind in _followed(device, trouble, good, ill))
            except Fault as fault:
                yield where, str(fault), OTHER
    tally.counts["troubles of stacks"] += 1
    yield from (("every generation is lost", what, OTHER) for what in _fallen(device, base))


def _followed(device: Device, trouble: Trouble, good: Generation, ill: Generation) -> Iterator[tuple[str, str]]:
    """What has to follow, and does not."""
    device.event(lambda event: _is_log(event, ill), f"'{ill.number}', whatever becomes of others")
    asked = device.event(lambda event: event["event"] == "handler", "what its handler says")
    if asked["outcome"] != trouble.outcome:
        yield f"its handler's call is told as {asked['outcome']}, and was {trouble.outcome}", OTHER
    if trouble.does != _WAITS:
        safe = device.event(lambda event: event["event"] == "safe", "its safe state")
        if safe["outcome"] != "done":
            yield f"the safe state was not made: {safe['outcome']}, {safe['why']}", OTHER
        if (by := (device.state / "data" / "app" / "output").read_text()) != str(good.number):
            yield f"it was made safe by {by}, and not by the last healthy one, {good.number}", OTHER
    wanted = good.manifest.root if trouble.is_replaced else ill.manifest.root
    deadline = time.monotonic() + SOON_S
    while (root := device.root()) != wanted:
        if time.monotonic() > deadline:
            yield f"{root[:12]} is live, and not {wanted[:12]}", LOST
            return
        time.sleep(0.05)
    if trouble.is_replaced:
        device.event(lambda event: _is_log(event, good), f"'{good.number}', which was there before")
        device.well()
    yield from ((what, OTHER) for what in _untold(device, trouble))
    if others := left(device):
        yield f"processes {sorted(others)} are left of it", OTHER


def _untold(device: Device, trouble: Trouble) -> Iterator[str]:
    """What whoever asks is told of it, and is not so."""
    by, then = "handler" if trouble.outcome == "answered" else "breaker", "rollback" if trouble.is_replaced else "stop"
    device.event(
        lambda event: event["event"] == "death" and (event["next"], event["by"]) == (then, by), f"{then} by {by}"
    )
    newest, before, *_ = (one.plain() for one in device.call("history", limit=2).objects("generations"))
    failed = before if trouble.is_replaced else newest
    if failed["fate"] != "failed":
        yield f"the history tells of the one that failed as {failed['fate']}"
    if trouble.is_replaced and (newest["rung"], f"generation {failed['generation']} failed" in newest["why"]) != (
        then,
        True,
    ):
        yield f"the history tells of the way back as {newest['rung']}, {newest['why']}"
    if not trouble.is_replaced:
        app = device.call("status").objects("applications")[-1]
        if (state := app.text("state")) != "failed" or not app.text("why"):
            yield f"the status tells of the one that is stopped as {state}"


def _fallen(device: Device, base: Generation) -> Iterator[str]:
    """What has to be where nothing is left but the base, and is not."""
    device.end()
    for name in ("trees", "objects", "manifests"):
        shutil.rmtree(device.state / name)
    device.start("--base", str(_base(device)))
    device.event(lambda event: _is_log(event, base), "the base's word")
    device.well()
    for codes in ({"state-lost"}, {"generation-lost"}):
        yield from (what for _, what in told(device, codes))


def _base(device: Device) -> Path:
    return device.state.with_name("base")


def _provisioned(device: Device) -> Generation:
    """A target that has a base, which runs, and nothing else; and that base."""
    device.meet()
    device.start()
    base = _stack(0)
    device.ship(base)
    device.well()
    device.end()
    place = _base(device)
    device.state.rename(place)
    shutil.copytree(place / "trust", device.state / "trust")
    device.start("--base", str(place))
    device.event(lambda event: _is_log(event, base), "the base's word")
    device.well()
    return base


def _is_log(event: Event, generation: Generation) -> bool:
    return bool(event["event"] == "log" and event["text"] == str(generation.number))


def _stack(number: int, trouble: Trouble | None = None) -> Generation:
    """Stack ``number``, which says that; in ``trouble``, or well."""
    told = trouble or Trouble("", does=_WAITS)
    app = _APP.format(number=number, does=told.does, answers=told.answers, missing="_not" * told.missing)
    settle_s = 0.5 if trouble else 0.0
    apps = (
        Application("first", "first:main", init=True, settle_s=0.0),
        Application("app", "app:main", settle_s=settle_s, grace_s=1.0, safe="app:off"),
    )
    launch = Launch(apps, reload="restart", handler="app:ask", handler_s=_HANDLER_S, deaths=_DEATHS)
    files = {"app.py": app.encode(), "first.py": _FIRST.format(does=told.first).encode(), PATH: launch.encode()}
    return Generation(number, files, {}, trouble is None)
