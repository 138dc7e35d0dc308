"""The manifest of a project, and what an update of it costs and finds."""

from __future__ import annotations

import os
import random
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from blake3 import blake3

from bootloader.wire import delta, launch
from bootloader.wire.errors import Fault
from bootloader.wire.manifest import EMPTY, Manifest, blob_name
from reactor import scan
from reactor.project import Project
from reactor.scan import Change, FileChanged, Scanner
from reactor.settings import BadSettings

SETTINGS = '[tool.reactor]\nentry = "main"\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "blinky"
    write(folder / "pyproject.toml", SETTINGS)
    write(folder / "main.py", "def main(): ...\n")
    return folder


def write(file: Path, content: str | bytes = "") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def scanner(folder: Path) -> Scanner:
    scanner = Scanner(Project.open(folder))
    scanner.full()
    return scanner


def files(manifest: Manifest) -> list[str]:
    return [path for path in manifest if path not in (launch.PATH, "pyproject.toml")]


def agrees(scanner: Scanner) -> bool:
    """Whether the scanner's tree is what one that starts afresh would find."""
    return scanner.manifest == Scanner(Project.open(scanner.project.folder)).full()


def refusal(folder: Path) -> str:
    with pytest.raises(Fault) as caught:
        scanner(folder)
    return str(caught.value)


# The whole


def test_a_manifest_has_hash_mode_and_size_of_each_file(folder: Path) -> None:
    write(folder / "bin/tool", b"\x7fELF").chmod(0o750)
    write(folder / "data/empty").chmod(0o600)
    write(folder / "süß/ß 1.txt", "x")
    manifest = scanner(folder).manifest
    assert files(manifest) == ["bin/tool", "data/empty", "main.py", "süß/ß 1.txt"]
    tool, empty = manifest.get("bin/tool"), manifest.get("data/empty")
    assert tool is not None
    assert empty is not None
    assert (tool.blake3, tool.mode, tool.size) == (blob_name(b"\x7fELF"), 0o755, 4)
    assert (empty.blake3, empty.mode, empty.size) == (blob_name(b""), 0o644, 0)


def test_what_runs_is_a_file_of_the_tree(folder: Path) -> None:
    write(folder / "pyproject.toml", SETTINGS + '[tool.reactor.targets.porch]\nentry = "real"\n')
    write(folder / "src/app.py")
    here = scanner(folder)
    entry = here.manifest.get(launch.PATH)
    assert entry is not None
    told = launch.Launch.decode(here.content(entry.blake3))
    assert (told.applications[0].entry, told.path) == ("main", ("src", "."))
    porch = here.tree("porch").get(launch.PATH)
    assert porch is not None
    assert launch.Launch.decode(here.content(porch.blake3)).applications[0].entry == "real"
    assert list(here.manifest.edits_to(here.tree("porch"))) == [launch.PATH]
    assert here.tree("local") == here.manifest


