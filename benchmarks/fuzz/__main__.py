"""``python -m benchmarks.fuzz``: a million odd inputs for everything that reads what another end says.

Before and after authentication, on both ends: bytes that are changed, values that are changed within messages. What
breaks a promise is told with its input, which is kept in a file; the exit code is 1 then. Linux only.

With ``--atheris PART``, that one part is run by atheris, which looks for inputs that reach new code, until Ctrl-C.
"""

from __future__ import annotations

import argparse
import hashlib
import inspect
import random
import resource
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from bootloader.wire.launch import Application, Launch
from bootloader.wire.messages import pack
from bootloader.wire.records import encode
from bootloader.wire.session import framed

from .. import machine
from ..guard import guarded
from . import line, pure
from .exchange import Exchange
from .live import Live, hello, living
from .mutate import Mutator
from .pure import Part

LONGEST_S = 5
"""Of a processor, for one input: whoever can hold up an end for longer with 64 KiB has found something."""

_LOOK_EVERY = 500


@dataclass
class Tally:
    """What came of one part."""

    inputs: int = 0
    used: int = 0
    """Inputs that were of use: not refused at once."""
    findings: int = 0
    took_s: float = 0.0


def parts_of(live: Live, scratch: Path) -> dict[str, Part]:
    """All of them, with good inputs to begin with."""
    said, asks, lines = tuple(live.said()), tuple(live.asks()), tuple(live.lines())
    exchange = Exchange(scratch)
    tree = pure.TREE
    overlay = tuple(one for one in asks if b'"put"' in one)
    launch = Launch((Application("app", "app:main"), Application("net", "net", init=True)), reload="restart").encode()
    output = b"".join(part for kind in "oeIn" for part in encode(kind, b'{"a": "line"}\n')) + b"raw\n\xc3"
    values = [framed({"is": "over", "value": value}, [b"abc", bytes(16)]) for value in _VALUES]
    talk = framed({"is": "hello", "version": 1, "python": [3, 11, 0], "pid": 7}) + values[0]
    txt = b"".join(bytes([len(one)]) + one for one in (b"id=" + b"a" * 64, b"name=porch", b"root=", b"version=0.1"))
    editor = b'Content-Length: 61\r\n\r\n{"seq":1,"type":"request","command":"attach","arguments":{}}  '
    return {
        "frames": Part(pure.frames, tuple(one[5:-1] for one in (*live.frames(), *map(pure.reply, said[:2]))), 20),
        "device's end of calls": Part(pure.device_end, (*live.frames(), b"".join(live.frames()[:3])), 20),
        "host's end of calls": Part(pure.host_end, tuple(map(pure.reply, said)), 20),
        "messages": Part(pure.messages, (*said, *asks), 20),
        "answers, as commands read them": Part(
            pure.answers, (*said, pack({"refused": {"code": "x", "what": "y"}})), 20
        ),
        "events": Part(pure.events, (*lines, *(one + b"\n" for one in lines[0].splitlines())), 20),
        "manifests": Part(pure.manifests, (tree.text,), 10),
        "overlays": Part(pure.overlays, overlay, 10),
        "deltas": Part(pure.deltas, (b"\0\0\x10\0\0\x20middle",), 3),
        "launch files": Part(pure.launches, (launch,), 10),
        "output of applications": Part(pure.records, (output,), 10),
        "what interpreters say": Part(pure.sessions, (talk, *values), 10),
        "messages of a pairing": Part(pure.pairings, tuple(exchange.seeds()), 10),
        "text records": Part(pure.records_of_text, (txt,), 5),
        "multicast packets": Part(pure.packets, (pure.packet(),), 5),
        "a serial line, at the device": Part(line.at_device, tuple(line.seeds()), 10),
        "a serial line, at the host": Part(line.at_host, tuple(line.seeds()), 5),
        "an editor": Part(pure.editors, (editor,), 3),
        "a host that pairs": Part(exchange.check, tuple(exchange.seeds()), 1),
        "a bootloader's door": Part(live.door, (hello(), live.frames()[0]), 1, live.at_rest),
        "a bootloader past the handshake": Part(live.past, tuple(live.frames()), 1, live.at_rest),
        "a bootloader's service": Part(live.service, asks, 5, live.at_rest),
        "a bootloader's window to pair in": Part(live.window, tuple(exchange.asks()), 1, live.at_rest),
    }


_VALUES: tuple[object, ...] = (
    *(1, {"t": [1, {"s": ["a"]}]}, {"d": [["k", {"b": 0}]]}, {"i": "-ff"}, {"c": ["1.0", "2.0"]}, {"f": "inf"}),
    {"a": {"dtype": "<f8", "shape": [2], "blob": 1}},
)


