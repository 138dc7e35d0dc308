"""``python -m benchmarks.discovery``: how soon a device is found, found again where it has moved to, and spoken to.

Network namespaces with a cable between them, so root and Linux; a row says that it was left out elsewhere.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import ssl
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from bootloader.wire.stream import client_context, connect, fingerprint
from reactor import trust

from .figures import Figures, show
from .guard import guarded
from .lan import Cable, Told

ROUNDS = 10
HANDSHAKES = 200
_CONNECT_S = 5.0


def moved(scratch: Path, rounds: int) -> Iterator[Figures]:
    """From another address, of either end, to the first event that is told over the new link."""
    cable = Cable(scratch)
    with cable.laid(), cable.trusted().powered():
        dev = cable.dev()
        for end, name in ((cable.device, "the device's address"), (cable.host, "the host's address")):
            took = []
            for _ in range(rounds):
                mark, began = dev.mark(), cable.move(end)
                mark, _ = dev.wait(mark, lambda told: told["event"] == "link" and told["state"] == "up")
                took.append((dev.wait(mark, _is_log)[1] - began) * 1000)
                time.sleep(2.0)
            yield _row(name, "a change to events again", took)
        dev.end()


def plugged(scratch: Path, rounds: int) -> Iterator[Figures]:
    """From a device that listens to the line of ``reactor devices --watch``."""
    cable = Cable(scratch)
    with cable.laid():
        cable.trusted()
        watch = cable.reactor("devices", "--watch")
        took = []
        for _ in range(rounds):
            mark = watch.mark()
            with cable.powered():
                began = time.monotonic()
                mark, came = watch.wait(mark, _is_there)
                took.append((came - began) * 1000)
            watch.wait(mark, lambda told: told["event"] == "device" and bool(told.get("gone") or not told["announced"]))
        watch.end()
        yield _row("a device that is switched on", "listening to listed", took)


def listed(scratch: Path, rounds: int) -> Iterator[Figures]:
    """From the start of ``reactor devices`` to the last row of its list: of one that is on, and seven that are not."""
    cable = Cable(scratch)
    with cable.laid(), cable.trusted().powered():
        for off, name in ((0, "a list, the device is on"), (7, "a list, seven others are off")):
            cable.knows(off)
            took = []
            for _ in range(rounds):
                began = time.monotonic()
                run, mark = cable.reactor("devices"), 0
                for _ in range(1 + off):
                    mark, came = run.wait(mark, lambda told: told["event"] == "device")
                took.append((came - began) * 1000)
                run.end()
            yield _row(name, "the command to its last row", took)


def handshakes(scratch: Path, rounds: int) -> Iterator[Figures]:
    """A link's connection with both certificates pinned, and plain TLS 1.3 with one certificate, in turns."""
    state, home = scratch / "state", scratch / "home"
    trust.issue(state, home, "porch")
    keys, identity = state / "trust", trust.host_identity(home)
    pem = (keys / "device.crt").read_text("ascii")
    ours: list[float] = []
    plain: list[float] = []
    run = [sys.executable, "-m", "bootloader", "run", "--state", str(state), "--listen", "127.0.0.1:0", "--json"]
    with (
        subprocess.Popen(run, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as process,
        _plain(keys / "device.crt", keys / "device.key") as port,
    ):
        assert process.stdout is not None
        link = json.loads(process.stdout.readline())["port"]
        context = client_context(identity.certificate, identity.key, pem)
        bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        bare.check_hostname = False
        bare.load_verify_locations(cadata=pem)
        bare.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN

        def pinned() -> None:
            connect("127.0.0.1", link, context, fingerprint(pem), _CONNECT_S).close()

        def once() -> None:
            with socket.create_connection(("127.0.0.1", port)) as sock, bare.wrap_socket(sock) as wrapped:
                wrapped.version()

        for _ in range(rounds):
            ours.append(_timed(pinned))
            plain.append(_timed(once))
        process.terminate()
    base = statistics.median(plain)
    for name, took in (("plain TLS 1.3", plain), ("a link, both ends pinned", ours)):
        yield {**_row("handshake", name, took), "of_plain": round(statistics.median(took) / base, 2)}


@contextmanager
def _plain(certificate: Path, key: Path) -> Iterator[int]:
    """A server of Python's own ``ssl``, which asks for no certificate; its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(certificate, key)
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                sock, _ = listening.accept()
            except OSError:
                return
            with context.wrap_socket(sock, server_side=True, suppress_ragged_eofs=True) as wrapped:
                wrapped.recv(1)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()


def _timed(call: Callable[[], None]) -> float:
    began = time.monotonic()
    call()
    return (time.monotonic() - began) * 1000


def _is_log(told: Told) -> bool:
    return bool(told["event"] == "log")


def _is_there(told: Told) -> bool:
    return bool(told["event"] == "device" and told["announced"] and not told.get("gone"))


def _row(what: str, way: str, took: Sequence[float]) -> Figures:
    took = sorted(took)
    return {
        "what": what,
        "from": way,
        "times": len(took),
        "median_ms": round(statistics.median(took), 1),
        "most_ms": round(took[-1], 1),
    }


PARTS: Mapping[str, tuple[Callable[[Path, int], Iterator[Figures]], int]] = {
    "moved": (moved, ROUNDS),
    "plugged": (plugged, ROUNDS),
    "listed": (listed, ROUNDS),
    "handshakes": (handshakes, HANDSHAKES),
}


def main(arguments: list[str] | None = None) -> int:
    """The front door; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.discovery")
    parser.add_argument("--json", action="store_true", help="one JSON object a line in place of tables")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--quick", action="store_true", help="a look")
    options = parser.parse_args(arguments)
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        print("the benchmark needs Linux, and root: network namespaces", file=sys.stderr)
        return 2
    return guarded(lambda scratch: _run(options, scratch), "discovery")


def _part(name: str, scratch: Path, *, quick: bool) -> Iterator[Figures]:
    part, rounds = PARTS[name]
    return part(scratch, max(2, rounds // 5) if quick else rounds)


def _run(options: argparse.Namespace, scratch: Path) -> int:
    parts = ((name, _part(name, scratch / name, quick=options.quick)) for name in options.only)
    show("Benchmark of the discovery", parts, as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
