"""A board that this user can log in to, judged by what its shell told: what keeps it from being a target. Pure.

The facts are those that provisioning looks up, so what is wrong here is what provisioning would refuse, or mend.
"""

from __future__ import annotations

from collections.abc import Iterator

from bootloader.wire.errors import Fault

from ..provision import plan
from ..provision.facts import Facts
from ..provision.plan import START, UNIT
from . import checks
from .checks import DOUBTFUL, WELL, WRONG, Finding


def able(facts: Facts, port: int, clock_off_s: float) -> Iterator[Finding]:
    """Whether it can be a target. ``clock_off_s``: how far its clock is ahead of this host's."""
    yield Finding("login", WELL, f"{facts.user} may log in, and {_becomes_root(facts)}")
    try:
        python = plan.python_of(facts)
    except Fault as fault:
        yield Finding("python", WRONG, fault.what, fault.do or "take a board with Linux")
    else:
        yield Finding("python", WELL, f"its Python is {python.told} ({python.path})")
    yield checks.clock(clock_off_s)
    yield checks.disk(min(facts.free_kb, facts.state_free_kb) * 1024)
    try:
        plan.refuse(facts, port, 0, changes=not facts.releases)
    except Fault as fault:
        if fault.code != "disk-full":  # that was said
            yield Finding("board", WRONG, fault.what, fault.do)


def runs(facts: Facts, port: int, host_pem: str, to: str) -> Iterator[Finding]:
    """Whether a bootloader is there, runs, listens, comes back, and obeys the host of ``host_pem``. ``to``: for ssh."""
    again = f"reactor provision {to}"
    if not (facts.left or facts.runs or UNIT in facts.files or START in facts.files):
        yield Finding("bootloader", DOUBTFUL, "no bootloader is installed there", again)
        return
    if facts.left and not facts.releases:
        yield Finding("bootloader", WRONG, "its bootloader is damaged, or only a part of it is there", again)
    elif not facts.runs:
        start = "sudo systemctl start bootloader" if facts.init == "systemd" else f"sudo {START}"
        yield Finding("bootloader", WRONG, "its bootloader does not run", f"on it: {start}; if that ends, {again}")
    elif not facts.taken:
        do = f"see what follows --listen in {UNIT if facts.init == 'systemd' else START}, and name that port: --port"
        yield Finding("bootloader", WRONG, f"its bootloader runs, and nothing listens on port {port}", do)
    else:
        yield Finding("bootloader", WELL, f"its bootloader runs, and listens on port {port}")
    if facts.init == "systemd":
        yield checks.unit("bootloader", is_enabled=facts.enabled)
    else:
        yield Finding("unit", DOUBTFUL, "it has no systemd", f"have its init run {START} at boot")
    if host_pem not in facts.obeys:
        yield Finding("trust", WRONG, "it does not obey this host", f"{again}, or, once it shows a code: reactor pair")


def _becomes_root(facts: Facts) -> str:
    return {"root": "is root", "sudo": "may become root", "password": "may become root, with a password"}.get(
        facts.root, "can't become root"
    )
