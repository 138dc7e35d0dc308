"""What an application can print, do and leave at its end, as it arrives over the link."""

from __future__ import annotations

import os

import pytest

from bootloader.wire.launch import Application
from tests.bootloader.target import STREAMS, Files, Target, app


def run(shared: Target, files: Files | str, *apps: Application) -> list[str]:
    """Everything that an application which ends by itself printed."""
    return shared.logs(shared.ship(files, *apps))


# output


def test_everything_that_is_printed_arrives_in_its_order(shared: Target) -> None:
    change = shared.ship(
        """
import ctypes, logging, os, subprocess, sys
logging.basicConfig(level=logging.INFO, format="%(message)s")
libc = ctypes.CDLL(None)
def main():
    for n in range(20):
        print(f"{n} print")
        print(f"{n} stderr", file=sys.stderr)
        logging.info(f"{n} logging")
        subprocess.run(["echo", f"{n} subprocess"])
        os.write(1, b"%d write\\n" % n)
        libc.printf(b"%d libc\\n", n)
        sys.stdout.write(f"{n} parts")
        sys.stdout.write(" of a line\\n")
"""
    )
    kinds = ("print", "stderr", "logging", "subprocess", "write", "libc", "parts of a line")
    assert shared.logs(change) == [f"{n} {kind}" for n in range(20) for kind in kinds]
    streams = [
        (event["stream"], event.get("level"))
        for event in shared.events
        if event["event"] == "log" and event["text"].startswith("7 ")
    ]
    assert streams == [("stdout", None), ("stderr", None), ("log", "info"), *[("stdout", None)] * 4]


def test_what_goes_to_the_error_output_alone_arrives_there(shared: Target) -> None:
    change = shared.ship(
        """
import os, subprocess
def main():
    os.write(2, b"written\\n")
    subprocess.run(["sh", "-c", "echo said >&2"])
"""
    )
    assert shared.logs(change, "stderr") == ["written", "said"]


def test_what_a_python_process_of_the_application_prints_comes_as_it_is_printed(shared: Target) -> None:
    code = "import time; print('from below'); time.sleep(1000)"
    source = f"import subprocess, sys\ndef main(): subprocess.run([sys.executable, '-c', {code!r}])\n"
    shared.ship(source, app(grace_s=0.1))
    assert shared.log("from below")["stream"] == "stdout"


@pytest.mark.parametrize("end", ["os._exit(0)", "sys.exit(0)", "os.kill(os.getpid(), 9)"])
def test_nothing_is_lost_at_the_end_of_ten_thousand_lines(shared: Target, end: str) -> None:
    lines = run(shared, f"import os, sys\ndef main():\n    for n in range(10_000): print(n)\n    {end}\n")
    assert lines == [str(n) for n in range(10_000)]
    assert shared.lost == 0


def test_an_unfinished_line_arrives_at_the_end(shared: Target) -> None:
    source = """
import atexit, os, sys
def main():
    atexit.register(print, "at exit", end="")
    print("out", end="")
    print("err", end="", file=sys.stderr)
"""
    assert sorted(run(shared, source)) == ["err", "outat exit"]


def test_lines_are_whole_whichever_thread_or_process_printed_them(shared: Target) -> None:
    source = """
import multiprocessing, sys, threading
def shout(name):
    for n in range(200): sys.stdout.write(f"{name}:{n}:{name * 200}\\n")
def threads(name):
    workers = [threading.Thread(target=shout, args=(name + str(n),)) for n in range(3)]
    for worker in workers: worker.start()
    for worker in workers: worker.join()
def main():
    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=threads, args=(chr(97 + n),)) for n in range(3)]
    for process in processes: process.start()
    for process in processes: process.join()
"""
    lines = run(shared, source)
    assert len(lines) == 9 * 200
    seen: dict[str, int] = {}
    for line in lines:
        name, number, text = line.split(":")
        assert text == name * 200
        assert seen.get(name, -1) == int(number) - 1, "out of order"
        seen[name] = int(number)


