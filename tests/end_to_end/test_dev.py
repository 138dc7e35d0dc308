"""``reactor dev``: from a save to the running program, and every way in which that goes wrong."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

from .conftest import Bench, save, until

COUNTER = """\
import time

def main():
    print("version 1", flush=True)
    while True:
        time.sleep(0.05)
"""


def test_a_saved_edit_becomes_the_running_program(bench: Bench) -> None:
    project = bench.project({"main.py": COUNTER})
    dev = bench.dev(project)
    dev.wait("log", text="version 1")
    dev.wait("result", healthy=True)
    mark = dev.mark()

    save(project / "main.py", COUNTER.replace("version 1", "version 2"))

    dev.wait("log", since=mark, text="version 2")
    result = dev.wait("result", since=mark)
    assert result["healthy"]
    assert result["rung"] == "restart"
    assert result["files"] == ["main.py"]
    assert result["save_to_running_ms"] > 0
    assert {"watch", "hash", "diff", "ship", "store", "check", "stop", "switch", "start"} <= result["stages_ms"].keys()


def test_a_saved_edit_of_a_function_is_taken_in_place_with_the_state_that_there_was(bench: Bench) -> None:
    source = """\
import time

count = 0

def step():
    print("one", count, flush=True)

def main():
    global count
    while True:
        count += 1
        step()
        time.sleep(0.02)