def test_the_same_files_make_the_same_root_wherever_they_lie(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy" / "blinky")
    assert scanner(folder).manifest.root == scanner(tmp_path / "copy" / "blinky").manifest.root


def test_a_large_file_is_hashed_and_not_kept(folder: Path) -> None:
    content = random.Random(1).randbytes(scan.KEPT_FILE_BYTES + 3)
    write(folder / "model.bin", content)
    here = scanner(folder)
    entry = here.manifest.get("model.bin")
    assert entry is not None
    assert entry.blake3 == blake3(content).hexdigest()
    assert here.kept(entry.blake3) is None
    assert here.content(entry.blake3) == content


def test_progress_tells_how_far_it_is(folder: Path) -> None:
    for number in range(600):
        write(folder / f"data/{number}")
    told: list[tuple[int, int | None]] = []
    Scanner(Project.open(folder)).full(lambda done, total: told.append((done, total)))
    assert told[0] == (0, None)
    assert told[-1] == (602, 602)


def test_what_cannot_be_a_path_in_a_tree_is_named(folder: Path) -> None:
    write(folder / "a\nb")
    with pytest.raises(Fault, match="control character") as caught:
        scanner(folder)
    assert (caught.value.code, caught.value.to) == ("bad-file-name", repr("a\nb"))


def test_a_name_that_is_not_unicode_is_named(folder: Path) -> None:
    os.close(os.open(os.fsencode(folder) + b"/\xff.txt", os.O_CREAT | os.O_WRONLY))
    with pytest.raises(Fault, match="not valid Unicode"):
        scanner(folder)


@pytest.mark.parametrize("known", [False, True], ids=["full", "update"])
def test_all_that_cannot_be_shipped_is_named_at_once_and_bounded(folder: Path, known: bool) -> None:
    here = scanner(folder) if known else Scanner(Project.open(folder))
    bad = [write(folder / f"data/a\n{number:02}") for number in range(20)]
    (folder / "away").symlink_to("/etc/hostname")
    with pytest.raises(Fault) as caught:
        here.update([*bad, folder / "away"]) if known else here.full()
    told = str(caught.value)
    assert told.count("away") + told.count("data/a") == 9, told
    assert "12 more" in told
    for path in bad:
        path.unlink()
    (folder / "away").unlink()
    assert here.full() == scanner(folder).manifest


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_cannot_be_read_is_named(folder: Path) -> None:
    write(folder / "secret.txt").chmod(0)
    assert refusal(folder).startswith("secret.txt: can't be read: Permission denied")
    (folder / "secret.txt").unlink()
    (folder / "closed").mkdir(mode=0)
    assert refusal(folder).startswith("closed: can't be read: Permission denied")


def test_sockets_pipes_and_devices_are_not_files(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(folder / "socket"))
        assert files(scanner(folder).manifest) == ["main.py"]


# Links


def test_a_link_ships_what_it_points_to(folder: Path) -> None:
    write(folder / "models/v2.bin", "two")
    (folder / "latest.bin").symlink_to("models/v2.bin")
    (folder / "current").symlink_to(folder / "models")
    manifest = scanner(folder).manifest
    assert files(manifest) == ["current/v2.bin", "latest.bin", "main.py", "models/v2.bin"]
    assert len({manifest.get(path) for path in ("current/v2.bin", "latest.bin", "models/v2.bin")}) == 1


@pytest.mark.parametrize(
    "target", ["/etc/hostname", "/etc", "../outside.txt", "../nowhere", "main.py/../../outside.txt"]
)
def test_a_link_that_leaves_the_project_is_refused_with_both_ends(folder: Path, target: str) -> None:
    write(folder.parent / "outside.txt", "x")
    (folder / "inner").mkdir()
    (folder / "inner/link").symlink_to(target if target.startswith("/") else f"../{target}")
    message = refusal(folder)
    assert message.startswith("inner/link: is a symlink to /")
    assert "outside of the project" in message
    assert "exclude it" in message


def test_a_link_that_leaves_is_no_matter_where_it_is_excluded(folder: Path) -> None:
    (folder / "link").symlink_to("/etc")
    write(folder / "pyproject.toml", SETTINGS + 'exclude = ["/link"]\n')
    assert files(scanner(folder).manifest) == ["main.py"]


def test_a_link_that_leads_nowhere_in_the_project_ships_nothing(folder: Path) -> None:
    (folder / "dangling").symlink_to("not-yet.txt")
    (folder / "itself").symlink_to("itself")
    here = scanner(folder)
    assert files(here.manifest) == ["main.py"]
    change = here.update([write(folder / "not-yet.txt", "now")])
    assert sorted(change.edits) == ["dangling", "not-yet.txt"]


def test_links_in_a_circle_end(folder: Path) -> None:
    write(folder / "a/x.py")
    write(folder / "b/y.py")
    (folder / "a/to_b").symlink_to("../b")
    (folder / "b/to_a").symlink_to("../a")
    (folder / "me").symlink_to(".")
    assert files(scanner(folder).manifest) == ["a/to_b/y.py", "a/x.py", "b/to_a/x.py", "b/y.py", "main.py"]


def test_a_change_reaches_the_links_to_it(folder: Path) -> None:
    write(folder / "models/v1.bin", "one")
    v2 = write(folder / "models/v2.bin", "two")
    (folder / "latest.bin").symlink_to("models/v2.bin")
    (folder / "again.bin").symlink_to("latest.bin")
    (folder / "current").symlink_to("models")
    here = scanner(folder)
    assert sorted(here.update([write(v2, "two!")]).edits) == [
        "again.bin", "current/v2.bin", "latest.bin", "models/v2.bin",
    ]  # fmt: skip
    (folder / "latest.bin").unlink()
    (folder / "latest.bin").symlink_to("models/v1.bin")
    assert sorted(here.update([folder / "latest.bin"]).edits) == ["again.bin", "latest.bin"]
    shutil.rmtree(folder / "models")
    assert sorted(here.update([folder / "models"]).edits) == [
        "again.bin", "current/v1.bin", "current/v2.bin", "latest.bin", "models/v1.bin", "models/v2.bin",
    ]  # fmt: skip
    assert agrees(here)


def test_a_link_follows_when_a_folder_above_what_it_points_to_changes(folder: Path) -> None:
    write(folder / "models/deep/v1.bin", "one")
    (folder / "latest.bin").symlink_to("models/deep/v1.bin")
    here = scanner(folder)
    shutil.rmtree(folder / "models")
    assert sorted(here.update([folder / "models"]).edits) == ["latest.bin", "models/deep/v1.bin"]


def test_siblings_ship_under_their_names_by_rules_of_their_own(folder: Path) -> None:
    drivers = folder.parent / "drivers"
    write(drivers / "src/led.py")
    write(drivers / "tests/test_led.py")
    write(drivers / ".gitignore", "*.bin\n")
    write(drivers / "x.bin")
    write(folder / "pyproject.toml", SETTINGS + 'include = ["main.py"]\ndepends = ["../drivers"]\n')
    (folder / "main.py").unlink()
    (folder / "main.py").symlink_to(drivers / "src/led.py")
    here = scanner(folder)
    depends = ".reactor/depends/drivers"
    assert files(here.manifest) == [f"{depends}/.gitignore", f"{depends}/src/led.py", "main.py"]
    change = here.update([write(drivers / "src/led.py", "new")])
    assert sorted(change.edits) == [f"{depends}/src/led.py", "main.py"]
    entry = here.manifest.get(launch.PATH)
    assert entry is not None
    assert launch.Launch.decode(here.content(entry.blake3)).path == (".", f"{depends}/src", depends)


# Updates


def test_an_update_finds_new_changed_and_gone_files(folder: Path) -> None:
    gone = write(folder / "gone.py")
    here = scanner(folder)
    before = here.manifest
    gone.unlink()
    change = here.update([gone, write(folder / "main.py", "changed"), write(folder / "new/er.py", "new")])
    assert {path: entry is not None for path, entry in change.edits.items()} == {
        "gone.py": False, "main.py": True, "new/er.py": True,
    }  # fmt: skip
    assert change.previous is before
    assert change.manifest is here.manifest
    assert change.manifest == before.edit(change.edits)
    assert agrees(here)


def test_a_save_without_a_change_of_content_changes_nothing(folder: Path) -> None:
    here = scanner(folder)
    main = folder / "main.py"
    main.write_bytes(main.read_bytes())
    os.utime(main, (1, 1))
    change = here.update([main])
    assert (change.edits, change.hashed) == ({}, 1)
    assert change.manifest is change.previous


def test_a_run_bit_is_a_change(folder: Path) -> None:
    here = scanner(folder)
    (folder / "main.py").chmod(0o755)
    entry = here.update([folder / "main.py"]).edits["main.py"]
    assert entry is not None
    assert entry.mode == 0o755


def test_paths_that_do_not_ship_change_nothing(folder: Path) -> None:
    write(folder / ".gitignore", "*.log\nout/\n")
    here = scanner(folder)
    paths = ["a.log", "out/x.py", "__pycache__/a.pyc", ".git/index", "tests/test_a.py", ".venv/lib/x.py", "main.py~"]
    change = here.update([*(write(folder / path) for path in paths), folder / "never-was", folder.parent / "else"])
    assert (change.edits, change.hashed) == ({}, 0)


def test_a_folder_that_arrives_brings_its_files_and_one_that_leaves_takes_them(folder: Path) -> None:
    here = scanner(folder)
    outside = folder.parent / "outside"
    write(outside / "deep/a.py")
    write(outside / "b.log")
    write(outside / ".gitignore", "*.log")
    write(outside / "env/pyvenv.cfg")
    write(outside / "env/lib/x.py")
    outside.rename(folder / "inside")
    assert sorted(here.update([folder / "inside"]).edits) == ["inside/.gitignore", "inside/deep/a.py"]
    (folder / "inside").rename(folder / "renamed")
    change = here.update([folder / "inside", folder / "renamed"])
    assert len(change.edits) == 4
    assert files(here.manifest) == ["main.py", "renamed/.gitignore", "renamed/deep/a.py"]
    shutil.rmtree(folder / "renamed")
    assert len(here.update([folder / "renamed"]).edits) == 2
    assert agrees(here)


def test_a_folder_that_takes_the_place_of_another_has_rules_of_its_own(folder: Path) -> None:
    write(folder / "inside/a.log")
    here = scanner(folder)
    write(folder.parent / "outside/.gitignore", "*.log")
    write(folder.parent / "outside/a.log")
    shutil.rmtree(folder / "inside")
    (folder.parent / "outside").rename(folder / "inside")
    assert sorted(here.update([folder / "inside"]).edits) == ["inside/.gitignore", "inside/a.log"]
    assert agrees(here)


def test_a_file_becomes_a_folder_and_the_reverse(folder: Path) -> None:
    thing = write(folder / "thing", "file")
    here = scanner(folder)
    thing.unlink()
    inner = write(thing / "inner.py", "x")
    assert set(here.update([inner]).edits) == {"thing", "thing/inner.py"}  # told of the inner file alone
    shutil.rmtree(thing)
    write(thing, "file again")
    assert set(here.update([thing]).edits) == {"thing", "thing/inner.py"}
    assert agrees(here)


def test_src_is_on_the_path_from_when_it_holds_python(folder: Path) -> None:
    here = scanner(folder)
    change = here.update([write(folder / "src/app.py")])
    assert sorted(change.edits) == [launch.PATH, "src/app.py"]
    (folder / "src/app.py").unlink()
    assert sorted(here.update([folder / "src/app.py"]).edits) == [launch.PATH, "src/app.py"]
    assert agrees(here)


def test_changed_ignore_files_change_what_ships(folder: Path) -> None:
    write(folder / "data/a.bin")
    here = scanner(folder)
    change = here.update([write(folder / "data/.gitignore", "*.bin\n")])
    assert change.settings_changed
    assert sorted(change.edits) == ["data/.gitignore", "data/a.bin"]
    (folder / "data/.gitignore").unlink()
    change = here.update([folder / "data/.gitignore"])
    assert change.settings_changed
    assert files(here.manifest) == ["data/a.bin", "main.py"]


def test_a_virtual_environment_made_in_the_project_stays_out_of_it(folder: Path) -> None:
    here = scanner(folder)
    write(folder / "env/lib/x.py")
    assert list(here.update([folder / "env"]).edits) == ["env/lib/x.py"]
    change = here.update([write(folder / "env/pyvenv.cfg")])
    assert list(change.edits) == ["env/lib/x.py"]
    assert change.settings_changed


def test_changed_settings_count_at_once(folder: Path) -> None:
    write(folder / "extra.py")
    here = scanner(folder)
    settings = write(folder / "pyproject.toml", SETTINGS + 'include = ["*.toml", "main.py"]\nsettle_s = 3\n')
    change = here.update([settings])
    assert change.settings_changed
    assert sorted(change.edits) == [launch.PATH, "extra.py", "pyproject.toml"]
    assert here.project.settings.main.settle_s == 3
    change = here.update([write(settings, settings.read_text() + "# a comment\n")])
    assert not change.settings_changed
    assert list(change.edits) == ["pyproject.toml"]
    assert change.hashed == 1


def test_wrong_settings_change_nothing_and_are_looked_at_again(folder: Path) -> None:
    here = scanner(folder)
    before, project = here.manifest, here.project
    settings, main = write(folder / "pyproject.toml", SETTINGS + "settle_s = 'x'\n"), write(folder / "main.py", "new")
    with pytest.raises(BadSettings):
        here.update([settings, main])
    assert here.manifest is before
    assert here.project is project
    write(settings, SETTINGS)
    assert list(here.update([settings]).edits) == ["main.py"]


def test_what_an_update_failed_on_is_owed_to_the_next_one(folder: Path) -> None:
    here = scanner(folder)
    (folder / "link").symlink_to("/etc")
    with pytest.raises(Fault, match="outside of the project"):
        here.update([folder / "link", write(folder / "main.py", "new")])
    with pytest.raises(Fault, match="outside of the project"):
        here.update([write(folder / "other.py")])
    (folder / "link").unlink()
    assert sorted(here.update([folder / "link"]).edits) == ["main.py", "other.py"]


def test_a_rescan_that_failed_is_owed_to_the_next_update(folder: Path) -> None:
    here = scanner(folder)
    (folder / "link").symlink_to("/etc")
    write(folder / "untold.py")
    with pytest.raises(Fault, match="outside of the project"):
        here.rescan()
    (folder / "link").unlink()
    assert list(here.update([folder / "link"]).edits) == ["untold.py"]


def test_random_changes_lead_where_a_fresh_scan_leads(folder: Path) -> None:
    chance = random.Random(7)
    names = ["a", "b.py", "c", "src", "d.txt", ".gitignore", "link"]
    here = scanner(folder)
    for _ in range(60):
        touched: set[Path] = set()
        for _ in range(chance.randint(1, 4)):
            path = folder.joinpath(*chance.choices(names[:5], k=chance.randint(0, 2)), chance.choice(names))
            if any(parent.is_symlink() or parent.is_file() for parent in path.parents):
                continue
            touched.add(path)
            if path.is_symlink() or path.is_file():
                path.unlink()
            elif path.is_dir() and chance.random() < 0.5:
                shutil.rmtree(path)
            elif path.is_dir():
                other = path.with_name(chance.choice(names[:5]))
                if not other.exists() and not other.is_symlink():
                    path.rename(other)
                    touched.add(other)
            elif path.name == "link":
                path.parent.mkdir(parents=True, exist_ok=True)
                path.symlink_to(folder / chance.choice(names[:5]))
            else:
                write(path, chance.choice(["x", "*.txt\n", "a/\n", "!d.txt\n"]))
        here.update(touched)
        assert agrees(here), touched


# What it costs


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("large") / "project"
    write(folder / "pyproject.toml", SETTINGS)
    for number in range(10_000):
        write(folder / f"src/p{number // 10}/m{number}.py", f"X = {number}\n")
    for file in folder.rglob("*.py"):
        os.utime(file, (1, 1))
    yield folder
    shutil.rmtree(folder)


class Reads:
    """Counts what the interpreter opens and lists, by its own audit events."""

    def __init__(self) -> None:
        self.opened: list[str] = []
        self.listed: list[str] = []
        self._on = True
        sys.addaudithook(self._hook)  # for the life of the process, so it can be told to be still

    def _hook(self, event: str, arguments: tuple[object, ...]) -> None:
        if self._on and event in ("open", "os.scandir", "os.listdir"):
            (self.opened if event == "open" else self.listed).append(str(arguments[0]))

    def stop(self) -> None:
        self._on = False


def test_an_update_of_one_file_in_ten_thousand_opens_that_file_alone(large: Path) -> None:
    here = scanner(large)
    file = write(large / "src/p7/m70.py", "X = 'changed'\n")
    reads = Reads()
    change = here.update([file])
    reads.stop()
    assert list(change.edits) == ["src/p7/m70.py"]
    assert change.hashed == 1
    assert reads.opened == [str(file)]
    assert reads.listed == []


def test_a_new_file_in_ten_thousand_is_opened_alone(large: Path) -> None:
    here = scanner(large)
    file = write(large / "src/p7/new.py", "X = 1\n")
    reads = Reads()
    assert list(here.update([file]).edits) == ["src/p7/new.py"]
    file.unlink()
    assert list(here.update([file]).edits) == ["src/p7/new.py"]
    reads.stop()
    assert reads.opened == [str(file)]
    assert reads.listed == []


def test_a_rescan_reads_again_what_changed_and_no_more(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "RACY_NS", 0)  # or what was just written would be read again, whatever its times
    here = scanner(large)
    before = here.manifest
    assert here.rescan().hashed == 0
    write(large / "src/p7/m70.py", "X = 'again'\n")
    change = here.rescan()
    assert (list(change.edits), change.hashed) == (["src/p7/m70.py"], 1)
    assert not change.settings_changed
    assert change.previous == before


def test_a_file_whose_times_were_set_back_is_read_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "RACY_NS", 0)
    main = write(folder / "main.py", "one")
    here = scanner(folder)
    status = main.stat()
    write(main, "two")
    os.utime(main, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert list(here.rescan().edits) == ["main.py"]


def test_a_file_that_was_fresh_when_it_was_read_is_not_trusted_by_its_times(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan, "RACY_NS", 0)
    os.utime(folder / "main.py", (2**33, 2**33))  # fresh for a long time
    here = scanner(folder)
    assert here.rescan().hashed == 1
    os.utime(folder / "main.py", (1, 1))
    assert here.rescan().hashed == 1
    assert here.rescan().hashed == 0


# Content


def test_content_is_what_was_hashed_and_the_former_is_kept_for_a_delta(folder: Path) -> None:
    text = "".join(f"line {number}\n" for number in range(1000))
    main = write(folder / "main.py", text)
    here = scanner(folder)
    old = here.manifest.get("main.py")
    change = here.update([write(main, text.replace("line 500", "line five hundred"))])
    new = change.edits["main.py"]
    assert old is not None
    assert new is not None
    write(main, "changed again, and not told of yet")
    base, content = here.kept(old.blake3), here.content(new.blake3)
    assert base == text.encode()
    assert b"line five hundred" in content
    made = delta.make(base, content)
    assert made is not None
    assert made.apply(base) == content
    assert len(made.middle) < 20


def test_content_that_changed_since_is_not_given(folder: Path) -> None:
    content = bytes(scan.KEPT_FILE_BYTES + 1)
    model = write(folder / "model.bin", content)
    here = scanner(folder)
    entry = here.manifest.get("model.bin")
    assert entry is not None
    write(model, b"1" + content[1:])
    with pytest.raises(FileChanged) as caught:
        here.content(entry.blake3)
    assert caught.value.fields["file"] == "model.bin"
    model.unlink()
    with pytest.raises(FileChanged):
        here.content(entry.blake3)
    write(folder / "copy.bin", content)
    here.update([folder / "copy.bin"])
    write(model, b"1")
    assert here.content(entry.blake3) == content  # from where it still is


def test_what_is_kept_is_bounded_and_the_oldest_goes_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "KEPT_BYTES", 100_000)
    here = scanner(folder)
    blobs = []
    for number in range(20):
        entry = here.update([write(folder / "main.py", bytes([number]) * 9_000)]).edits["main.py"]
        assert entry is not None
        blobs.append(entry.blake3)
    kept = [here.kept(blob) is not None for blob in blobs]
    assert kept == [False] * (20 - sum(kept)) + [True] * sum(kept)
    assert 9 <= sum(kept) <= 11


def test_a_scan_starts_from_nothing(folder: Path) -> None:
    here = Scanner(Project.open(folder))
    assert here.manifest == EMPTY
    change = here.rescan()
    assert isinstance(change, Change)
    assert change.edits == EMPTY.edits_to(here.manifest)
