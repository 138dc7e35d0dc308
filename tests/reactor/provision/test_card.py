"""A card that is prepared on this host: known by its files, given what a board is given, and then a target."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bootloader.wire.errors import Fault
from reactor import trust
from reactor.link import Link
from reactor.platforms import Platform
from reactor.provision import card, plan
from reactor.provision.board import wish
from reactor.provision.payload import Payload

ELF = {
    "aarch64": b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x03\x00\xb7\x00",
    "arm": b"\x7fELF\x01\x01\x01" + bytes(9) + b"\x02\x00\x28\x00",
}


def root_of(folder: Path, machine: str = "aarch64", system: str = "debian", user: int = 1000) -> Path:
    """A root file system, as far as it is looked at."""
    files = {
        "etc/passwd": f"root:x:0:0::/root:/bin/sh\npi:x:{user}:{user}::/home/pi:/bin/sh\n".encode(),
        "etc/hostname": b"raspberrypi\n",
        "etc/os-release": f"ID={system}\n".encode(),
        "usr/lib/systemd/systemd": b"",
        "usr/bin/python3.11": ELF[machine],
        "usr/lib/some/libc.so.6": b"...\0GNU C Library (Debian GLIBC 2.36-9+deb12u9) stable release version 2.36.\0",
    }
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    (folder / "usr/bin/python3").symlink_to("python3.11")
    return folder


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root writes a card")


@needs_root
@pytest.mark.parametrize(
    ("machine", "system", "platform"),
    [("aarch64", "debian", "aarch64"), ("arm", "debian", "armv7l"), ("arm", "raspbian", "armv6l")],
)
def test_a_card_is_known_by_its_files(tmp_path: Path, machine: str, system: str, platform: str) -> None:
    facts = card.look(root_of(tmp_path, machine, system))
    python = plan.python_of(facts)
    assert (facts.name, facts.user, facts.uid, python.path) == ("raspberrypi", "1000", 1000, "/usr/bin/python3.11")
    assert python.platform == Platform(platform, "glibc", (2, 36), (3, 11, 0))


@needs_root
def test_a_folder_that_is_no_card_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Fault, match="no root file system") as raised:
        card.look(tmp_path)
    assert raised.value.code == "no-card"


def prepare(folder: Path, home: Path) -> str:
    facts = card.look(folder)
    wanted = wish(facts, home, "porch", "0.0.0.0", 7717)
    return card.write(folder, facts, wanted, plan.python_of(facts), Payload.of((), slow=True), home)


@needs_root
@pytest.mark.parametrize(
    ("path", "link"),
    [
        ("opt", "{host}"),
        ("opt", "../{up}host"),
        ("etc/systemd/system", "system"),
        ("etc/systemd/system/multi-user.target.wants", "{host}"),
        ("usr/local/bin", "{host}"),
        ("var/lib/bootloader", "{host}"),
        ("var/lib/bootloader/trust", "{host}"),
        ("var/lib/bootloader/trust/hosts", "{host}"),
        ("var/lib/bootloader/trust/hosts/ada.crt", "{host}/secret"),
        ("usr/lib/some/libc.so.6", "{host}/secret"),
        ("etc/hostname", "{host}/secret"),
        ("lib/modules/6.1", "{host}"),
    ],
)
def test_a_card_whose_link_leads_out_is_refused_and_nothing_is_written(tmp_path: Path, path: str, link: str) -> None:
    folder, host = root_of(tmp_path / "card"), tmp_path / "host"
    host.mkdir()
    (host / "secret").write_text("this host's own")
    (folder / path).unlink(missing_ok=True)
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).symlink_to(link.format(host=host, up="../" * len(folder.parts)))
    before = sorted(folder.rglob("*")), [(each, each.lstat()) for each in (host, host / "secret")]
    with pytest.raises(Fault) as raised:
        prepare(folder, tmp_path / "home")
    assert (raised.value.code, raised.value.to.startswith(str(folder))) == ("odd-card", True)
    assert (sorted(folder.rglob("*")), [(each, each.lstat()) for each in (host, host / "secret")]) == before


@needs_root
def test_what_a_card_s_files_hold_is_no_place_and_no_device_of_this_host_s_and_a_pipe_is_not_waited_for(
    tmp_path: Path,
) -> None:
    folder, home = root_of(tmp_path / "card"), tmp_path / "home"
    (folder / "etc/hostname").write_text("serial:/dev/watchdog\x1b[31m\n10.0.0.9\n")
    (folder / "opt").mkdir()
    os.mkfifo(folder / plan.CODE.lstrip("/"))
    certificate = folder / card.STATE.lstrip("/") / "trust" / "device.crt"
    certificate.parent.mkdir(parents=True)
    certificate.write_text("-----BEGIN CERTIFICATE-----\nQUJD\n-----END CERTIFICATE-----\n")
    facts = card.look(folder)
    assert (facts.name, facts.device) == ("board", "")
    porch = trust.make_identity("porch")
    trust.remember(home, "porch", porch.cert_pem, "10.0.0.1")
    certificate.write_text(porch.cert_pem)  # which is no secret, and has no key here
    with pytest.raises(Fault) as raised:
        trust.remember(home, "porch", prepare(folder, home), "10.0.0.9")
    assert raised.value.code == "name-taken"
    assert [(one.fingerprint, one.address) for one in trust.known(home)] == [(porch.fingerprint, "10.0.0.1")]


@needs_root
def test_a_card_s_absolute_link_begins_at_its_own_root_and_a_file_of_ours_is_never_written_through_one(
    tmp_path: Path,
) -> None:
    folder, mine = root_of(tmp_path / "card"), tmp_path / "mine"
    mine.write_text("this host's own")
    (folder / "lib").symlink_to("/usr/lib")
    (folder / "data").mkdir()
    (folder / "opt").symlink_to("/data")
    launcher, unit = folder / plan.LAUNCHER.lstrip("/"), folder / plan.UNIT.lstrip("/")
    for link in (launcher, unit, folder / "data" / "live-reactor"):
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(mine)
    prepare(folder, tmp_path / "home")
    assert (mine.read_text(), mine.stat().st_uid) == ("this host's own", 0)
    assert (launcher.is_symlink(), unit.is_symlink()) == (False, False)
    assert len(list((folder / "data" / "live-reactor").iterdir())) == 1
    assert plan.LAUNCHER in unit.read_text()


@needs_root
def test_a_prepared_card_holds_a_bootloader_that_obeys_this_host_and_prepared_again_it_is_the_same_device(
    tmp_path: Path,
) -> None:
    folder, home = root_of(tmp_path / "card"), tmp_path / "home"
    facts = card.look(folder)
    python, payload = plan.python_of(facts), Payload.of((), slow=True)
    wanted = wish(facts, home, "porch", "0.0.0.0", 7717)
    device = card.write(folder, facts, wanted, python, payload, home)
    assert card.write(folder, card.look(folder), wanted, python, payload, home) == device
    unit = folder / plan.UNIT.lstrip("/")
    assert "User=1000\n" in unit.read_text()
    assert (unit.parent / "multi-user.target.wants" / unit.name).readlink() == Path(plan.UNIT)
    state = folder / card.STATE.lstrip("/")
    assert {path.stat().st_uid for path in (state, *state.rglob("*"))} == {1000}
    trust.remember(home, "porch", device, "127.0.0.1:1")
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "bootloader", "run", "--state", state, "--listen", "127.0.0.1:0", "--json"],
        env={"PYTHONPATH": str(folder / plan.CODE.lstrip("/") / payload.root), "PATH": os.environ["PATH"]},
        cwd="/", stdout=subprocess.PIPE,
    ) as bootloader:  # fmt: skip
        try:
            assert bootloader.stdout is not None
            port = json.loads(bootloader.stdout.readline())["port"]
            (known,) = trust.known(home)
            with Link.connect("127.0.0.1", port, trust.host_identity(home), known.certificate, 20.0) as link:
                assert link.call("hello", {})[0].text("name")
        finally:
            bootloader.terminate()
