"""This device's key and certificate, and the hosts that it obeys.

Reads ``<state>/trust/``: ``device.crt``, ``device.key``, ``hosts/<name>.crt``. Owns who is obeyed under which name, and
``copy``, from which what is damaged is made anew. Makes no keys (a host does that, so that no cryptography package is
needed here) and knows nothing of connections.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from .aside import Aside
from .wire.errors import Fault
from .wire.private import CERTIFICATE, KEY, check_private, is_whole
from .wire.stream import client_context, fingerprint, server_context

MOST_HOSTS = 64
SELF = ""
"""The name of the device itself, which may reach itself, to see that it can be reached. No host has it."""

_CERTIFICATE_BYTES = 16 * 1024


class Trust:
    """What was in a trust folder when it was loaded. A host whose file is unusable is not obeyed, and a problem."""

    def __init__(
        self, context: ssl.SSLContext, own: ssl.SSLContext, hosts: Mapping[str, str], problems: tuple[Fault, ...] = ()
    ) -> None:
        """``hosts``: name by fingerprint."""
        self.context = context
        """What links are accepted with; made once, since making it costs more than a handshake."""
        self.own = own
        """What this device makes links to itself with."""
        self.problems = problems
        """Why each file that was left out is left out."""
        self._hosts = hosts

    @classmethod
    def load(cls, folder: Path, on_notice: Callable[[str, str], None] = lambda _code, _text: None) -> Trust:
        """The trust in ``folder``. A :class:`Fault` where this device itself has no usable, private key.

        ``on_notice`` is told of what was damaged and could be mended.
        """
        certificate, key = folder / "device.crt", folder / "device.key"
        do = "have a host make its certificate and key: `reactor trust`"
        check_private(folder, CERTIFICATE, do)
        _mend(folder, on_notice)
        for path, forbidden in ((certificate, CERTIFICATE), (key, KEY)):
            check_private(path, forbidden, do)
        own = client_context(certificate, key, "")
        own_pem = certificate.read_text("ascii", errors="ignore")  # OpenSSL reads past what is damaged outside of it
        own.load_verify_locations(cadata=own_pem)
        names = {fingerprint(own_pem): SELF}
        trusted = [own_pem]
        problems: list[Fault] = []
        for path in _host_files(folder / "hosts", problems):
            try:
                pem = _read_certificate(path)
                names.setdefault(fingerprint(pem), path.stem)
                trusted.append(pem)
            except Fault as problem:
                problems.append(problem)
        return cls(server_context(certificate, key, "".join(trusted)), own, names, tuple(problems))

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of this device's own certificate."""
        return next(one for one, name in self._hosts.items() if name == SELF)

    def host_of(self, fingerprint: str) -> str | None:
        """The name of the obeyed host whose certificate has ``fingerprint``, ``SELF``, or None where there is none."""
        return self._hosts.get(fingerprint)


def _mend(folder: Path, on_notice: Callable[[str, str], None]) -> None:
    """Make what is damaged anew from its copy, and have a copy of what is whole.

    A host whose file was removed is not to be obeyed any more, so that one loses its copy, too.
    """
    hosts, copies = folder / "hosts", folder / "copy"
    names = {f"hosts/{path.name}" for place in (hosts, copies / "hosts") for path in place.glob("*.crt")}
    for name in ("device.crt", "device.key", *sorted(names)):
        file, copy = folder / name, copies / name
        try:
            if name in names and not os.path.lexists(file):
                copy.unlink(missing_ok=True)
                continue
            content, kept = _content(file), _content(copy)
            if is_whole(content) or _is_plain(content):
                replaced = name in names and _pem(content) != _pem(kept)  # by hand: the copy's is obeyed no more
                if kept != content and (is_whole(content) or not kept or replaced):
                    copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                    _replace(copy, content)
            elif is_whole(kept):
                if file.is_dir() and not file.is_symlink():
                    Aside(folder.parent / "aside").take(file)
                _replace(file, kept)
                on_notice("trust-mended", f"'{file}' was damaged, and was made anew from its copy")
        except OSError as error:
            on_notice("trust-unmended", f"'{file}' or its copy can't be written ({error.strerror})")


def _is_plain(content: bytes) -> bool:
    """Whether it was written by somebody who does not know of the first line that tells its hash."""
    return bool(_pem(content)) and is_whole(content) is None


def _pem(content: bytes) -> bytes:
    return b"".join(content.partition(b"-----BEGIN ")[1:])


def _content(path: Path) -> bytes:
    """What is in a file, as far as it can be one of ours; nothing where it is not there or can't be read."""
    try:
        with path.open("rb") as file:
            return file.read(_CERTIFICATE_BYTES)
    except OSError:
        return b""


def _replace(path: Path, content: bytes) -> None:
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    new.replace(path)


def _host_files(folder: Path, problems: list[Fault]) -> Iterator[Path]:
    try:
        if folder.stat().st_mode & 0o022:
            raise PermissionError(0, "other users may change it")
        paths = sorted(folder.glob("*.crt"))
    except OSError as error:
        problems.append(
            Fault("unusable-trust", f"no host is obeyed ({error.strerror})", to=str(folder), do="pair with a host")
        )
        return
    if len(paths) > MOST_HOSTS:
        problems.append(Fault("unusable-trust", f"only {MOST_HOSTS} hosts are obeyed", to=str(folder)))
    yield from paths[:MOST_HOSTS]


def _read_certificate(path: Path) -> str:
    """The PEM text of exactly one certificate that OpenSSL can read."""
    try:
        with path.open("rb") as file:
            text = file.read(_CERTIFICATE_BYTES + 1)
        if len(text) > _CERTIFICATE_BYTES:
            raise ValueError("too long")
        pem = text.decode("ascii", errors="ignore")
        if pem.count(ssl.PEM_HEADER) != 1:
            raise ValueError("not one certificate")
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cadata=pem)
    except (OSError, ValueError) as error:
        raise Fault(
            "unusable-trust", f"this host is not obeyed ({error})", to=str(path), do="pair with the host again"
        ) from error
    return pem if pem.endswith("\n") else pem + "\n"
