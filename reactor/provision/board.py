"""A board while it is provisioned: looked at, given what the plan says, reached at last.

Owns the order of these, and what is fetched for it. Decides nothing of what is to be done (``plan``), says nothing.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import resources
from itertools import chain
from pathlib import Path

from bootloader.wire.errors import CallTimeout, Fault, LinkDown, Untrusted
from bootloader.wire.private import sealed, unsealed
from bootloader.wire.stream import fingerprint

from .. import trust
from ..report import clean
from ..targets.linked import Linked
from ..wheels import Wheel, fetch
from . import plan
from .facts import Facts, Python, read
from .payload import Payload, extras, requirements, unit
from .plan import Step, Wish
from .shell import Shell

_PERFORM_S = 1800.0
_REACH_S = 180.0
_OBEY_S = 15.0
_POLL_S = 0.2
_SUDO_ASKS = "sudo -k -S -p ''"
"""With ``-k``, it reads a password in any case, so the line before what is sent is always its own."""

OPTIONAL = {
    "announce": "it does not announce itself on the network",
    "pairing": "it can't be paired with by a code",
}
"""What a target can do without, and what it then lacks."""


class Board:
    """The one behind ``shell``; ``facts`` is what it was when it was looked at."""

    def __init__(self, shell: Shell, port: int, python: str = "") -> None:
        self._shell = shell
        self.port = port
        self.facts = self._look(python)
        self.password = ""
        """The user's own there, where sudo asks for one."""

    def _look(self, python: str) -> Facts:
        variables = {
            "home_of_code": plan.CODE,
            "launcher": plan.LAUNCHER,
            "unit": plan.UNIT,
            "start": plan.START,
            "port_hex": f"{self.port:04X}",
            "python": python,
            "host_file": trust.host_name(),
        }
        head = "".join(f"{name}={shlex.quote(value)}\n" for name, value in variables.items())
        text = (resources.files("reactor.provision") / "look.sh").read_text("utf-8")
        return read(self._shell.run(head + text))

    def perform(
        self, todo: Sequence[Step], payload: Payload | None, on_step: Callable[[str], None] = lambda _name: None
    ) -> Facts:
        """Do ``todo``, in one go; what was learned by it. ``on_step`` hears the name of each that is done."""
        begun: list[str] = []

        def hear(line: str) -> None:
            word, _, name = line.partition(" ")
            if word == "step" and name in {"done", *(step.name for step in todo)}:
                if begun:
                    on_step(begun[-1])
                begun.append(name)

        stdin = payload.tar if payload is not None and any(step.name == "code" for step in todo) else b""
        try:
            said = self._as_root(plan.script(self.facts, todo), stdin, hear)
        except Fault as fault:
            if fault.code == "step-failed" and begun:
                do = "mend that, and do it again: what is done already stays, and nothing of it is harmed"
                what = f"the step '{begun[-1]}' failed: {fault.what}"
                raise Fault("step-failed", what, to=self._shell.destination, do=do) from fault
            raise
        return read(f"{said}\nfact looked=yes\n")

    def sweep(self, root: str) -> None:
        """Remove what earlier releases have left."""
        if script := plan.sweep(self.facts, root):
            self._as_root(script, b"")

    def _as_root(self, script: str, stdin: bytes, hear: Callable[[str], None] = lambda _line: None) -> str:
        how = {"sudo": "sudo -n", "password": _SUDO_ASKS}.get(self.facts.root, "")
        if how == _SUDO_ASKS:
            stdin = self.password.encode() + b"\n" + stdin
        return self._shell.run(script, stdin, root=how, on_line=hear, most_s=_PERFORM_S)

    def why_not(self) -> str:
        """What it says itself, the last of it, where it can't be reached; empty where nothing keeps that."""
        with suppress(Fault):
            said = self._as_root(
                "journalctl --unit bootloader --lines 3 --output cat --no-pager 2>/dev/null || true", b""
            )
            return "; ".join(clean(said).split("\n")).strip("; ")
        return ""


def payload_for(python: Python, *, fresh: bool, on_progress: Callable[[str], None]) -> tuple[Payload, list[str]]:
    """What is to be sent, and what it will lack, in words. A :class:`Fault` where it can't be had."""
    platform = python.platform
    if platform is None:
        do = "wheels are for glibc and musl"
        raise Fault("unknown-platform", "nobody makes wheels for its C library", to=python.path, do=do)

    def get(wanted: Sequence[str]) -> tuple[Wheel, ...]:
        return fetch(wanted, platform, fresh=fresh, build=True, on_progress=on_progress)

    def got(wanted: Sequence[str]) -> str:
        """Whether they can be had: empty, or why not."""
        try:
            get(wanted)
        except Fault as fault:
            if fault.code != "no-wheel":
                raise
            return f"{fault.to}: {fault.what}"
        return ""

    needs, more = requirements(), extras(*OPTIONAL)
    more["pairing"].append("spake2<0.9")  # that one is Python alone, and needs no cryptography
    if not got([*needs, *chain.from_iterable(more.values())]):
        return Payload.of(get([*needs, *chain.from_iterable(more.values())])), []
    lacks = []
    slow = bool(why := got(needs))
    if slow:
        needs = [one for one in needs if not one.startswith("blake3")]
        lacks.append(f"it hashes slowly, in Python alone, a second or more for what others do in a millisecond ({why})")
    for name, each in more.items():
        if why := got([*needs, *each]):
            lacks.append(f"{OPTIONAL[name]} ({why})")
        else:
            needs += each
    return Payload.of(get(needs), slow=slow), lacks


def reach(name: str, address: str, more: Sequence[str]) -> str:
    """Reach what was just provisioned: its version of Python. A :class:`Fault` where that does not succeed."""
    soon, deadline = time.monotonic() + _OBEY_S, time.monotonic() + _REACH_S
    target = Linked(name, address, more=more)
    try:
        while True:
            try:
                with target.connect("provision") as link:
                    status, _ = link.call("status", {})
                    return clean(status.text("python", ""))
            except (LinkDown, CallTimeout, Untrusted) as fault:  # it looks now and then whom it obeys
                if time.monotonic() > (soon if isinstance(fault, Untrusted) else deadline):
                    raise
                time.sleep(_POLL_S)
    finally:
        target.close()


def wish(facts: Facts, home: Path, name: str | None, listen: str, port: int) -> Wish:
    """What the user wants, with this host's own key, and the name by which the device is known or is to be."""
    pem = unsealed(trust.host_identity(home).certificate.read_bytes()).decode()
    known = trust.known(home)
    which = fingerprint(facts.device) if facts.device else ""
    called = next((one.name for one in known if one.fingerprint == which), "")
    name = name or called or facts.called or facts.name
    trust.check_name(name)
    other = next((one for one in known if one.name == name and one.fingerprint != which), None)
    if other is not None:
        what = "is another device here, or this one before it was set up anew"
        do = f"choose another name (--name), or forget that one: reactor trust remove {name}"
        raise Fault("name-taken", what, to=name, do=do)
    return Wish(name, listen, port, trust.host_name(), pem, sealed(pem), unit())
