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
from typing import Protocol

from bootloader.wire.errors import CallTimeout, Fault, LinkDown, Refused, Untrusted
from bootloader.wire.private import sealed, unsealed
from bootloader.wire.stream import fingerprint

from .. import trust
from ..report import clean
from ..targets.linked import Linked
from ..wheels import Wheel, fetch
from . import gadget, plan
from .facts import Facts, Python, read
from .payload import Payload, extras, requirements, unit
from .plan import Step, Wish

_PERFORM_S = 1800.0
_REACH_S = 180.0
_OBEY_S = 15.0
_POLL_S = 0.2
_BECOME = {"sudo": "sudo -n", "password": "sudo -k -S -p ''"}
"""By how one becomes root there. With ``-k``, sudo reads a password in any case, so the first line is its own."""

OPTIONAL = {
    "announce": "it does not announce itself on the network",
    "pairing": "it can't be paired with by a code",
}
"""What a target can do without, and what it then lacks."""


class Shell(Protocol):
    """A way to the shell of a board."""

    destination: str
    """What the user calls it."""
    password: str | None
    """The user's own there, where it is known by now."""
    on_sent: Callable[[int, int], None]
    """Hears how many bytes of how many are there, where all have to be before a script reads the first of them."""

    def address(self) -> str:
        """Where the network leads to it; empty where it is reached without one."""

    def run(
        self,
        script: str,
        stdin: bytes = b"",
        *,
        root: str = "",
        password: str | None = None,
        on_line: Callable[[str], None] = ...,
        most_s: float = ...,
    ) -> str:
        """What ``script`` prints there, which ``on_line`` hears as it comes; ``stdin`` is what it reads.

        ``root``: a command that makes it root's, and reads ``password`` first, where there is one. A :class:`Fault`
        where the board can't be reached, or, as ``step-failed``, where the script fails, with what that said last.
        """


