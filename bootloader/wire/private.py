"""That a key or a certificate is there, this user's own, and whole: asked by both ends before they use theirs.

A sealed one begins with a line `# blake3` and the BLAKE3 of the rest, which OpenSSL reads past.
"""

from __future__ import annotations

import stat
from pathlib import Path

from blake3 import blake3

from .errors import Fault

_SEAL = b"# blake3 "

KEY, CERTIFICATE = 0o077, 0o022
"""What others must not be permitted: to read a secret; to change a certificate, or a folder that holds some."""


def check_private(path: Path, forbidden: int, do: str) -> None:
    """A :class:`Fault` where ``path`` is missing, which ``do`` says how to mend, or others may do the ``forbidden``."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise Fault("no-identity", f"can't be read ({error.strerror})", to=str(path), do=do) from error
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # a pipe would be waited for, for ever
        raise Fault("no-identity", "is no plain file", to=str(path), do=do)
    check_mode(path, mode, forbidden)


def check_mode(path: Path, mode: int, forbidden: int) -> None:
    """A :class:`Fault` where ``mode`` lets others do the ``forbidden`` with ``path``."""
    if mode & forbidden:
        verb = "read" if mode & forbidden & 0o044 else "change"
        raise Fault("exposed-key", f"other users may {verb} it", to=str(path), do=f"chmod go-rwx '{path}'")


def sealed(pem: str) -> str:
    """``pem`` with a first line that tells whether it is whole."""
    return f"{_SEAL.decode()}{blake3(pem.encode()).hexdigest()}\n{pem}"


def unsealed(content: bytes) -> bytes:
    """``content`` without that line, if it has one."""
    return content.partition(b"\n")[2] if content.startswith(_SEAL) else content


def is_whole(content: bytes) -> bool | None:
    """Whether ``content`` is what was sealed; None where no seal says so."""
    if not content.startswith(_SEAL):
        return None
    seal, _, pem = content.partition(b"\n")
    return seal.removeprefix(_SEAL) == blake3(pem).hexdigest().encode()
