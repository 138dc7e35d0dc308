"""What a project requires, as a user meets it: found by pip, shipped, imported; all of it by the real commands."""

from __future__ import annotations

import textwrap
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.bootloader.wheels import build

from .conftest import Bench, Running, benched, save
from .test_linked import Board

SAY = "import {0}\ndef main():\n    print('{0}', {0}.VERSION, flush=True)\n    import time\n    time.sleep(600)\n"
BUILT = (
    build("lib", "1"),
    build("lib", "2", requires=["under>=1"]),
    build("under", "1"),
    build("native", tag="cp311-cp311-linux_m68k"),
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with benched(tmp_path_factory.mktemp("required")) as bench:
        for built in BUILT:
            built.write(bench.folder / "index")
        with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(bench.folder / "index"))) as index:
            thread = threading.Thread(target=index.serve_forever)
            thread.start()
            bench.env |= {"PIP_FIND_LINKS": f"http://127.0.0.1:{index.server_port}/", "NO_PROXY": "127.0.0.1"}
            bench.env |= {"PIP_NO_INDEX": "1", "PIP_NO_CACHE_DIR": "1", "PIP_CONFIG_FILE": "/dev/null"}
            yield bench
            index.shutdown()
            thread.join()


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder, and says nothing of it."""

    def log_message(self, *_: object) -> None:
        pass


def settings(folder: Path, *requires: str, more: str = "") -> None:
    project = f"[project]\nname = '{folder.name}'\ndependencies = {list(requires)}\n"
    save(folder / "pyproject.toml", f"{project}[tool.reactor]\nentry = 'main:main'\nreload = 'restart'\n{more}\n")


def said(running: Running, text: str, since: int = 0) -> None:
    running.wait("log", since, text=text)


def test_requirements_are_shipped_change_live_and_what_can_not_be_had_is_named_before_anything_is(
    shared: Bench,
) -> None:
    project = shared.project({"main.py": SAY.format("lib")})
    settings(project, "lib<2")
    dev = shared.dev(project)
    said(dev, "lib 1")
    dev.wait("progress", what="fetch", file="lib-1-py3-none-any.whl")
    dev.wait("progress", what="fetch", file="", done_files=1, total_files=1)
    assert "lib 1: " in dev.wait("notice", code="provided")["text"]
    dev.wait("result", healthy=True)

    at = dev.mark()  # another version, and something that it needs itself
    settings(project, "lib")
    said(dev, "lib 2", at)
    assert dev.wait("notice", at, code="provided")["text"].startswith("lib 2, under 1: ")
    result = dev.wait("result", at)
    assert (result["reason"], result["healthy"], result["files"]) == (
        "what it requires changed",
        True,
        ["pyproject.toml"],
    )

    at = dev.mark()  # a save of code, and nothing else
    save(project / "main.py", SAY.format("under"))
    said(dev, "under 1", at)
    assert not [one for one in dev.events[at:] if one.get("code") == "provided"]

    at = dev.mark()  # for another machine only: what runs goes on
    settings(project, "lib", "native")
    problem = dev.wait("problem", at)
    assert (problem["code"], "native" in problem["message"]) == ("no-wheel", True)
    dev.wait("result", at, rung="hold")
    assert not [one for one in dev.events[at:] if one.get("state") == "stopping"]

    at = dev.mark()
    settings(project, "lib<2")
    save(project / "main.py", SAY.format("lib"))
    said(dev, "lib 1", at)
    assert dev.end() == 0


def test_a_generation_that_is_gone_back_to_has_what_it_required(shared: Bench) -> None:
    project = shared.project({"main.py": SAY.format("lib")}, name="back")
    settings(project, "lib<2")
    dev = shared.dev(project)
    dev.wait("result", healthy=True)
    at = dev.mark()
    settings(project, "lib")
    dev.wait("result", at, healthy=True)
    said(dev, "lib 2", at)
    at = dev.mark()
    code, _ = shared.run("rollback", "--path", str(project), "--take")
    assert code == 0
    said(dev, "lib 1", at)
    assert dev.end() == 0


def test_what_only_the_host_has_is_missing_and_the_way_out_is_said(shared: Bench) -> None:
    project = shared.project({"main.py": "import lib, rpyc\ndef main(): pass\n"}, name="bare")
    settings(project, "lib", more="settle_s = 0.1")
    code, events = shared.run("push", str(project))
    assert code == 1
    problem = next(one for one in events if one["event"] == "problem")
    assert "add it to the project's 'dependencies'" in problem["hint"]
    settings(project, "lib", more="settle_s = 0.1\nsystem_packages = true")
    assert shared.run("push", str(project))[0] == 0


def test_what_a_sibling_depends_on_is_required_and_the_sibling_is_code(shared: Bench) -> None:
    sibling = shared.project({"side.py": "import lib\nVERSION = lib.VERSION\n"}, name="side")
    settings(sibling, "lib<2")
    project = shared.project({"main.py": SAY.format("side")}, name="both")
    settings(project, "side", more='depends = ["../side"]')
    dev = shared.dev(project)
    said(dev, "side 1")
    settings(sibling, "lib")
    said(dev, "side 2")
    assert dev.end() == 0


def test_one_project_runs_with_stubs_here_and_with_the_real_thing_on_a_board(shared: Bench) -> None:
    """Entry, environment and requirements are each target's own; what is for one is not even there on the other."""
    say = "import os, sys\nfrom importlib.util import find_spec\n\ndef main():\n    {0}\n"
    say += "    told = {1}, os.environ.get('PIN')\n"
    say += "    print(*told, bool(find_spec('lib')), bool(find_spec('under')), 'real' in sys.modules, flush=True)\n"
    project = shared.project(
        {"real.py": say.format("import lib", "'real'"), "stub.py": say.format("import under", "'stub'")},
        name="both-ways",
    )
    porch = Board(shared, "porch")
    profiles = f"""
        settle_s = 0.1
        [tool.reactor.targets.local]
        entry = "stub:main"
        requirements = ["under"]
        [tool.reactor.targets.porch]
        address = "{porch.address}"
        env = {{ PIN = "17" }}
        requirements = ["lib<2"]
    """
    told = f"[project]\nname = 'both-ways'\n[tool.reactor]\nentry = 'real:main'\n{textwrap.dedent(profiles)}"
    save(project / "pyproject.toml", told)
    porch.trust()
    porch.on()
    try:
        code, events = shared.run("push", str(project), "-t", "local", "-t", "porch", wait_s=60)
    finally:
        porch.off()
    assert code == 0
    assert {one["target"]: one["text"] for one in events if one["event"] == "log"} == {
        "local": "stub None False True False",
        "porch": "real 17 True False True",
    }