"""
    project = bench.project({"main.py": source}, 'entry = "main:main"\nreload = "auto"')
    dev = bench.dev(project)
    dev.wait("result", healthy=True)
    mark = dev.mark()
    save(project / "main.py", source.replace('"one"', '"two"'))
    result = dev.wait("result", since=mark)
    assert (result["rung"], result["reason"], result["healthy"]) == ("patch", "main.step", True)
    assert (result["patched"], result["old"]) == (["main.step"], [])
    assert {"prepare", "switch", "patch"} <= result["stages_ms"].keys()
    until(lambda: any(text.startswith("two") for text in dev.texts()))
    assert "two 1" not in dev.texts(), "it began anew"

    mark = dev.mark()
    save(project / "main.py", source.replace("count = 0", "count = print('anew') or 0"))
    result = dev.wait("result", since=mark)
    assert result["rung"] == "restart"
    assert "`main.py:3`" in result["reason"]


def test_a_save_that_may_only_be_patched_and_fails_on_its_way_is_held(bench: Bench) -> None:
    source = "import time\n\ndef step():\n    print('one', flush=True)\n\n"
    source += "def main():\n    while True:\n        step()\n        time.sleep(0.02)\n"
    project = bench.project({"main.py": source}, 'entry = "main:main"\nreload = "patch"')
    dev = bench.dev(project)
    dev.wait("result", healthy=True)
    mark = dev.mark()
    save(project / "main.py", "import nowhere_at_all\n" + source)
    result = dev.wait("result", since=mark)
    assert (result["rung"], result["healthy"]) == ("hold", False)
    assert "No module named 'nowhere_at_all'; what runs goes on, and is not to restart" in result["reason"]
    mark = dev.mark()
    dev.wait("log", since=mark, text="one")


def test_the_blinky_example_blinks_otherwise_after_an_edit(bench: Bench) -> None:
    project = bench.example("blinky")
    dev = bench.dev(project)
    dev.wait("result", healthy=True)
    sources = [path for path in project.rglob("*.py") if "BLINK_S" in path.read_text()]
    mark = dev.mark()

    for path in sources:
        save(path, path.read_text() + '\nprint("edited", flush=True)\n')

    dev.wait("log", since=mark, text="edited")
    assert dev.wait("result", since=mark)["healthy"]
    assert dev.end() == 0


def test_an_edit_of_a_sibling_library_and_of_an_asset_reach_the_program(bench: Bench) -> None:
    project = bench.example("thermo", "sensorkit")
    dev = bench.dev(project)
    dev.wait("result", healthy=True)
    library = next((bench.folder / "sensorkit").rglob("sensorkit/__init__.py"))
    mark = dev.mark()
    save(library, library.read_text() + '\nprint("sibling edited", flush=True)\n')
    dev.wait("log", since=mark, text="sibling edited")
    assert dev.wait("result", since=mark)["files"] == [os.path.relpath(library, project)]
    handed = dev.wait("handover", since=mark, step="take")
    assert (handed["outcome"], handed["entry"]) == ("done", "thermo.main:take")

    asset = next(path for path in project.rglob("*") if path.suffix in (".csv", ".json"))
    mark = dev.mark()
    save(asset, asset.read_text() + "\n")
    result = dev.wait("result", since=mark)
    assert (result["healthy"], result["rung"]) == (True, "patch")
    assert result["reason"] == "`thermo.main:recalibrated` was told of `src/thermo/calibration.csv`"


def test_a_file_that_does_not_compile_is_held_and_what_ran_goes_on(bench: Bench) -> None:
    project = bench.project({"main.py": COUNTER + "        print('tick', flush=True)\n"})
    dev = bench.dev(project)
    dev.wait("result", healthy=True)
    mark = dev.mark()

    save(project / "main.py", "def main(:\n    pass\n")

    problem = dev.wait("problem", since=mark)
    assert (problem["code"], problem["file"], problem["line"]) == ("syntax-error", "main.py", 1)
    assert problem["text"] == "def main(:"
    assert problem["column"] == 10
    result = dev.wait("result", since=mark)
    assert (result["rung"], result["healthy"]) == ("hold", False)
    mark = dev.mark()
    dev.wait("log", since=mark, text="tick")
    assert not [one for one in dev.events[mark:] if one["event"] == "state"]

    save(project / "main.py", COUNTER.replace("version 1", "version 3"))
    dev.wait("log", since=mark, text="version 3")


def test_taking_a_broken_edit_back_says_that_all_is_well(bench: Bench) -> None:
    project = bench.project({"main.py": COUNTER})
    dev = bench.dev(project)
    dev.wait("result", healthy=True)
    save(project / "main.py", "def main(:\n")
    dev.wait("result", rung="hold")
    mark = dev.mark()

    save(project / "main.py", COUNTER)

    result = dev.wait("result", since=mark)
    assert (result["healthy"], result["rung"], result["files"]) == (True, "none", ["main.py"])


def test_an_application_that_dies_at_start_is_told_with_its_traceback_and_the_next_save_mends_it(bench: Bench) -> None:
    main = "import part\n" + COUNTER.replace("    while", "    part.work()\n    while")
    project = bench.project({"main.py": main, "part.py": "def work():\n    return 1 / 1\n"})
    dev = bench.dev(project)
    dev.wait("result", healthy=True)
    mark = dev.mark()

    save(project / "part.py", "def work():\n    return 1 / 0\n")

    problem = dev.wait("problem", since=mark, file="part.py")
    assert problem["line"] == 2
    assert "ZeroDivisionError" in problem["message"]
    assert f'File "{project / "part.py"}", line 2' in problem["traceback"]
    assert str(bench.home) not in problem["traceback"]
    assert dev.wait("result", since=mark, healthy=False)["rung"] == "restart"
    dev.wait("state", since=mark, state="failed")

    mark = dev.mark()
    save(project / "part.py", "def work():\n    return 2\n")
    assert dev.wait("result", since=mark)["healthy"]


def test_a_save_that_changes_no_content_ships_nothing(bench: Bench) -> None:
    project = bench.project({"main.py": COUNTER})
    dev = bench.dev(project)
    dev.wait("result", healthy=True)
    mark = dev.mark()

    save(project / "main.py", COUNTER)
    os.utime(project / "main.py")
    save(project / "other.py", "x = 1\n")

    result = dev.wait("result", since=mark)
    assert result["files"] == ["other.py"]


def test_files_come_and_go_and_move(bench: Bench) -> None:
    show = """\
from pathlib import Path
import time

def main():
    here = Path(__file__).parent
    names = sorted(p.relative_to(here).as_posix() for p in here.rglob("*") if p.suffix == ".dat")
    print("sees", *names, flush=True)
    while True:
        time.sleep(0.05)