def test_junk_on_the_output_is_carried_and_harms_nothing(shared: Target) -> None:
    junk = bytes(range(256)) + b"\x1eR\x1eRo\xff\xff\x1eRn\x00\x02{}" + b"\x1eR"
    source = (
        "import os\ndef main():\n    os.write(1, open(__file__ + '.junk', 'rb').read() + b'\\n')\n    print('after')\n"
    )
    change = shared.ship({"app.py": source, "app.py.junk": junk})
    lines = shared.logs(change)
    assert "after" in lines[-2:]  # the last word of the process may be taken for the rest of the junk
    assert "0123456789" in "".join(lines)
    assert change.healthy()


def test_notes_that_an_application_makes_up_are_taken_for_output(shared: Target) -> None:
    notes = [b"[]", b"{", b'{"modules": 7}', b'{"modules": [7, "os"]}', b'{"died": ["x"], "frames": 7}', b"null", b"7"]
    made_up = b"".join(b"\x1eRn" + (len(note) + 1).to_bytes(2, "big") + note + b"\n" for note in notes)
    change = shared.ship({"app.py": f"import os\ndef main():\n    os.write(1, {made_up!r})\n    print('after')\n"})
    assert shared.logs(change)[-1] == "after"
    assert change.healthy()
    assert shared.call("hello").text("name")


def test_a_pipe_that_somebody_made_non_blocking_loses_nothing(shared: Target) -> None:
    source = """
import asyncio, os, sys
async def main():
    loop = asyncio.get_running_loop()
    await loop.connect_write_pipe(asyncio.Protocol, os.fdopen(os.dup(1), "wb"))
    assert not os.get_blocking(1)
    for n in range(5000): print(n, "x" * 100)
"""
    assert run(shared, source) == [f"{n} {'x' * 100}" for n in range(5000)]


@pytest.mark.parametrize("way", ["fork", "spawn", "forkserver"])
def test_processes_of_multiprocessing_work_and_are_heard(shared: Target, way: str) -> None:
    source = f"""
import multiprocessing
def double(n):
    print("doubling", n)
    return 2 * n
def main():
    context = multiprocessing.get_context("{way}")
    with context.Pool(1) as pool:
        print(pool.map(double, [1, 2]))
    queue = context.Queue()
    process = context.Process(target=queue.put, args=("from a process",))
    process.start()
    print(queue.get())
    process.join()
    print(process.exitcode)
"""
    lines = run(shared, source)
    assert sorted(lines) == sorted(["doubling 1", "doubling 2", "[2, 4]", "from a process", "0"])
    assert not [path for path in shared.live() if path.endswith(".pyc")], "bytecode lies in the tree"


def test_bytecode_is_kept_whatever_the_shell_says_so_that_no_start_compiles_what_has_not_changed(
    target: Target,
) -> None:
    target.end()
    target.environment = {"PYTHONDONTWRITEBYTECODE": "1"}
    target.start()
    source = """
import os, subprocess, sys
import part
def main():
    print("kept", os.path.isfile(part.__spec__.cached))
    subprocess.run([sys.executable, "-c", "import sys; print('keeps', not sys.dont_write_bytecode)"])
"""
    many = {f"parts/part_{number}.py": "" for number in range(100)}  # so many that the check keeps none of them
    assert target.logs(target.ship({"app.py": source, "part.py": "", **many})) == ["kept True", "keeps True"]


def test_closing_every_descriptor_costs_the_output_at_most(shared: Target) -> None:
    change = shared.ship(
        """
import os
def main():
    os.closerange(3, 4096)
    with open("notes", "w") as file:
        print("still heard")
        file.write("mine")
    assert open("notes").read() == "mine"
"""
    )
    assert change.fate()["state"] == "healthy"
    assert shared.logs(change) == ["still heard"]


# ends


