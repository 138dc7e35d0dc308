"""A card of another processor than this host's: a Debian for arm64, given aarch64 wheels, and run by QEMU's user mode.

As in `test_board`, with REACTOR_DEVICE=1, as root. What runs programs of another processor is told to the kernel in a
user namespace of the card's own (Linux 6.7 or newer), so nothing of this machine is changed for it.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.end_to_end.conftest import Bench, benched, save

pytestmark = pytest.mark.timeout(1800)

PACKAGES = "python3,base-files,base-passwd,dash,coreutils,systemd"
WAIT_S = 600.0
INTERPRETER = Path("/usr/lib/binfmt.d/qemu-aarch64.conf")
IDS = "0 0 65536\n"
SOURCE = """
import platform, signal
import pygments
from markupsafe import _speedups  # compiled

def main():
    print(platform.machine(), _speedups.__file__, flush=True)
    signal.pause()
"""
REQUIRES = '[project]\nname = "app"\ndependencies = ["markupsafe", "pygments"]\n[tool.reactor]\nentry = "main:main"\n'
INTERPRETED = """
set -e
echo apart
read -r mapped
mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
cat "$1" >/proc/sys/fs/binfmt_misc/register
"""
RUN = """
mount --rbind /proc "$2/proc"
mount --rbind /dev "$2/dev"
mount -t tmpfs tmpfs "$2/run"
exec chroot --userspec=1000:1000 "$2" /bin/dash /usr/local/bin/bootloader run --state /var/lib/bootloader --listen "$3"
"""


@contextmanager
def apart(script: str, *words: str | Path) -> Iterator[subprocess.Popen[str]]:
    """``script`` in user and mount namespaces of its own, where all ids are as they are here."""
    command: list[str | Path] = ["unshare", "--user", "--mount", "sh", "-c", script, "sh", *words]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            if process.stdout.readline() == "apart\n":
                for ids in ("uid_map", "gid_map"):
                    Path(f"/proc/{process.pid}/{ids}").write_text(IDS)
                process.stdin.write("mapped\n")
                process.stdin.flush()
            yield process
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root file system whose packages were unpacked, and never configured: nothing of it was run."""
    if not os.environ.get("REACTOR_DEVICE"):
        pytest.skip("it takes minutes: REACTOR_DEVICE=1 runs it")
    if os.geteuid() != 0 or shutil.which("mmdebstrap") is None or not INTERPRETER.exists():
        pytest.skip("needs root, mmdebstrap, and qemu-user-static: apt-get install them")
    with apart(INTERPRETED, INTERPRETER) as told:
        if told.wait(WAIT_S):
            pytest.skip("this kernel lets no user namespace have interpreters of its own: Linux 6.7 or newer does")
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


def test_an_arm64_card_runs_what_is_pushed_to_it_with_aarch64_wheels_its_own_and_the_application_s(
    card: Path, bench: Bench
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    code, events = bench.run("provision", "--to", str(card), "--address", address, wait_s=WAIT_S)
    assert (code, events[-1]["event"]) == (0, "provisioned"), events
    (native,) = card.glob("opt/live-reactor/*/blake3/*.so")
    assert "aarch64" in native.name
    project = bench.project({"main.py": SOURCE})
    save(project / "pyproject.toml", REQUIRES)
    with apart(INTERPRETED + RUN, INTERPRETER, card, address) as bootloader:
        assert bootloader.stdout is not None
        assert address.rpartition(":")[2] in bootloader.stdout.readline()
        code, events = bench.run("push", str(project), "-t", "porch", wait_s=WAIT_S)
    assert (code, events[-1]["healthy"]) == (0, True), events[-4:]
    (said,) = [one["text"].split() for one in events if one["event"] == "log"]
    assert said[0] == "aarch64"
    assert "/layers/" in said[1]
    assert "aarch64" in said[1]
    assert "fetch" in {one["what"] for one in events if one["event"] == "progress"}