"""
    project = bench.project({"main.py": show, "a.dat": "1", "deep/b.dat": "2"})
    dev = bench.dev(project)
    dev.wait("log", text="sees a.dat deep/b.dat")
    (project / "a.dat").rename(project / "c.dat")
    dev.wait("log", text="sees c.dat deep/b.dat")
    (project / "deep" / "b.dat").unlink()
    (project / "deep").rmdir()
    dev.wait("log", text="sees c.dat")
    save(project / "deep", "now a file")
    mark = dev.mark()
    dev.wait("result", files=["deep"])
    (project / "deep").unlink()
    save(project / "deep" / "é ü.dat", "")
    dev.wait("log", since=mark, text="sees c.dat deep/é ü.dat")


def test_a_runnable_helper_and_a_large_asset_ride_along(bench: Bench) -> None:
    show = """\
import hashlib, subprocess, time
from pathlib import Path

def main():
    here = Path(__file__).parent
    print("helper says", subprocess.check_output([here / "bin" / "helper"], text=True).strip(), flush=True)
    print("model", hashlib.sha256((here / "model.bin").read_bytes()).hexdigest()[:16], flush=True)
    while True:
        time.sleep(0.05)
"""
    project = bench.project({"main.py": show, "bin/helper": "#!/bin/sh\necho hi\n"})
    (project / "bin" / "helper").chmod(0o755)
    model = bytes(range(256)) * 40_000
    (project / "model.bin").write_bytes(model)
    import hashlib

    dev = bench.dev(project)
    dev.wait("log", text="helper says hi")
    dev.wait("log", text=f"model {hashlib.sha256(model).hexdigest()[:16]}")

    changed = model[:5_000_000] + b"one line" + model[5_000_000:]
    save(project / "model.bin", changed)
    dev.wait("log", text=f"model {hashlib.sha256(changed).hexdigest()[:16]}")


def shared_object(path: Path, answer: int) -> None:
    """A library whose ``abs`` is ``answer``, compiled where there is a compiler; else the C library's mathematics."""
    compiler = shutil.which("cc")
    if compiler is None:
        maps = Path("/proc/self/maps").read_text().split()
        library = next(word for word in maps if word.startswith("/") and "/libm.so" in word)
        save(path, Path(library).read_bytes() + bytes(answer))
        return
    source = path.with_suffix(".c~")
    source.write_text(f"double fabs(double x) {{ return x * 0 + {answer}; }}")
    subprocess.run([compiler, "-shared", "-fPIC", "-fno-builtin", "-x", "c", "-o", f"{path}~", source], check=True)
    save(path, Path(f"{path}~").read_bytes())


def test_a_shared_object_is_an_asset_that_loads_and_its_change_is_a_restart(bench: Bench) -> None:
    loads = """\
import ctypes, time
from pathlib import Path

def main():
    answer = ctypes.CDLL(Path(__file__).with_name("answer.so")).fabs
    answer.argtypes, answer.restype = [ctypes.c_double], ctypes.c_double
    print("loaded", answer(-1.0), flush=True)
    while True:
        answer(-1.0)
        time.sleep(0.01)
"""
    project = bench.project({"main.py": loads})
    shared_object(project / "answer.so", 1)
    dev = bench.dev(project)
    dev.wait("log", text="loaded 1.0")
    dev.wait("result", healthy=True)
    mark = dev.mark()

    shared_object(project / "answer.so", 2)

    dev.wait("log", since=mark, text="loaded 2.0" if shutil.which("cc") else "loaded 1.0")
    result = dev.wait("result", since=mark)
    assert (result["files"], result["rung"], result["healthy"]) == (["answer.so"], "restart", True)
    assert result["reason"] == "code changed"
    assert dev.wait("state", since=mark, state="stopped"), "it was not torn away below what ran"


