"""How to reach a target: one small protocol, a file for each way."""

from __future__ import annotations

from typing import Protocol

from ..link import Link


class Target(Protocol):
    """A target that links can be made to."""

    @property
    def name(self) -> str:
        """What the user calls it; also the name of its profile in the settings."""
        ...

    def connect(self, purpose: str) -> Link:
        """A new link. ``LinkDown`` where it may come up later, another fault where that is no use.

        Whatever must run for that is started first. Called from one thread at a time.
        """
        ...

    def close(self) -> bool:
        """End what was started here, and everything that it runs; whether that was the target.

        Its links end then, after its last events; others are closed by whoever made them.
        """
        ...
