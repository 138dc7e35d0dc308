"""This host's key, the devices that it knows, and the keys that it makes for them.

Owns the folder of the host's identity (``REACTOR_HOME``, or the user's configuration folder): ``identity/host.crt`` and
``host.key``, ``devices/<name>.crt`` and ``<name>.address``. Knows nothing of connections.

Certificates are pinned, so a certificate is only the envelope of a key: self-signed, no authority (a pinned authority
could mint certificates that pass), for both ends' use, and valid from 1970 to 9999, as boards have no clock at first.
"""

from __future__ import annotations

import errno
import getpass
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bootloader.wire.errors import Fault
from bootloader.wire.private import CERTIFICATE, KEY, check_private, sealed, unsealed
from bootloader.wire.stream import client_context, fingerprint, only_certificate

from .settings import RESERVED

_MOST_ADDRESSES = 4
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


@dataclass(frozen=True, slots=True)
class Identity:
    """A new key and its certificate, as PEM texts; ``fingerprint`` is the SHA-256 that the other end pins."""

    cert_pem: str
    key_pem: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class KeyPair:
    """Where a certificate and its key lie."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Device:
    """A target that this host knows: under which name, where it was, and by which certificate."""

    name: str
    addresses: tuple[str, ...]
    """The last one first."""
    fingerprint: str
    certificate: Path

    @property
    def address(self) -> str:
        """Where it was last."""
        return self.addresses[0]


@contextmanager
def _kept() -> Iterator[None]:
    """That keys and certificates can be kept, or a :class:`Fault`."""
    try:
        yield
    except OSError as error:
        what = f"can't be written ({error.strerror})"
        do = "make it usable, or set REACTOR_HOME to another folder"
        raise Fault("not-written", what, to=str(error.filename or default_home()), do=do) from error


def default_home() -> Path:
    """The folder of this user's identity: ``REACTOR_HOME`` if set, else where the system keeps configurations."""
    chosen = os.environ.get("REACTOR_HOME")
    if chosen:
        return Path(chosen).expanduser().absolute()
    from platformdirs import user_config_path

    return user_config_path("reactor")


def make_identity(common_name: str) -> Identity:
    """A new P-256 key and its certificate. The name is for people; only the key counts."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(1970, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    cert_pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
    key_pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    return Identity(cert_pem, key_pem, fingerprint(cert_pem))


@_kept()
def host_identity(home: Path) -> KeyPair:
    """This host's certificate and key, made on first use. Processes that start at once get the same one."""
    folder = home / "identity"
    pair = KeyPair(folder / "host.crt", folder / "host.key")
    if not folder.exists():
        me = make_identity(host_name())
        with _new_folder(folder) as made:
            _write(made / "host.key", me.key_pem)
            _write(made / "host.crt", me.cert_pem)
    do = f"remove '{folder}' to have a new one made, and pair with the devices again"
    check_private(pair.certificate, CERTIFICATE, do)
    check_private(pair.key, KEY, do)
    return pair


@_kept()
def issue(state_dir: Path, home: Path, name: str, host: str = "") -> None:
    """Give the target whose state is ``state_dir`` a key of its own, if it has none, and have it obey this host, which
    it calls ``host``, or as :func:`host_name` does.
    """
    host_pem = _read(host_identity(home).certificate)
    trust = state_dir / "trust"
    if not trust.exists():
        with _new_folder(trust) as made:
            _write_device(made, name)
            _write_host(made, host_pem, host)
        # Another process may have been first, for another host: so the folder is looked at all the same.
    if not _works(KeyPair(trust / "device.crt", trust / "device.key")):
        _write_device(trust, name)
    _write_host(trust, host_pem, host)


def namesakes(state_dir: Path, home: Path) -> list[Path]:
    """The files by which the target obeys other keys under this host's name: an old one, or one of another machine."""
    host_pem, name = _read(host_identity(home).certificate), host_name()
    files = sorted((state_dir / "trust" / "hosts").glob("*.crt"))
    alike = [path for path in files if path.stem == name or re.fullmatch(re.escape(name) + "-[0-9a-f]{8}", path.stem)]
    return [path for path in alike if unsealed(path.read_bytes()) != host_pem.encode()]


def check_name(name: str) -> None:
    """A :class:`Fault` where ``name`` can't be a device's."""
    if not _NAME.fullmatch(name):
        raise Fault("bad-name", "not a device's name", to=repr(name[:80]), do="use letters, digits, '.', '_' and '-'")
    if name in RESERVED:
        raise Fault("bad-name", "means something else after -t", to=repr(name), do="choose another one: --name")


def check_free(home: Path, name: str, which: str) -> None:
    """A :class:`Fault` where ``name`` is here another device's than that of the fingerprint ``which``."""
    path = home / "devices" / f"{name}.crt"
    if path.exists() and _fingerprint(_read(path), str(path)) != which:  # the disk says which names are one to it
        what = "is another device here, or this one before it was set up anew"
        do = f"choose another name (--name), or forget that one: reactor trust remove {name}"
        raise Fault("name-taken", what, to=name, do=do)


