"""A real watcher on real files: what is told, what is not, and what happens where events fail."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from bootloader.wire.errors import Fault
from reactor.gather import MOST_PATHS
from reactor.project import Project
from reactor.scan import Scanner
from reactor.watch import Batch, Source, Watcher
from reactor.watch.observer import Observed

# watchdog's own recursion, which Linux only uses here, warns when it meets a new folder twice.
pytestmark = pytest.mark.filterwarnings("ignore:Callback with id:RuntimeWarning")

DEADLINE_S = 20.0
SETTINGS = '[tool.reactor]\nentry = "main"\n'


class ObservedWatcher(Watcher):
    """The watcher of the systems without inotify, as far as this one can show it."""

    events = Observed


class Recorder(Watcher):
    """A watcher that keeps what its source told it of moves and of git."""

    def __init__(self, project: Project, on_notice: Callable[[str, str], None]) -> None:
        self.moves: list[tuple[str, str]] = []
        self.locks: list[bool] = []
        super().__init__(project, on_notice)

    def move(self, source: str, path: str) -> None:
        self.moves.append((Path(source).name, Path(path).name))
        super().move(source, path)

    def git(self, locked: bool) -> None:
        self.locks.append(locked)
        super().git(locked)


class ObservedRecorder(Recorder):
    events = Observed


class Desk:
    """A project, its watcher, and what both told so far."""

    def __init__(self, folder: Path, kind: type[Watcher] = Watcher) -> None:
        self.folder = folder
        self.notices: list[tuple[str, str]] = []
        self.project = Project.open(folder)
        self.watcher = kind(self.project, lambda code, text: self.notices.append((code, text)))
        self.batches: list[Batch] = []

    def until(self, done: Callable[[], bool]) -> None:
        """Take batches until ``done``."""
        deadline = time.monotonic() + DEADLINE_S
        while not done():
            assert time.monotonic() < deadline, f"nothing more came than {self.batches} and {self.notices}"
            batch = self.watcher.get(0.2)
            if batch is not None:
                self.batches.append(batch)

    def expect(self, *paths: str) -> None:
        """Take batches until they name all ``paths``."""
        wanted = {self.folder / path for path in paths}
        self.until(lambda: wanted <= self.told())

    def rescan(self) -> None:
        """Take batches until one says to look at everything."""
        self.until(lambda: any(batch.rescan for batch in self.batches))

    def notice(self, code: str) -> None:
        """Wait for a notice."""
        self.until(lambda: code in [told for told, _ in self.notices])

    def told(self) -> set[Path]:
        return {path for batch in self.batches for path in batch.paths}

    def forget(self) -> None:
        self.batches.clear()
        self.notices.clear()


def write(file: Path, content: str = "") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)
    return file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "blinky"
    write(folder / "pyproject.toml", SETTINGS)
    write(folder / "src/main.py", "old\n")
    return folder


@pytest.fixture(params=[Watcher, ObservedWatcher], ids=["inotify", "observer"])
def desk(folder: Path, request: pytest.FixtureRequest) -> Iterator[Desk]:
    desk = Desk(folder, request.param)
    yield desk
    desk.watcher.close()


@pytest.fixture
def inotify(folder: Path) -> Iterator[Desk]:
    desk = Desk(folder)
    yield desk
    desk.watcher.close()


def test_a_save_is_taken_by_the_thread_that_hears_of_it_or_by_who_waits(folder: Path) -> None:
    taken: Future[str] = Future()

    def take() -> None:
        if not taken.done():
            batch = watcher.get(0)
            taken.set_result(f"{threading.current_thread().name} {batch and [path.name for path in batch.paths]}")

    watcher = Watcher(Project.open(folder), lambda *_told: None, take)
    in_place(folder / "src/main.py", "new\n")
    assert taken.result(DEADLINE_S) == "reactor-inotify ['main.py']"
    in_place(folder / "src/main.py", "newer\n")
    assert watcher.get(DEADLINE_S) is not None
    watcher.close()


# Saves


def in_place(file: Path, content: str) -> None:
    file.write_text(content)


def atomic(file: Path, content: str) -> None:
    write(file.with_name("tmpx81c"), content).replace(file)


def vim(file: Path, content: str) -> None:
    write(file.with_name("4913")).unlink()
    backup = file.rename(file.with_name(f"{file.name}~"))
    file.write_text(content)
    file.chmod(0o644)
    backup.unlink()


def vim_with_backup_folder(file: Path, content: str) -> None:
    file.rename(file.parents[2] / "backup")
    file.write_text(content)


def emacs(file: Path, content: str) -> None:
    lock = file.with_name(f".#{file.name}")
    lock.symlink_to("me@host.1234:5678")
    shutil.copy2(file, f"{file}~")
    file.write_text(content)
    lock.unlink()


def jetbrains(file: Path, content: str) -> None:
    new = write(file.with_name(f"{file.name}___jb_tmp___"), content)
    old = file.rename(file.with_name(f"{file.name}___jb_old___"))
    new.rename(file)
    old.unlink()


def from_outside(file: Path, content: str) -> None:
    write(file.parents[2] / "elsewhere", content).replace(file)


def appended(file: Path, content: str) -> None:
    with file.open("r+") as stream:
        stream.truncate()
        for char in content:
            stream.write(char)
            stream.flush()


SAVES = [in_place, atomic, vim, vim_with_backup_folder, emacs, jetbrains, from_outside, appended]


@pytest.mark.parametrize("save", SAVES)
def test_however_an_editor_saves_the_file_is_told_and_nothing_ships_besides(
    desk: Desk, save: Callable[[Path, str], None]
) -> None:
    scanner = Scanner(desk.project)
    scanner.full()
    for turn in range(3):
        began = time.monotonic()
        save(desk.folder / "src/main.py", f"new {turn}\n")
        wanted = Scanner(Project.open(desk.folder)).full()
        desk.forget()
        desk.until(lambda wanted=wanted: scanner.update(desk.told()).manifest == wanted)  # type: ignore[misc]
        assert turn or began <= desk.batches[0].at <= time.monotonic()
        assert not any(batch.rescan for batch in desk.batches)
        assert {path.name for path in desk.told()} <= {"main.py", "tmpx81c"}


def test_the_two_ends_of_a_rename_are_told_together(folder: Path) -> None:
    watcher = Recorder(Project.open(folder), lambda _code, _text: None)
    atomic(folder / "src/main.py", "new")
    vim(folder / "src/main.py", "newer")  # of which one end does not ship
    atomic(folder / "src/main.py", "newest")
    deadline = time.monotonic() + DEADLINE_S
    while len(watcher.moves) < 2 and time.monotonic() < deadline:
        watcher.get(0.2)
    watcher.close()
    assert watcher.moves == [("tmpx81c", "main.py")] * 2


def test_a_change_that_is_due_later_does_not_wait_for_anything_else(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reactor.watch.TICK_S", 10 * DEADLINE_S)
    desk = Desk(folder)
    (folder / "src/main.py").unlink()
    desk.expect("src/main.py")
    desk.watcher.close()


def test_a_deleted_file_is_told(desk: Desk) -> None:
    (desk.folder / "src/main.py").unlink()
    desk.expect("src/main.py")


def test_a_run_bit_is_told(inotify: Desk) -> None:
    (inotify.folder / "src/main.py").chmod(0o755)
    inotify.expect("src/main.py")


def test_a_new_link_is_told(inotify: Desk) -> None:
    (inotify.folder / "latest.py").symlink_to("src/main.py")
    inotify.expect("latest.py")


def test_reads_are_not_told(desk: Desk) -> None:
    for _ in range(50):
        (desk.folder / "src/main.py").read_text()
        list(desk.folder.rglob("*"))
    write(desk.folder / "src/other.py")
    desk.expect("src/other.py")
    assert desk.told() == {desk.folder / "src/other.py"}


def test_what_does_not_ship_is_not_told(folder: Path) -> None:
    write(folder / ".gitignore", "*.log\n/out/\n")
    for kind in (Watcher, ObservedWatcher):
        desk = Desk(folder, kind)
        paths = [
            "a.log",
            "out/x.py",
            "src/__pycache__/a.pyc",
            ".git/HEAD",
            "tests/test_a.py",
            ".venv/lib/x.py",
            "src/a.py~",
        ]
        for path in paths:
            write(folder / path, "x")
        write(folder / "src/main.py", "new")
        desk.expect("src/main.py")
        assert desk.told() == {folder / "src/main.py"}
        desk.watcher.close()


def test_folders_that_do_not_ship_take_no_watches(folder: Path) -> None:
    for number in range(300):
        (folder / f".venv/lib/p{number}").mkdir(parents=True)
    before = watches()
    desk = Desk(folder)
    assert watches() - before == 2  # the project's folder and its src
    desk.watcher.close()
    assert watches() == before


def watches() -> int:
    """The inotify watches of this process."""
    infos = [info.read_text() for info in Path("/proc/self/fdinfo").iterdir() if info.exists()]
    return sum(text.count("inotify wd:") for text in infos)


def test_siblings_are_watched_too(folder: Path) -> None:
    sibling = write(folder.parent / "drivers/src/led.py").parents[1]
    write(folder / "pyproject.toml", SETTINGS + 'depends = ["../drivers"]\n')
    for kind in (Watcher, ObservedWatcher):
        desk = Desk(folder, kind)
        write(sibling / "src/led.py", "new")
        write(sibling / "docs/x.md", "new")
        desk.until(lambda desk=desk: bool(desk.batches))  # type: ignore[misc]
        assert desk.told() == {sibling / "src/led.py"}
        desk.watcher.close()


# Bursts


def test_a_checkout_of_two_hundred_files_is_a_batch_or_two(desk: Desk) -> None:
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "init.defaultBranch=one", "-C", str(desk.folder)]
    paths = [f"src/p{number % 10}/m{number}.py" for number in range(200)]

    def run(*arguments: str) -> None:
        subprocess.run([*git, *arguments], check=True, capture_output=True)

    run("init", "-q")
    for path in paths:
        write(desk.folder / path, "one")
    run("add", ".")
    run("commit", "-qm", "one")
    run("checkout", "-qb", "two")
    for path in paths:
        write(desk.folder / path, "two")
    run("commit", "-qam", "two")
    desk.watcher.close()

    again = Desk(desk.folder, type(desk.watcher))  # which knows the repository
    run("checkout", "-q", "one")
    again.expect(*paths)
    assert len(again.batches) <= 5
    again.watcher.close()


def test_git_at_work_is_told(folder: Path) -> None:
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", "-C", str(folder)]
    subprocess.run([*git, "init", "-q"], check=True)
    for kind in (Recorder, ObservedRecorder):
        watcher = kind(Project.open(folder), lambda _code, _text: None)
        subprocess.run([*git, "add", "."], check=True)
        subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "one"], check=True)
        deadline = time.monotonic() + DEADLINE_S
        while len(watcher.locks) < 2 and time.monotonic() < deadline:
            watcher.get(0.2)
        watcher.close()
        assert watcher.locks[:2] == [True, False]


def test_batches_that_are_not_taken_become_one(inotify: Desk) -> None:
    began = time.monotonic()
    for name in ("a.py", "b.py", "c.py"):
        inotify.watcher.change(str(inotify.folder / name), "closed")
        inotify.watcher.drained()
    inotify.expect("a.py", "b.py", "c.py")
    assert began <= inotify.batches[0].at
    assert inotify.watcher.get(0) is None


def test_more_paths_than_can_be_told_apart_become_a_rescan(inotify: Desk) -> None:
    for number in range(MOST_PATHS + 1):
        inotify.watcher.change(f"{inotify.folder}/{number}.py", "closed")
    inotify.watcher.drained()
    inotify.rescan()
    assert all(not batch.paths for batch in inotify.batches if batch.rescan)


def test_what_waits_to_be_taken_is_bounded_too(inotify: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reactor.watch.MOST_PATHS", 3)
    for number in range(4):
        inotify.watcher.change(f"{inotify.folder}/{number}.py", "closed")
    inotify.watcher.drained()
    inotify.rescan()


# Changes of what is watched


def test_after_a_change_of_the_rules_what_they_let_in_is_watched(folder: Path) -> None:
    write(folder / ".gitignore", "/data/\n")
    write(folder / "data/deep/a.txt")
    for kind in (Watcher, ObservedWatcher):
        desk = Desk(folder, kind)
        scanner = Scanner(desk.project)
        scanner.full()
        write(folder / ".gitignore", "/else/\n")
        desk.expect(".gitignore")
        change = scanner.update(desk.told())
        assert change.settings_changed
        desk.watcher.follow(scanner.project)
        desk.rescan()
        write(folder / "data/deep/a.txt", "new")
        desk.expect("data/deep/a.txt")
        desk.watcher.close()
        write(folder / ".gitignore", "/data/\n")


def test_settings_are_told_also_where_they_do_not_ship(folder: Path) -> None:
    write(folder / "pyproject.toml", SETTINGS + 'include = ["src/**"]\n')
    desk = Desk(folder)
    write(folder / "pyproject.toml", SETTINGS)
    desk.expect("pyproject.toml")
    desk.watcher.close()


# Where events fail


def test_an_overflow_says_so_and_everything_is_looked_at(inotify: Desk) -> None:
    inotify.watcher.trouble("overflow")
    inotify.rescan()
    inotify.notice("watch-overflow")
    inotify.forget()
    write(inotify.folder / "src/main.py", "new")
    inotify.expect("src/main.py")


def test_a_real_overflow_says_so_too(folder: Path) -> None:
    limit = Path("/proc/sys/fs/inotify/max_queued_events")
    if not os.access(limit, os.W_OK):
        pytest.skip("only root can make an overflow likely")
    before = limit.read_text()
    limit.write_text("1")  # counts for those that are made now
    try:
        desk = Desk(folder)
    finally:
        limit.write_text(before)
    deadline = time.monotonic() + DEADLINE_S
    while "watch-overflow" not in [code for code, _ in desk.notices] and time.monotonic() < deadline:
        for number in range(100):
            write(folder / f"src/m{number}.py")
    desk.notice("watch-overflow")
    desk.rescan()
    desk.watcher.close()


SCRIPT = """
import sys
from reactor.project import Project
from reactor.watch import Watcher
watcher = Watcher(Project.open(sys.argv[1]), lambda code, text: print(code, text, flush=True))
batch = watcher.get(10)
assert batch is not None and batch.rescan, batch
watcher.close()
"""


@pytest.mark.parametrize(
    ("limit", "most", "hint"),
    [
        ("max_inotify_watches", 1, "sudo sysctl fs.inotify.max_user_watches="),
        ("max_inotify_instances", 0, "sudo sysctl fs.inotify.max_user_instances="),
    ],
)
def test_where_the_system_lacks_watches_there_is_a_poll_and_a_hint(
    folder: Path, limit: str, most: int, hint: str
) -> None:
    # The limit is of a user namespace of its own, so that nobody else on this machine notices.
    command = f'echo {most} > /proc/sys/user/{limit} && exec "$@"'
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "sh", "-c", command, "sh", sys.executable, "-c", SCRIPT, str(folder)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    if "unshare" in done.stderr or f"{limit}:" in done.stderr:
        pytest.skip("no user namespaces here")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("watch-polls can't watch: ")
    assert hint in done.stdout


def test_a_poll_finds_what_no_event_tells(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REACTOR_WATCH", "poll")
    desk = Desk(folder)
    assert [code for code, _ in desk.notices] == ["watch-polls"]
    scanner = Scanner(desk.project)
    scanner.full()
    desk.rescan()
    desk.forget()
    write(folder / "src/main.py", "new")
    desk.rescan()
    assert list(scanner.rescan().edits) == ["src/main.py"]
    desk.watcher.close()


class Dead:
    """A source whose thread died."""

    writing_s = 0.3

    def __init__(self, *_: object) -> None:
        self.closed = False

    def alive(self) -> bool:
        return False

    def close(self) -> None:
        self.closed = True


class DeadWatcher(Watcher):
    events: Callable[[Project, Watcher], Source] = Dead


def test_a_source_that_died_gives_way_to_a_poll(folder: Path) -> None:
    desk = Desk(folder, DeadWatcher)
    desk.notice("watch-polls")
    desk.rescan()
    desk.watcher.close()


def test_a_project_that_is_gone_and_comes_back_is_watched_again(inotify: Desk) -> None:
    shutil.rmtree(inotify.folder)
    inotify.notice("watch-gone")
    inotify.forget()
    write(inotify.folder / "src/main.py", "back")
    write(inotify.folder / "pyproject.toml", SETTINGS)
    inotify.notice("watch-back")
    inotify.rescan()
    inotify.forget()
    write(inotify.folder / "src/main.py", "new")
    inotify.expect("src/main.py")


def test_a_project_that_is_renamed_is_gone(inotify: Desk) -> None:
    inotify.folder.rename(inotify.folder.parent / "renamed")
    inotify.notice("watch-gone")
    with pytest.raises(Fault, match="does not exist"):
        Project.open(inotify.folder)


# The end


def test_closing_ends_the_threads_and_the_waiting(desk: Desk) -> None:
    before = set(threading.enumerate())
    other = Desk(desk.folder, type(desk.watcher))
    got: list[Batch | None] = []
    waiting = threading.Thread(target=lambda: got.append(other.watcher.get(DEADLINE_S)))
    waiting.start()
    other.watcher.close()
    waiting.join(DEADLINE_S)
    assert got == [None]
    assert set(threading.enumerate()) <= before
