"""A stripped Python: what it lacks costs what that is for, and not the boot."""

from __future__ import annotations

import json
import signal

import pytest

from tests.bootloader.target import SOON_S, Target, app, let_go

WAIT = "import threading\ndef main():\n    print('up')\n    threading.Event().wait()\n"

COSTLY = ("ctypes", "fcntl", "resource")
FREE = ("termios", "zlib", "bz2", "lzma", "unicodedata", "platform", "asyncio", "multiprocessing", "_hashlib", "_json")
"""What small systems leave out, or pack apart."""

STRIPPED = """
import sys
class Lacking:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in {names!r}:
            raise {error}(f"{{name}} is not there")
sys.meta_path.insert(0, Lacking)
for name in {names!r}:
    sys.modules.pop(name, None)
"""


@pytest.fixture(scope="module")
def stripped(tmp_path_factory: pytest.TempPathFactory) -> Target:
    """A target that is not running. Whoever starts it ends it."""
    target = Target(tmp_path_factory.mktemp("stripped"))
    target.end()
    return target


def start(target: Target, *names: str, error: str = "ImportError") -> None:
    """Start it with a Python in which these modules can't be imported."""
    site = target.home / "site"
    site.mkdir(exist_ok=True)
    (site / "sitecustomize.py").write_text(STRIPPED.format(names=names, error=error))
    target.environment = {"PYTHONPATH": str(site)}
    target.start()


@pytest.mark.parametrize(
    ("names", "error"),
    [
        *(((name,), "ImportError") for name in COSTLY),
        ((*COSTLY, *FREE), "ImportError"),
        (("ctypes", "resource"), "RuntimeError"),  # others are imported by Python itself
    ],
    ids=[*COSTLY, "all of them", "damaged"],
)
def test_a_module_that_cannot_be_imported_costs_an_event_and_not_the_boot(
    stripped: Target, names: tuple[str, ...], error: str
) -> None:
    start(stripped, *names, error=error)
    try:
        stripped.ship(WAIT + f"# {names}\n", app(settle_s=0.0, memory_mb=64)).healthy()
        stripped.log("up")
        lost = stripped.call("status").objects("lost")
        assert {one.text("code") for one in lost} <= {"python-lacks"}
        assert [one.text("text").split("'")[1] for one in lost] == [name for name in COSTLY if name in names]
    finally:
        assert stripped.end() == 0  # and waits for each of its processes


def test_without_locks_that_outlive_a_process_there_is_still_one_bootloader_on_a_state(stripped: Target) -> None:
    start(stripped, "fcntl")
    try:
        second = stripped.spawn()
        out, _ = second.communicate(timeout=SOON_S)
        assert (second.returncode, json.loads(out)["code"]) == (1, "already-running")
        let_go(second)
        stripped.end(signal.SIGKILL)
        start(stripped, "fcntl")  # what was killed does not hold it
    finally:
        stripped.end()