def fuzz(
    parts: Mapping[str, Part], inputs: int, seed: str, keep: Path, until_s: float = float("inf")
) -> dict[str, Tally]:
    """So many inputs at least, shared out among ``parts``; what was found is in ``keep``."""
    whole = sum(part.share for part in parts.values())
    tallies: dict[str, Tally] = {}
    for name, part in parts.items():
        tally = tallies[name] = Tally()
        mutator = Mutator(random.Random(f"{seed} {name}"))
        began = time.monotonic()
        for number in range(max(len(part.seeds), ceil(inputs * part.share / whole))):
            if time.monotonic() > until_s:
                break
            data = part.seeds[number] if number < len(part.seeds) else mutator.next(part.seeds)
            try:
                with _bounded():
                    tally.used += part.check(data)
                if number % _LOOK_EVERY == 0:
                    part.at_rest()
            except Exception:  # noqa: BLE001 - whatever it raises is what is looked for
                tally.findings += 1
                _found(name, data, keep)
            tally.inputs += 1
        part.at_rest()
        tally.took_s = time.monotonic() - began
    return tallies


def _found(name: str, data: bytes, keep: Path) -> None:
    keep.mkdir(parents=True, exist_ok=True)
    path = keep / f"{name.replace(' ', '-')}-{hashlib.sha256(data).hexdigest()[:12]}"
    path.write_bytes(data)
    print(f"{name}: {path}\n{traceback.format_exc(limit=-4)}", file=sys.stderr, flush=True)


@contextmanager
def _bounded() -> Iterator[None]:
    """No input may take long."""

    def late(*_: object) -> None:
        raise TimeoutError(f"one input took {LONGEST_S} s")

    before = signal.signal(signal.SIGVTALRM, late)
    signal.setitimer(signal.ITIMER_VIRTUAL, LONGEST_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _guided(part: Part) -> None:
    import atheris  # no dependency of the benchmarks: whoever wants it has it

    for name, module in list(sys.modules.items()):
        if name.startswith(("bootloader.wire", "reactor.", f"{__package__}.pure")):
            places = [module, *filter(inspect.isclass, vars(module).values())]
            for one in {one for place in places for one in vars(place).values() if inspect.isfunction(one)}:
                atheris.instrument_func(one)
    atheris.Setup([sys.argv[0]], lambda data: part.check(bytes(data)))
    atheris.Fuzz()


def main() -> None:
    """Run as the arguments say."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description="Odd inputs for all that reads.")
    parser.add_argument("--inputs", type=int, default=1_000_000, metavar="N", help="how many (%(default)s)")
    parser.add_argument("--seed", default="0", metavar="TEXT", help="repeats a run (%(default)s)")
    parser.add_argument("--only", action="append", metavar="PART", help="this part; may be repeated")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-findings"), metavar="DIR", help="for what is found")
    parser.add_argument("--again", type=Path, metavar="FILE", help="with --only: that input, once")
    parser.add_argument(
        "--atheris", action="store_true", help="with --only: let atheris, if installed, make the inputs"
    )
    options = parser.parse_args()
    sys.exit(guarded(lambda scratch: _run(options, scratch), "fuzz"))


def _run(options: argparse.Namespace, scratch: Path) -> int:
    """As the arguments say; 0 where nothing was found."""
    with living(scratch, random.Random(options.seed)) as live:
        parts = parts_of(live, scratch)
        wanted = {name: part for name, part in parts.items() if not options.only or name in options.only}
        if not wanted:
            print(f"the parts are: {', '.join(parts)}", file=sys.stderr)
            return 2
        if options.again:
            for part in wanted.values():
                print("of use" if part.check(options.again.read_bytes()) else "refused")
            return 0
        if options.atheris:
            _guided(next(iter(wanted.values())))
        tallies = fuzz(wanted, options.inputs, options.seed, options.keep)
    print("\n".join(f"- {name}: {value}" for name, value in {**machine.facts(), "seed": options.seed}.items()))
    print("\n| what reads | inputs | of use | a second | found |\n|---|--:|--:|--:|--:|")
    for name, tally in tallies.items():
        rate = tally.inputs / tally.took_s if tally.took_s else 0
        print(f"| {name} | {tally.inputs:,} | {tally.used:,} | {rate:,.0f} | {tally.findings} |")
    found = sum(tally.findings for tally in tallies.values())
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"\n{sum(tally.inputs for tally in tallies.values()):,} inputs, {found} findings, {peak_mb} MB at most")
    return 1 if found else 0


if __name__ == "__main__":
    main()
