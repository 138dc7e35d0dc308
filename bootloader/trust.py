"""This device's key and certificate, the hosts that it obeys, and those that may only look.

Reads ``<state>/trust/``: ``device.crt``, ``device.key``, ``hosts/<name>.crt``, ``observers/<name>.crt``. Owns who is
obeyed under which name, and ``copy``, from which what is damaged is made anew. Knows nothing of connections.
"""

from __future__ import annotations

import os
import ssl
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from . import identity
from .aside import Aside
from .regular import regular
from .wire.errors import Fault
from .wire.private import CERTIFICATE, KEY, check_private, is_whole, sealed
from .wire.stream import client_context, fingerprint, only_certificate, server_context

MOST_HOSTS = 64
SELF = ""
"""The name of the device itself, which may reach itself, to see that it can be reached. No host has it."""

HOSTS, OBSERVERS = "hosts", "observers"
"""The folders of those who may do everything, and of those who may look. Who is in both may look."""

ROLES = (HOSTS, OBSERVERS)
"""What a host can be here: the name of its folder."""

_CERTIFICATE_BYTES = 16 * 1024


class Trust:
    """What was in a trust folder when it was loaded. A host whose file is unusable is not obeyed, and a problem."""

    def __init__(
        self,
        context: ssl.SSLContext,
        own: ssl.SSLContext,
        hosts: Mapping[str, str],
        problems: tuple[Fault, ...] = (),
        observers: frozenset[str] = frozenset(),
    ) -> None:
        """``hosts``: name by fingerprint; ``observers``: the fingerprints of those that may only look."""
        self.context = context
        """What links are accepted with; made once, since making it costs more than a handshake."""
        self.own = own
        """What this device makes links to itself with."""
        self.problems = problems
        """Why each file that was left out is left out."""
        self.hosts = dict(hosts)
        self._observers = observers

    @classmethod
    def load(cls, folder: Path, on_notice: Callable[[str, str], None] = lambda _code, _text: None) -> Trust:
        """The trust in ``folder``. A :class:`Fault` where this device itself has no usable, private key.

        ``on_notice`` is told of what was damaged and could be mended.
        """
        certificate, key = folder / "device.crt", folder / "device.key"
        do = "bring it back; or remove device.crt, device.key and the folder copy, and it makes itself new ones"
        check_private(folder, CERTIFICATE, do)
        _mend(folder, on_notice)
        for path, forbidden in ((certificate, CERTIFICATE), (key, KEY)):
            check_private(path, forbidden, do)
        own = client_context(certificate, key, "")
        own_pem = certificate.read_text("ascii", errors="ignore")  # OpenSSL reads past what is damaged outside of it
        own.load_verify_locations(cadata=own_pem)
        names = {fingerprint(own_pem): SELF}
        trusted = [own_pem]
        observers: set[str] = set()
        problems: list[Fault] = []
        for path in _host_files(folder, problems):
            try:
                pem = _read_certificate(path)
                which = fingerprint(pem)
                if path.parent.name == OBSERVERS and which not in names:
                    observers.add(which)
                names.setdefault(which, path.stem)
                trusted.append(pem)
            except Fault as problem:
                problems.append(problem)
        context = server_context(certificate, key, "".join(trusted))
        return cls(context, own, names, tuple(problems), frozenset(observers))

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of this device's own certificate."""
        return next(one for one, name in self.hosts.items() if name == SELF)

    def host_of(self, fingerprint: str) -> str | None:
        """The name of the obeyed host whose certificate has ``fingerprint``, ``SELF``, or None where there is none."""
        return self.hosts.get(fingerprint)

    def observes(self, fingerprint: str) -> bool:
        """Whether the host whose certificate has ``fingerprint`` may only look."""
        return fingerprint in self._observers

    def is_alike(self, other: Trust, fingerprint: str) -> bool:
        """Whether the host of ``fingerprint`` is in ``other`` what it is here."""
        return self.host_of(fingerprint) == other.host_of(fingerprint) and (
            self.observes(fingerprint) == other.observes(fingerprint)
        )

    def rows(self) -> list[tuple[str, str, str]]:
        """Name, fingerprint and folder of each that is not the device itself, by name."""
        return sorted(
            (name, which, OBSERVERS if self.observes(which) else HOSTS)
            for which, name in self.hosts.items()
            if name != SELF
        )


def begin(folder: Path) -> bool:
    """Make this device's own key and certificate where it never had any; whether that was done.

    The certificate is written last, so where neither it nor its copy is there, nobody knows this device yet. One that
    is lost or damaged later is not replaced: to its hosts it would be another device.
    """
    certificate, key = folder / "device.crt", folder / "device.key"
    try:
        if any(_is_there(path) for path in (certificate, folder / "copy" / certificate.name)):
            return False
        pem, key_pem = identity.make(os.uname().nodename)
        for made in (folder, folder / HOSTS):
            made.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path, text in ((key, key_pem), (certificate, pem)):
            _replace(path, sealed(text).encode())
    except OSError as error:
        do = "make it writable, and a key is made"
        raise Fault(
            "no-identity", f"has no key, and can't get one ({error.strerror})", to=str(folder), do=do
        ) from error
    return True


