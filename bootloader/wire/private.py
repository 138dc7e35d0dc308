"""That a key or a certificate is there, and this user's own: asked by both ends before they use theirs."""

from __future__ import annotations

from pathlib import Path

from .errors import Fault

KEY, CERTIFICATE = 0o077, 0o022
"""What others must not be permitted: to read a key; to change a certificate, or a folder that holds some."""


def check_private(path: Path, forbidden: int, do: str) -> None:
    """A :class:`Fault` where ``path`` is missing, which ``do`` says how to mend, or others may do the ``forbidden``."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise Fault("no-identity", f"can't be read ({error.strerror})", to=str(path), do=do) from error
    if mode & forbidden:
        verb = "read" if mode & forbidden & 0o044 else "change"
        raise Fault("exposed-key", f"other users may {verb} it", to=str(path), do=f"chmod go-rwx '{path}'")