@pytest.mark.parametrize(
    ("ending", "state", "why", "lines"),
    [
        ("pass", "finished", "its entry point returned", []),
        ("return 0", "finished", "its entry point returned", []),
        ("return True", "finished", "its entry point returned", []),
        ("return 'text'", "finished", "its entry point returned", []),
        ("return 3", "failed", "exited with status 3", []),
        ("sys.exit()", "finished", "its entry point returned", []),
        ("sys.exit(0)", "finished", "its entry point returned", []),
        ("sys.exit(4)", "failed", "exited with status 4", []),
        ("sys.exit(-1)", "failed", "exited with status 255", []),
        ("sys.exit('text')", "failed", "exited with status 1", ["text"]),
        ("sys.exit(['odd'])", "failed", "exited with status 1", ["['odd']"]),
        ("sys.stderr.close(); sys.exit('text')", "failed", "exited with status 1", []),
        ("os._exit(5)", "failed", "exited with status 5", []),
        ("raise KeyboardInterrupt", "failed", "exited with status 130", []),
        ("os.kill(os.getpid(), signal.SIGKILL)", "failed", "killed by SIGKILL", []),
        ("signal.signal(15, signal.SIG_DFL); os.kill(os.getpid(), 15)", "failed", "killed by SIGTERM", []),
        ("os.kill(os.getpid(), 15)", "finished", "its entry point returned", []),
    ],
)
def test_how_an_application_ended_is_told(shared: Target, ending: str, state: str, why: str, lines: list[str]) -> None:
    change = shared.ship(f"import os, signal, sys\ndef main():\n    {ending}\n")
    assert change.fate()["state"] == ("healthy" if state == "finished" else "failed")
    end = change.state("finished", "failed")
    assert (end["state"], end["why"]) == (state, why)
    assert shared.logs(change) == lines


def test_a_segmentation_fault_is_told_with_the_line_that_made_it(shared: Target) -> None:
    change = shared.ship("import ctypes\ndef main():\n    print('before')\n    ctypes.string_at(0)\n")
    assert change.fate()["state"] == "failed"
    assert change.state("failed")["signal"] == "SIGSEGV"
    lines = shared.logs(change)
    assert lines[0] == "before"
    assert any("app.py" in line and "line 4 in main" in line for line in lines)


def test_a_traceback_has_its_causes_and_only_the_applications_frames(shared: Target) -> None:
    change = shared.ship(
        {
            "app.py": "from package import inner\ndef main():\n    inner.outer()\n",
            "package/inner.py": """
def deepest(): {}['key']
def outer():
    try: deepest()
    except KeyError as error: raise ValueError('chained') from error
""",
        }
    )
    problem = shared.problem(change)
    live = shared.state / "live"
    assert problem["what"] == "ValueError: chained"
    assert [(frame["file"], frame["line"], frame["function"]) for frame in problem["frames"]] == [
        (str(live / "app.py"), 3, "main"),
        (str(live / "package/inner.py"), 5, "outer"),
    ]
    assert "KeyError: 'key'" in problem["traceback"]
    assert "direct cause" in problem["traceback"]
    assert "bootloader" not in problem["traceback"]
    assert "importlib" not in problem["traceback"]


