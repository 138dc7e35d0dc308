"""An interpreter in a real application, over links that are cut: no statement hangs anything, and no result is lost."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest

from bootloader.wire.errors import Fault
from reactor.repl import Repl
from reactor.repl.remote import Answer, Remote
from reactor.session import Session
from tests.reactor.board import SOON_S, Board, Desk, Told, until

MAIN = """\
import sys
sys.settrace(None)  # Python 3.11 spins in a thread that is traced while another one is to be interrupted
import asyncio

limit = 3
ran = []
ticks = 0

class Meta(type):
    def __getattr__(cls, name):
        ran.append(name)

class Sensor(metaclass=Meta):
    samples = {"porch": [1, 2.5], "hall": []}
    __slots__ = ("gain", "__dict__")

    def __init__(self):
        self.gain = 1.5
        self.trim = {"zero": 0, "span": 1}

    @property
    def effect(self):
        ran.append("property")

    def __getattr__(self, name):
        ran.append(name)
        raise AttributeError(name)

    @property
    def __class__(self):
        ran.append("class")
        return Sensor

    def __dir__(self):
        ran.append("dir")
        return []

    def read(self, channel: int = 0, *, gain: float = 1.0):
        return channel * gain

class Answers:
    # whatever is asked of it runs something

    def __getattribute__(self, name):
        ran.append(name)
        return super().__getattribute__(name)

class Hangs:
    def __repr__(self):
        while True:
            pass

sensor = Sensor()
answers = Answers()

def work(number):
    return number + 1

async def main():
    global ticks, home
    home = asyncio.get_running_loop()
    while True:
        ticks += 1
        await asyncio.sleep(0.01)
