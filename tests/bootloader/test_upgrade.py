"""A new bootloader is kept once it was reached and is well; whatever else it does, the one of before is back."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any, TypeVar

import pytest

from bootloader.wire.errors import Fault, Refused
from bootloader.wire.overlay import Overlay
from reactor.cli.upgrade import carried, package, release
from tests.bootloader.target import SOON_S, Target, app, gone, let_go

Made = TypeVar("Made", bound="Upgraded")

WAIT = "import threading\ndef main():\n    print('up')\n    threading.Event().wait()\n"
STEADY = app(settle_s=0.0)
NEEDS = "bootloader/requirements.txt"


class Upgraded(Target):
    """A target that gets new bootloaders."""

    def upgrade(self, overlay: Overlay) -> None:
        """Have it try ``overlay``, and follow what comes up then."""
        pid = self.pid
        body, blobs = overlay.message()
        assert self.control.call("upgrade", body, blobs, timeout_s=SOON_S)[0].text("release") == overlay.root
        gone({pid})
        self.again()

    def back(self) -> None:
        """Wait until the installed one runs, and follow it."""
        deadline = monotonic() + SOON_S
        while monotonic() < deadline:
            with suppress(Fault):  # the one on trial died in the middle of it
                self.again()
                if not self.release():
                    return
        raise AssertionError("the installed one did not come back")

    def release(self) -> str:
        return self.call("hello").text("release")

    def keeper(self) -> dict[str, Any]:
        return self.call("status").child("keeper").plain()


class Hasty(Upgraded):
    """One whose keeper gives a new bootloader a few seconds."""

    program = (
        sys.executable,
        "-c",
        "from bootloader.keeper import trial\ntrial.TRIAL_S = 5.0\nfrom bootloader.__main__ import main\nmain()",
    )


def running(made: Made) -> Iterator[Made]:
    made.ship(WAIT, STEADY).healthy()
    yield made
    if made.process.poll() is None:
        made.close()
    made.control.close()


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Upgraded]:
    yield from running(Upgraded(tmp_path))


@pytest.fixture
def hasty(tmp_path: Path) -> Iterator[Hasty]:
    yield from running(Hasty(tmp_path))


def variant(**changed: str) -> Overlay:
    """This bootloader with some text at the end of some of its files: ``boot`` is of ``bootloader/boot.py``."""
    contents = package()
    for name, text in changed.items():
        contents[f"bootloader/{name}.py"] += text.encode()
    return release(contents)


def runs(target: Upgraded, root: str) -> None:
    assert target.release() == root
    target.log("up")


def test_an_applications_own_python_path_does_not_bring_the_former_bootloader_back(target: Upgraded) -> None:
    new = variant(boot="# new\n")
    target.upgrade(new)
    assert target.release() == new.root
    words = "sys.modules['bootloader.guest.entry'].__file__, os.environ['PYTHONPATH']"
    source = f"import os, sys\ndef main(): print({words})\n"
    change = target.ship(source, app(env={"PYTHONPATH": "/nowhere"}))
    guest = target.state / "bootloaders" / new.root / "bootloader" / "guest" / "entry.py"
    assert target.logs(change) == [f"{guest} /nowhere"]


def test_a_new_bootloader_that_is_confirmed_is_kept(target: Upgraded) -> None:
    new = variant(boot="# new\n")
    target.upgrade(new)
    runs(target, new.root)
    assert target.keeper()["trial"]
    assert target.call("confirm", release=new.root).text("release") == new.root
    assert not target.keeper()["trial"]
    for number in (signal.SIGTERM, signal.SIGKILL):
        target.end(number)
        target.start()
        runs(target, new.root)
    newer = variant(boot="# newer\n")
    target.upgrade(newer)
    target.call("confirm", release=newer.root)
    assert {path.name for path in (target.state / "bootloaders").glob("*/")} == {new.root, newer.root}
    target.upgrade(variant(boot="# newest\n"))
    assert not (target.state / "bootloaders" / new.root).exists(), "they do not pile up"


def test_one_that_nobody_confirms_gives_way(hasty: Hasty) -> None:
    new = variant(boot="# new\n")
    hasty.upgrade(new)
    hasty.back()
    runs(hasty, "")
    assert hasty.keeper()["undone"] == f"release {new.root[:12]} was not confirmed by a host in time"
    assert hasty.notice("upgrade-undone")


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("boot", "import what_is_not_there\n", "exited with status 1"),
        ("boot", "import os\nos._exit(0)\n", "exited with status 0"),
        ("boot", "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n", "was killed by SIGSEGV"),
        ("boot", "import signal\nsignal.pause()\n", "was not confirmed by a host in time"),
        ("tether", "raise SystemExit(3)\n", "exited with status 3"),
        ("keeper/keeper", "LINE = 'another'\n", "was not confirmed by a host in time"),
        (
            "tether",
            "Tether.tell = lambda self, *_: self._line.send(b'[' * 60000 + b'\\n\\0{}\\n' + b'x' * 60000)\n",
            "exited with status 1",
        ),
    ],
    ids=["import", "exit", "crash", "hang", "exit-early", "another-line", "nonsense"],
)
def test_one_that_is_broken_gives_way(hasty: Hasty, name: str, text: str, why: str) -> None:
    new = variant(**{name: text})
    pid = hasty.pid
    body, blobs = new.message()
    hasty.control.call("upgrade", body, blobs, timeout_s=SOON_S)
    gone({pid})
    hasty.back()
    runs(hasty, "")
    assert hasty.keeper()["undone"] == f"release {new.root[:12]} {why}"
    hasty.ship(WAIT + "# next\n", STEADY).healthy()


def test_one_whose_heart_does_not_beat_is_not_kept_though_it_was_reached(hasty: Hasty) -> None:
    new = variant(pulse="Pulse._run = lambda self: None\n")
    hasty.upgrade(new)
    with pytest.raises(Fault) as caught:
        hasty.call("confirm", release=new.root)
    assert caught.value.code in ("link-down", "ending", "not-this-release")
    hasty.back()
    runs(hasty, "")


def test_the_end_of_the_power_during_a_trial_brings_the_one_of_before(target: Upgraded) -> None:
    new = variant(boot="# new\n")
    target.upgrade(new)
    runs(target, new.root)
    target.end(signal.SIGKILL)
    target.start()
    runs(target, "")


def test_one_that_dies_during_the_trial_gives_way_although_it_was_reached(target: Upgraded) -> None:
    new = variant(boot="# new\n")
    target.upgrade(new)
    os.kill(target.pid, signal.SIGKILL)
    target.back()
    assert target.keeper()["undone"] == f"release {new.root[:12]} was killed by SIGKILL"


def test_a_kept_one_that_is_damaged_does_not_run(target: Upgraded) -> None:
    new = variant(boot="# new\n")
    target.upgrade(new)
    target.call("confirm", release=new.root)
    target.end()
    code = target.state / "bootloaders" / new.root / "bootloader" / "journal.py"
    code.write_bytes(code.read_bytes().replace(b"a", b"b", 1))
    target.start()
    runs(target, "")
    assert "journal.py" in target.notice("release-left")["text"]
    target.upgrade(new)
    runs(target, new.root)
    target.call("confirm", release=new.root)


def test_a_kept_one_that_comes_to_nothing_later_gives_way_to_the_installed_one(target: Upgraded) -> None:
    mark = target.state.parent / "mark"
    new = variant(boot=f"if Path({str(mark)!r}).exists():\n    raise ImportError\n")
    target.upgrade(new)
    target.call("confirm", release=new.root)
    mark.touch()
    os.kill(target.pid, signal.SIGKILL)
    target.back()
    runs(target, "")
    assert "3 times" in target.notice("release-left")["text"]


def test_one_that_can_not_end_ends_all_the_same_once_its_keeper_is_gone(target: Upgraded) -> None:
    contents = package()
    hangs = b"import time\nBootloader.close = lambda self: time.sleep(1000)\nBootloader.longest_end_s = 0.0\n"
    contents["bootloader/boot.py"] += hangs
    main = contents["bootloader/__main__.py"]
    contents["bootloader/__main__.py"] = main.replace(b"ALONE_S = 10\n", b"ALONE_S = 1\n")
    assert contents["bootloader/__main__.py"] != main
    target.upgrade(release(contents))
    pids = {target.pid, *target.processes()}
    target.process.kill()
    target.process.wait(SOON_S)
    let_go(target.process)
    gone(pids)


def test_what_is_no_bootloader_is_refused_and_nothing_stops(target: Upgraded) -> None:
    pid, contents = target.pid, package()
    broken = {**contents, "bootloader/boot.py": b"def"}
    refused = {
        "no-release": [{"bootloader/boot.py": b""}, {**contents, "ssl.py": b""}, broken, {**contents, NEEDS: b"rpyc"}],
        "missing-blob": [contents],
        "missing-requirement": [{**contents, NEEDS: b"rpyc==0.1\nblake3>=0.1"}, {**contents, NEEDS: b"blake3>=99"}],
    }
    for code, sent in refused.items():
        for each in sent:
            body, blobs = release(each).message()
            if code == "missing-blob":
                blobs[0] = blobs[0][:-1] + b"?"
            with pytest.raises(Refused) as caught:
                target.control.call("upgrade", body, blobs, timeout_s=SOON_S)
            assert caught.value.code == code
    assert target.pid == pid
    assert not list((target.state / "bootloaders").glob("*/")), "what was refused leaves nothing"


def test_a_full_disk_refuses_it_before_anything_goes_and_an_older_one_goes_to_make_room(
    mount: Callable[[str], Path],
) -> None:
    target = Upgraded(mount("size=20m"))
    old = target.state / "bootloaders" / ("0" * 64)
    old.mkdir(parents=True)
    filler = target.state / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    os.truncate(filler, filler.stat().st_size - 1024 * 1024)  # for the bootloader's own notes
    body, blobs = variant(boot="# new\n").message()
    with pytest.raises(Refused) as caught:
        target.control.call("upgrade", body, blobs, timeout_s=SOON_S)
    assert caught.value.code == "disk-full"
    assert old.exists()
    filler.rename(old / "filler")
    target.upgrade(variant(boot="# new\n"))
    assert not old.exists()
    target.close()


def test_one_that_needs_another_rpyc_may_bring_it_along(target: Upgraded) -> None:
    contents = {**package(), **carried(), NEEDS: b"rpyc==0.1"}
    contents["bootloader/boot.py"] += b"import rpyc\nassert '/bootloaders/' in rpyc.__file__\n"
    new = release(contents)
    target.upgrade(new)
    runs(target, new.root)
    target.call("confirm", release=new.root)


def test_during_a_trial_no_other_is_taken_and_only_that_one_is_confirmed(target: Upgraded) -> None:
    new = variant(boot="# new\n")
    target.upgrade(new)
    body, blobs = variant(boot="# newer\n").message()
    with pytest.raises(Refused) as caught:
        target.control.call("upgrade", body, blobs, timeout_s=SOON_S)
    assert caught.value.code == "busy"
    with pytest.raises(Refused) as caught:
        target.call("confirm", release="0" * 64)
    assert caught.value.code == "not-this-release"
    target.call("confirm", release=new.root)
    body, blobs = new.message()
    with pytest.raises(Refused) as caught:
        target.control.call("upgrade", body, blobs, timeout_s=SOON_S)
    assert caught.value.code == "same-release"
