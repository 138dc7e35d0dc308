"""The host's folder: keys that are made once, privately and whole, and the devices that it knows."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from bootloader.trust import Trust
from bootloader.wire.errors import Fault
from bootloader.wire.stream import fingerprint
from reactor.settings import RESERVED
from reactor.trust import default_home, host_identity, issue, known, make_identity, namesakes, remember


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "config" / "reactor"


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_certificate_is_an_envelope_of_a_key_and_nothing_that_could_mint_others() -> None:
    identity = make_identity("somebody")
    certificate = x509.load_pem_x509_certificate(identity.cert_pem.encode())
    key = certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert isinstance(key.curve, ec.SECP256R1)
    extensions = certificate.extensions
    assert not extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert set(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == {
        ExtendedKeyUsageOID.CLIENT_AUTH,
        ExtendedKeyUsageOID.SERVER_AUTH,
    }
    assert certificate.not_valid_before_utc == datetime(1970, 1, 1, tzinfo=UTC)
    assert certificate.not_valid_after_utc.year == 9999
    assert certificate.subject == certificate.issuer
    assert certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "somebody"
    assert identity.fingerprint == fingerprint(identity.cert_pem)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="asks OpenSSL at another time than now")
@pytest.mark.parametrize(
    ("at", "begins", "is_valid"), [(1, 1970, True), (253_000_000_000, 1970, True), (1, 2000, False)]
)
def test_the_check_of_a_certificate_looks_at_the_clock_and_ours_are_valid_at_1970(
    tmp_path: Path, at: int, begins: int, is_valid: bool
) -> None:
    """The last one is the proof that this test could fail."""
    certificate = x509.load_pem_x509_certificate(make_identity("device").cert_pem.encode())
    key = ec.generate_private_key(ec.SECP256R1())
    name, year = certificate.subject, datetime(begins, 1, 1, tzinfo=UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, year, certificate.not_valid_after_utc)
    pinned = certificate if begins == 1970 else made.sign(key, hashes.SHA256())
    file = tmp_path / "device.crt"
    file.write_bytes(pinned.public_bytes(serialization.Encoding.PEM))
    command = ["openssl", "verify", "-partial_chain", "-attime", str(at), "-trusted", str(file), str(file)]
    assert (subprocess.run(command, capture_output=True).returncode == 0) is is_valid


def test_no_two_identities_share_a_key_or_a_serial_number() -> None:
    certificates = [x509.load_pem_x509_certificate(make_identity("same").cert_pem.encode()) for _ in range(2)]
    assert certificates[0].serial_number != certificates[1].serial_number
    assert certificates[0].public_key() != certificates[1].public_key()


def test_the_host_s_key_is_made_on_first_use_and_kept(home: Path) -> None:
    pair = host_identity(home)
    made = contents(home)
    assert host_identity(home) == pair
    assert contents(home) == made
    assert set(made) == {"identity/host.crt", "identity/host.key"}


def test_keys_are_for_this_user_alone_whatever_the_umask(home: Path, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        pair = host_identity(home)
        issue(tmp_path / "state", home, "device")
        remember(home, "porch", make_identity("porch").cert_pem, "porch.local")
    finally:
        os.umask(before)
    trust = tmp_path / "state" / "trust"
    for folder in (home, home / "identity", home / "devices", tmp_path / "state", trust, trust / "hosts"):
        assert mode(folder) == 0o700
    for file in (pair.key, pair.certificate, trust / "device.key", trust / "device.crt", home / "devices/porch.crt"):
        assert mode(file) == 0o600


def test_a_key_that_was_renewed_is_obeyed_beside_the_old_one_and_that_can_be_seen(home: Path, tmp_path: Path) -> None:
    state, old = tmp_path / "state", host_identity(home).certificate.read_text()
    issue(state, home, "device")
    assert namesakes(state, home) == []
    shutil.rmtree(home / "identity")
    issue(state, home, "device")
    assert Trust.load(state / "trust").host_of(fingerprint(old))
    (other,) = namesakes(state, home)
    other.unlink()
    obeyed = Trust.load(state / "trust")
    assert not obeyed.host_of(fingerprint(old))
    assert obeyed.host_of(fingerprint(host_identity(home).certificate.read_text()))
    assert namesakes(state, home) == []


def test_processes_that_start_at_once_get_one_identity(home: Path, tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from reactor.trust import host_identity, issue, make_identity;"
        "make_identity('warm'); print('ready', flush=True); sys.stdin.readline();"
        f"issue(Path({str(tmp_path / 'state')!r}), Path({str(home)!r}), 'device');"
        f"print(host_identity(Path({str(home)!r})).certificate.read_text())"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(8)
    ]
    for process in processes:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
    outputs = [process.communicate(timeout=30)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 8
    assert len(set(outputs)) == 1
    trust = Trust.load(tmp_path / "state" / "trust")
    assert trust.host_of(fingerprint(outputs[0]))
    assert not trust.problems
    left_over = [path.name for folder in (home, tmp_path / "state") for path in folder.iterdir()]
    assert sorted(left_over) == ["identity", "trust"]


@pytest.mark.parametrize("bits", [0o640, 0o604, 0o660])
def test_a_key_that_others_can_read_is_refused(home: Path, bits: int) -> None:
    pair = host_identity(home)
    pair.key.chmod(bits)
    with pytest.raises(Fault) as caught:
        host_identity(home)
    assert (caught.value.code, caught.value.to) == ("exposed-key", str(pair.key))


@pytest.mark.parametrize("lost", ["host.key", "host.crt"])
def test_a_lost_key_is_not_replaced_silently(home: Path, lost: str) -> None:
    """The devices obey the old one: whoever loses it has to know."""
    host_identity(home).key.with_name(lost).unlink()
    with pytest.raises(Fault) as caught:
        host_identity(home)
    assert caught.value.code == "no-identity"
    assert "pair" in caught.value.do


def test_an_existing_identity_costs_no_import_of_cryptography(home: Path, tmp_path: Path) -> None:
    issue(tmp_path / "state", home, "device")
    program = (
        "import sys; from pathlib import Path; from reactor.trust import issue, known;"
        f"issue(Path({str(tmp_path / 'state')!r}), Path({str(home)!r}), 'device'); known(Path({str(home)!r}));"
        "sys.exit('cryptography' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)


def test_a_target_gets_a_key_of_its_own_and_obeys_this_host(home: Path, tmp_path: Path) -> None:
    issue(tmp_path / "one", home, "one")
    issue(tmp_path / "two", home, "two")
    host = fingerprint(host_identity(home).certificate.read_text())
    for name in ("one", "two"):
        trust = Trust.load(tmp_path / name / "trust")
        assert trust.host_of(host)
        assert not trust.problems
    assert (tmp_path / "one/trust/device.crt").read_bytes() != (tmp_path / "two/trust/device.crt").read_bytes()


def test_issuing_again_changes_nothing(home: Path, tmp_path: Path) -> None:
    issue(tmp_path / "state", home, "device")
    before = contents(tmp_path)
    issue(tmp_path / "state", home, "device")
    assert contents(tmp_path) == before


def der(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return bytes([tag, len(content)]) + content


KDF = der(6, bytes.fromhex("2a864886f70d01050c")), der(0x30, der(4, b"salt"), der(2, b"\x7f\xff\xff\xff"))
CIPHER = der(6, bytes.fromhex("60864801650304012a")), der(4, bytes(16))
KEY = der(0x30, der(6, bytes.fromhex("2a864886f70d01050d")), der(0x30, der(0x30, *KDF), der(0x30, *CIPHER)))
LOCKED = (
    "-----BEGIN ENCRYPTED PRIVATE KEY-----\n"
    f"{base64.b64encode(der(0x30, KEY, der(4, bytes(16)))).decode()}\n"
    "-----END ENCRYPTED PRIVATE KEY-----\n"
)
"""One whose password takes OpenSSL many minutes to try."""


@pytest.mark.parametrize(
    ("lost", "found"),
    [("device.crt", "garbage"), ("device.key", "garbage"), ("device.key", LOCKED), ("hosts", "")],
    ids=["certificate", "key", "locked key", "hosts"],
)
def test_issuing_again_repairs_what_is_damaged_or_gone(home: Path, tmp_path: Path, lost: str, found: str) -> None:
    issue(tmp_path / "state", home, "device")
    path = tmp_path / "state" / "trust" / lost
    path.write_text(found) if path.is_file() else path.rename(tmp_path / "gone")
    issue(tmp_path / "state", home, "device")
    trust = Trust.load(tmp_path / "state" / "trust")
    assert trust.host_of(fingerprint(host_identity(home).certificate.read_text()))


def test_two_hosts_of_one_name_are_both_obeyed(home: Path, tmp_path: Path) -> None:
    homes = (home, tmp_path / "another machine")
    for each in homes:
        issue(tmp_path / "state", each, "device")
    trust = Trust.load(tmp_path / "state" / "trust")
    names = [trust.host_of(fingerprint(host_identity(each).certificate.read_text())) for each in homes]
    assert names[0]
    assert names[1]
    assert names[1].startswith(f"{names[0]}-")


def test_devices_are_remembered_by_name_and_each_by_where_it_was(home: Path) -> None:
    assert known(home) == []
    shed, porch = make_identity("shed"), make_identity("porch")
    remember(home, "shed", shed.cert_pem, "shed.local:7340")
    remember(home, "porch", f"what stands around it\n{porch.cert_pem}is not kept", "10.0.0.1")
    remember(home, "porch", porch.cert_pem, "[fe80::1]:7340")
    devices = known(home)
    assert [(device.name, device.addresses, device.fingerprint) for device in devices] == [
        ("porch", ("[fe80::1]:7340", "10.0.0.1"), porch.fingerprint),
        ("shed", ("shed.local:7340",), shed.fingerprint),
    ]
    assert devices[0].certificate.read_text() == porch.cert_pem


def test_no_device_takes_the_place_of_another_one_by_its_name(home: Path) -> None:
    remember(home, "porch", make_identity("porch").cert_pem, "10.0.0.1")
    before = known(home)
    with pytest.raises(Fault) as caught:
        remember(home, "porch", make_identity("porch").cert_pem, "10.0.0.2")
    assert (caught.value.code, "reactor trust remove porch" in caught.value.do) == ("name-taken", True)
    assert known(home) == before


NO_NAMES = ["", ".", "..", "a/b", "../up", ".hidden", "a b", "a\0b", "a\n", "x" * 65, *RESERVED]


@pytest.mark.parametrize("name", NO_NAMES)
def test_a_device_name_is_a_file_name_and_no_path_and_means_nothing_else_after_t(home: Path, name: str) -> None:
    with pytest.raises(Fault) as caught:
        remember(home, name, make_identity("x").cert_pem, "")
    assert caught.value.code == "bad-name"


@pytest.mark.parametrize(
    "pem",
    [
        "",
        "garbage",
        "-----BEGIN CERTIFICATE-----\nA\n-----END CERTIFICATE-----\n",
        "-----BEGIN CERTIFICATE-----\nQUJD\n-----END CERTIFICATE-----\n",
        2 * make_identity("two").cert_pem,
    ],
)
def test_what_is_no_certificate_is_not_remembered(home: Path, pem: str) -> None:
    with pytest.raises(Fault) as caught:
        remember(home, "porch", pem, "porch.local")
    assert caught.value.code == "unusable-trust"
    assert known(home) == []


def test_a_damaged_device_file_is_named(home: Path) -> None:
    remember(home, "porch", make_identity("porch").cert_pem, "porch.local")
    (home / "devices" / "porch.crt").write_text("garbage")
    with pytest.raises(Fault) as caught:
        known(home)
    assert caught.value.to.endswith("porch.crt")


def test_the_environment_chooses_the_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("REACTOR_HOME", str(tmp_path / "mine"))
    assert default_home() == tmp_path / "mine"
    monkeypatch.delenv("REACTOR_HOME")
    assert default_home().name == "reactor"
