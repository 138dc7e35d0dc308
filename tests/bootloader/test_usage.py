"""What the device and its applications use, and how long imports took: asked over the link, of a real bootloader."""

from __future__ import annotations

import subprocess
import sys
import threading
from time import monotonic
from typing import Any

from tests.bootloader.target import SOON_S, Target, app

SPINS = """
import os, threading

def main():
    if os.fork() == 0:
        threading.Event().wait()
    print("here")
    while True:
        pass
"""


def measured(target: Target) -> tuple[dict[str, Any], dict[str, Any]]:
    """The device's figures, and the application's."""
    told = target.call("status", measure_s=0.2)
    (one,) = told.objects("applications")
    return told.child("device").plain(), one.plain()


def test_an_application_is_told_with_all_that_it_has_started(target: Target) -> None:
    target.ship(SPINS, app(settle_s=0.0))
    target.log("here")
    device, one = measured(target)
    assert one["processes"] == 2
    assert one["threads"] >= 2
    assert one["rss_bytes"] > 2 * 2**20
    assert one["cpu_percent"] > 0
    assert one["up_s"] > 0
    assert {"cpus", "memory_bytes", "memory_available_bytes", "up_s", "load", "cpu_percent"} <= device.keys()


def test_what_is_not_asked_for_is_not_measured(target: Target) -> None:
    target.ship(SPINS, app(settle_s=0.0))
    target.log("here")
    told = target.call("status")
    assert told.child("device").plain() == {}
    assert "cpu_percent" not in told.objects("applications")[0]


def test_imports_of_the_start_are_told_apart_from_those_that_were_ahead_of_it(target: Target) -> None:
    waits = "\nimport threading\ndef main():\n    print('here')\n    threading.Event().wait()\n"
    files = {"app.py": "import slow, xmlrpc.client" + waits, "slow.py": "sum(range(1_000_000))\n"}
    target.ship(files, app(settle_s=0.0))
    target.log("here")
    first = {row[0]: row for row in measured(target)[1]["imports"]}
    assert first["slow"][3:] == [False, True]
    assert any(row[3:] == [False, False] for row in first.values())
    warm(target)
    again = target.ship({**files, "app.py": files["app.py"] + "# again\n"}, app(settle_s=0.0))
    again.state("healthy")
    second = {row[0]: row for row in measured(target)[1]["imports"]}
    assert second["slow"][3:] == [False, True]
    assert any(row[3:] == [True, False] for row in second.values())
    assert not any(row[3:] == [True, True] for row in second.values()), "nothing of the tree is imported ahead"


def warm(target: Target) -> None:
    """Wait until the warm parent has imported what the application had."""
    deadline, pause = monotonic() + SOON_S, threading.Event()
    while not ((told := target.call("status").child("warm")).flag("ready") and told.integer("modules")):
        assert monotonic() < deadline, "it does not get warm"
        pause.wait(0.05)


def test_an_application_that_is_stuck_or_gone_has_figures_as_far_as_there_are_any(target: Target) -> None:
    change = target.ship("import threading\nprint('here')\nthreading.Event().wait()\n", app(settle_s=0.0))
    target.log("here")
    _, one = measured(target)
    assert (one["imports"], one["processes"]) == ([], 1)
    target.ship("def main(): ...\n").state("finished")
    assert change.generation == 1
    _, one = measured(target)
    assert (one["up_s"], "rss_bytes" in one) == (None, False)


PROGRAM = """
import sys, tempfile, pathlib, traceback
from bootloader.guest.imports import Imports
folder = tempfile.mkdtemp()
for name, text in {
    "inner": "sum(range(300_000))", "outer": "import inner", "broken": "import nothing_of_that_name",
    "ring_a": "import ring_b", "ring_b": "import ring_a"
}.items():
    pathlib.Path(folder, name + ".py").write_text(text)
sys.path.insert(0, folder)
imports = Imports()
import threading  # imported already, mostly: costs nothing
imports.begin(folder)
import outer, ring_a
rows = {row[0]: row for row in imports.slowest({})["imports"]}
assert rows["inner"][3:] == rows["outer"][3:] == [False, True], rows
assert rows["outer"][2] >= rows["inner"][2] > 0, rows
assert rows["outer"][1] <= rows["outer"][2] - rows["inner"][2] + 0.02, rows
try:
    import broken
except ImportError as error:
    text = traceback.format_exc()
    assert "imports.py" not in text and "importlib" not in text, text
"""


def test_an_import_s_own_time_is_without_those_within_it_and_a_traceback_shows_nothing_of_it() -> None:
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, timeout=SOON_S)
