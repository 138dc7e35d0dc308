"""A card of another processor than this host's: a Debian for arm64, given aarch64 wheels, and run by QEMU's user mode.

As in `test_board`, with REACTOR_DEVICE=1, as root. Where the kernel knows no `qemu-aarch64`, it says how it comes to.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.conftest import Bench, benched

pytestmark = pytest.mark.timeout(1800)

PACKAGES = "python3,base-files,base-passwd,dash,coreutils,systemd"
WAIT_S = 600.0
INTERPRETER = Path("/proc/sys/fs/binfmt_misc/qemu-aarch64")
RUN = """
set -e
mount --make-rprivate /
mount --bind /proc "$1/proc"
mount --bind /dev "$1/dev"
mount -t tmpfs tmpfs "$1/run"
exec chroot --userspec=1000:1000 "$1" /bin/dash /usr/local/bin/bootloader run --state /var/lib/bootloader --listen "$2"
"""


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root file system whose packages were unpacked, and never configured: nothing of it was run."""
    if not os.environ.get("REACTOR_DEVICE"):
        pytest.skip("it takes minutes: REACTOR_DEVICE=1 runs it")
    if os.geteuid() != 0 or shutil.which("mmdebstrap") is None or not INTERPRETER.exists():
        pytest.skip("needs root, mmdebstrap, and qemu-user-static with binfmt-support: apt-get install them")
    root = tmp_path_factory.mktemp("card") / "root"
    words: list[str | Path] = [
        "mmdebstrap",
        "--quiet",
        "--arch=arm64",
        "--variant=extract",
        f"--include={PACKAGES}",
        "bookworm",
        root,
    ]
    subprocess.run(words, check=True, timeout=WAIT_S)
    shutil.copy(root / "usr/share/base-passwd/passwd.master", root / "etc/passwd")
    with (root / "etc/passwd").open("a") as users:
        users.write("pi:x:1000:1000::/home/pi:/bin/sh\n")
    (root / "etc/hostname").write_text("porch\n")
    return root


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with benched(tmp_path) as made:
        yield made


def test_an_arm64_card_runs_what_is_pushed_to_it_with_aarch64_wheels(card: Path, bench: Bench) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    code, events = bench.run("provision", "--to", str(card), "--address", address, wait_s=WAIT_S)
    assert (code, events[-1]["event"]) == (0, "provisioned"), events
    (native,) = card.glob("opt/live-reactor/*/blake3/*.so")
    assert "aarch64" in native.name
    source = "import platform, signal\ndef main():\n    print(platform.machine(), flush=True)\n    signal.pause()\n"
    project = bench.project({"main.py": source})
    words: list[str | Path] = [
        "setpriv",
        "--pdeathsig",
        "KILL",
        "unshare",
        "--mount",
        "sh",
        "-c",
        RUN,
        "sh",
        card,
        address,
    ]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as bootloader:
        try:
            assert bootloader.stdout is not None
            assert address.rpartition(":")[2] in bootloader.stdout.readline()
            code, events = bench.run("push", str(project), "-t", "porch", wait_s=WAIT_S)
        finally:
            bootloader.terminate()
    assert (code, events[-1]["healthy"]) == (0, True), events
    assert "aarch64" in [one["text"] for one in events if one["event"] == "log"]