@_kept()
def remember(home: Path, name: str, cert_pem: str, address: str) -> None:
    """Know the device of ``cert_pem`` as ``name``, last seen at ``address``, and before where it was known to be.

    A :class:`Fault` where that name is another device's: nobody takes its place by a name, or by where it says to be.
    """
    check_name(name)
    try:
        pem = only_certificate(cert_pem)
    except ValueError as error:
        do = "remove device.crt and device.key in its state folder, and it makes itself new ones"
        raise Fault("unusable-trust", f"what it tells is no certificate ({error})", to=name, do=do) from error
    check_free(home, name, fingerprint(pem))
    folder = home / "devices"
    path, places = folder / f"{name}.crt", folder / f"{name}.address"
    _make_folder(folder)
    _write(places, _listed(address, _addresses(places) if path.exists() else ()))
    _write(path, pem)


def saw(home: Path, name: str, address: str) -> None:
    """The device ``name`` was found at ``address``: the first place to look for it. What can't be kept is forgotten."""
    path = home / "devices" / f"{name}.address"
    try:
        before = _addresses(path)
        if before[0] != address:
            _write(path, _listed(address, before))
    except (Fault, OSError):
        return  # it is found again, as it was now


@_kept()
def forget(home: Path, name: str) -> None:
    """Know the device called ``name`` no more."""
    if name not in {path.stem for path in (home / "devices").glob("*.crt")}:
        raise Fault("unknown-device", "this host knows no device of that name", to=name, do="see: reactor trust list")
    for kind in ("crt", "address"):
        (home / "devices" / f"{name}.{kind}").unlink(missing_ok=True)


def known(home: Path) -> list[Device]:
    """The devices that this host knows, by name."""
    devices = []
    for path in sorted((home / "devices").glob("*.crt")):
        addresses = _addresses(path.with_suffix(".address"))
        devices.append(Device(path.stem, addresses, _fingerprint(_read(path), str(path)), path))
    return devices


def _listed(address: str, before: Sequence[str]) -> str:
    """``address`` and those from ``before``, as they are written."""
    return "".join(f"{one}\n" for one in list(dict.fromkeys((address, *before)))[:_MOST_ADDRESSES])


def _addresses(path: Path) -> tuple[str, ...]:
    """Never none."""
    return tuple(_read(path).split()[:_MOST_ADDRESSES]) or ("",)


def _fingerprint(pem: str, whose: str) -> str:
    try:
        return fingerprint(pem)
    except ValueError as error:
        do = "pair with the device again"
        raise Fault("unusable-trust", f"not a certificate ({error})", to=whose, do=do) from error


def _write_device(trust: Path, name: str) -> None:
    device = make_identity(name)
    _write(trust / "device.key", sealed(device.key_pem))
    _write(trust / "device.crt", sealed(device.cert_pem))


def _write_host(trust: Path, host_pem: str, host: str) -> None:
    hosts = trust / "hosts"
    _make_folder(hosts)
    if all(unsealed(path.read_bytes()) != host_pem.encode() for path in hosts.glob("*.crt")):
        path = hosts / f"{host or host_name()}.crt"
        if path.exists():  # another machine may be called the same
            path = path.with_stem(f"{path.stem}-{fingerprint(host_pem)[:8]}")
        _write(path, sealed(host_pem))


def host_name() -> str:
    """Who this is, to people: ``user@machine``; also a file's name at the devices."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # no such user in the system's list, as in some containers
        user = str(os.getuid())
    name = re.sub(r"[^A-Za-z0-9._@-]", "-", f"{user}@{platform.node() or 'host'}")
    return name.lstrip(".-@")[:64] or "host"


def _works(pair: KeyPair) -> bool:
    """Whether certificate and key are there, readable and of one another."""
    try:
        if b"ENCRYPTED" in pair.key.read_bytes():  # none of ours is; to try a password may take as long as one likes
            return False
        client_context(pair.certificate, pair.key, "")
    except (Fault, OSError):
        return False
    check_private(pair.key, KEY, "")
    return True


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, ValueError) as error:
        raise Fault("unusable-trust", f"can't be read ({error})", to=str(path)) from error


def _write(path: Path, text: str) -> None:
    """``path`` with ``text``, for this user alone: all of it or none of it, whoever looks and whatever fails."""
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=".")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(aside).replace(path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise


def _make_folder(path: Path) -> None:
    path.mkdir(mode=0o700, parents=True, exist_ok=True)


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """A folder to fill, which becomes ``folder`` at once and whole, unless another process was first."""
    _make_folder(folder.parent)
    made = Path(tempfile.mkdtemp(dir=folder.parent, prefix="."))
    try:
        yield made
        try:
            made.rename(folder)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
    finally:
        shutil.rmtree(made, ignore_errors=True)