"""
SETTINGS = 'entry = "main:main"\n'


class Bench:
    """A board on which an application runs, and an interpreter in it, whose links go through a proxy."""

    def __init__(self, folder: Path) -> None:
        self.desk = Desk(folder, {"main.py": MAIN})
        self.desk.write("pyproject.toml", f"[tool.reactor]\n{SETTINGS}settle_s = 0.1\n")
        self.board = Board(folder)
        self.heard = Told()
        self.session = Session(self.board, self.desk.scanner, self.heard, lambda: None, watching=True)
        self.session.start()
        self.session.submit(self.desk.first())
        self.heard.wait("result", healthy=True)
        self.told = Told()
        self.columns = 0
        self.remote = Remote(self.board, "", self.desk.project, self.told, lambda: self.columns)
        self.remote.start()

    def save(self, text: str) -> dict[str, Any]:
        """Save the program; what became of it."""
        mark = self.heard.mark()
        self.session.submit(self.desk.save("main.py", text))
        return self.heard.wait("result", since=mark)

    def text(self, source: str) -> str:
        """What a statement is worth."""
        answer = self.remote.run(source)
        assert answer.outcome == "done", (answer.why, answer.traceback)
        return answer.text

    def ended(self, answer: Answer) -> Answer:
        assert answer.is_over.wait(SOON_S)
        return answer

    def begun(self, source: str) -> Answer:
        """A statement that is in its middle: it has said so."""
        mark = self.told.mark()
        answer = self.remote.begin(f"print('begun')\n{source}")
        until(lambda: any(one["text"].startswith("begun") for one in self.told.all("output", mark)))
        return answer

    def close(self) -> None:
        self.remote.close()
        self.session.close()
        self.board.close()


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setenv("REACTOR_HOME", str(tmp_path / "home"))
    made = Bench(tmp_path / "app")
    yield made
    made.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("remote")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REACTOR_HOME", str(folder / "home"))
        made = Bench(folder / "app")
        yield made
        made.close()


# what is seen


def test_names_are_the_sessions_then_the_entry_modules_then_modules(shared: Bench) -> None:
    assert shared.text("limit") == "3"
    assert shared.text("limit = 5\nlimit") == "5"
    assert shared.text("import main as m; m.limit") == "3"
    assert shared.text("def seen(): return limit, ran\nseen()[0]") == "5"
    assert shared.text("del limit\nlimit, _") == "(3, 5)"


def test_await_runs_where_the_application_does_and_so_does_what_it_starts(shared: Bench) -> None:
    assert shared.text("await asyncio.sleep(0, asyncio.get_running_loop() is home)") == "True"
    source = "async def say():\n  print('from a task')\nawait asyncio.gather(*[asyncio.create_task(say())])"
    mark = shared.told.mark()
    assert shared.text(source) == "[None]"
    assert shared.told.all("output", mark, text="from a task")


# what hangs


@pytest.mark.parametrize(
    "source",
    [
        "while True: pass",
        "await asyncio.sleep(3600)",
        "await asyncio.sleep(0)\nwhile True: pass",
        "import threading; [threading.Event().wait(0.01) for _ in iter(int, 1)]",
        "for _ in iter(int, 1): print('a flood ' * 100)",
    ],
)
def test_what_has_no_end_is_interrupted_and_nothing_else_is(shared: Bench, source: str) -> None:
    before = int(shared.text("ticks"))
    answer = shared.begun(source)
    shared.remote.interrupt()
    assert shared.ended(answer).outcome == "interrupted"
    until(lambda: int(shared.text("ticks")) > before)


def test_what_is_stuck_in_c_is_left_behind_at_the_second_time(shared: Bench) -> None:
    answer = shared.begun("import time; time.sleep(3600)")
    shared.remote.interrupt()
    assert not answer.is_over.wait(0.2)
    shared.remote.interrupt()
    assert shared.ended(answer).outcome == "left"
    assert "left behind" in answer.why
    assert shared.text("limit") == "3"


def test_what_is_left_behind_on_the_applications_own_loop_is_said_to_hold_it(shared: Bench) -> None:
    answer = shared.begun("import time\nawait asyncio.sleep(0)\ntime.sleep(2)")
    shared.remote.interrupt()
    shared.remote.interrupt()
    assert shared.ended(answer).outcome == "left"
    assert "holds the application's event loop" in answer.why
    assert shared.text("await asyncio.sleep(0) or 'free'") == "'free'"


def test_a_second_statement_does_not_wait_behind_one_that_runs(shared: Bench) -> None:
    answer = shared.begun("while True: pass")
    assert "still running" in shared.remote.run("1").why
    shared.remote.interrupt()
    assert shared.ended(answer).outcome == "interrupted"


def test_a_repr_that_hangs_or_raises_costs_only_itself(shared: Bench) -> None:
    assert "longer than 2 s" in shared.text("Hangs()")
    raises = "class R:\n  def __repr__(self): 1 / 0\n[R(), 1]"
    assert shared.text(raises) == "[<R: its __repr__ raised ZeroDivisionError>, 1]"


def test_ending_the_program_in_a_statement_ends_the_statement(shared: Bench) -> None:
    for source in ("raise SystemExit(4)", "await asyncio.sleep(0)\nraise SystemExit(4)"):
        answer = shared.remote.run(source)
        assert (answer.outcome, answer.status) == ("exit", 4)
    assert shared.text("limit") == "3"


def test_output_that_nobody_reads_holds_nobody_up_and_is_counted(shared: Bench, tmp_path: Path) -> None:
    """The application's own loop prints: it must not wait for a host."""
    shared.text("limit")  # its links are made when they are needed
    mark, done, wire = shared.told.mark(), tmp_path / "done", shared.board.proxy.wire("repl reads")
    wire.hold("back")
    answer = shared.remote.begin(
        f"await asyncio.sleep(0)\nfor n in range(50000): print('x' * 100)\nopen({str(done)!r}, 'w').close()"
    )
    until(done.exists)
    wire.release("back")
    assert shared.ended(answer).outcome == "done"
    lines = sum(event["text"].count("\n") + 1 for event in shared.told.all("output", mark))
    assert lines < 50000
    assert "were dropped" in shared.told.wait("session", since=mark, state="dropped")["text"]


