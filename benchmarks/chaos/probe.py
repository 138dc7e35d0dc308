"""Asks a target over its link, again and again, and measures how long it was without an answer.

Where others keep the machine busy, a silence counts only if it is too long for that (:mod:`.pace`); others are counted
apart.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import ExitStack, suppress
from typing import Self

from bootloader.priority import urgent
from bootloader.wire.errors import Fault
from reactor.link import Link

from . import pace
from .device import Device
from .tally import UNREACHABLE, Tally

MOST_S = 1.0
"""A target that does not answer for longer is unreachable."""

EXCUSED = "silences over 1 s that a busy machine explains"
_PAUSE_S = 0.05
_CALL_S = 15.0


class Probe:
    """A second host that wants to know, in a thread; used with ``with``. ``where`` names the occasion in a finding."""

    def __init__(self, device: Device, tally: Tally, part: str, where: str) -> None:
        self._device = device
        self._tally = tally
        self._part = part
        self._where = where
        self._silences: list[tuple[float, str]] = []
        self._over = threading.Event()
        self._first = ExitStack()
        self._thread = threading.Thread(target=self._run, name="probe", daemon=True)

    def __enter__(self) -> Self:
        self._first.enter_context(urgent())  # a host is another machine, and no part of the load that is made here
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(2 * _CALL_S)
        self._first.close()
        most_s = MOST_S * pace.slower() if self._silences else MOST_S
        for waited_s, why in self._silences:
            if waited_s > most_s:
                what = f"no answer for {waited_s:.2f} s, with {most_s:.2f} s allowed here {why}".strip()
                self._tally.found(UNREACHABLE, self._part, self._where, what)
            else:
                self._tally.counts[EXCUSED] += 1

    def _run(self) -> None:
        with suppress(OSError):  # its link's thread, too, which inherits that
            os.sched_setscheduler(threading.get_native_id(), os.SCHED_RR, os.sched_param(1))
        link: Link | None = None
        asked = time.monotonic()
        why = ""
        while not self._over.is_set():
            try:
                link = link if link is not None and not link.closed else self._device.link("probe")
                link.call("hello", {}, timeout_s=_CALL_S)
                self._tally.counts["answers"] += 1
            except (Fault, OSError) as error:
                why = str(error)
                if link is not None:
                    link.close()
                    link = None
            else:
                self._waited(time.monotonic() - asked, why)
                self._over.wait(_PAUSE_S)
                asked, why = time.monotonic(), ""
                continue
            self._over.wait(_PAUSE_S / 5)
        if why:
            self._waited(time.monotonic() - asked, why)
        if link is not None:
            link.close()

    def _waited(self, waited_s: float, why: str) -> None:
        self._tally.longest_s = max(self._tally.longest_s, waited_s)
        if waited_s > MOST_S:
            self._silences.append((waited_s, why))