def test_a_symlink_that_leaves_the_project_is_refused_and_what_runs_goes_on(bench: Bench) -> None:
    project = bench.project({"main.py": COUNTER})
    dev = bench.dev(project)
    dev.wait("result", healthy=True)
    mark = dev.mark()
    (project / "secret.txt").symlink_to("/etc/hostname")
    problem = dev.wait("problem", since=mark)
    assert "secret.txt" in problem["message"]
    (project / "secret.txt").unlink()
    save(project / "main.py", COUNTER.replace("version 1", "version 2"))
    dev.wait("log", since=mark, text="version 2")


def test_broken_settings_are_told_with_their_line_and_when_they_are_well_again(
    bench: Bench,
) -> None:
    project = bench.project({"main.py": COUNTER})
    settings = (project / "pyproject.toml").read_text()
    dev = bench.dev(project)
    dev.wait("result", healthy=True)
    mark = dev.mark()
    save(project / "pyproject.toml", settings + 'entri = "x"\n')
    problem = dev.wait("problem", since=mark, code="bad-settings")
    assert "entri" in problem["message"]
    assert problem["line"] == 6

    save(project / "pyproject.toml", settings)
    dev.wait("notice", since=mark, code="well-again")
    assert not [one for one in dev.events[mark:] if one["event"] == "result" and one["healthy"]]

    mark = dev.mark()
    save(project / "pyproject.toml", settings + 'env = { COLOUR = "red" }\n')
    result = dev.wait("result", since=mark)
    assert (result["healthy"], result["reason"], result["files"]) == (True, "its settings changed", ["pyproject.toml"])


def test_a_project_that_the_target_has_already_lists_no_files_as_changed(bench: Bench) -> None:
    project = bench.project({"main.py": COUNTER})
    assert "main.py" in bench.dev(project).wait("result", healthy=True)["files"]
    code, events = bench.run("push", str(project), "--take")
    result = next(one for one in events if one["event"] == "result")
    assert (code, result["rung"], result["files"]) == (0, "none", [])


def test_a_killed_bootloader_is_told_healed_and_gets_the_newest_save(bench: Bench) -> None:
    project = bench.project({"main.py": COUNTER})
    dev = bench.dev(project)
    dev.wait("result", healthy=True)
    mark = dev.mark()

    os.kill(bench.bootloader(), signal.SIGKILL)
    save(project / "main.py", COUNTER.replace("version 1", "version 2"))

    dev.wait("link", since=mark, state="down")
    dev.wait("link", since=mark, state="up")
    dev.wait("log", since=mark, text="version 2")
    assert dev.wait("result", since=mark, files=["main.py"])["healthy"]


def test_the_old_program_is_gone_with_its_port_before_the_new_one_starts(bench: Bench) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = f"""\
import socket, subprocess, sys, time

CHILD = '''
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print('child', flush=True)
time.sleep(60)
'''

def main():
    s = socket.socket()
    s.bind(("127.0.0.1", {port}))
    s.listen()
    s.set_inheritable(True)
    child = subprocess.Popen([sys.executable, "-c", CHILD], close_fds=False)
    print("bound 1", flush=True)
    while True:
        time.sleep(0.05)
"""
    project = bench.project({"main.py": server}, settings='entry = "main:main"\ngrace_s = 0.3')
    dev = bench.dev(project)
    dev.wait("log", text="bound 1")
    dev.wait("log", text="child")
    save(project / "main.py", server.replace("bound 1", "bound 2"))
    dev.wait("log", text="bound 2")
    assert dev.wait("result", files=["main.py"])["healthy"]


def test_ctrl_c_runs_the_programs_cleanup_and_leaves_no_process(bench: Bench) -> None:
    mark = bench.folder / "cleaned"
    text = f"""\
import time
from pathlib import Path

def main():
    try:
        while True:
            time.sleep(0.05)
    finally:
        Path({str(mark)!r}).touch()
"""
    dev = bench.dev(bench.project({"main.py": text}))
    dev.wait("result", healthy=True)
    assert dev.end() == 0
    assert mark.exists()
    until(lambda: not bench.processes())
    assert not dev.noise