# what is not touched


def test_completion_runs_nothing(shared: Bench) -> None:
    def found(source: str) -> list[str]:
        return [text for text, _ in shared.remote.complete(source, len(source), SOON_S).items]

    shared.text("ran.clear()")
    assert found("sensor.") == ["effect", "gain", "read", "samples", "trim"]
    assert found("sensor.trim['") == ["span']", "zero']"]
    assert found("sensor.trim[") == ["'span']", "'zero']"]
    assert found("Sensor.samples['p") == ["porch']"]
    for nothing in ("sensor.effect.", "sensor.nothing.", "nothing.", "'a string with sens", "# sens"):
        assert found(nothing) == []
    assert found("answ") == ["Answers", "answers"]
    assert found("answers.") == []
    assert found("sensor.read(ga") == ["gain="]
    assert found("sensor.gain.rea") == ["real"]
    assert found("lim") == ["limit"]
    assert "asyncio" in found("import asyn")
    assert found("from asyncio import create_t") == ["create_task"]
    assert found("for") == ["for", "format"]
    call = shared.remote.complete("sensor.read(", 12, SOON_S)
    assert call.signature == "sensor.read(channel: int = 0, *, gain: float = 1.0)"
    assert shared.text("ran") == "[]"


def test_completion_answers_while_a_statement_runs(shared: Bench) -> None:
    answer = shared.begun("while True: pass")
    assert shared.remote.complete("sens", 4, SOON_S).items == (("Sensor", "class"), ("sensor", "Sensor"))
    shared.remote.interrupt()
    shared.ended(answer)


def test_what_the_application_forks_has_no_session(shared: Bench) -> None:
    code = "import os\npid = os.fork()\nif not pid: print('child')\nos.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])"
    mark = shared.heard.mark()
    assert shared.text(code) == "0"
    shared.heard.wait("log", since=mark, text="child")
    assert shared.text("limit") == "3"


# by value


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        -(2**200),
        0.1,
        float("inf"),
        "text é \ud800",
        b"\x00\xff",
        [1, (2, {"a": {3, 4}, (5, "b"): frozenset([6])}), []],
        1 + 2j,
    ],
)
def test_plain_data_goes_both_ways(shared: Bench, value: object) -> None:
    shared.remote.put("moved", value)
    got = shared.remote.get("moved")
    assert (type(got), got) == (type(value), value)


@pytest.mark.parametrize("dtype", ["<f8", ">i2", "|b1", "<c16", "|u1"])
def test_arrays_go_both_ways(shared: Bench, dtype: str) -> None:
    array = numpy.arange(12).reshape(3, 4).astype(dtype)
    shared.remote.put("array", array)
    assert shared.text("type(array).__module__, array.shape, array.dtype.str") == f"('numpy', (3, 4), '{dtype}')"
    got = shared.remote.get("array[::2]")
    assert got.dtype == array.dtype
    assert numpy.array_equal(got, array[::2])


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("sensor", "'Sensor' is neither plain data nor an array"),
        ("[1, {'a': sensor}]", "[1]['a']"),
        ("bytes(17 * 1024 ** 2)", "larger than 16 MiB"),
        ("[0] * 10 ** 6", "more than 200000 items"),
        ("nothing", "NameError"),
    ],
)
def test_what_is_no_plain_data_stays_where_it_is(shared: Bench, expression: str, why: str) -> None:
    with pytest.raises(Fault) as fault:
        shared.remote.get(expression)
    assert why in fault.value.what


# what changes meanwhile


def test_a_patch_is_taken_under_a_session_and_its_functions(bench: Bench) -> None:
    assert bench.text("def twice(n): return 2 * work(n)\ntwice(1)") == "4"
    held = bench.begun("import threading; e = threading.Event()\nwhile not e.wait(0.01): work(0)")
    result = bench.save(MAIN.replace("number + 1", "number + 10"))
    assert (result["rung"], result["healthy"]) == ("patch", True)
    bench.remote.interrupt()
    bench.ended(held)
    assert bench.text("twice(1)") == "22"
    assert not bench.told.all("session", state="ended")


