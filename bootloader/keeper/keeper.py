"""The tiny parent of the bootloader: starts it, starts it again whenever it dies or falls silent, and ends with it.

Owns the bootloader's process, this end of the line between the two (``tether`` is the other), and a second hold on the
socket that it listens on, so that links made while it starts wait instead of being refused, and the port stays the
same. Knows nothing of links, applications and the state folder. The standard library alone, one thread, and
nothing that grows: what could fail here is what nobody would restart.

A bootloader is well while its heartbeats come (``pulse`` says what it takes for one). One that is silent for too long
is killed; one that dies is started again at once, and where it dies again and again, after a pause, for ever.

Which release of it is started, ``release`` says. A new one is on trial: it is kept once it is well and has been
confirmed. Otherwise, whatever it does, the one of before comes back.
"""

from __future__ import annotations

import math
import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep

from .orphans import Orphans
from .trial import Releases
from .ward import Ward
from .watchdogs import Hardware, Systemd

LINE = "BOOTLOADER_LINE"
"""The variable that tells a bootloader the descriptor of its line to the keeper."""

KEEPER = "BOOTLOADER_KEEPER"
"""The variable by which the keeper knows what came from its bootloader, wherever that went."""

SILENT_S = 15.0
"""Longest silence of a bootloader that was well."""

START_S = 300.0
"""How long a start may take until the first heartbeat, as every file is compared before; and twice as long after each
start that took too long: a slow board with much to compare must come up one day."""

LONGEST_START_S = 3600.0
STEADY_S = 10.0
"""One that lived so long is started again without a pause."""

QUICK_DEATHS = 4
"""So many in a row are answered without a pause, too: what kills it may not be there the next time."""

PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0
"""No longer, as somebody who would mend what kills it must find it up."""

RESET_S = 3600.0
"""How long no bootloader has to be well before the hardware's watchdog is let go: a reset is the last resort."""

END_S = 4.0
"""How much longer than the applications' grace the end may take before the bootloader is killed."""

MOST_END_S = 200.0
"""Longest end that a bootloader may ask for."""

ORPHANS_S = 2.0
"""Longest wait for the end of what a dead bootloader left behind."""

OOM_SCORE = "-900"

