"""A trust folder, good and bad: whom the device obeys, and what it refuses to start from."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from bootloader.trust import MOST_HOSTS, SELF, Trust
from bootloader.wire.errors import Fault
from bootloader.wire.private import sealed
from bootloader.wire.stream import fingerprint
from reactor.trust import make_identity

SOON_S = 20.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "trust"
    (made / "hosts").mkdir(parents=True)
    device = make_identity("device")
    (made / "device.crt").write_text(device.cert_pem)
    (made / "device.key").touch(0o600)
    (made / "device.key").write_text(device.key_pem)
    return made


def add_host(folder: Path, name: str, common_name: str = "host") -> str:
    identity = make_identity(common_name)
    (folder / "hosts" / f"{name}.crt").write_text(identity.cert_pem)
    return identity.fingerprint


def test_hosts_are_known_by_the_fingerprints_of_their_certificates(folder: Path) -> None:
    alice, bob = add_host(folder, "alice", "same name"), add_host(folder, "bob", "same name")
    trust = Trust.load(folder)
    assert (trust.host_of(alice), trust.host_of(bob)) == ("alice", "bob")
    assert trust.host_of(fingerprint((folder / "device.crt").read_text())) == SELF
    assert trust.host_of("") is None
    assert not trust.problems


def test_the_context_trusts_the_hosts_the_device_itself_and_nobody_else(folder: Path) -> None:
    add_host(folder, "alice")
    add_host(folder, "bob")
    assert Trust.load(folder).context.cert_store_stats()["x509"] == 3


@pytest.mark.parametrize(
    "content", [b"", b"garbage", b"\xff\xfe", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", None]
)
def test_a_host_whose_file_is_unusable_is_left_out_and_told_of(folder: Path, content: bytes | None) -> None:
    alice = add_host(folder, "alice")
    bad = folder / "hosts" / "bad.crt"
    bad.write_bytes(content) if content is not None else bad.mkdir()
    trust = Trust.load(folder)
    assert trust.host_of(alice) == "alice"
    assert [(problem.code, problem.to) for problem in trust.problems] == [("unusable-trust", str(bad))]


def test_a_file_of_two_certificates_obeys_neither(folder: Path) -> None:
    both = make_identity("one"), make_identity("two")
    (folder / "hosts" / "both.crt").write_text(both[0].cert_pem + both[1].cert_pem)
    trust = Trust.load(folder)
    assert [trust.host_of(each.fingerprint) for each in both] == [None, None]
    assert trust.context.cert_store_stats()["x509"] == 1
    assert len(trust.problems) == 1


def test_one_certificate_under_two_names_is_the_first_of_them(folder: Path) -> None:
    alice = add_host(folder, "b")
    (folder / "hosts" / "a.crt").write_bytes((folder / "hosts" / "b.crt").read_bytes())
    assert Trust.load(folder).host_of(alice) == "a"


def test_hosts_past_the_bound_are_left_out_and_told_of(folder: Path) -> None:
    pem = make_identity("host").cert_pem
    for number in range(MOST_HOSTS):
        (folder / "hosts" / f"{number:03}.crt").write_text(pem)
    last = add_host(folder, "999")
    trust = Trust.load(folder)
    assert trust.host_of(last) is None
    assert len(trust.problems) == 1


def unlisted(folder: Path) -> None:
    (folder / "hosts").rmdir()


def open_hosts(folder: Path) -> None:
    add_host(folder, "mallory")
    (folder / "hosts").chmod(0o777)


@pytest.mark.parametrize("break_it", [unlisted, open_hosts])
def test_a_device_without_a_sound_list_of_hosts_starts_and_obeys_nobody(
    folder: Path, break_it: Callable[[Path], None]
) -> None:
    break_it(folder)
    trust = Trust.load(folder)
    assert trust.context.cert_store_stats()["x509"] == 1
    assert len(trust.problems) == 1


# copies


def seal(folder: Path) -> dict[Path, bytes]:
    """As a host writes them: what is in each file."""
    files = [folder / "device.crt", folder / "device.key", *(folder / "hosts").glob("*.crt")]
    for file in files:
        file.write_text(sealed(file.read_text()))
    return {file: file.read_bytes() for file in files}


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda content: content[:300],
    "empty": lambda _: b"",
    "zeros": lambda content: bytes(len(content)),
    "flipped": lambda content: content[:200] + bytes([content[200] ^ 1]) + content[201:],
    "longer": lambda content: content + b"x",
    "flipped in the seal": lambda content: content[:20] + bytes([content[20] ^ 1]) + content[21:],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_made_anew_from_its_copy(folder: Path, damage: str) -> None:
    alice = add_host(folder, "alice")
    files = seal(folder)
    told: list[str] = []
    Trust.load(folder, lambda code, _text: told.append(code))
    assert told == []
    for file, content in files.items():
        file.write_bytes(DAMAGES[damage](content))
        trust = Trust.load(folder, lambda code, _text: told.append(code))
        assert file.read_bytes() == content
        assert file.stat().st_mode & 0o777 == 0o600
        assert (trust.host_of(alice), trust.problems) == ("alice", ())
    assert told == ["trust-mended"] * len(files)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_copy_is_replaced_and_never_used(folder: Path, damage: str) -> None:
    add_host(folder, "alice")
    files = seal(folder)
    Trust.load(folder)
    for file, content in files.items():
        copy = folder / "copy" / file.relative_to(folder)
        copy.write_bytes(DAMAGES[damage](content))
        Trust.load(folder)
        assert (file.read_bytes(), copy.read_bytes()) == (content, content)


def test_a_seal_that_is_damaged_costs_nothing_where_there_is_no_copy_yet(folder: Path) -> None:
    alice = add_host(folder, "alice")
    for file, content in seal(folder).items():
        file.write_bytes(b"\xff" + content[1:])
    assert Trust.load(folder).host_of(alice) == "alice"


def test_a_host_that_was_removed_does_not_come_back(folder: Path) -> None:
    alice = add_host(folder, "alice")
    seal(folder)
    Trust.load(folder)
    kept = (folder / "hosts" / "alice.crt").read_bytes()
    (folder / "hosts" / "alice.crt").unlink()
    for _ in range(2):
        assert Trust.load(folder).host_of(alice) is None
    assert not list((folder / "copy" / "hosts").iterdir())
    (folder / "hosts" / "alice.crt").write_bytes(kept)
    assert Trust.load(folder).host_of(alice) == "alice"


def test_what_takes_the_place_of_a_certificate_is_copied_too(folder: Path) -> None:
    add_host(folder, "alice")
    seal(folder)
    Trust.load(folder)
    bob = make_identity("bob")
    (folder / "hosts" / "alice.crt").write_text(sealed(bob.cert_pem))
    Trust.load(folder)
    (folder / "hosts" / "alice.crt").write_bytes(b"")
    assert Trust.load(folder).host_of(bob.fingerprint) == "alice"


def test_a_lost_key_comes_back_from_its_copy(folder: Path) -> None:
    seal(folder)
    Trust.load(folder)
    for name in ("device.key", "device.crt"):
        (folder / name).unlink()
    Trust.load(folder)
    assert {(folder / name).stat().st_mode & 0o777 for name in ("device.key", "copy/device.key")} == {0o600}


PIPES = ("device.crt", "device.key", "hosts/alice.crt", "hosts/new.crt", "copy/hosts/alice.crt")


@pytest.mark.parametrize("name", PIPES)
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(folder: Path, name: str) -> None:
    alice = add_host(folder, "alice")
    seal(folder)
    Trust.load(folder)
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name, 0o600)
    loaded: list[Trust] = []
    loading = threading.Thread(target=lambda: loaded.append(Trust.load(folder)), daemon=True)
    loading.start()
    loading.join(SOON_S)
    assert loaded[0].host_of(alice) == "alice"


def swap_key(folder: Path) -> None:
    (folder / "device.key").write_text(make_identity("device").key_pem)


@pytest.mark.parametrize(
    ("break_it", "code"),
    [
        (lambda folder: (folder / "device.key").chmod(0o640), "exposed-key"),
        (lambda folder: (folder / "device.key").chmod(0o604), "exposed-key"),
        (lambda folder: (folder / "device.crt").chmod(0o666), "exposed-key"),
        (lambda folder: folder.chmod(0o777), "exposed-key"),
        (lambda folder: (folder / "device.key").unlink(), "no-identity"),
        (lambda folder: (folder / "device.crt").unlink(), "no-identity"),
        (lambda folder: folder.rename(folder.with_name("gone")), "no-identity"),
        (lambda folder: (folder / "device.crt").write_text("garbage"), "unusable-identity"),
        (swap_key, "unusable-identity"),
    ],
)
def test_a_device_without_a_private_key_of_its_own_is_a_fault(
    folder: Path, break_it: Callable[[Path], object], code: str
) -> None:
    break_it(folder)
    with pytest.raises(Fault) as caught:
        Trust.load(folder)
    assert caught.value.code == code
    assert caught.value.do
