"""The documents are true: commands run and print what they show, settings are legal, tables are the code's.

A fenced block ``console`` is run, in a shell and an empty folder that all blocks of its document share: each line after
``$ `` is a command that has to succeed, the lines below are what it prints, where there are any, ``…`` standing for
anything. How it is spaced and wrapped does not count. Blocks ``sh`` need a network, a board or root, and are read only.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import fields
from pathlib import Path

import pytest

from bootloader import journal, listener, service, trust
from bootloader.wire import limits, session, stream
from bootloader.wire.errors import LinkDown
from bootloader.wire.manifest import Entry, Manifest, blob_name
from bootloader.wire.messages import Fields
from bootloader.wire.overlay import diff
from bootloader.wire.presence import SERVICE, Presence
from reactor import settings
from reactor.cli import upgrade
from reactor.link import Link
from reactor.trust import host_identity, issue, make_identity

TOP = Path(__file__).parents[1]
DOCUMENTS = sorted(path for path in (TOP, TOP / "docs") for path in path.glob("*.md"))
WAIT_S = 60
END = "--- the end of what a command prints ---"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def text_of(name: str) -> str:
    return (TOP / name).read_text("utf-8")


def blocks(document: Path, kind: str) -> list[str]:
    return [text for found, text in BLOCK.findall(document.read_text("utf-8")) if found == kind]


def with_blocks(kind: str) -> list[Path]:
    return [path for path in DOCUMENTS if blocks(path, kind)]


# what is run


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """A home, and the programs of this checkout."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("reactor", "bootloader"):
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m {name} "$@"\n')
        program.chmod(0o755)
    more = {"PATH": f"{programs}:{os.environ['PATH']}", "REACTOR_HOME": str(tmp_path / "home"), "COLUMNS": "100"}
    return {**os.environ, **more, "PYTHONPATH": str(TOP)}


def commands(block: str) -> list[tuple[str, str]]:
    """The commands of a block, each with what it is to print."""
    _, *parts = re.split(r"^\$ ", block, flags=re.MULTILINE)
    return [(command, shown) for command, _, shown in (part.partition("\n") for part in parts)]


def spaced(text: str) -> str:
    """With one space wherever there is any, and options as argparse shows them from Python 3.13 on."""
    return re.sub(r"(-\w) (\S+), (--[\w-]+) \2", r"\1, \3 \2", " ".join(text.split()))


def fits(shown: str, printed: str) -> bool:
    """Whether ``printed`` is what is ``shown``; anything is, where nothing is."""
    if not shown:
        return True
    pattern = ".*".join(re.escape(part.strip()) for part in spaced(shown).split("…"))
    return re.fullmatch(pattern, spaced(printed), re.DOTALL) is not None


@pytest.mark.parametrize("document", with_blocks("console"), ids=lambda path: path.name)
def test_the_commands_of_a_document_print_what_it_shows(document: Path, tmp_path: Path, env: dict[str, str]) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    folder = tmp_path / "folder"
    folder.mkdir()
    wanted = [each for block in blocks(document, "console") for each in commands(block)]
    script = "\n".join(["set -e", *(f"{command}\necho {END}" for command, _ in wanted)]).replace("7717", port)
    output = tmp_path / "output"
    with output.open("wb") as file:
        shell = subprocess.Popen(
            ["sh", "-c", script],
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            shell.wait(WAIT_S)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGTERM)  # what it left running in the background
    *printed, rest = output.read_text("utf-8").replace(port, "7717").split(f"{END}\n")
    assert len(printed) == len(wanted), f"{wanted[len(printed)][0]} failed: {rest}"
    wrong = [(command, said) for (command, shown), said in zip(wanted, printed, strict=True) if not fits(shown, said)]
    assert wrong == []


def test_what_a_command_prints_is_compared_with_what_is_shown() -> None:
    assert fits("", "anything")
    assert fits("a … c\n  d", "a b\nc d\n")
    assert not fits("a … c", "a b d")
    assert not fits("a", "a b")
    assert fits("-t, --target T  x", "  -t T, --target T\n    x")


@pytest.mark.parametrize("document", with_blocks("toml"), ids=lambda path: path.name)
def test_the_settings_of_a_document_are_legal(document: Path) -> None:
    for block in blocks(document, "toml"):
        assert settings.parse(block, document.name).main.entry


def test_every_command_is_documented() -> None:
    documented = dict(commands("".join(blocks(TOP / "docs" / "commands.md", "console"))))

    def listed(command: str) -> Iterator[str]:
        yield f"{command} --help"
        for name in re.findall(r"^    (\w+)(?: |$)", documented.get(f"{command} --help", ""), re.MULTILINE):
            yield from listed(f"{command} {name}")

    assert list(documented) == [*listed("reactor"), *listed("bootloader")]