LAST_WORDS = """\
import time

def main():
    print("up", flush=True)
    try:
        time.sleep(60)
    finally:
        for n in range(20):
            print("cleaning", n)
        print("clean")
"""


def test_ctrl_c_shows_the_last_words_of_the_program(bench: Bench) -> None:
    dev = bench.dev(bench.project({"main.py": LAST_WORDS}))
    dev.wait("result", healthy=True)
    assert dev.end() == 0
    assert dev.texts() == ["up", *(f"cleaning {n}" for n in range(20)), "clean"]
    assert dev.wait("state", state="stopped")
    assert not [one for one in dev.events if one["event"] in ("link", "problem")]


def test_the_end_of_a_push_shows_the_last_words_of_the_program_that_it_ran(bench: Bench) -> None:
    code, events = bench.run("push", str(bench.project({"main.py": LAST_WORDS})))
    assert code == 0
    assert [one["text"] for one in events if one["event"] == "log"][-1] == "clean"


def test_a_target_that_is_frozen_is_told_and_taken_up_again_when_it_thaws(bench: Bench) -> None:
    project = bench.project({"main.py": COUNTER})
    dev = bench.dev(project)
    dev.wait("result", healthy=True)
    mark, bootloader = dev.mark(), bench.bootloader()
    os.kill(bootloader, signal.SIGSTOP)
    try:
        assert "no answer" in dev.wait("link", since=mark)["why"]
        save(project / "main.py", COUNTER.replace("version 1", "version 2"))
    finally:
        os.kill(bootloader, signal.SIGCONT)
    dev.wait("link", since=mark, state="up")
    dev.wait("log", since=mark, text="version 2")


def test_a_frozen_target_ends_with_ctrl_c_and_its_program_cleans_up(bench: Bench) -> None:
    dev = bench.dev(bench.project({"main.py": LAST_WORDS}))
    dev.wait("result", healthy=True)
    os.kill(bench.bootloader(), signal.SIGSTOP)
    assert dev.end() == 0
    assert dev.texts()[-1] == "clean"


def test_a_killed_reactor_takes_the_embedded_target_with_it(bench: Bench) -> None:
    dev = bench.dev(bench.project({"main.py": COUNTER}))
    dev.wait("result", healthy=True)
    assert bench.processes()
    dev.end(signal.SIGKILL)
    until(lambda: not bench.processes())


def test_output_comes_in_order_and_whole_also_at_a_sudden_end(bench: Bench) -> None:
    text = """\
import logging, os, subprocess, sys

def main():
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for n in range(300):
        print(n)
        print(n + 0.25, file=sys.stderr)
        logging.info(n + 0.5)
        if n % 100 == 0:
            subprocess.run(["echo", str(n + 0.75)])
    sys.stdout.flush()
    os._exit(4)
"""
    dev = bench.dev(bench.project({"main.py": text}))
    dev.wait("state", state="failed")
    expected = []
    for n in range(300):
        expected += [str(n), str(n + 0.25), str(n + 0.5)]
        if n % 100 == 0:
            expected.append(str(n + 0.75))
    assert dev.texts() == expected
    assert next(one for one in dev.events if one["event"] == "log" and one["stream"] == "log")["level"] == "info"


def test_a_second_dev_of_one_project_is_refused_with_the_reason(bench: Bench) -> None:
    project = bench.project({"main.py": COUNTER})
    dev = bench.dev(project)
    dev.wait("result", healthy=True)
    code, events = bench.run("dev", str(project))
    assert code == 1
    assert events[-1]["code"] == "already-running"


def test_a_pipe_gets_plain_lines(bench: Bench, tmp_path: Path) -> None:
    project = bench.project({"main.py": "print('once')\n"}, settings='entry = "main"')
    run = subprocess.run(
        [sys.executable, "-m", "reactor", "push", str(project)],
        env=bench.env,
        capture_output=True,
        text=True,
        timeout=30,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert run.returncode == 0, run
    assert "\x1b" not in run.stdout
    assert "once" in run.stdout
    assert "✓ " in run.stdout