def test_a_restart_is_told_and_the_session_goes_on_in_the_new_process(bench: Bench) -> None:
    pid = bench.text("import os; mine = 1\nos.getpid()")
    answer = bench.begun("while True: pass")
    mark = bench.told.mark()
    assert bench.save(MAIN.replace("limit = 3", "limit = 4\nprint(limit)"))["healthy"]
    assert bench.ended(answer).outcome == "lost"
    bench.told.wait("session", since=mark, state="ended")
    bench.told.wait("session", since=mark, state="up")
    assert bench.text("limit") == "4"
    assert bench.text("import os; os.getpid()") != pid
    assert bench.remote.run("mine").why.startswith("NameError: name 'mine' is not defined")


def test_where_the_application_is_gone_there_is_an_interpreter_beside_it_until_it_is_back(bench: Bench) -> None:
    mark = bench.told.mark()
    bench.save("1 / 0\n")
    bench.told.wait("session", since=mark, state="beside")
    assert bench.remote.is_beside
    assert bench.text("import os; os.environ['REACTOR_APPLICATION'], 6 * 7") == "('app', 42)"
    assert bench.save(MAIN)["healthy"]
    until(lambda: bench.remote.run("limit").outcome == "done")  # who asks at once may meet the interpreter's end
    assert bench.text("limit") == "3"
    assert not bench.remote.is_beside


def test_an_application_that_takes_its_time_to_end_does_not_end_the_session(bench: Bench) -> None:
    mark = bench.told.mark()
    bench.remote.begin("import atexit, time; atexit.register(time.sleep, 0.5)\nhome.call_soon_threadsafe(home.stop)")
    bench.told.wait("session", since=mark, state="beside")
    assert not [one for one in bench.told.all("session", mark) if "is over" in one["text"]]
    assert bench.text("6 * 7") == "42"


def test_a_session_that_waits_is_no_thread_of_the_applications(bench: Bench) -> None:
    assert bench.text("limit") == "3"
    with bench.board.connect("ask") as link:
        answer, _ = link.call("stack", {"application": "app"})
    assert [one.text("name") for one in answer.child("stacks").objects("threads")] == ["MainThread"]


def test_what_goes_on_printing_is_heard_however_many_statements_follow(bench: Bench) -> None:
    say = "import asyncio\nasync def say():\n  await heard.wait()\n  print('still here')\n"
    bench.text(f"{say}heard = asyncio.Event()\nasync def begin():\n  return asyncio.create_task(say())\n1")
    bench.text("task = await begin()\n1")
    for _ in range(260):
        bench.remote.run("pass")
    mark = bench.told.mark()
    bench.text("home.call_soon_threadsafe(heard.set); 1")
    until(lambda: any(one["text"] == "still here" for one in bench.told.all("output", mark)))
    assert bench.text("6 * 7") == "42"


def test_a_result_is_as_wide_as_the_screen_is_now(shared: Bench) -> None:
    try:
        for columns in (60, 30):
            shared.columns = columns
            longest = max(map(len, shared.text("list(range(100))").splitlines()))
            assert columns - len("99, ") <= longest <= columns
    finally:
        shared.columns = 0
    assert len(shared.text("list(range(100))").splitlines()) == 1


def test_a_link_that_is_cut_in_the_middle_of_a_statement_loses_nothing(bench: Bench) -> None:
    answer = bench.begun("import time\nfor n in range(40):\n  print(n)\n  time.sleep(0.01)\n'the result'")
    for _ in range(3):
        bench.board.proxy.cut()
        until(lambda: bench.told.all("session", state="cut"))
    assert bench.ended(answer).text == "'the result'"
    lines = "\n".join(event["text"] for event in bench.told.all("output")).split("\n")
    assert lines == ["begun", *map(str, range(40))]


