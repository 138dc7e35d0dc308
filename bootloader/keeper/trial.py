"""Which release the keeper starts: the kept one, one on trial, or, where neither is any good, the installed one.

Owns what is known of the release on trial. Performs nothing but the note of what is kept. Standard library alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .release import Release, Unusable, keep, kept, place

TRIAL_S = 60.0
"""How long a new release has, from its start, to be confirmed by a host."""

TRIES = 3
"""After so many starts of a kept release that came to nothing, as many of the installed one follow, in turns."""


class Releases:
    """Those of the state folder ``state``."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._trial: Release | None = None
        self._kept: Release | None = None
        self._confirmed = False
        self._undone = ""
        self._left = ""
        self._vain_starts = 0
        self.until: float | None = None
        """When the trial that is under way is given up."""

    @property
    def trying(self) -> bool:
        """Whether a release is on trial, or is to be."""
        return self._trial is not None

    def told(self, release: Release | None) -> dict[str, Any]:
        """What a bootloader is told that is started as ``release``."""
        root = release.root if release is not None else ""
        return {"release": root, "trial": self.trying, "undone": self._undone, "left": self._left}

    def choose(self, now: float) -> Release | None:
        """The release to start, verified; None is the installed one."""
        if self._trial is not None:
            try:
                self._trial.verify()
            except Unusable as error:
                self._undo(self._trial, str(error))
            else:
                self.until = now + TRIAL_S
                return self._trial
        self._left = ""
        try:
            release = kept(self._state)
        except Unusable as error:
            self._left = str(error)
            return None
        if release is not None and self._vain_starts // TRIES % 2:
            self._left = f"it came to nothing {TRIES} times"
            return None
        return release

    def begin(self, root: str, seal: str) -> bool:
        """Have a release tried next; False where another one is on trial."""
        if self._trial is not None:
            return False
        self._trial, self._confirmed, self._vain_starts = Release(root, place(self._state, root), seal), False, 0
        return True

    def confirm(self, root: str) -> None:
        """A host has reached the release ``root``."""
        release = self._trial or self._kept
        self._confirmed = release is not None and release.root == root

    def keep(self, release: Release | None, *, well: bool) -> dict[str, str]:
        """Keep ``release``, which runs, if it is on trial, confirmed and well; what to tell it then."""
        if release is not None and release is self._kept and self._confirmed:
            self._confirmed = False
            return {"kept": release.root}  # it was told already, and somebody asks again
        if self._trial is None or release is not self._trial or not (self._confirmed and well):
            return {}
        try:
            keep(self._state, self._trial)
        except OSError as error:
            self._confirmed = False
            return {"not-kept": f"it can't be written down ({error.strerror})"}
        self._kept, self._trial, self.until, self._confirmed = release, None, None, False
        return {"kept": release.root}

    def ended(self, release: Release | None, why: str, *, in_vain: bool) -> bool:
        """A bootloader of ``release`` has ended; whether that was for a trial, which begins or is over with it."""
        if self._trial is None:
            self._vain_starts = self._vain_starts + 1 if in_vain else 0
            return False
        if release is self._trial:
            self._undo(self._trial, why)
        return True

    def _undo(self, release: Release, why: str) -> None:
        self._undone = f"release {release.root[:12]} {why}"
        self._trial = self.until = None
