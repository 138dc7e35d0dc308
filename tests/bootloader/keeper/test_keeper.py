"""Whatever becomes of the bootloader, the keeper brings it back; whatever becomes of the keeper, nothing is left."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from bootloader.keeper.keeper import LINE
from bootloader.wire.errors import Refused
from reactor import trust
from reactor.link import Link
from tests.bootloader.target import SOON_S, Target, alive, app, descendants, gone, kept_by, let_go, plain_environment

WAIT = "import threading\ndef main():\n    print('up')\n    threading.Event().wait()\n"
STEADY = app(settle_s=0.0)


def up(target: Target, source: str = WAIT) -> None:
    target.ship(source, STEADY).healthy()
    target.log("up")


def another(target: Target, than: int) -> int:
    """The bootloader's process id, once it is not ``than``."""
    gone({than})
    return target.pid


def killed(target: Target, number: int = signal.SIGKILL) -> None:
    """Kill the bootloader, wait until its keeper has another one, and follow that."""
    before = {target.pid, *target.processes()}
    os.kill(target.pid, number)
    gone(before)
    target.again()


def test_a_bootloader_that_is_killed_is_started_again_where_it_was_with_what_it_ran(target: Target) -> None:
    up(target)
    first, port = target.pid, target.listening["port"]
    killed(target)
    assert target.pid != first
    assert target.call("hello").integer("pid") == target.pid
    assert target.link("other").call("hello", {})[0].text("name"), f"it is still at port {port}"
    target.log("up")
    assert target.notice("restarted")["text"] == "the bootloader was killed by SIGKILL, and was started again"
    assert target.process.stdout is not None
    assert not select.select([target.process.stdout], [], [], 0)[0], "where it listens was said once"
    assert target.end() == 0


def test_a_link_that_is_made_while_it_starts_waits(target: Target) -> None:
    """The keeper holds the socket, so nobody is refused, and nobody else gets the port."""
    for _ in range(3):
        pid = target.pid
        os.kill(pid, signal.SIGKILL)
        gone({pid})
        with target.link("waiting") as link:
            assert link.call("hello", {}, timeout_s=SOON_S)[0].integer("pid") != pid
    with socket.socket() as thief, pytest.raises(OSError, match="in use"):
        thief.bind(("127.0.0.1", target.listening["port"]))


def test_one_that_dies_again_and_again_comes_back_each_time(target: Target) -> None:
    pid = target.pid
    for _ in range(6):
        os.kill(pid, signal.SIGKILL)
        pid = another(target, pid)
    target.again()
    assert target.call("hello").integer("pid") == pid


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_that_somebody_else_ends_in_order_is_started_again(target: Target, number: int) -> None:
    """An application could send it that."""
    up(target)
    killed(target, number)
    target.log("up")
    assert target.notice("restarted")["text"] == "the bootloader exited with status 0, and was started again"


def test_one_that_falls_silent_is_killed_and_started_again(tmp_path: Path) -> None:
    target = Patient(tmp_path)
    up(target)
    killed(target, signal.SIGSTOP)
    target.log("up")
    assert target.notice("restarted")["text"] == "the bootloader fell silent, and was started again"
    target.close()


def test_one_that_does_not_end_when_asked_to_is_killed(tmp_path: Path) -> None:
    target = Patient(tmp_path)
    up(target)
    os.kill(target.pid, signal.SIGSTOP)
    assert target.end() == 1


def test_the_keepers_death_ends_the_bootloader_and_its_applications_in_order(target: Target) -> None:
    up(target, "import atexit\natexit.register(print, 'cleaned up')\n" + WAIT)
    pids = {target.pid, *target.processes()}
    target.process.kill()
    target.process.wait(SOON_S)
    gone(pids)
    assert target.log("cleaned up")
    target.control.close()
    let_go(target.process)


def test_a_signal_right_after_the_start_ends_it(tmp_path: Path) -> None:
    target = Target(tmp_path)
    target.end()
    for _ in range(5):
        process = target.spawn()
        pid = kept_by(process.pid)
        process.terminate()
        assert process.wait(SOON_S) == 0
        gone({pid})
        let_go(process)


