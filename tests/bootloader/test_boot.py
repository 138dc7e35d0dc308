"""From start to end: what a bootloader finds, starts, survives and leaves behind."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

import pytest

from bootloader.state import volatile_places
from bootloader.store.triage import MOST_BOOTS
from bootloader.wire.errors import Fault, LinkDown, Untrusted
from bootloader.wire.manifest import EMPTY, Manifest, blob_name
from reactor.link import Link
from reactor.trust import issue
from tests.bootloader.target import SOON_S, Target, app, gone, let_go

WAIT = "import threading\ndef main():\n    print('up')\n    threading.Event().wait()\n"
STEADY = app(settle_s=0.0)


def up(target: Target, source: str = WAIT) -> None:
    target.ship(source, STEADY).healthy()
    target.log("up")


def again(target: Target) -> None:
    """End the bootloader, and start another one on the same state."""
    target.end()
    target.start()


def ended(process: subprocess.Popen[bytes]) -> tuple[int, bytes, bytes]:
    """How a process that ends by itself did: its status and what it said."""
    out, err = process.communicate(timeout=SOON_S)
    return process.returncode, out, err


def first_line(process: subprocess.Popen[bytes]) -> dict[str, object]:
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], SOON_S)
    told: dict[str, object] = json.loads(process.stdout.readline() if ready else b"{}")
    return told


# ends


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_with_everything_that_it_started(target: Target, number: int) -> None:
    up(target, "import atexit\natexit.register(print, 'cleaned up')\n" + WAIT)
    assert target.processes()
    assert target.end(number) == 0  # and waits for each of its processes
    assert target.log("cleaned up"), "hosts hear how applications end"


def test_the_end_of_standard_input_ends_it_where_that_is_asked_for(tmp_path: Path) -> None:
    target = Target(tmp_path, "--until-stdin-ends")
    up(target)
    started = target.processes()
    assert target.process.stdin is not None
    target.process.stdin.close()
    assert target.process.wait(SOON_S) == 0
    gone(started)
    target.control.close()
    let_go(target.process)


def test_applications_that_do_not_stop_are_killed_at_the_end(target: Target) -> None:
    up(
        target,
        "import os, signal, subprocess, threading\ndef main():\n    signal.signal(15, signal.SIG_IGN)\n"
        "    subprocess.Popen(['sleep', '1000'])\n    print('up')\n    while True: threading.Event().wait(1000)\n",
    )
    assert len(target.processes()) >= 3
    assert target.end() == 0


def test_a_bootloader_that_is_killed_leaves_nothing_and_the_next_one_goes_on(target: Target) -> None:
    up(
        target,
        "import subprocess, threading\ndef main():\n    subprocess.Popen(['sleep', '1000'], start_new_session=True)\n"
        "    subprocess.Popen(['sleep', '1000'])\n    print('up')\n    threading.Event().wait()\n",
    )
    assert len(target.processes()) >= 4
    root = target.call("hello").text("root")
    target.end(signal.SIGKILL)  # and waits for each of its processes
    target.start()
    target.log("up")
    assert target.call("hello").text("root") == root
    assert target.status()["state"] in ("running", "healthy")


def test_ten_that_are_killed_in_a_row_end_where_the_last_save_did(target: Target) -> None:
    for number in range(5):
        target.ship(f"print('this is {number}')\n" + WAIT, STEADY).state("running")
        target.end(signal.SIGKILL)
        target.start()
        target.log(f"this is {number}")


# starts


def test_what_was_live_is_started_again(target: Target) -> None:
    up(target)
    again(target)
    target.log("up")
    assert target.event("generation", generation=1, state="healthy")
    assert len(target.history()) == 1


def test_with_hold_nothing_starts_before_a_host_says_so(tmp_path: Path) -> None:
    target = Target(tmp_path, "--hold")
    up(target)
    again(target)
    assert target.call("status").objects("applications") == []
    assert target.call("start").texts("started") == ["app"]
    target.log("up")
    target.close()


def test_a_generation_that_failed_gives_way_to_the_last_healthy_one_at_the_next_start(target: Target) -> None:
    up(target, "print('the good one')\n" + WAIT)
    assert target.ship("def main(): raise ValueError\n").fate()["state"] == "failed"
    again(target)
    target.log("the good one")
    newest = target.history()[0]
    assert (newest["rung"], newest["who"]) == ("rollback", "bootloader")
    assert newest["why"] == "to generation 1: generation 2 failed: app exited with status 1"


def test_a_generation_that_failed_starts_again_where_none_was_healthy(target: Target) -> None:
    assert target.ship("def main(): raise ValueError\n").fate()["state"] == "failed"
    again(target)
    assert target.event("problem", what="ValueError")
    assert len(target.history()) == 1


@pytest.mark.parametrize("blob", ["kept", "lost"])
def test_a_tree_that_a_power_cut_tore_is_made_whole_or_gives_way_to_the_last_healthy_one(
    target: Target, blob: str
) -> None:
    up(target, "print('the good one')\n" + WAIT)
    again(target)  # all is settled
    target.log("the good one")
    target.ship("print('the torn one')\n" + WAIT).state("running")
    target.end(signal.SIGKILL)
    torn = (target.state / "live" / "app.py").read_bytes()
    for file in target.state.glob("trees/?/app.py"):
        if file.read_bytes() == torn:  # the other tree may have it by now
            file.write_bytes(b"")
    if blob == "lost":
        name = blob_name(torn)
        (target.state / "objects" / name[:2] / name[2:]).unlink()
    target.start()
    target.log("the torn one" if blob == "kept" else "the good one")
    assert target.notice("live-lost")
    assert target.notice("tree-mended" if blob == "kept" else "generation-lost")


def test_a_generation_that_takes_the_bootloader_down_at_each_start_is_not_started_for_ever(target: Target) -> None:
    up(target, "print('the good one')\n" + WAIT)
    target.ship("print('bad')\n" + WAIT, app(settle_s=600.0)).state("running")
    for _ in range(MOST_BOOTS):
        target.end(signal.SIGKILL)
        target.start()
        target.log("bad")
    target.end(signal.SIGKILL)
    target.start()
    target.log("the good one")
    assert target.history()[0]["why"].startswith("to generation 1: generation 2 was started")


def test_the_base_is_run_where_the_state_has_nothing(target: Target, tmp_path: Path) -> None:
    up(target, "print('the base')\n" + WAIT)
    target.end()
    base = tmp_path / "base"
    target.state.rename(base)
    shutil.copytree(base / "trust", target.state / "trust")
    target.tree = EMPTY
    target.start("--base", str(base))
    target.log("the base")
    assert target.history()[0]["why"].startswith("to the base")
    _, [text] = target.control.call("manifest", {"root": target.call("hello").text("root")})
    target.tree = Manifest.parse(text)
    up(target, "print('newer')\n" + WAIT)
    again(target)
    target.log("newer")


def test_without_a_state_folder_the_base_runs_and_it_has_a_key_of_its_own_that_obeys_nobody_yet(
    target: Target, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    up(target, f"open({str(mark)!r}, 'a').write('base ')\n" + WAIT)
    target.end()
    mark.unlink()
    base = tmp_path / "base"
    target.state.rename(base)
    process = target.spawn("--base", str(base))
    try:
        target.listening["port"] = first_line(process)["port"]
        until(mark.exists)
        with pytest.raises(Untrusted), target.link("early") as link:
            link.call("status", {})
        issue(target.state, target.home, "target")
        with obeyed(target) as link:
            status, _ = link.call("status", {})
            assert [one.text("application") for one in status.objects("applications")] == ["app"]
    finally:
        process.terminate()
        assert process.wait(SOON_S) == 0
        let_go(process)
    assert mark.read_text() == "base "


def obeyed(target: Target) -> Link:
    """A link, as soon as the device obeys this host."""
    deadline = monotonic() + SOON_S
    while True:
        link = target.link("late")
        try:
            link.call("hello", {})
            return link
        except (Untrusted, LinkDown):
            link.close()
            assert monotonic() < deadline
            select.select([], [], [], 0.05)


LOSSES = ("ledger.jsonl", "manifests", "objects", "warm.json", "pycache", "data", "run/address", "aside", "live.new")


@pytest.mark.parametrize("damage", ["lost", "junk"])
def test_a_start_survives_the_loss_of_what_it_can_do_without(target: Target, damage: str) -> None:
    up(target)
    target.end()
    for name in LOSSES:
        place = target.state / name
        shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
        if damage == "junk" and name not in ("data", "pycache"):
            place.write_bytes(b"\xff{junk")
    target.start()
    assert target.call("hello").text("name")
    if damage == "junk":
        assert target.notice("ledger-damaged")
        assert target.notice("warmth-lost")
        assert target.notice("state-lost")
    target.tree = target.tree if target.call("hello").text("root") == target.tree.root else type(target.tree)()
    up(target, WAIT + "# next\n")


@pytest.mark.parametrize("lost", ["ledger.jsonl", "objects", "trees/IDLE", "trees/IDLE.root"])
def test_what_is_live_and_whole_starts_whatever_else_is_lost(target: Target, lost: str) -> None:
    up(target)
    up(target, WAIT + "# second\n")
    target.end()
    idle = next(name for name in "ab" if name != (target.state / "live").readlink().name)
    place = target.state / lost.replace("IDLE", idle)
    shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
    target.start()
    target.log("up")
    up(target, WAIT + "# third\n")


def test_a_full_disk_does_not_keep_it_from_starting(mount: Callable[[str], Path]) -> None:
    place = mount("size=64m")
    target = Target(place)
    up(target)
    target.end()
    with open(place / "filler", "wb", buffering=0) as filler:
        filler.write(bytes(80 * 1024 * 1024))
    try:
        target.start()
        target.log("up")
        refused = target.refused(target.overlay({"app.py": WAIT + "# next\n", "asset": bytes(1536 * 1024)}))
        assert refused.code == "disk-full"
        assert target.status()["state"] in ("running", "healthy")
        (place / "filler").unlink()
        up(target, WAIT + "# next\n")
    finally:
        target.close()


# what it can not do without, and what it can


def test_a_second_bootloader_on_the_same_state_is_refused_and_harms_nothing(target: Target) -> None:
    up(target)
    status, out, _ = ended(target.spawn())
    told = json.loads(out)
    assert (status, told["event"], told["code"]) == (1, "problem", "already-running")
    assert told["do"]
    assert target.status()["state"] in ("running", "healthy")


@contextmanager
def unreachable(target: Target, code: str, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """A bootloader that runs, and says why nobody can reach it."""
    process = target.spawn(*options)
    try:
        told = first_line(process)
        assert (told["event"], told["code"]) == ("problem", code)
        assert told["do"]
        yield process
    finally:
        process.terminate()
        assert process.wait(SOON_S) == 0
        let_go(process)


def test_with_its_port_taken_applications_run_and_it_is_reachable_once_the_port_is_free(
    target: Target, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    up(target, f"open({str(mark)!r}, 'a').write('ran ')\n" + WAIT)
    target.end()
    mark.unlink()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with unreachable(target, "listen-failed", "--listen", f"127.0.0.1:{port}") as process:
            until(mark.exists)
            server.close()
            assert first_line(process)["port"] == port
            target.listening["port"] = port
            with target.link("late") as link:
                status, _ = link.call("status", {})
                assert [one.text("code") for one in status.objects("lost")] == ["listen-failed"]
    assert mark.read_text() == "ran ", "the keeper does not take a device that can't be reached for one that hangs"


def test_without_the_key_to_its_certificate_applications_run_and_it_is_reachable_once_there_is_one(
    target: Target, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    up(target, f"open({str(mark)!r}, 'a').write('ran ')\n" + WAIT)
    target.end()
    mark.unlink()
    trust = target.state / "trust"
    shutil.rmtree(trust / "copy")
    place = trust / "device.key"
    place.rename(tmp_path / "away")
    with unreachable(target, "no-identity") as process:
        until(mark.exists)
        assert not place.exists(), "hosts know the certificate: another key would be another device"
        (tmp_path / "away").rename(place)
        assert isinstance(first_line(process)["port"], int)


def test_a_state_folder_that_is_another_users_costs_what_is_in_it_and_not_the_boot(target: Target) -> None:
    target.end()
    target.state.chmod(0)
    if os.geteuid() == 0:  # who may look into any folder, but for this
        target.program = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", *target.program)
    try:
        with unreachable(target, "no-identity") as process:
            target.state.chmod(0o700)
            assert isinstance(first_line(process)["port"], int)
    finally:
        target.state.chmod(0o700)
    target.start()
    assert not lost(target)


def until(found: Callable[[], bool]) -> None:
    """Wait until something is there that nobody tells of."""
    deadline = monotonic() + SOON_S
    while not found():
        assert monotonic() < deadline
        select.select([], [], [], 0.01)


@pytest.mark.parametrize("damage", ["cut", "flipped", "gone", "a folder"])
@pytest.mark.parametrize("name", ["device.key", "device.crt", "hosts"])
def test_a_key_or_certificate_that_is_damaged_is_made_anew(target: Target, name: str, damage: str) -> None:
    target.end()
    trust = target.state / "trust"
    file = next((trust / name).glob("*.crt")) if name == "hosts" else trust / name
    content = file.read_bytes()
    file.unlink()
    match damage:
        case "cut":
            file.write_bytes(content[: len(content) // 2])
        case "flipped":
            file.write_bytes(content[:200] + bytes([content[200] ^ 1]) + content[201:])
        case "a folder":
            file.mkdir()
    if name == "hosts" and damage == "gone":
        with pytest.raises(Fault):
            target.start()  # whoever removed it does not want that host
        target.process.terminate()
        target.process.wait(SOON_S)
        let_go(target.process)
        assert not (trust / "copy" / "hosts" / file.name).exists()
        return
    if file.name == "device.crt":
        file = trust / "copy" / file.name  # the host of this test reads it, too
    target.start()
    assert target.notice("trust-mended")
    assert file.read_bytes() == content


def lost(target: Target) -> set[str]:
    return {one.text("code") for one in target.call("status").objects("lost")}


def test_a_state_folder_that_is_a_file_costs_the_state_and_not_the_boot(target: Target, tmp_path: Path) -> None:
    target.end()
    (tmp_path / "file").write_bytes(b"")
    state = tmp_path / "file" / "state"
    try:
        with unreachable(target, "no-identity", "--state", str(state)):
            pass
    finally:
        for folder in volatile_places(state):
            shutil.rmtree(folder, ignore_errors=True)


def test_on_a_read_only_disk_what_is_live_runs_and_what_is_new_is_volatile(mount: Callable[[str], Path]) -> None:
    place = mount("size=64m")
    target = Target(place)
    up(target, "print('the live one')\n" + WAIT)
    target.end()
    before = {path: path.read_bytes() for path in target.state.rglob("*") if path.is_file()}
    mount("ro")
    try:
        target.start()
        target.log("the live one")
        assert lost(target) == {"state-volatile"}
        assert target.history()[0]["generation"] == 1
        up(target, "print('the new one')\n" + WAIT)
        again(target)
        target.log("the new one")
        assert {path: path.read_bytes() for path in target.state.rglob("*") if path.is_file()} == before
        mount("rw")
        status, out, _ = ended(target.spawn())
        assert (status, json.loads(out)["code"]) == (1, "already-running"), "the one that has no lock there"
        again(target)
        target.log("the live one")
        assert not lost(target)
    finally:
        mount("rw")
        target.close()


@pytest.mark.parametrize("part", ["run", "run/lock", "data", "pycache", "warm.json", "ledger.jsonl", "run/address"])
def test_what_is_of_another_kind_is_set_aside(target: Target, part: str) -> None:
    up(target)
    target.end()
    place = target.state / part
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    (place.write_bytes if part in ("run", "data", "pycache") else lambda _: place.mkdir())(b"junk")
    target.start()
    target.log("up")
    assert "state-lost" in lost(target)


@pytest.mark.parametrize("part", ["data", "objects", "manifests", "trees"])
def test_what_is_gone_as_a_whole_is_told(target: Target, part: str) -> None:
    up(target)
    target.end()
    shutil.rmtree(target.state / part)
    target.start()
    target.log("up")
    assert f"'{target.state / part}' is gone" in target.notice("state-lost")["text"]
    assert "state-lost" in lost(target)


@pytest.mark.parametrize("damage", ["cut", "flipped"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_damaged_bytecode_is_not_run(target: Target, number: int, damage: str) -> None:
    target.ship({"app.py": "import part\n" + WAIT, "part.py": "print('whole')\n"}, STEADY).healthy()
    target.end(number)
    files = list((target.state / "pycache").rglob("part.*.pyc"))
    assert files
    for file in files:
        content = file.read_bytes()
        at = content.index(b"whole")
        file.write_bytes(content[:at] + (b"wrong" + content[at + 5 :] if damage == "flipped" else b""))
    target.start()
    target.log("whole")


@pytest.mark.parametrize("options", [["--listen", "nowhere:port"], ["--grace", "x"], ["--nonsense"]])
def test_wrong_use_is_status_two(target: Target, options: list[str]) -> None:
    target.end()
    status, out, err = ended(target.spawn(*options))
    assert (status, out) == (2, b"")
    assert b"usage" in err


def test_a_host_that_was_connected_is_told_the_link_is_down_and_can_come_back(target: Target) -> None:
    up(target)
    link = target.link("kept")
    again(target)
    with pytest.raises(Fault) as caught:
        link.call("hello", {})
    assert caught.value.code == "link-down"
    link.close()
    assert target.call("hello").text("boot") == target.listening["boot"]


def test_the_plain_front_door_says_what_happens_and_ends_quietly(target: Target) -> None:
    up(target)
    target.end()
    process = subprocess.Popen(
        [*["env", "PYTHONUNBUFFERED=1"], *front_door(target)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    lines: list[str] = []
    while not lines or not lines[-1].startswith("generation 1: healthy"):
        ready, _, _ = select.select([process.stdout], [], [], SOON_S)
        assert ready, lines
        lines += os.read(process.stdout.fileno(), 65536).decode().splitlines()
    process.terminate()
    status, out, err = ended(process)
    assert (status, err) == (0, b"")
    assert "app: running" in lines
    assert "app: stopped (asked to)" in out.decode()


def front_door(target: Target) -> list[str]:
    told = target.process.args
    assert isinstance(told, list)
    return [str(part) for part in told if part != "--json"]