def test_a_bootloader_that_started_again_is_told_and_the_session_goes_on(bench: Bench) -> None:
    answer = bench.begun("while True: pass")
    mark = bench.told.mark()
    bench.board.kill()
    assert bench.ended(answer).outcome == "lost"
    bench.told.wait("session", since=mark, state="ended")


# several devices, and this host


def test_several_devices_are_asked_at_once_and_shown_side_by_side(bench: Bench) -> None:
    told = Told()
    other = Board(bench.desk.folder, "hall")
    other._embedded, other.proxy.upstream = bench.board._embedded, bench.board.proxy.upstream
    repl = Repl([bench.board, other], "", bench.desk.project, told, width=lambda: 80)
    repl.start()
    assert repl.enter("%on all")
    assert repl.where == "local hall"
    assert repl.enter("limit")
    assert told.wait("answers")["rows"] == [["3", "3"]]
    assert repl.enter("%get both = limit + 1")
    assert repl.enter("%host both")
    assert told.wait("answer", target="")["text"] == "{'local': 4, 'hall': 4}"
    assert repl.enter("%on hall")
    assert repl.enter("%put limits = [both['hall']]")
    assert repl.enter("limits")
    assert told.wait("answer", target="hall")["text"] == "[4]"
    assert not repl.enter("%on nowhere")
    assert not repl.enter("%nonsense")
    assert {event["code"] for event in told.all("problem")} == {"unknown-target", "unknown-order"}
    repl.close()
    other.proxy.close()


def test_lines_go_to_the_host_or_to_the_device_one_by_one_or_all_that_follow(bench: Bench) -> None:
    told = Told()
    repl = Repl([bench.board], "", bench.desk.project, told)
    assert repl.enter("%host 'here'")
    assert told.wait("answer", target="")["text"] == "'here'"
    assert repl.enter("%host")
    assert (repl.where, repl.is_python) == ("host", False)
    assert repl.enter("limit = 'the host has its own'")
    assert repl.enter("%device limit")
    assert told.wait("answer", target="local")["text"] == "3"
    assert repl.enter("%device")
    mark = told.mark()
    assert repl.enter("limit + 1")
    assert told.wait("answer", since=mark)["text"] == "4"
    repl.close()


def test_another_application_is_entered_by_its_name_and_the_main_one_without(bench: Bench) -> None:
    net = "import threading\nlimit = 'of net'\ndef main():\n  threading.Event().wait()\n"
    more = '[tool.reactor.applications.net]\nentry = "net:main"\n'
    settings = f"[tool.reactor]\n{SETTINGS}settle_s = 0.1\n{more}"
    mark = bench.heard.mark()
    bench.session.submit(bench.desk.save("net.py", net))
    bench.session.submit(bench.desk.save("pyproject.toml", settings))
    bench.heard.wait("state", since=mark, application="net", state="healthy")
    told = Told()
    repl = Repl([bench.board], "", bench.desk.project, told)
    assert repl.enter("%app net")
    assert repl.where == "local net"
    assert repl.enter("limit")
    assert told.wait("answer")["text"] == "'of net'"
    mark = told.mark()
    assert repl.enter("%app")
    assert repl.enter("limit")
    assert told.wait("answer", since=mark)["text"] == "3"
    mark = told.mark()
    assert not (repl.enter("%app nowhere") and repl.enter("limit"))
    assert told.wait("problem", since=mark)["code"] == "unknown-application"
    repl.close()


def test_a_line_on_this_host_is_interrupted_too(shared: Bench) -> None:
    told = Told()
    repl = Repl([shared.board], "", shared.desk.project, told)
    running = threading.Thread(target=repl.enter, args=["%host while True: pass"])
    running.start()
    until(repl.interrupt)
    running.join(SOON_S)
    assert told.wait("answer")["outcome"] == "interrupted"
    repl.close()