def test_links_between_documents_lead_somewhere() -> None:
    for document in DOCUMENTS:
        text = document.read_text("utf-8")
        for path, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", text):
            target = document.parent / path if path else document
            assert target.exists(), f"{document.name}: {path}"
            if anchor:
                headings = re.findall(r"^#+ (.*)$", target.read_text("utf-8"), re.MULTILINE)
                anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
                assert anchor in anchors, f"{document.name}: #{anchor}"


def test_each_promise_of_security_names_tests_that_there_are() -> None:
    proofs = [
        row.rpartition(" | ")[2] for row in text_of("SECURITY.md").splitlines() if "`tests/" in row and "|" in row
    ]
    assert len(proofs) > 20
    for path, name in re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", text_of("SECURITY.md")):
        functions = {node.name for node in ast.parse(text_of(path)).body if isinstance(node, ast.FunctionDef)}
        assert not name or name in functions, f"{path}::{name}"
    promised = text_of("SECURITY.md").partition("## What is promised")[2].partition("## What is not promised")[0]
    for row in promised.splitlines():
        if row.startswith("| ") and not row.startswith("| promise"):
            assert "`tests/" in row, f"nothing proves: {row}"


# codes


def section(document: str, heading: str) -> str:
    return re.split(r"^## ", text_of(document).partition(f"## {heading}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


def rows(text: str) -> Iterator[list[str]]:
    """The rows of the tables in ``text``, less their heads."""
    for line in text.splitlines():
        if line.startswith("| `"):
            yield [cell.strip() for cell in line.strip("|").split("|")]


def words(cell: str) -> list[str]:
    return re.findall(r"`([\w-]+)`", cell)


def codes() -> set[str]:
    """The codes that the product gives to faults and notices."""
    found: set[str] = set()
    modules = [module for name in ("bootloader", "reactor") for module in (TOP / name).rglob("*.py")]
    for node in (node for module in modules for node in ast.walk(ast.parse(module.read_bytes()))):
        if isinstance(node, ast.Call) and node.args:
            name = ast.unparse(node.func).rpartition(".")[2]
            if name in ("Fault", "Refused", "Remark", "__init__") or name.endswith("notice") or name == "lose":
                found |= literals(node.args[0])
        elif isinstance(node, ast.Dict):
            pairs = zip(node.keys, node.values, strict=True)
            found |= {one for key, value in pairs if key and literals(key) == {"code"} for one in literals(value)}
    return found - {"code"}


def literals(node: ast.AST) -> set[str]:
    texts = (each.value for each in ast.walk(node) if isinstance(each, ast.Constant) and isinstance(each.value, str))
    return {text for text in texts if re.fullmatch(r"[a-z]+(-[a-z]+)*", text)}


def test_every_code_is_documented_and_no_other() -> None:
    tables = section("docs/json.md", "Codes of `problem`") + section("docs/json.md", "Codes of `notice`")
    documented = {code for row in rows(tables + section("docs/protocol.md", "Refusals")) for code in words(row[0])}
    assert codes() - documented == set()
    assert documented - codes() == set()


# the protocol


@contextmanager
def board(folder: Path, env: dict[str, str]) -> Iterator[Link]:
    """A bootloader on which an application has been healthy, and another has died."""
    home, state = Path(env["REACTOR_HOME"]), folder / "state"
    project = folder / "app"
    project.mkdir()
    main = project / "main.py"
    called = 'safe = "off:now"\nhandler = "off:nowhere"\ngive = "off:give"\ntake = "off:take"\n'
    (project / "pyproject.toml").write_text(f'[tool.reactor]\nentry = "main"\nsettle_s = 0.1\n{called}')
    (project / "off.py").write_text("def now(): pass\ndef give(): return 7\ndef take(state, version): pass\n")
    run = ["bootloader", "run", "--state", str(state), "--listen", "127.0.0.1:0", "--json"]
    issue(state, home, "board")
    (state / "trust" / "hosts" / "guest.crt").write_text(make_identity("guest").cert_pem)
    with subprocess.Popen(run, env=env, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port = json.loads(process.stdout.readline())["port"]
            trusted = ["reactor", "trust", "make", str(state), "--name", "board", "--address", f"127.0.0.1:{port}"]
            subprocess.run(trusted, env=env, check=True, stdout=subprocess.DEVNULL, timeout=WAIT_S)
            for text in (
                "import threading\nprint('hello')\nthreading.Event().wait()\n",
                "import logging\nlogging.warning('dies')\n1 / 0\n",
            ):
                main.write_text(text)
                push = ["reactor", "push", str(project), "-t", "board"]
                subprocess.run(push, env=env, check=False, stdout=subprocess.DEVNULL, timeout=WAIT_S)
            certificate = state / "trust" / "device.crt"
            with Link.connect("127.0.0.1", port, host_identity(home), certificate, WAIT_S) as link:
                yield link
        finally:
            process.terminate()


def confirmed(folder: Path, env: dict[str, str], release: str) -> Fields:
    """What the board answers to ``confirm``, once the bootloader ``release`` runs there."""
    identity, certificate = host_identity(Path(env["REACTOR_HOME"])), folder / "state" / "trust" / "device.crt"
    port = int((folder / "state" / "run" / "address").read_text().split()[1])
    while True:
        with suppress(LinkDown), Link.connect("127.0.0.1", port, identity, certificate, WAIT_S) as link:
            if link.call("hello", {})[0].text("release") == release:
                return link.call("confirm", {"release": release}, timeout_s=WAIT_S)[0]


def test_the_protocol_is_as_documented(tmp_path: Path, env: dict[str, str]) -> None:
    table = {words(row[0])[0]: row for row in rows(section("docs/protocol.md", "Messages"))}
    methods = Path(service.__file__).read_text("utf-8").partition("dict[str, Answer] = {")[2].partition("}")[0]
    answered = re.findall(r'"(\w+)": self', methods)
    assert set(table) == set(answered)
    with board(tmp_path, env) as link:
        hello, _ = link.call("hello", {})
        _, (manifest,) = link.call("manifest", {"root": hello.text("root")})
        tree = Manifest.parse(manifest)
        content = b"more"
        entry = Entry(blob_name(content), 0o644, len(content))
        overlay = diff(tree, tree.edit({"more.txt": entry}))
        requests: dict[str, tuple[Mapping[str, object], list[bytes]]] = {
            "manifest": ({"root": tree.root}, []),
            "missing": ({"names": [[entry.blake3, entry.size]]}, []),
            "upload": ({"parts": [[entry.blake3, 0, entry.size]]}, [content]),
            "apply": overlay.message(),
            "history": ({"limit": 3}, []),
            "lease": ({"do": "get"}, []),
            "rollback": ({"generation": 1}, []),
            "stack": ({"application": "app"}, []),
            "role": ({"name": "guest", "role": "observers"}, []),
            "distrust": ({"name": "guest"}, []),
            "status": ({"measure_s": 0.1}, []),
        }
        answers: dict[str, Fields] = {}
        streams = ("open", "write", "read", "close")
        others = {"upgrade", "confirm", *streams}
        for method in [*requests, *(name for name in table if name not in others | requests.keys())]:
            body, blobs = requests.get(method, ({}, []))
            answers[method], told = link.call(method, body, blobs, WAIT_S)
            if method == "events":
                events = [json.loads(line) for line in told[0].splitlines()]
        asks: dict[str, object] = {"kind": session.KIND, "beside": True, "stream": "", "at": 0, "wait_s": WAIT_S / 2}
        for method in streams:
            answers[method], told = link.call(method, asks, [b""] * (method == "write"), WAIT_S)
            asks["stream"] = asks["stream"] or answers[method].text("stream", "")
            greeting = next(session.Messages().feed(told[0]))[0] if method == "read" else None
            assert greeting is None or greeting.plain().keys() >= {"is", "version", "python", "pid"}
        sent = upgrade.release(upgrade.package())
        answers["upgrade"], _ = link.call("upgrade", *sent.message(), WAIT_S)
        answers["confirm"] = confirmed(tmp_path, env, sent.root)
    for method, answer in answers.items():
        cell = table[method][2]
        cell = table[words(cell)[0]][2] if cell.startswith("as ") else cell
        assert answer.plain().keys() - {"blobs"} == set(words(cell)), method
    text = section("docs/protocol.md", "Messages")
    status = answers["status"]
    for nested in (status.child("generation"), status.child("keeper"), *status.objects("applications")):
        assert nested.plain().keys() <= set(words(text))
    fields = {words(row[0])[0]: set(words(row[1])) for row in rows(section("docs/protocol.md", "Events"))}
    assert {event["event"] for event in events} - {"notice"} == fields.keys() - {"notice"}
    for event in events:
        assert event.keys() - {"n", "event", "at", "mono"} <= fields[event["event"]], event


def test_the_announcement_is_as_documented() -> None:
    text = section("docs/protocol.md", "Announcement")
    assert [word for row in rows(text) for word in words(row[0])] == [field.name for field in fields(Presence)]
    assert f"`{SERVICE.removesuffix('.local.')}`" in text


def test_the_limits_are_as_documented() -> None:
    text = section("docs/protocol.md", "Limits")
    table = {name: row[1] for row in rows(text) for name in words(row[0])}
    own = {name for name in vars(limits) if name.isupper()} - {"PROTOCOL"}
    assert own <= table.keys()
    for name, cell in table.items():
        value = next(getattr(module, name) for module in (limits, listener, trust, stream) if hasattr(module, name))
        sizes = [f"{value / size:g} {unit}" for unit, size in (("KiB", 2**10), ("MiB", 2**20), ("GiB", 2**30))]
        assert re.search(rf"\b({'|'.join([f'{value:g} s', str(value), *sizes])})\b", cell), f"{name} is {value}"
    assert f"version {limits.PROTOCOL}\n" in text_of("docs/protocol.md")
    assert f"{journal.LOG_BYTES // 2**20} MiB of log lines" in section("docs/protocol.md", "Events")