class Board:
    """The one behind ``shell``; ``facts`` is what it was when it was looked at."""

    def __init__(
        self, shell: Shell, port: int, python: str = "", ask: Callable[[Facts], str] = lambda _facts: ""
    ) -> None:
        """``ask`` gives the user's password there, where sudo wants it and the shell does not know it."""
        self._shell = shell
        self._ask = ask
        self._is_proven = False
        """Whether sudo has taken the password."""
        self.port = port
        self.facts = self._look(python)

    def _look(self, python: str) -> Facts:
        variables = {
            "home_of_code": plan.CODE,
            "launcher": plan.LAUNCHER,
            "unit": plan.UNIT,
            "gadget": gadget.UNIT,
            "configs": " ".join(gadget.CONFIGS),
            "start": plan.START,
            "sys": "/sys",
            "port_hex": f"{self.port:04X}",
            "python": python,
            "host_file": trust.host_name(),
        }
        head = "".join(f"{name}={shlex.quote(value)}\n" for name, value in variables.items())
        text = (resources.files("reactor.provision") / "look.sh").read_text("utf-8")
        return read(self._shell.run(head + text))

    def perform(
        self,
        todo: Sequence[Step],
        payload: Payload | None,
        on_step: Callable[[str], None],
        on_unpacked: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> Facts:
        """Do ``todo``, in one go; what was learned by it. ``on_step`` hears the name of each that is done,
        ``on_unpacked`` how many bytes of how many lie there.
        """
        begun: list[str] = []
        left = {} if payload is None else {path: len(content) for path, content in payload.contents.items()}
        total = sum(left.values())

        def hear(line: str) -> None:
            if left.pop(line, None) is not None:
                on_unpacked(total - sum(left.values()), total)
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
        how = self.facts.root
        password = self._proven() if how == "password" else None
        return self._shell.run(
            script, stdin, root=_BECOME.get(how, ""), password=password, on_line=hear, most_s=_PERFORM_S
        )

    def _proven(self) -> str:
        """The user's password there. It is tried alone first: a wrong one is tried once, and what is sent behind it is
        not taken for another, as some systems lock an account after three.
        """
        shell = self._shell
        if shell.password is None:
            shell.password = self._ask(self.facts)
        if not self._is_proven:
            try:
                shell.run("true", root=_BECOME["password"], password=shell.password)
            except Fault as fault:
                if fault.code != "step-failed":
                    raise
                what = f"sudo does not let '{self.facts.user}' do it with that password: {fault.what}"
                raise Fault("no-root", what, to=shell.destination, do="give another, or log in as root") from fault
            self._is_proven = True
        return shell.password

    def answers(self, python: Python, root: str) -> None:
        """See that the bootloader answers, asked on the board itself with its own key; a :class:`Fault` if not."""
        self._shell.run(plan.question(self.facts, python, root, _REACH_S), most_s=_PERFORM_S)

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

    def got(wanted: Sequence[str]) -> tuple[tuple[Wheel, ...], str]:
        """They, or why there are none of some."""
        try:
            return get(wanted), ""
        except Fault as fault:
            if fault.code != "no-wheel":
                raise
            return (), f"{fault.to}: {fault.what}"

    needs, more = requirements(), extras(*OPTIONAL)
    more["pairing"].append("spake2<0.9")  # that one is Python alone, and needs no cryptography
    wheels, why = got([*needs, *chain.from_iterable(more.values())])
    if not why:
        return Payload.of(wheels), []
    lacks = []
    wheels, why = got(needs)
    slow = bool(why)
    if slow:
        needs = [one for one in needs if not one.startswith("blake3")]
        lacks.append(f"it hashes slowly, in Python alone, a second or more for what others do in a millisecond ({why})")
        wheels = get(needs)
    for name, each in more.items():
        found, why = got([*needs, *each])
        if why:
            lacks.append(f"{OPTIONAL[name]} ({why})")
        else:
            needs, wheels = [*needs, *each], found
    return Payload.of(wheels, slow=slow), lacks


def reach(name: str, address: str, more: Sequence[str], most_s: float = _REACH_S) -> None:
    """Reach what was just provisioned. A :class:`Fault` where that does not succeed."""
    soon, deadline = time.monotonic() + _OBEY_S, time.monotonic() + most_s
    target = Linked(name, address, more=more)
    try:
        while True:
            try:
                with target.connect("provision") as link:
                    link.call("status", {})
                    return
            except (LinkDown, CallTimeout, Untrusted, Refused) as fault:  # it looks now and then whom it obeys
                if isinstance(fault, Refused) and fault.code != "ending":  # as the one before says, while it ends
                    raise
                if time.monotonic() > (soon if isinstance(fault, Untrusted) else deadline):
                    raise
                time.sleep(_POLL_S)
    finally:
        target.close()


def wish(facts: Facts, home: Path, name: str | None, listen: str | None, port: int, *, be_gadget: bool = False) -> Wish:
    """What the user wants, with this host's own key, and the name by which the device is known or is to be.

    A board that was made a USB gadget before stays one.
    """
    pem = unsealed(trust.host_identity(home).certificate.read_bytes()).decode()
    known = trust.known(home)
    which = fingerprint(facts.device) if facts.device else ""
    name = name or next((one.name for one in known if one.fingerprint == which), "")
    itself = facts.called or facts.name
    if not name and (not itself or "." in itself):  # which may be somebody's address as well
        raise Fault(
            "bad-name", "what the board calls itself is no device's name", to=repr(itself), do="choose one: --name"
        )
    name = name or itself
    trust.check_name(name)
    trust.check_free(home, name, which)
    be_gadget = be_gadget or gadget.UNIT in facts.files
    listen = listen or ("::" if be_gadget else "0.0.0.0")
    of_gadget = unit("bootloader-gadget") if be_gadget else ""
    return Wish(name, listen, port, trust.host_name(), pem, sealed(pem), unit(), of_gadget)