ODD_TEXT = "class Odd(Exception):\n    def __str__(self): raise TypeError\n"
DEAF = "import sys\ndef main():\n    sys.stdout.close(); sys.stderr = None\n    raise ValueError('unheard')\n"


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("import nowhere_at_all\n", "ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("x = 1 / 0\ndef main(): pass\n", "ZeroDivisionError: division by zero"),
        ("def other(): pass\n", "AttributeError: module 'app' has no attribute 'main'"),
        ("main = 7\n", "TypeError: 'int' object is not callable"),
        ("async def main(): raise ValueError('later')\n", "ValueError: later"),
        ("def main(): raise ExceptionGroup('many', [ValueError(1)])\n", "ExceptionGroup: many (1 sub-exception)"),
        (ODD_TEXT + "def main(): raise Odd\n", "Odd: (its text could not be made: TypeError)"),
        ("class Odd(BaseException): pass\ndef main(): raise Odd('base')\n", "Odd: base"),
        ("def main(): raise SyntaxError('made up', (b'x', 'y', None, 7))\n", "SyntaxError: made up"),
        ("def main(): raise ModuleNotFoundError('made up', name=7)\n", "ModuleNotFoundError: made up"),
        (DEAF, "ValueError: unheard"),
        ("def main(): raise ValueError('\\ud800\\x00' + 'x' * 100_000)\n", "ValueError: \ud800\x00" + "x" * 1998),
    ],
)
def test_what_ended_an_application_is_told(shared: Target, source: str, what: str) -> None:
    change = shared.ship(source)
    assert shared.problem(change)["what"] == what
    assert change.state("failed")["why"] == "exited with status 1"
    assert change.fate()["state"] == "failed"


def test_a_recursion_without_end_is_told_in_bounds(shared: Target) -> None:
    problem = shared.problem(shared.ship("def main(): main()\n"))
    assert problem["what"].startswith("RecursionError: maximum recursion depth exceeded")
    assert 0 < len(problem["frames"]) <= 40
    assert len(problem["traceback"]) <= 20_000


def test_a_file_that_is_not_python_is_told_with_its_place_when_it_is_imported(shared: Target) -> None:
    change = shared.ship(
        {
            "app.py": "import importlib.util, pathlib\ndef main():\n"
            "    path = pathlib.Path(__file__).with_name('plugin.txt')\n"
            "    exec(compile(path.read_text(), str(path), 'exec'))\n",
            "plugin.txt": "x = 1\ndef broken(:\n",
        }
    )
    problem = shared.problem(change)
    assert problem["syntax"] == {
        "file": str(shared.state / "live" / "plugin.txt"),
        "line": 2,
        "column": 12,
        "text": "def broken(:",
    }


def test_a_missing_file_and_a_missing_module_are_named(shared: Target) -> None:
    assert shared.problem(shared.ship("def main(): open('/nowhere/at/all')\n"))["missing_file"] == "/nowhere/at/all"
    assert shared.problem(shared.ship("def main(): import nowhere.at.all\n"))["missing_module"] == "nowhere"


def test_a_forked_child_that_fails_does_not_speak_for_the_application(shared: Target) -> None:
    change = shared.ship(
        """
import os
def main():
    if os.fork() == 0:
        raise ValueError("the child's own")
    os.wait()
    print("the parent goes on")
"""
    )
    lines = shared.logs(change)
    assert "ValueError: the child's own" in lines
    assert lines[-1] == "the parent goes on"
    assert change.healthy()
    assert not [e for e in shared.events if e["event"] == "problem" and e["generation"] == change.generation]


# the end is Python's


def test_an_end_is_as_tidy_as_pythons_own(shared: Target) -> None:
    source = """
import atexit, concurrent.futures, os, tempfile, threading, weakref

class Pin:
    def __init__(self, name): self.name = name
    def __del__(self): say(f"{self.name} released by {os.path.basename(__file__)}")

def say(text): print(text)
pin = Pin("pin")
cycle = [Pin("cycle")]
cycle.append(cycle)
unflushed = open("unflushed", "w")
unflushed.write("all of it")
folder = tempfile.TemporaryDirectory(dir=os.getcwd())
pool = concurrent.futures.ThreadPoolExecutor(1)
finalizer = weakref.finalize(pin, print, "finalized")

def late():
    gate.wait()
    print("thread ended")

gate = threading.Event()
def main():
    pool.submit(gate.wait)
    pool.submit(print, "pool drained")
    threading.Thread(target=late).start()
    atexit.register(print, "at exit")
    threading._register_atexit(gate.set)
    print("returned")
"""
    lines = run(shared, source)
    assert lines[0] == "returned"
    assert set(lines[1:3]) == {"pool drained", "thread ended"}
    assert lines[3:5] == ["at exit", "finalized"]
    assert sorted(lines[5:]) == ["cycle released by app.py", "pin released by app.py"]
    data = shared.state / "data" / "app"
    assert (data / "unflushed").read_text() == "all of it"
    assert [path.name for path in data.iterdir() if path.is_dir()] == []


