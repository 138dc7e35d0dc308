"""Where an edit is tried: trees on the disk, and a process of its own. Nothing but the standard library."""

from __future__ import annotations

import os
import select
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

TIME_S = 20.0

Files = dict[str, str]


class Stage:
    """A live folder that a process imports from, and the trees that it leads to one after the other."""

    def __init__(self, folder: Path, files: Files) -> None:
        self._folder = folder
        self._count = 0
        self.live = folder / "live"
        self.tree = self.stage(files)
        self.live.symlink_to(self.tree)
        sys.path.insert(0, str(self.live))
        sys.dont_write_bytecode = True

    def stage(self, files: Files) -> Path:
        """Another tree, beside the live one."""
        self._count += 1
        tree = self._folder / f"tree{self._count}"
        tree.mkdir()
        for path, text in files.items():
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            (tree / path).write_text(text, encoding="utf-8")
        return tree

    def switch(self, tree: Path) -> None:
        """Make ``tree`` live, with one rename."""
        aside = self._folder / "aside"
        aside.symlink_to(tree)
        aside.rename(self.live)
        self.tree = tree


def apart(run: Callable[[Path], str]) -> tuple[str, str]:
    """What ``run`` says in a forked process, with a folder of its own; and what went wrong there, if anything did."""
    with tempfile.TemporaryDirectory(prefix="swap-") as folder:
        ours, theirs = os.pipe()
        pid = os.fork()
        if pid == 0:
            _become(run, Path(folder), theirs)
        os.close(theirs)
        told, in_time = b"", True
        with open(ours, "rb", buffering=0) as pipe:
            while in_time := bool(select.select([pipe], [], [], TIME_S)[0]):
                if not (chunk := pipe.read(65536)):
                    break
                told += chunk
        if not in_time:
            os.kill(pid, 9)
        status = os.waitpid(pid, 0)[1]
    if not in_time:
        return "", f"it was not done within {TIME_S:.0f} s"
    said, _, wrong = told.decode().partition("\0")
    return said, wrong if status == 0 else f"the process ended with {status}"


def _become(run: Callable[[Path], str], folder: Path, pipe: int) -> None:
    said = wrong = ""
    try:
        said = run(folder)
    except BaseException as error:  # noqa: BLE001
        wrong = "".join(traceback.format_exception(error, limit=-6))[-4000:]
    with open(pipe, "w", encoding="utf-8") as told:
        told.write(f"{said}\0{wrong}")
    os._exit(0)