def mark(folder: Path) -> tuple[object, ...]:
    """What differs once somebody has changed a trust folder."""
    seen: list[object] = []
    for place in (folder, folder / HOSTS, folder / OBSERVERS):
        with suppress(OSError):
            for entry in sorted(os.scandir(place), key=lambda one: one.name):
                found = entry.stat(follow_symlinks=False)
                if not stat.S_ISDIR(found.st_mode):
                    seen.append((entry.path, found.st_ino, found.st_size, found.st_mtime_ns, found.st_mode))
            seen.append((str(place), place.stat().st_mode))
    return tuple(seen)


def admit(folder: Path, name: str, pem: str, role: str = HOSTS) -> str:
    """Let the host of the certificate ``pem``, called ``name``, be one of ``role``; the name that it has here.

    Another key of that name keeps it, and this one gets a part of its fingerprint. Whatever else it was, it is no
    more: that goes last, so that one who is interrupted may look. ``ValueError`` or ``OSError`` where ``pem`` is no
    certificate, or can't be kept.
    """
    pem = only_certificate(pem)
    which = fingerprint(pem)
    place = folder / role
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    files = [path for one in ROLES for path in sorted((folder / one).glob("*.crt"))]
    same = [path for path in files if _is_of(path, which)]
    there = [path.stem for path in same if path.parent == place]
    name = next(iter(there or [path.stem for path in same]), name)
    if not there:
        if name in {path.stem for path in files if path not in same}:
            name = f"{name}-{which[:8]}"
        _replace(place / f"{name}.crt", sealed(pem).encode())
    for path in same:
        if path.parent != place:
            _dismiss(folder, path)
    return name


def role_of(folder: Path, which: str) -> str:
    """What the host of the fingerprint ``which`` is here; empty where it is nothing."""
    return next(
        (role for role in (OBSERVERS, HOSTS) for path in (folder / role).glob("*.crt") if _is_of(path, which)), ""
    )


def assign(folder: Path, name: str, role: str) -> bool:
    """Let the host called ``name`` be one of ``role``; whether there was one. As :func:`admit`."""
    files = _files(folder, name)
    for path in files:
        if path.parent.name != role:
            admit(folder, name, _read_certificate(path), role)
    return bool(files)


def dismiss(folder: Path, name: str) -> bool:
    """Obey the host called ``name`` no more; whether there was one."""
    files = _files(folder, name)
    for path in files:
        _dismiss(folder, path)
    return bool(files)


def _files(folder: Path, name: str) -> list[Path]:
    """Those of the host called ``name``, which may be any text."""
    return [path for role in ROLES for path in (folder / role).glob("*.crt") if path.stem == name]


def _dismiss(folder: Path, path: Path) -> None:
    """Its copy goes first: else it could come back."""
    (folder / "copy" / path.relative_to(folder)).unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def _is_of(path: Path, which: str) -> bool:
    try:
        return fingerprint(_read_certificate(path)) == which
    except Fault:  # it is nobody's, and told of where whom to obey is loaded
        return False


def _is_there(path: Path) -> bool:
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _mend(folder: Path, on_notice: Callable[[str, str], None]) -> None:
    """Make what is damaged anew from its copy, and have a copy of what is whole.

    A host whose file was removed is not to be obeyed any more, so that one loses its copy, too.
    """
    copies = folder / "copy"
    names = {
        f"{kind}/{path.name}"
        for kind in (HOSTS, OBSERVERS)
        for place in (folder / kind, copies / kind)
        for path in place.glob("*.crt")
    }
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
        return _beginning(path, _CERTIFICATE_BYTES)
    except OSError:
        return b""


def _beginning(path: Path, most_bytes: int) -> bytes:
    """Of a plain file."""
    with open(path, "rb", opener=regular) as file:
        return file.read(most_bytes)


def _replace(path: Path, content: bytes) -> None:
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    new.replace(path)


def _host_files(trust: Path, problems: list[Fault]) -> Iterator[Path]:
    """Observers first: who is in both folders may only look."""
    paths: list[Path] = []
    for folder in (trust / OBSERVERS, trust / HOSTS):
        try:
            if folder.stat().st_mode & 0o022:
                raise PermissionError(0, "other users may change it")
            paths += sorted(folder.glob("*.crt"))
        except FileNotFoundError:
            if folder.name == HOSTS:
                problems.append(_unlisted(folder, "there is no such folder"))
        except OSError as error:
            problems.append(_unlisted(folder, error.strerror))
    if len(paths) > MOST_HOSTS:
        problems.append(Fault("unusable-trust", f"only {MOST_HOSTS} hosts are obeyed", to=str(trust)))
    yield from paths[:MOST_HOSTS]


def _unlisted(folder: Path, why: str | None) -> Fault:
    return Fault("unusable-trust", f"no host in it is obeyed ({why})", to=str(folder), do="pair with a host")


def _read_certificate(path: Path) -> str:
    """The PEM text of exactly one certificate that OpenSSL can read."""
    try:
        text = _beginning(path, _CERTIFICATE_BYTES + 1)
        if len(text) > _CERTIFICATE_BYTES:
            raise ValueError("too long")
        return only_certificate(text.decode("ascii", errors="ignore"))
    except (OSError, ValueError) as error:
        raise Fault(
            "unusable-trust", f"this host is not obeyed ({error})", to=str(path), do="pair with the host again"
        ) from error