def test_what_is_still_held_at_the_end_is_flushed_too(shared: Target) -> None:
    source = """
import logging, signal
class Handler(logging.Handler):
    def emit(self, record): on_signal()
logging.getLogger().addHandler(Handler())
unflushed = open("unflushed", "w")
raw = open("raw", "wb")
def on_signal(*_): unflushed
signal.signal(signal.SIGUSR1, on_signal)
def main():
    unflushed.write("all of it")
    raw.write(b"and this")
"""
    assert run(shared, source) == []
    data = shared.state / "data" / "app"
    assert ((data / "unflushed").read_text(), (data / "raw").read_text()) == ("all of it", "and this")


def test_daemon_threads_do_not_complain_while_the_application_ends(shared: Target) -> None:
    source = """
import signal, threading
class Sensor:
    def read(self): return 1
class Slow:
    def __del__(self): open("/dev/null").read()  # lets other threads in
slow = [Slow() for _ in range(200)]
sensor = Sensor()
open("starts", "a").write("started ")
signal.signal(signal.SIGUSR1, lambda *_: sensor)
ticks = 0
def poll():
    global ticks
    while True:
        import app
        ticks += sensor.read()
def main():
    for _ in range(4): threading.Thread(target=poll, daemon=True).start()
    while ticks < 200: pass
"""
    for _ in range(5):
        assert run(shared, source + f"# {os.urandom(4).hex()}") == []
    assert (shared.state / "data" / "app" / "starts").read_text().split() == ["started"] * 5


def test_children_of_asyncio_and_pools_of_processes_end_with_the_application(shared: Target) -> None:
    change = shared.ship(
        """
import asyncio, concurrent.futures
def work(n): return n + 1
async def main():
    child = await asyncio.create_subprocess_exec("cat", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
    print((await child.communicate(b"through cat"))[0].decode())
    with concurrent.futures.ProcessPoolExecutor(1) as pool:
        print(await asyncio.get_running_loop().run_in_executor(pool, work, 1))
    await asyncio.create_subprocess_exec("sleep", "1000")
"""
    )
    assert shared.logs(change) == ["through cat", "2"]
    assert change.healthy()


def test_a_cleanup_that_is_under_way_is_not_cut_in_half_by_a_stop(shared: Target) -> None:
    source = """
import atexit, threading
def clean_up():
    print("cleaning", flush=True)
    threading.Event().wait(1.0)
    print("clean")
def main():
    atexit.register(clean_up)
"""
    change = shared.ship(source)
    shared.event("log", text="cleaning", after=change.state("running"))
    shared.ship("def main(): pass")
    assert shared.logs(change) == ["cleaning", "clean"]


def test_a_step_of_the_end_that_fails_does_not_cost_the_others(shared: Target) -> None:
    source = """
import atexit, sys
def main():
    atexit.register(print, "first registered, last run")
    atexit.register(lambda: 1 / 0)
    atexit.register(sys.exit, 7)
    class Broken:
        def write(self, text): pass
        def flush(self): raise RuntimeError("broken flush")
    sys.stdout = Broken()
"""
    change = shared.ship(source)
    assert change.fate()["state"] == "healthy"
    assert any("ZeroDivisionError" in line for line in shared.logs(change))


# what an application finds


