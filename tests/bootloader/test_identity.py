"""The key and the certificate that a device makes for itself, by each of its ways."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from bootloader import identity, trust
from bootloader.wire.errors import Fault
from bootloader.wire.stream import TlsStream, client_context, fingerprint, server_context
from reactor.trust import make_identity

SOON_S = 10.0
WAYS = {"library": identity._by_library, "command": identity._by_command}


@pytest.mark.parametrize("way", WAYS)
def test_what_a_device_makes_has_the_form_of_what_a_host_makes(way: str) -> None:
    pem, key_pem = WAYS[way]("porch")
    made = x509.load_pem_x509_certificate(pem.encode())
    hosts = x509.load_pem_x509_certificate(make_identity("porch").cert_pem.encode())
    key = load_pem_private_key(key_pem.encode(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert key.public_key() == made.public_key()
    assert made.subject == made.issuer == hosts.subject
    assert made.version is hosts.version
    assert made.not_valid_before_utc == datetime(1970, 1, 1, tzinfo=UTC)
    assert made.not_valid_after_utc == hosts.not_valid_after_utc
    for kind in (x509.BasicConstraints, x509.ExtendedKeyUsage):
        one, other = (each.extensions.get_extension_for_class(kind) for each in (made, hosts))
        assert (one.critical, one.value) == (other.critical, other.value)
    made.verify_directly_issued_by(made)


@pytest.mark.parametrize("way", WAYS)
def test_no_two_are_alike(way: str) -> None:
    one, other = WAYS[way]("porch"), WAYS[way]("porch")
    assert one[1] != other[1]
    serials = {x509.load_pem_x509_certificate(pem.encode()).serial_number for pem, _ in (one, other)}
    assert len(serials) == 2


@pytest.mark.parametrize("way", WAYS)
def test_a_device_and_a_host_shake_hands_with_it(tmp_path: Path, way: str) -> None:
    made = make_identity("host")
    pems = {"device": WAYS[way]("porch"), "host": (made.cert_pem, made.key_pem)}
    for name, (pem, key) in pems.items():
        (tmp_path / f"{name}.crt").write_text(pem)
        (tmp_path / f"{name}.key").write_text(key)
    near, far = socket.create_server(("127.0.0.1", 0)), socket.socket()
    with near, far:
        far.connect(near.getsockname())
        there, _ = near.accept()
        server = server_context(tmp_path / "device.crt", tmp_path / "device.key", pems["host"][0])
        client = client_context(tmp_path / "host.crt", tmp_path / "host.key", pems["device"][0])
        device, host = TlsStream(there, server, server_side=True), TlsStream(far.dup(), client, server_side=False)
        shaking = threading.Thread(target=device.handshake, args=(SOON_S,), daemon=True)
        shaking.start()
        host.handshake(SOON_S)
        shaking.join(SOON_S)
        assert host.peer_fingerprint == fingerprint(pems["device"][0])
        assert device.peer_fingerprint == made.fingerprint
        device.close()
        host.close()


@pytest.mark.parametrize("name", ["", "a/b\nCN = mallory\n[x]", "ü" * 90, "x" * 200, "${ENV::HOME}"])
def test_a_name_of_any_kind_is_no_more_than_a_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for way in ("_by_library", "_by_command"):
        with monkeypatch.context() as patch:
            patch.setattr(identity, way, broken)
            pem, _ = identity.make(name)
        (part,) = x509.load_pem_x509_certificate(pem.encode()).subject
        text = str(part.value)
        assert 0 < len(text) <= 64
        assert set(text) < set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


def broken(_name: str) -> tuple[str, str]:
    raise OSError("OpenSSL's X509_sign failed")


def test_a_device_that_can_make_none_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "_by_library", broken)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Fault) as caught:
        identity.make("porch")
    assert caught.value.code == "no-identity"
    assert "X509_sign" in caught.value.what
    assert "openssl" in caught.value.what


def test_a_command_that_fails_is_told_with_what_it_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "openssl").write_text("#!/bin/sh\necho no curves here >&2\nexit 1\n")
    (tmp_path / "openssl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(OSError, match="no curves here"):
        identity._by_command("porch")
    assert subprocess.run(["openssl"], capture_output=True).returncode == 1, "the one of this test was asked"


def test_a_key_is_made_once(tmp_path: Path) -> None:
    folder = tmp_path / "state" / "trust"
    assert trust.begin(folder)
    made = {path: path.read_bytes() for path in folder.glob("device.*")}
    assert {path.name for path in made} == {"device.crt", "device.key"}
    assert {path.stat().st_mode & 0o777 for path in made} == {0o600}
    assert {place.stat().st_mode & 0o777 for place in (folder, folder / "hosts")} == {0o700}
    assert not trust.begin(folder)
    loaded = trust.Trust.load(folder)
    assert not loaded.rows()
    assert not loaded.problems
    assert made == {path: path.read_bytes() for path in made}


def cut(folder: Path) -> None:
    """As a power cut leaves it in the middle."""
    (folder / "device.crt").unlink()


def provisioned(folder: Path) -> None:
    """Somebody has put the hosts there, and no more."""
    for path in folder.glob("device.*"):
        path.unlink()


@pytest.mark.parametrize("before", [cut, provisioned])
def test_what_was_only_begun_is_begun_again(tmp_path: Path, before: Callable[[Path], None]) -> None:
    folder = tmp_path / "trust"
    trust.begin(folder)
    before(folder)
    (folder / "hosts" / "anna.crt").write_text(make_identity("anna").cert_pem)
    assert trust.begin(folder)
    assert [name for name, _, _ in trust.Trust.load(folder).rows()] == ["anna"]


@pytest.mark.parametrize("left", ["device.crt", "copy/device.crt"])
def test_a_key_that_is_lost_is_not_replaced_by_another(tmp_path: Path, left: str) -> None:
    folder = tmp_path / "trust"
    trust.begin(folder)
    trust.Trust.load(folder)
    for path in (*folder.glob("device.*"), *folder.glob("copy/device.*")):
        if path != folder / left:
            path.unlink()
    assert not trust.begin(folder)
    with pytest.raises(Fault):
        trust.Trust.load(folder)
