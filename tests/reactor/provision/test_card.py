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