ESCAPE = """
import os, sys, threading
def main():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.closerange(0, 1000)
            with open('escaped.new', 'w') as file:
                file.write(str(os.getpid()))
            os.rename('escaped.new', 'escaped')
            threading.Event().wait()
        os._exit(0)
    while not os.path.exists('escaped'):
        pass
    print('up')
    threading.Event().wait()
"""


def test_what_an_application_sent_away_ends_with_a_bootloader_that_is_killed(target: Target) -> None:
    up(target, ESCAPE)
    escaped = int((target.state / "data" / "app" / "escaped").read_text())
    warm = next(pid for pid in target.processes() if escaped in descendants(pid))
    assert alive(escaped)
    for pid in (warm, target.pid):  # whoever would have ended it
        os.kill(pid, signal.SIGKILL)
    gone({escaped})
    target.again()
    target.log("up")


def test_what_a_script_had_started_before_it_became_the_keeper_is_left_alone(target: Target) -> None:
    target.end()
    target.program = ("sh", "-c", 'sleep 1000 & exec "$@"', "sh", *Target.program)
    target.start()
    before = [
        int(pid) for pid in Path(f"/proc/{target.process.pid}/task/{target.process.pid}/children").read_text().split()
    ]
    os.kill(target.call("hello").integer("pid"), signal.SIGKILL)
    target.again()
    assert alive(before[0])
    os.kill(before[0], signal.SIGKILL)


def test_the_key_of_the_device_itself_asks_for_hello_and_nothing_more(target: Target) -> None:
    keys = target.state / "trust"
    own = trust.KeyPair(keys / "device.crt", keys / "device.key")
    with Link.connect("127.0.0.1", target.listening["port"], own, own.certificate, SOON_S) as link:
        assert link.call("hello", {})[0].integer("pid") == target.pid
        for method in ("status", "apply", "start", "rollback", "events", "upgrade", "confirm", "upload", "manifest"):
            with pytest.raises(Refused) as caught:
                link.call(method, {})
            assert caught.value.code == "unknown-method"


def test_where_no_process_can_be_made_it_says_so_once_and_tries_on(tmp_path: Path) -> None:
    python = tmp_path / "python"
    main = f"import sys\nsys.executable = {str(python)!r}\nfrom bootloader.__main__ import main\nmain()"
    command = [sys.executable, "-c", main, "run", "--state", str(tmp_path), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        assert process.stdout is not None
        said = "bootloader: the bootloader could not be started (No such file or directory); this is tried again\n"
        assert process.stderr.readline() == said.encode()
        python.write_text("#!/bin/sh\necho it runs\nexec sleep 1000\n")
        python.chmod(0o755)
        while process.stdout.readline() != b"it runs\n":  # it may be tried before it can be run
            assert process.poll() is None
        process.terminate()
        assert process.wait(SOON_S) == 0
        assert said.encode() not in process.stderr.read()


@pytest.mark.parametrize("first", [None, b"", b"{", b"x\n"], ids=["no-line", "ended", "cut", "nonsense"])
def test_without_a_keeper_it_says_so(tmp_path: Path, first: bytes | None) -> None:
    ours, theirs = socket.socketpair()
    descriptor = theirs.fileno()
    if first is None:
        theirs.close()
    else:
        ours.sendall(first)
        ours.shutdown(socket.SHUT_WR)
    told = subprocess.run(
        [sys.executable, "-m", "bootloader", "run", "--state", str(tmp_path), "--json"],
        env={**plain_environment(), LINE: str(descriptor)},
        pass_fds=[] if first is None else [descriptor],
        stdout=subprocess.PIPE,
        timeout=SOON_S,
        check=False,
    )
    ours.close()
    theirs.close()
    assert (told.returncode, json.loads(told.stdout)["code"]) == (1, "no-keeper")


def test_the_keeper_is_small(target: Target) -> None:
    maps = Path(f"/proc/{target.process.pid}/maps").read_text()
    assert "libssl" not in maps
    assert "blake3" not in maps
    threads = list(Path(f"/proc/{target.process.pid}/task").iterdir())
    assert len(threads) == 1


class Patient(Target):
    """A target whose keeper does not wait long for it."""

    program = (
        sys.executable,
        "-c",
        "from bootloader.keeper import keeper\nkeeper.SILENT_S, keeper.END_S = 8.0, 0.5\n"
        "from bootloader.__main__ import main\nmain()",
    )
