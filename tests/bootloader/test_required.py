"""What an application requires: on a real target, from the wheels on the link to the import in its process."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from bootloader.machine import platform
from bootloader.wire.errors import Refused
from bootloader.wire.layer import layer_name
from tests.bootloader.target import Change, Target, app
from tests.bootloader.wheels import Built, build

LIB, LIB2 = build("lib", "1"), build("lib", "2")
SAY = "import lib\ndef main():\n    print('lib', lib.VERSION, flush=True)\n"
WAIT = f"import time\n{SAY}    time.sleep(600)\n"
SAFE = f"{WAIT}def safe():\n    print('safe by', lib.VERSION, flush=True)\n"


@pytest.fixture
def target(shared: Target) -> Target:
    if shared.process.poll() is not None:
        shared.start()
    return shared


def prepare(target: Target, *built: Built) -> str:
    """Have the target make a layer, as a host does; its name."""
    rows = [each.wheel.row for each in built]
    told = target.call("layer", wheels=rows, wait_s=10)
    missing = set(told.texts("missing"))
    sent = [each for each in built if each.wheel.blake3 in missing]
    if sent:
        parts = [[each.wheel.blake3, 0, each.wheel.size] for each in sent]
        target.control.call("upload", {"parts": parts}, [each.content for each in sent], timeout_s=20)
    while not told.flag("ready"):
        told = target.call("layer", wheels=rows, wait_s=10)
    return told.text("layer")


def ship(target: Target, code: str, *built: Built, **more: object) -> Change:
    prepare(target, *built)
    wheels = tuple(sorted(each.wheel for each in built))
    told = app(settle_s=0.0, safe="app:safe" if "def safe" in code else "")
    return target.ship(code, told, wheels=wheels, system_packages=False, **more)


def test_an_application_imports_what_it_requires_and_nothing_that_only_the_device_has(target: Target) -> None:
    code = f"{SAY}    try:\n        import rpyc\n    except ModuleNotFoundError:\n        print('alone', flush=True)\n"
    ship(target, code, LIB).healthy()
    target.log("lib 1")
    target.log("alone")


def test_what_the_device_has_can_be_imported_behind_it_on_request(target: Target) -> None:
    prepare(target, LIB)
    code = "import lib, rpyc, sys\ndef main():\n    print(lib.VERSION, rpyc.__version__, flush=True)\n"
    target.ship(code, app(settle_s=0.0), wheels=(LIB.wheel,), system_packages=True).healthy()
    target.log("1 6.0.2")


def test_a_layer_finds_room_on_a_disk_that_is_full(mount: Callable[[str], Path]) -> None:
    target = Target(mount("size=40m"))
    try:
        ship(target, WAIT, LIB).healthy()
        target.wait(lambda: {"there": True} if (target.state / "reserve").exists() else None, "the reserve")
        with (target.state / "data" / "app" / "filled").open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(4096))
        ship(target, WAIT, LIB2).healthy()
        target.log("lib 2")
    finally:
        target.close()


def test_the_standard_library_comes_first_and_the_tree_before_it(target: Target) -> None:
    bad = build("shadow", files={"json.py": "raise ImportError('not this one')\n", "lib.py": "VERSION = 'layer'\n"})
    prepare(target, bad)
    files = {"app.py": f"import json\n{SAY}", "lib.py": "VERSION = 'tree'\n"}
    target.ship(files, app(settle_s=0.0), wheels=(bad.wheel,), system_packages=False).healthy()
    target.log("lib tree")


def test_what_it_starts_itself_finds_the_same(target: Target) -> None:
    tool = build(
        "tool", files={"tool.py": "print('tool ran')\n", "tool-1.data/scripts/hello": "#!/bin/sh\necho hello\n"}
    )
    code = (
        "import subprocess, sys\ndef main():\n"
        "    subprocess.run([sys.executable, '-m', 'tool'], check=True)\n    subprocess.run(['hello'], check=True)\n"
    )
    ship(target, code, tool).healthy()
    target.log("tool ran")
    target.log("hello")


def test_another_version_restarts_what_runs_and_a_rollback_brings_the_first_one_back(target: Target) -> None:
    first, tree = ship(target, WAIT, LIB).healthy(), target.tree
    second = ship(target, WAIT, LIB2).healthy()
    assert second.answer.text("why") == "what it requires changed"
    target.event("log", after=first.state("healthy"), text="lib 2")
    back, target.tree = target.roll_back(first.generation).healthy(), tree
    target.event("log", after=second.state("healthy"), text="lib 1")
    assert back.answer.text("rung") == "rollback"


def test_its_outputs_are_made_safe_with_what_the_healthy_generation_required(target: Target) -> None:
    ship(target, SAFE, LIB).healthy()
    ship(target, SAFE + "    raise_ = 1\n", LIB2, on_failure="hold").healthy()
    broken = SAFE.replace("    time.sleep(600)", "    raise SystemExit(3)")
    prepare(target, LIB)
    target.ship(broken, app(settle_s=600.0, safe="app:safe"), wheels=(LIB.wheel,), system_packages=False).fate("failed")
    target.log("safe by 2")


def test_one_damaged_while_the_device_was_off_is_mended_before_anything_runs(target: Target) -> None:
    name = prepare(target, LIB)
    ship(target, WAIT, LIB).healthy()
    target.end()
    file = target.state / "layers" / name / "site" / "lib.py"
    file.write_text("raise SystemExit('damaged')\n")
    target.start()
    target.log("lib 1")
    codes = [row.text("code") for row in target.call("status").objects("lost")]
    assert {"layer-damaged", "layer-mended"} <= set(codes)


def test_an_overlay_that_needs_a_layer_which_is_not_there_is_refused(target: Target) -> None:
    other = build("other")
    refused = target.refused(target.overlay({"app.py": SAY}, wheels=(other.wheel,)))
    assert (refused.code, refused.to) == ("missing-layer", f"layer {layer_name([other.wheel])[:12]}")


def test_a_wheel_that_lies_is_refused_and_leaves_nothing(target: Target) -> None:
    bad = build("lying", record=lambda text: text.replace("sha256=", "sha256=A"))
    with pytest.raises(Refused) as caught:
        prepare(target, bad)
    assert (caught.value.code, caught.value.to) == ("bad-wheel", bad.wheel.file)
    assert not list((target.state / "layers").glob(f"{layer_name([bad.wheel])}*"))


def test_a_device_tells_for_which_wheels_it_is(target: Target) -> None:
    told = target.call("hello").child("platform").plain()
    assert told == platform()
    assert told["python"] == list(sys.version_info[:3])
    assert told["libc"] in ("glibc", "musl")
    assert len(told["libc_version"]) == 2
