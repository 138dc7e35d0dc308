"""``reactor stack``, as a user asks it of a program that runs."""

from __future__ import annotations

from tests.end_to_end.conftest import Bench

WAITS = """import threading

def wait():
    print("here")
    threading.Event().wait()

def main():
    threading.Thread(target=wait, name="waiter", daemon=True).start()
    threading.Event().wait()
"""


def test_a_stack_is_shown_with_the_host_s_file_and_line_and_the_program_goes_on(bench: Bench) -> None:
    project = bench.project({"main.py": WAITS})
    dev = bench.dev(project)
    dev.wait("log", text="here")
    code, (told,) = bench.run("stack", "--path", str(project), "-a", "app")
    assert (code, told["answered"], told["why"]) == (0, True, "")
    waiter = next(thread for thread in told["threads"] if thread["name"] == "waiter")
    own = [frame for frame in waiter["frames"] if frame["own"]][-1]
    assert own == {"file": "main.py", "line": 5, "function": "wait", "text": "threading.Event().wait()", "own": True}
    shown = bench.plain("stack", "--path", str(project))
    assert "  thread waiter (daemon, sleeping, in " in shown.stdout
    assert "    main.py:5 in wait\n      threading.Event().wait()\n" in shown.stdout
    assert dev.end() == 0


def test_a_dump_is_shown_with_the_host_s_file_and_line(bench: Bench) -> None:
    source = "import ctypes\ndef main():\n    print('here')\n    ctypes.PyDLL(None).sleep(600)\n"
    project = bench.project({"main.py": source}, 'entry = "main:main"\ngrace_s = 0.1')
    dev = bench.dev(project)
    dev.wait("log", text="here")
    shown = bench.plain("stack", "--path", str(project))
    assert "! app did not answer within 2 s: a call into C that takes long" in shown.stdout
    assert "    main.py:4 in main\n      ctypes.PyDLL(None).sleep(600)\n" in shown.stdout
    assert dev.end() == 0


def test_where_nothing_runs_that_is_said(bench: Bench) -> None:
    project = bench.project({"main.py": "def main(): ...\n"})
    code, (told,) = bench.run("stack", "--path", str(project))
    assert (code, told["event"], told["code"]) == (1, "problem", "not-running")
    dev = bench.dev(project)
    dev.wait("state", state="finished")
    code, (told,) = bench.run("stack", "--path", str(project))
    assert (code, told["code"], "reactor status" in told["message"]) == (1, "not-running", True)
    code, (told,) = bench.run("stack", "--path", str(project), "-a", "nobody")
    assert (code, told["code"]) == (1, "unknown-application")
    dev.end()