_TICK_S = 2.0
_POLL_S = 0.005
_STOOD_STILL_S = 3.0
_ENDS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Keeper:
    """Keeps one bootloader running, and tells the watchdogs whether it is well. ``say`` tells a person, or a log, what
    nobody else can.
    """

    def __init__(
        self,
        arguments: list[str],
        state: Path,
        systemd: Systemd,
        hardware: Hardware,
        *,
        grace_s: float,
        until_stdin_ends: bool,
        say: Callable[[str], None],
    ) -> None:
        """``arguments``: those of the bootloader's command line; ``state``: the folder that they name."""
        self._arguments = arguments
        self._releases = Releases(state)
        self._systemd = systemd
        self._hardware = hardware
        self._end_s = grace_s + END_S
        self._stdin = 0 if until_stdin_ends else None
        self._say = say
        self._mark = {KEEPER: str(os.getpid())}
        self._orphans = Orphans(f"{KEEPER}={os.getpid()}")
        self._ward: Ward | None = None
        self._listening: int | None = None
        self._due = monotonic()
        self._ending = False
        self._said = False
        """Whether one of them has told where it listens, for whoever started this."""
        self._was_well = False
        self._well_at = monotonic()
        self._quick_deaths = 0
        self._slow_starts = 0
        self._restarts = 0
        self._why = ""

    def run(self) -> int:
        """Until asked to end by a signal, or by the end of standard input; the exit status."""
        bell, ring = os.pipe()
        for end in (bell, ring):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(ring, warn_on_full_buffer=False)
        for number in (*_ENDS, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        with suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as score:
            score.write(OOM_SCORE)  # memory runs out elsewhere first; only root may say so
        status: int | None = None
        while status is None:
            self._start_if_due()
            self._wait(bell)
            status = self._reap()
            if self._ward is not None:
                self._orphans.kill(but=self._ward.pid)
            if monotonic() < self._well_at + RESET_S:
                self._hardware.feed()
        self._hardware.close()
        return status

    # one round

    def _wait(self, bell: int) -> None:
        """For the next thing that happens, and take it in."""
        line = self._ward.line if self._ward is not None else None
        before = monotonic()
        wait_s = max(0.0, min(_TICK_S, self._next() - before))
        sources: list[int | socket.socket] = [bell, *(one for one in (line, self._stdin) if one is not None)]
        ready, _, _ = select.select(sources, [], [], wait_s)
        now = monotonic()
        if now - before - wait_s > _STOOD_STILL_S and self._ward is not None:
            self._ward.silent_at += now - before  # the machine stood still, and the bootloader with it
        if bell in ready:
            rung = os.read(bell, 4096)
            if any(number in rung for number in _ENDS):
                self._end()
        if self._stdin is not None and self._stdin in ready and not os.read(self._stdin, 4096):
            self._stdin = None
            self._end()
        self._listen()
        self._check(monotonic())

    def _next(self) -> float:
        """When something is due, if nothing happens before."""
        ward, until = self._ward, self._releases.until
        if ward is None:
            return self._due
        if ward.killed_for:
            return math.inf  # its end, which nobody can hasten
        if ward.end_at is not None:
            return ward.end_at
        return ward.silent_at if until is None else min(ward.silent_at, until)

    def _check(self, now: float) -> None:
        ward, until = self._ward, self._releases.until
        if ward is None or ward.killed_for:
            return
        if ward.end_at is not None:
            if now >= ward.end_at:
                self._kill(ward, "did not end when it was asked to")
        elif until is not None and now >= until:
            self._kill(ward, "was not confirmed by a host in time")
        elif now >= ward.silent_at:
            self._slow_starts += not ward.well
            self._kill(ward, "fell silent" if ward.well else "did not come up in time")

    def _kill(self, ward: Ward, why: str) -> None:
        ward.killed_for = why
        os.kill(ward.pid, signal.SIGKILL)

    def _end(self) -> None:
        """End for good; asked again, it takes no longer."""
        if not self._ending:
            self._ending = True
            self._systemd.tell("STOPPING=1")
        if self._ward is not None:
            self._stop(self._ward)

    def _stop(self, ward: Ward) -> None:
        if ward.end_at is None:
            ward.end_at = monotonic() + self._end_s
        os.kill(ward.pid, signal.SIGTERM)

    # the line

    def _listen(self) -> None:
        ward = self._ward
        if ward is None:
            return
        for note, descriptors in ward.read():
            if "beat" in note:
                self._hear_beat(ward)
            elif "ends_in" in note:
                self._wait_for_end(ward, note["ends_in"])
            elif "refused" in note:
                ward.refused = True
            elif "listening" in note and descriptors and self._listening is None:  # later ones hold the same
                self._listening = descriptors.pop()
            elif "said" in note:
                self._said = True
            elif "upgrade" in note:
                if self._releases.begin(str(note["upgrade"]), str(note.get("seal"))):
                    self._stop(ward)
            elif "confirm" in note:
                self._releases.confirm(str(note["confirm"]))
                self._keep(ward)
            for descriptor in descriptors:
                os.close(descriptor)

    @staticmethod
    def _wait_for_end(ward: Ward, end_s: object) -> None:
        """It was asked to end, and says how long that may take: outputs are to be made safe before."""
        if ward.end_at is not None and isinstance(end_s, (int, float)) and 0 < end_s < MOST_END_S:
            ward.end_at = max(ward.end_at, monotonic() + end_s + END_S)

    def _hear_beat(self, ward: Ward) -> None:
        ward.well = self._was_well = True
        self._well_at = monotonic()
        ward.silent_at = self._well_at + SILENT_S
        self._slow_starts = 0
        if not self._ending:
            self._systemd.tell("READY=1", "WATCHDOG=1")
        self._keep(ward)

    def _keep(self, ward: Ward) -> None:
        """Keep the release on trial, if all that it takes has come."""
        if note := self._releases.keep(ward.release, well=ward.well):
            ward.tell(note, [])

    # start and end

    def _start_if_due(self) -> None:
        if self._ward is None and not self._ending and monotonic() >= self._due:
            try:
                self._ward = self._start()
            except OSError as error:  # no memory, no process, no interpreter: that may pass
                why = f"could not be started ({error.strerror})"
                if why != self._why:
                    self._say(f"the bootloader {why}; this is tried again")
                self._why = why
                self._quick_deaths += 1
                self._pause()

    def _start(self) -> Ward:
        release = self._releases.choose(monotonic())
        environment = dict(os.environ)
        if release is not None:
            paths = [str(release.folder), environment.get("PYTHONPATH", "")]
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        ours, theirs = socket.socketpair()
        try:
            theirs.set_inheritable(True)
            pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-P", "-m", "bootloader", *self._arguments],
                {**environment, **self._mark, LINE: str(theirs.fileno())},
                file_actions=[(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)],
            )
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        ours.setblocking(False)
        ward = Ward(pid, ours, min(START_S * 2 ** min(self._slow_starts, 10), LONGEST_START_S), release)
        first = {
            "why": self._why,
            "restarts": self._restarts,
            "said": self._said,
            "problem": self._hardware.problem,
            **self._releases.told(release),
        }
        ward.tell(first, [self._listening] if self._listening is not None else [])
        return ward

    def _reap(self) -> int | None:
        """See who is gone: the exit status, once this is the end. As process 1, others' orphans come by as well."""
        status: int | None = None
        while True:
            try:
                pid, ended = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            if self._ward is not None and pid == self._ward.pid:
                self._listen()  # its last words
                status = self._buried(self._ward, os.waitstatus_to_exitcode(ended))
        return 0 if status is None and self._ward is None and self._ending else status

    def _end_orphans(self) -> None:
        """See what the bootloader left behind gone: its ports and pins are free then, and nothing of it runs twice."""
        deadline = monotonic() + ORPHANS_S
        while self._orphans.kill() and monotonic() < deadline:
            with suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            sleep(_POLL_S)

    def _buried(self, ward: Ward, status: int) -> int | None:
        ward.hang_up()
        self._ward = None
        self._end_orphans()
        if self._ending:
            return max(0, status) if not ward.killed_for else 1  # by SIGTERM, where it had set up nothing yet
        if ward.refused and not self._was_well and ward.release is None:
            return status
        lived_s = monotonic() - ward.born
        why = ward.killed_for or _end_of(status)
        if self._releases.ended(ward.release, why, in_vain=not ward.well or lived_s < STEADY_S):
            self._why, self._quick_deaths = "", 0
        else:
            self._why = why
            self._restarts += 1
            self._quick_deaths = 0 if lived_s >= STEADY_S else self._quick_deaths + 1
        self._pause()
        return None

    def _pause(self) -> None:
        pauses = self._quick_deaths - QUICK_DEATHS
        pause_s = PAUSE_S * 2 ** min(pauses - 1, 20) if pauses > 0 else 0.0
        self._due = monotonic() + min(pause_s, LONGEST_PAUSE_S)


def _end_of(status: int) -> str:
    if status >= 0:
        return f"exited with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"
