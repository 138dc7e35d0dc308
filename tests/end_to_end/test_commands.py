"""Each command, as a script or a person uses it: what it does, what it says, and how it ends."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from .conftest import WAIT_S, Bench, Running, benched, save, until
from .documented import events

SETTINGS = 'entry = "main:main"\nsettle_s = 0.1\ngrace_s = 0.5'
LOOP = """\
import time

def main():
    print("version 1", flush=True)
    while True:
        time.sleep(0.05)
"""
ONCE_THEN_LONG = """\
import time
from pathlib import Path

def main():
    if Path({flag!r}).exists():
        print("stays", flush=True)
        time.sleep(600)
"""
"""Healthy at once, as it ends; where the flag is there, not before its settle time is over."""


def only(told: list[dict[str, Any]], event: str) -> list[dict[str, Any]]:
    return [one for one in told if one["event"] == event]


# push


def test_a_push_is_done_when_the_program_is_healthy_and_leaves_nothing_running(bench: Bench) -> None:
    project = bench.project({"main.py": LOOP}, SETTINGS)
    code, told = bench.run("push", str(project))
    assert code == 0
    (result,) = only(told, "result")
    assert (result["healthy"], result["reason"], result["generation"]) == (True, "first start", 1)
    assert result["files"] == ["main.py", "pyproject.toml"]
    assert only(told, "log")[0]["text"] == "version 1"
    until(lambda: not bench.processes())

    code, again = bench.run("push", str(project))
    assert code == 0
    (result,) = only(again, "result")
    assert (result["healthy"], result["reason"], result["generation"]) == (True, "started", 1)


@pytest.mark.parametrize(
    ("files", "settings", "code"),
    [
        ({"main.py": "def main(:\n"}, SETTINGS, "syntax-error"),
        ({"main.py": "import nothing_of_that_name\n"}, SETTINGS, "application-died"),
        ({"main.py": "def other(): pass\n"}, SETTINGS, "application-died"),
        ({"main.py": "import time\ndef main():\n    time.sleep(0.2)\n    1 / 0\n"}, 'entry = "main:main"', ""),
        ({"main.py": "import os\ndef main():\n    os.kill(os.getpid(), 11)\n"}, SETTINGS, None),
        ({"main.py": LOOP}, 'entry = "main:main"\nsetle_s = 1', "bad-settings"),
        ({"main.py": LOOP}, "", "bad-settings"),
        ({}, 'entry = "main.py"', "bad-settings"),
    ],
    ids=[
        "syntax",
        "import",
        "no-entry",
        "before-it-settles",
        "segfault",
        "unknown-key",
        "no-entry-key",
        "file-as-entry",
    ],
)
def test_a_push_that_does_not_become_healthy_says_why_and_fails(
    bench: Bench, files: dict[str, str], settings: str, code: str | None
) -> None:
    project = bench.project(files, settings)
    status, told = bench.run("push", str(project))
    assert status == 1
    assert [result["healthy"] for result in only(told, "result")] == [False] * (code != "bad-settings")
    codes = [problem["code"] for problem in only(told, "problem")]
    assert codes == ([] if code is None else [code or "application-died"])
    if code is None:
        assert "SIGSEGV" in only(told, "result")[0]["reason"]


def test_an_entry_that_is_not_among_the_files_is_told_in_one_line(bench: Bench) -> None:
    project = bench.project({"main.py": LOOP}, SETTINGS.replace("main:", "man:"))
    people = bench.plain("push", str(project))
    assert people.returncode == 1
    told = people.stdout.splitlines()[1:]
    assert told == [
        "✗ ModuleNotFoundError: No module named 'man'",
        "  → 'man' is of an 'entry' in the settings, and not among the files that are shipped",
        "  app failed (exited with status 1)",
        "  app starts again in 0.1 s",
        told[-1],
    ]


def test_a_save_that_the_next_one_replaces_is_no_failure_on_the_screen(bench: Bench) -> None:
    project = bench.project({"main.py": LOOP}, SETTINGS.replace("0.1", "600"))
    dev = bench.start("dev", str(project))
    dev.wait("log", text="version 1")
    save(project / "main.py", LOOP.replace("version 1", "version 2"))
    result = dev.wait("result")
    assert (result["healthy"], result["replaced"], result["generation"]) == (False, True, 1)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("~", "home directory"),
        ("/", "root of a file system"),
        ("empty", "has no pyproject.toml"),
        ("missing", "does not exist"),
        ("empty/file", "is not a folder"),
    ],
)
@pytest.mark.parametrize("command", ["dev", "push"])
def test_what_is_no_project_is_refused(bench: Bench, command: str, path: str, words: str) -> None:
    (bench.folder / "empty").mkdir()
    (bench.folder / "empty" / "file").touch()
    home = str(bench.folder / "empty" / ".." / "user")
    (bench.folder / "user").mkdir()
    (bench.folder / "user" / "pyproject.toml").write_text('[tool.reactor]\nentry = "main"\n')
    code, told = bench.run(command, path, env={"HOME": home})
    assert code == 1
    assert [one["code"] for one in told] == ["not-a-project"]
    assert words in told[0]["message"]


# a dev that runs, and three generations: healthy, healthy, failed


class Lived(NamedTuple):
    bench: Bench
    project: Path
    dev: Running


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lived]:
    with benched(tmp_path_factory.mktemp("lived")) as bench:
        project = bench.project({"main.py": LOOP}, SETTINGS)
        dev = bench.dev(project)
        dev.wait("result", healthy=True)
        save(project / "main.py", LOOP.replace("    while", '    print("word " * 3, flush=True)\n    while'))
        dev.wait("result", healthy=True, generation=2)
        save(project / "main.py", LOOP.replace("    while", "    1 / 0\n    while"))
        dev.wait("result", healthy=False, generation=3)
        yield Lived(bench, project, dev)
        assert dev.end() == 0


def test_status_tells_what_runs_and_what_does_not(lived: Lived) -> None:
    code, told = lived.bench.run("status", "--path", str(lived.project))
    assert code == 0
    (status,) = told
    assert status["running"]
    assert status["generation"]["generation"] == 3
    assert status["generation"]["fate"] == "failed"
    of_any = {"event", "target", "at", "target_at", "host_at", "boot"}
    assert status["generation"].keys() == events()["generation"].keys() - of_any - {"live"}
    (app,) = status["applications"]
    assert (app["application"], app["state"], app["pid"]) == ("app", "failed", None)
    keys = {"application", "state", "why", "pid", "generation", "init", "after", "waits_for", "waited_ms", "ready"}
    uses = {"cpu_percent", "rss_bytes", "processes_count", "threads_count"}
    assert app.keys() - uses == keys | {"ready_ms", "late", "deaths", "restart_in_s", "up_s", "imports"}
    assert {app[key] for key in uses} == {None}, "it does not run"
    assert status["device"]["memory_bytes"] > status["device"]["memory_available_bytes"] > 0
    assert status["warm"].keys() == {"ready", "modules_count"}
    people = lived.bench.plain("status", "--path", str(lived.project)).stdout
    assert people.startswith("local: generation 3 (failed), root ")
    assert "exited with status 1" in people


def test_status_tells_how_the_start_went_and_who_waits_for_whom(bench: Bench) -> None:
    applications = """
        [tool.reactor.applications.net]
        entry = "main:main"
        init = true
        ready = "notify"
        ready_s = 600
        [tool.reactor.applications.dns]
        entry = "main:fails"
        init = true
    """
    source = LOOP + "def fails(): raise SystemExit('no such device')\n"
    project = bench.project({"main.py": source}, SETTINGS + applications)
    dev = bench.start("dev", str(project))
    dev.wait("death", application="dns", next="hold")
    _, (status,) = bench.run("status", cwd=project)
    assert status["attached"]
    rows = {one["application"]: one for one in status["applications"]}
    assert list(rows) == ["net", "dns", "app"]
    assert (rows["app"]["after"], rows["app"]["waits_for"]) == (["net", "dns"], ["net"])
    assert (rows["dns"]["deaths"], rows["dns"]["restart_in_s"]) == (1, None)
    lines = bench.plain("status", cwd=project).stdout.splitlines()
    (head,) = (line.split() for line in lines if "application" in line)
    assert head == ["application", "state", "pid", "up", "cpu", "memory", "start", "why"]
    (row,) = (line.split() for line in lines if " stopped " in line)
    assert row == ["app", "stopped", "-", "-", "-", "-", "waits", "for", "net"]
    assert dev.end() == 0


def test_history_tells_the_generations_newest_first(lived: Lived) -> None:
    code, told = lived.bench.run("history", cwd=lived.project)
    assert code == 0
    newest, *_, oldest = told
    assert [one["generation"] for one in told][-3:] == [3, 2, 1]
    assert [one["fate"] for one in told][-3:] == ["failed", "healthy", "healthy"]
    assert (oldest["reason"], oldest["files_count"], oldest["was_healthy"]) == ("first start", 3, True)
    assert [one["live"] for one in told] == [True] + [False] * (len(told) - 1)

    code, told = lived.bench.run("history", "-n", "1", cwd=lived.project)
    assert [one["generation"] for one in told] == [newest["generation"]]
    header, *rows = lived.bench.plain("history", cwd=lived.project).stdout.splitlines()
    assert header.split() == ["generation", "when", "fate", "root", "who", "why"]
    assert "app exited with status 1" in rows[-3]


def test_logs_shows_as_many_lines_as_were_asked_for_and_what_happened_between(lived: Lived) -> None:
    code, told = lived.bench.run("logs", "--path", str(lived.project))
    assert code == 0
    texts = [one["text"] for one in only(told, "log")]
    assert texts[:4] == ["version 1", "version 1", "word word word ", "version 1"]
    assert str(lived.project / "main.py") in only(told, "problem")[0]["traceback"]
    assert "failed" in [one["state"] for one in only(told, "state")]

    code, told = lived.bench.run("logs", "--path", str(lived.project), "-n", "2")
    assert [one["text"] for one in only(told, "log")] == texts[-2:]


def test_logs_follows_until_ctrl_c(lived: Lived) -> None:
    following = lived.bench.start("logs", "--follow", "-n", "1", "--path", str(lived.project))
    following.wait("log")
    mark = lived.dev.mark()
    text = LOOP.replace("version 1", "said while followed")
    save(lived.project / "main.py", text)
    following.wait("log", text="said while followed")
    assert lived.dev.wait("result", since=mark)["healthy"]
    assert following.end() == 0
    assert not following.noise


def test_a_push_beside_a_running_dev_uses_its_target(lived: Lived) -> None:
    mark, pid = lived.dev.mark(), lived.bench.bootloader()
    save(lived.project / "main.py", LOOP.replace("version 1", "pushed beside"))
    assert lived.dev.wait("result", since=mark)["healthy"]
    code, told = lived.bench.run("push", str(lived.project))
    assert (code, told[-1]["code"]) == (1, "leased")
    code, told = lived.bench.run("push", str(lived.project), "--take")
    assert code == 0
    (result,) = only(told, "result")
    assert (result["rung"], result["healthy"]) == ("none", True)
    assert lived.bench.bootloader() == pid
    assert lived.dev.process.poll() is None


def test_a_restart_beside_a_running_dev_starts_the_same_generation_again(lived: Lived) -> None:
    mark = lived.dev.mark()
    save(lived.project / "main.py", LOOP.replace("version 1", "to be restarted"))
    assert lived.dev.wait("result", since=mark)["healthy"]
    code, told = lived.bench.run("restart", "--path", str(lived.project), "--take")
    assert code == 0
    (result,) = only(told, "result")
    assert (result["rung"], result["reason"], result["healthy"]) == ("restart", "asked to", True)
    assert [one["state"] for one in only(told, "state")][:3] == ["stopping", "stopped", "starting"]
    _, history = lived.bench.run("history", "--path", str(lived.project))
    assert (history[0]["generation"], history[0]["live"]) == (result["generation"], True)


def test_a_rollback_beside_a_running_dev_is_told_there_and_the_next_save_takes_its_place(lived: Lived) -> None:
    mark = lived.dev.mark()
    code, told = lived.bench.run("rollback", "1", "--path", str(lived.project), "--take")
    assert code == 0
    (result,) = only(told, "result")
    assert (result["rung"], result["healthy"], result["files"]) == ("rollback", True, [])
    assert result["reason"].startswith("to generation 1: asked to, from generation ")
    notice = lived.dev.wait("notice", since=mark, code="changed-elsewhere")
    assert "rollback" in notice["text"]

    mark = lived.dev.mark()
    save(lived.project / "main.py", LOOP.replace("version 1", "after the rollback"))
    lived.dev.wait("log", since=mark, text="after the rollback")
    assert lived.dev.wait("result", since=mark)["healthy"]


@pytest.mark.parametrize(("number", "words"), [("999", "no such generation"), ("3", "exited with status 1")])
def test_a_rollback_that_does_not_get_there_fails_and_says_why(lived: Lived, number: str, words: str) -> None:
    code, told = lived.bench.run("rollback", number, "--path", str(lived.project), "--take")
    assert code == 1
    last = told[-1]
    assert words in last.get("message", "") + last.get("reason", "")
    assert last["event"] == ("problem" if number == "999" else "result")


# without a dev


def test_a_target_that_never_ran_says_so(bench: Bench) -> None:
    project = bench.project({"main.py": LOOP}, SETTINGS)
    code, (status,) = bench.run("status", cwd=project)
    assert (code, status["running"], status["generation"], status["applications"]) == (0, False, None, [])
    assert "nothing pushed yet" in bench.plain("history", cwd=project).stdout
    code, told = bench.run("rollback", cwd=project)
    assert (code, told[0]["code"]) == (1, "no-generation")
    for more in ((), ("--follow",)):
        code, told = bench.run("logs", *more, cwd=project)
        assert (code, told[0]["code"]) == (1, "not-running")


def test_rollback_goes_to_the_last_other_healthy_generation_and_the_push_after_it_forward_again(bench: Bench) -> None:
    project = bench.project({"main.py": LOOP}, SETTINGS)
    assert bench.run("push", str(project))[0] == 0
    save(project / "main.py", LOOP.replace("version 1", "version 2"))
    assert bench.run("push", str(project))[0] == 0

    code, told = bench.run("rollback", cwd=project)
    assert code == 0
    assert "version 1" in [one["text"] for one in only(told, "log")]
    _, told = bench.run("history", cwd=project)
    assert [(one["generation"], one["live"]) for one in told] == [(3, True), (2, False), (1, False)]
    code, told = bench.run("push", str(project))
    assert code == 0
    assert only(told, "result")[0]["files"] == ["main.py"]
    assert "version 2" in [one["text"] for one in only(told, "log")]


def test_a_new_project_runs_and_nothing_is_overwritten(bench: Bench) -> None:
    code, told = bench.run("new", "porch-light")
    assert code == 0
    paths = [one["path"] for one in told]
    assert "porch-light/pyproject.toml" in paths
    assert all((bench.folder / path).is_file() for path in paths)
    assert bench.run("push", "porch-light")[0] == 0

    code, (problem,) = bench.run("new", "porch-light")
    assert (code, problem["code"]) == (1, "folder-in-use")
    code, (problem,) = bench.run("new", "Porch Light")
    assert (code, problem["code"]) == (1, "bad-name")
    assert "'porch-light'" in problem["message"]


def test_a_home_that_cannot_be_written_is_one_line(bench: Bench) -> None:
    bench.home.touch()
    project = bench.project({"main.py": LOOP}, SETTINGS)
    for command in (
        ("status", "--path", str(project)),
        ("push", str(project)),
        ("trust", "make", "x", "--name", "x", "--address", "x"),
    ):
        code, (problem,) = bench.run(*command)
        assert (code, problem["code"]) == (1, "not-written")


# how commands end


def test_ctrl_c_ends_a_command_that_waits_with_130_and_all_that_it_started(bench: Bench) -> None:
    flag = bench.folder / "flag"
    settings = SETTINGS.replace("0.1", "600")
    project = bench.project({"main.py": ONCE_THEN_LONG.format(flag=str(flag))}, settings)
    assert bench.run("push", str(project))[0] == 0
    save(project / "other.txt", "two")
    assert bench.run("push", str(project))[0] == 0
    flag.touch()
    save(project / "other.txt", "three")
    for command in (["push", str(project)], ["rollback", "1", "--path", str(project)]):
        running = bench.start(*command)
        running.wait("log", text="stays")
        assert running.end() == 130
        assert not running.noise
        until(lambda: not bench.processes())


def test_sigterm_ends_dev_as_ctrl_c_does(bench: Bench) -> None:
    dev = bench.dev(bench.project({"main.py": LOOP}, SETTINGS))
    assert dev.end(signal.SIGTERM) == 0
    assert not dev.noise
    until(lambda: not bench.processes())


def first_line(bench: Bench, *arguments: str) -> tuple[int, str, str]:
    """Read one line and no more, as ``| head -1`` does: exit code, that line, and what was said on standard error."""
    process = subprocess.Popen(
        [sys.executable, "-m", "reactor", *arguments],
        env=bench.env,
        cwd=bench.folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    with process, process.stdout as out, process.stderr as err:
        assert select.select([out], [], [], WAIT_S)[0]
        line = b""
        while not line.endswith(b"\n"):
            line += os.read(out.fileno(), 1)
        out.close()
        try:
            code = process.wait(WAIT_S)
        finally:
            process.kill()
        return code, line.decode(), err.read().decode()


@pytest.mark.parametrize("more", [[], ["--json"]], ids=["people", "json"])
def test_a_reader_that_goes_away_ends_the_command_quietly(bench: Bench, more: list[str]) -> None:
    chatty = LOOP.replace("        time", '        print("tick", flush=True)\n        time')
    project = bench.project({"main.py": chatty}, SETTINGS)
    for command in (["push", str(project)], ["dev", str(project)]):
        code, line, complaint = first_line(bench, *command, *more)
        assert (code, complaint) == (1, "")
        assert line
        until(lambda: not bench.processes())
    code, line, complaint = first_line(bench, "history", "--path", str(project), *more)
    assert complaint == ""
    assert line


# the command line


WRONG: tuple[list[str], ...] = (
    [],
    ["frobnicate"],
    ["push", "--frobnicate"],
    ["trust", "x"],
    ["trust", "make", "x"],
    ["rollback", "two"],
    ["logs", "-n", "-1"],
)
RIGHT = (["--help"], ["--version"], ["push", "--help"])


def test_wrong_use_exits_2_help_and_version_0(bench: Bench) -> None:
    for words in WRONG:
        done = bench.plain(*words)
        assert (done.returncode, done.stdout) == (2, ""), words
        assert done.stderr.startswith("usage: reactor"), words
    for words in RIGHT:
        done = bench.plain(*words)
        assert (done.returncode, done.stderr) == (0, ""), words
        assert done.stdout, words


def test_a_command_without_a_prompt_does_not_wait_for_one(bench: Bench) -> None:
    told = bench.plain("trust", "list", env={"PYTHONPROFILEIMPORTTIME": "1"}).stderr
    assert "| reactor.cli.ask\n" in told  # those that are imported by name are not told
    assert "prompt_toolkit" not in told


def test_lines_for_people_have_no_colour_in_a_pipe_and_json_is_plain_ascii(bench: Bench) -> None:
    project = bench.project({"main.py": 'print("süß \\x1b[31mred")\n'}, SETTINGS.replace("main:main", "main"))
    people = bench.plain("push", str(project), env={"PYTHONIOENCODING": "ascii:strict"})
    assert people.returncode == 0
    assert "\x1b" not in people.stdout
    assert "app ? s?? red\n" in people.stdout
    machine = bench.plain("push", str(project), "--json", env={"LC_ALL": "C"})
    assert machine.stdout.isascii()
    assert "süß red" in [json.loads(line).get("text") for line in machine.stdout.splitlines()]
