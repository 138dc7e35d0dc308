"""This device's key and certificate, and the hosts that it obeys.

Reads ``<state>/trust/``: ``device.crt``, ``device.key``, ``hosts/<name>.crt``. Owns who is obeyed under which name.
Makes no keys (a host does that, so that no cryptography package is needed here) and knows nothing of connections.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path

from .wire.errors import Fault
from .wire.private import CERTIFICATE, KEY, check_private
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
    def load(cls, folder: Path) -> Trust:
        """The trust in ``folder``. A :class:`Fault` where this device itself has no usable, private key."""
        certificate, key = folder / "device.crt", folder / "device.key"
        for path, forbidden in ((folder, CERTIFICATE), (certificate, CERTIFICATE), (key, KEY)):
            check_private(path, forbidden, "have a host make its certificate and key: `reactor trust`")
        own = client_context(certificate, key, "")
        own_pem = certificate.read_text("ascii")
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

    def host_of(self, fingerprint: str) -> str | None:
        """The name of the obeyed host whose certificate has ``fingerprint``, ``SELF``, or None where there is none."""
        return self._hosts.get(fingerprint)


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
        pem = text.decode("ascii")
        if pem.count(ssl.PEM_HEADER) != 1:
            raise ValueError("not one certificate")
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cadata=pem)
    except (OSError, ValueError) as error:
        raise Fault(
            "unusable-trust", f"this host is not obeyed ({error})", to=str(path), do="pair with the host again"
        ) from error
    return pem if pem.endswith("\n") else pem + "\n"