def test_an_application_finds_its_surroundings(shared: Target) -> None:
    spec = app(entry="app:Main.start", env={"LED_PIN": "17"})
    change = shared.ship(
        {
            "src/app.py": """
import importlib.resources, os, pathlib, sys, package
class Main:
    @staticmethod
    def start():
        print(os.getcwd())
        print(os.environ["LED_PIN"], os.environ["REACTOR_APPLICATION"], os.environ["REACTOR_GENERATION"])
        print(sys.argv, sys.path[:2] == [p + s for p in [str(pathlib.Path(__file__).parents[1])] for s in ("/src", "")])
        print(importlib.resources.files(package).joinpath("asset.txt").read_text())
        print(os.getpid() == os.getpgrp() == os.getsid(0), sys.stdin.read() == "")
""",
            "package/__init__.py": "",
            "package/asset.txt": "an asset",
        },
        spec,
        path=("src", "."),
    )
    assert shared.logs(change) == [
        str(shared.state / "data" / "app"),
        f"17 app {change.generation}",
        "['app:Main.start'] True",
        "an asset",
        "True True",
    ]


def test_an_environment_is_what_the_settings_say_now(shared: Target) -> None:
    source = "import os\ndef main(): print(sorted(k + '=' + v for k, v in os.environ.items() if k.startswith('MY_')))\n"
    for env in ({"MY_A": "1", "MY_B": "1"}, {"MY_B": "2"}, {}):
        assert run(shared, source, app(env=env)) == [str(sorted(f"{key}={value}" for key, value in env.items()))]


def test_an_entry_may_be_a_module_that_runs_as_main(shared: Target) -> None:
    files: Files = {
        "package/__init__.py": "",
        "package/__main__.py": "import sys\nfrom . import part\nprint(__name__, part.x, sys.argv[0] == __file__)\n",
        "package/part.py": "x = 'imported'\n",
    }
    assert run(shared, files, app(entry="package")) == ["__main__ imported True"]


def test_an_entry_may_be_async_in_any_way(shared: Target) -> None:
    source = """
import asyncio, functools
async def real(n=1):
    await asyncio.sleep(0)
    print("ran", n)
partial = functools.partial(real, 2)
def wrapped(): return real(3)
class Callable:
    async def __call__(self): await real(4)
instance = Callable()
"""
    for number, entry in enumerate(("real", "partial", "wrapped", "instance"), 1):
        assert run(shared, source, app(entry=f"app:{entry}")) == [f"ran {number}"]


@pytest.mark.parametrize("name", ["secrets", "colorsys", "json", "bootloader", "logging"])
def test_an_applications_own_module_comes_before_any_other_of_its_name(shared: Target, name: str) -> None:
    files: Files = {
        "app.py": f"import {name}\ndef main(): print({name}.mine)\n",
        f"{name}.py": "mine = 'own'\n",
    }
    assert run(shared, files) == ["own"]


def test_a_file_named_main_is_no_other_main_than_the_application(shared: Target) -> None:
    files: Files = {"app.py": "import sys\ndef main(): print('__main__' in sys.modules)\n", "__main__.py": ""}
    assert run(shared, files) == ["True"]


def test_random_numbers_differ_from_start_to_start(shared: Target) -> None:
    source = """
import sys
warm = "numpy.random" in sys.modules
import random, numpy.random
def main(): print(warm, random.random(), numpy.random.random())
"""
    drawn: list[list[str]] = []
    while sum(warm == "True" for warm, _, _ in drawn) < 3:
        drawn.append(run(shared, source + f"# {len(drawn)}\n")[0].split())
    assert len({own for _, own, _ in drawn}) == len({theirs for _, _, theirs in drawn}) == len(drawn)


def test_two_edits_of_one_length_within_a_second_run_what_they_say(shared: Target) -> None:
    for number in range(10, 30):
        files: Files = {
            "app.py": "import value\ndef main(): print(value.x)\n",
            "value.py": f"x = {number}\n",
        }
        assert run(shared, files) == [str(number)]


def test_every_stream_is_one_of_three(shared: Target) -> None:
    assert {event["stream"] for event in shared.events if event["event"] == "log"} <= set(STREAMS)
