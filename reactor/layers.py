"""What a project requires, on its way to one target: found for its platform, and there before the code that needs it.

Owns which wheels the requirements of a launch file have come to on that target, and which layers it is known to have.
What it says of itself is read with distrust. Knows nothing of saves and of trees.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bootloader.wire.errors import Fault, Refused
from bootloader.wire.launch import Launch
from bootloader.wire.layer import Wheel
from bootloader.wire.messages import Fields

from . import wheels
from .link import Link
from .pace import Pace
from .platforms import Platform
from .report import clean, size, whole
from .shipment import upload

_ASK_S = 0.5
_CALL_S = 180.0
_STALL_S = 120.0
_TRIES = 3
_SEARCH_S = 0.5
"""After so long it is told that something is looked for."""
_KEPT = 64
_NAMED = 6
_FETCHING = threading.Lock()
"""Targets of one platform require the same: the second one finds it."""

Tell = Callable[[dict[str, Any]], object]


@dataclass(frozen=True, slots=True)
class _Files:
    """The content of wheels, by name, for an upload."""

    paths: Mapping[str, Path]

    def parts(self, blob: str, part_bytes: int) -> Iterator[bytes]:
        with open(self.paths[blob], "rb") as file:
            while part := file.read(part_bytes):
                yield part


class Layers:
    """Those of one target. ``fresh``: the index is asked, whatever the requirements came to before."""

    def __init__(self, target: str, tell: Tell, *, fresh: bool = False) -> None:
        self._target = target
        self._tell = tell
        self._fresh = fresh
        self._told = Fields({})
        self._found: dict[tuple[str, ...], tuple[wheels.Wheel, ...]] = {}
        self._dressed: dict[str, bytes] = {}
        """By the blob of the launch file that it was made of."""
        self._took_ms: dict[str, float] = {}
        self._paths: dict[str, Path] = {}
        self._there: set[str] = set()
        """Launch files, by their blobs, of which the target has all that they require."""

    def greet(self, platform: Fields) -> None:
        """What the target says that it is. It may be another one than before, or have lost what it had."""
        if platform.plain() != self._told.plain():
            self._found.clear()
            self._dressed.clear()
        self._told = platform
        self._there.clear()

    def forget(self) -> None:
        """The target says that it has not what it had."""
        self._there.clear()

    def dressed(self, blob: str, read: Callable[[str], bytes]) -> bytes:
        """The launch file ``blob`` with the wheels that its requirements come to on this target.

        A :class:`Fault` names what can't be had there.
        """
        if blob not in self._dressed:
            if len(self._dressed) >= _KEPT:
                self._dressed.clear()
            self._dressed[blob] = self._dress(read(blob))
        return self._dressed[blob]

    def _dress(self, content: bytes) -> bytes:
        launch = Launch.decode(content)
        if not launch.requirements:
            return content
        found = self._found.get(launch.requirements)
        if found is None:
            found = self._found[launch.requirements] = self._fetch(launch.requirements)
        self._paths |= {one.blake3: one.path for one in found}
        named = tuple(sorted(Wheel(one.path.name, one.blake3, one.size_bytes) for one in found))
        return replace(launch, wheels=named).encode()

    def _fetch(self, requirements: tuple[str, ...]) -> tuple[wheels.Wheel, ...]:
        platform = _platform(self._told, self._target)
        began, files = time.monotonic(), 0

        def tell(name: str, total: int | None = None) -> None:
            told = {"event": "progress", "what": "fetch", "file": name, "done_files": files, "total_files": total}
            self._tell(told)

        def downloads(text: str) -> None:
            nonlocal files
            tell(clean(text).removeprefix("Downloading ").partition(" ")[0].rpartition("/")[2])
            files += 1

        searching = threading.Timer(_SEARCH_S, tell, [""])
        searching.name, searching.daemon = f"{self._target} search", True
        searching.start()
        try:
            with _FETCHING:
                found = wheels.fetch(requirements, platform, fresh=self._fresh, on_progress=downloads)
        finally:
            searching.cancel()
            if files or time.monotonic() - began > _SEARCH_S:
                tell("", files)
        self._fresh = False
        self._took_ms["fetch"] = (time.monotonic() - began) * 1000
        return found

    def provide(self, link: Link, blob: str, read: Callable[[str], bytes]) -> None:
        """Have the target make what the launch file ``blob`` requires, if it has it not; uploads what it lacks."""
        if blob in self._there:
            return
        launch = Launch.decode(read(blob))
        if launch.wheels:
            self._provide(link, launch)
        self._there.add(blob)

    def _provide(self, link: Link, launch: Launch) -> None:
        began, sent = time.monotonic(), 0
        answer = self._ask(link, launch.wheels)
        sizes = {wheel.blake3: wheel.size for wheel in launch.wheels}
        for _ in range(_TRIES):
            missing = {blob: sizes[blob] for blob in answer.texts("missing") if blob in sizes}
            if not missing:
                break
            if unknown := missing.keys() - self._paths.keys():
                raise Refused("missing-blob", "this host has it no more", to=min(unknown)[:12], do="save again")
            sent += self._upload(link, missing)
            answer = self._ask(link, launch.wheels)
        if sent or not answer.flag("ready"):
            self._await(link, launch.wheels, answer)
            self._say(launch, sent, time.monotonic() - began)
            self._took_ms["layer"] = (time.monotonic() - began) * 1000

    def took_ms(self) -> dict[str, float]:
        """How long it took to find what is required, and to have it there, since this was asked last."""
        took, self._took_ms = self._took_ms, {}
        return {stage: round(took[stage], 3) for stage in ("fetch", "layer") if stage in took}

    def _ask(self, link: Link, asked: tuple[Wheel, ...]) -> Fields:
        return link.call("layer", {"wheels": [one.row for one in asked], "wait_s": _ASK_S}, timeout_s=_CALL_S)[0]

    def _upload(self, link: Link, missing: Mapping[str, int]) -> int:
        pace = Pace(time.monotonic())

        def progress(done: int, total: int) -> None:
            if pace.due(time.monotonic(), ended=done >= total):
                self._tell({"event": "progress", "what": "ship", "done_bytes": done, "total_bytes": total})

        return upload(link, missing, _Files(self._paths), progress)

    def _await(self, link: Link, asked: tuple[Wheel, ...], answer: Fields) -> None:
        """Until it is made. A target that gets no further is given up."""
        pace, done, total, moved = Pace(time.monotonic()), -1, 0, time.monotonic()
        while not answer.flag("ready"):
            now = time.monotonic()
            before, done = done, whole(answer.integer("done_bytes"))
            moved = now if done != before else moved
            if answer.texts("missing") or now - moved > _STALL_S:
                raise Fault("layer-stalled", "does not get on with what is required", to=self._target, do="try again")
            total = max(done, whole(answer.integer("total_bytes")))
            if pace.due(now, ended=False):
                self._tell({"event": "progress", "what": "unpack", "done_bytes": done, "total_bytes": total})
            answer = self._ask(link, asked)
        if pace.due(time.monotonic(), ended=True):
            self._tell({"event": "progress", "what": "unpack", "done_bytes": total, "total_bytes": total})

    def _say(self, launch: Launch, sent: int, took_s: float) -> None:
        names = [f"{wheel.distribution} {wheel.version}" for wheel in launch.wheels]
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        held = size(sum(wheel.size for wheel in launch.wheels))
        text = f"{', '.join(names[:_NAMED])}{more}: {held}, of which {size(sent)} were shipped, in {took_s:.1f} s"
        self._tell({"event": "notice", "code": "provided", "text": text})


def _platform(told: Fields, target: str) -> Platform:
    """The platform that a target says to be; :class:`Fault` where no wheels are made for such a one."""
    if not told.plain():
        do = "upgrade it: `reactor upgrade`"
        raise Fault("no-layers", "its bootloader is too old to be given what the project requires", to=target, do=do)
    libc, python = told.integers("libc_version"), told.integers("python")
    if len(libc) != 2 or len(python) != 3:
        do = "have it use what is installed there: requirements = [] in [tool.reactor]"
        raise Fault("unknown-platform", "nobody makes wheels for such a system", to=target, do=do)
    numbers = (libc[0], libc[1]), (python[0], python[1], python[2])
    return Platform(told.text("machine"), told.text("libc"), *numbers, told.flag("threaded", False))
