"""From start to end: what a bootloader finds, starts, survives and leaves behind."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bootloader.triage import MOST_BOOTS
from bootloader.wire.errors import Fault
from bootloader.wire.manifest import EMPTY, Manifest, blob_name
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
    name = blob_name((target.state / "live" / "app.py").read_bytes())
    (target.state / "live" / "app.py").write_bytes(b"")
    if blob == "lost":
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
        refused = target.refused(target.overlay({"app.py": WAIT + "# next\n"}))
        assert refused.code == "disk-full"
        assert target.status()["state"] in ("running", "healthy")
        (place / "filler").unlink()
        up(target, WAIT + "# next\n")
    finally:
        target.close()


# refusals to start


def refused_start(target: Target, *options: str) -> dict[str, object]:
    status, out, _ = ended(target.spawn(*options))
    assert status == 1
    told: dict[str, object] = json.loads(out)
    assert told["event"] == "problem"
    assert told["do"]
    return told


def test_a_second_bootloader_on_the_same_state_is_refused_and_harms_nothing(target: Target) -> None:
    up(target)
    assert refused_start(target)["code"] == "already-running"
    assert target.status()["state"] in ("running", "healthy")


def test_a_port_that_is_taken_is_told(target: Target) -> None:
    target.end()
    with socket.create_server(("127.0.0.1", 0)) as server:
        told = refused_start(target, "--listen", f"127.0.0.1:{server.getsockname()[1]}")
    assert told["code"] == "listen-failed"


def test_a_state_folder_that_can_not_be_one_is_told(target: Target, tmp_path: Path) -> None:
    target.end()
    (tmp_path / "file").write_bytes(b"")
    assert refused_start(target, "--state", str(tmp_path / "file" / "state"))["code"] == "no-state"
    assert refused_start(target, "--state", str(tmp_path / "new"))["code"] == "no-identity"


def test_a_read_only_disk_is_told(mount: Callable[[str], Path]) -> None:
    place = mount("size=64m")
    target = Target(place)
    target.end()
    mount("ro")
    assert refused_start(target)["code"] == "no-state"


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
