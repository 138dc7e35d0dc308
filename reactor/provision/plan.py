"""What is to be done to a board: a refusal before anything is changed, or steps, each with its script. Pure.

A step that finds its work done is not among the steps, so that doing it all again does nothing. The scripts are POSIX
sh and run as root, one after the other; ``as_user`` in them does a thing as the user whose programs the board runs.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from shlex import join, quote

from bootloader.wire.errors import Fault

from ..platforms import OLDEST_PYTHON
from . import gadget
from .facts import Facts, Python

CODE = "/opt/live-reactor"
LAUNCHER = "/usr/local/bin/bootloader"
UNIT = "/etc/systemd/system/bootloader.service"
START = f"{CODE}/start"

_SPARE_KB = 16 * 1024
_STATE_KB = 32 * 1024
_AMISS_S = 86_400

_STATE_IN_HOME = "/.local/state/bootloader"

_PUT = """
put() { # MODE PATH: what comes, all of it or nothing
    mkdir -p "$(dirname "$2")"
    cat >"$2.new"
    chmod "$1" "$2.new"
    mv -f "$2.new" "$2"
}
"""


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user wants: the device is called ``name`` here, and listens on ``listen`` and ``port``.

    ``host`` is this host's name, ``host_pem`` its certificate, ``sealed`` what is written of it; ``unit`` is the
    package's own systemd unit, ``gadget`` the one of the USB gadget that the board is to be, if it is to be one.
    """

    name: str
    listen: str
    port: int
    host: str
    host_pem: str
    sealed: str
    unit: str
    gadget: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """One change: ``text`` says what it will do."""

    name: str
    text: str
    script: str = field(repr=False)


def python_of(facts: Facts) -> Python:
    """The interpreter to use: the first that is new enough and whole. A :class:`Fault` with the way out if none is."""
    if facts.kernel != "Linux":
        raise Fault("not-linux", f"runs {facts.kernel or 'an unknown system'}, and a target runs Linux", to=facts.name)
    found = [one for one in facts.pythons if one.kind == "CPython" and one.version[:2] >= OLDEST_PYTHON]
    if not found:
        has = ", ".join(dict.fromkeys(f"{one.kind} {one.told}" for one in facts.pythons)) or "none"
        do = (
            "install a newer one (Debian 12, Raspberry Pi OS of October 2023 and Alpine 3.19 or later have it;"
            " uv python install), and name it with --python"
        )
        needed = ".".join(map(str, OLDEST_PYTHON))
        raise Fault("old-python", f"it needs Python {needed} or newer, and has {has}", to=facts.name, do=do)
    for python in found:
        if not python.lacks:
            return python
    lacks = " and ".join(found[0].lacks)
    do = "install the whole of Python (Debian: python3, not python3-minimal), or name another one with --python"
    raise Fault("stripped-python", f"its Python {found[0].told} lacks {lacks}", to=facts.name, do=do)


def refuse(facts: Facts, port: int, size_bytes: int, *, changes: bool, be_gadget: bool = False) -> None:
    """A :class:`Fault` where this can't be done, or not well: before anything is changed.

    ``be_gadget``: it is to be a USB gadget; where it is one already, that is not refused.
    """
    name = facts.name
    if changes and facts.root == "none":
        raise Fault("no-root", f"'{facts.user}' can't become root there", to=name, do="log in as root, or install sudo")
    if facts.runs_as not in ("", facts.user, str(facts.uid)):
        do = f"log in as that one, or begin anew: reactor unprovision {facts.runs_as}@…"
        raise Fault("other-user", f"it is provisioned for the user '{facts.runs_as}'", to=name, do=do)
    if be_gadget and gadget.UNIT not in facts.files:
        gadget.refuse(facts)
    if not facts.state.startswith("/"):
        do = f"look at what follows --state in {UNIT}, or in {START}"
        raise Fault("odd-state", "where its state lies can't be made out", to=name, do=do)
    if not facts.tar:
        raise Fault("no-tar", "it has no tar", to=name, do="install it")
    source, _, options = facts.mount.partition(" ")
    if source == "overlayroot":
        do = "switch the overlay off (raspi-config, Performance), provision, and switch it on again"
        raise Fault(
            "volatile-root", "what is written there is lost with the power: its root is an overlay", to=name, do=do
        )
    if "ro" in options.split(","):
        do = "make it writable for now: mount -o remount,rw /"
        raise Fault("read-only", "its root file system is read-only", to=name, do=do)
    if changes and facts.root != "password" and not facts.writable:
        raise Fault("read-only", f"{CODE} can't be written there", to=name, do="make it writable, or free it")
    needed_kb = 3 * size_bytes // 1024 + _SPARE_KB
    if facts.free_kb < needed_kb:
        what = f"{facts.free_kb} KB are free for {CODE}, and {needed_kb} are needed"
        raise Fault("disk-full", what, to=name, do="free some: apt clean, or old logs (journalctl --vacuum-size=16M)")
    if facts.state_free_kb < _STATE_KB:
        what = f"{facts.state_free_kb} KB are free for {facts.state}, and {_STATE_KB} are needed"
        raise Fault("disk-full", what, to=name, do="free some")
    if facts.taken and not facts.runs:
        do = "stop that one (a bootloader that was installed by hand?), or choose another port: --port"
        raise Fault("port-taken", f"another program listens on port {port}", to=name, do=do)


def notes(facts: Facts, now_s: float) -> Iterator[str]:
    """What is amiss there, and does not matter to the bootloader."""
    behind_s = now_s - facts.clock_s
    if abs(behind_s) > _AMISS_S:
        way = "behind" if behind_s > 0 else "ahead"
        days = f"{abs(behind_s) / 86400:.0f} days {way}"
        yield f"its clock is {days}: the bootloader minds no clock; your application may"
    if facts.init != "systemd":
        yield f"it has no systemd: have its init run '{START}' at boot, else it is up until the power fails"


def steps(
    facts: Facts, wish: Wish, python: Python, root: str, told: Sequence[str], size_bytes: int
) -> tuple[Step, ...]:
    """What is missing for the release ``root``, in which is ``told``, to run there and obey this host."""
    texts = files(facts, wish, python, root)
    is_there = root in facts.releases
    changed = [path for path, (_, text) in texts.items() if facts.files.get(path) != _sha256(text)]
    found: list[Step] = []
    if not is_there:
        what = ", ".join(told)
        text = f"put the bootloader into {CODE}/{root[:12]}, with {what} ({size_bytes / 1e6:.1f} MB)"
        found.append(Step("code", text, _code(python, root)))
    if wish.host_pem not in facts.obeys or not facts.device:
        key = "" if facts.device else "make it a key of its own, and "
        found.append(
            Step("trust", f"{key}have it obey {wish.host}: {facts.state}/trust", _trust(facts, wish, python, root))
        )
    if changed:
        found.append(Step("service", f"write {' and '.join(changed)}: {facts.user} runs it", _service(texts, changed)))
    if wish.gadget and (gadget.UNIT in changed or not gadget.is_up(facts.usb)):
        text = f"be a USB gadget at each boot: a network on the cable, and the rescue link on {gadget.PORT}"
        if facts.usb.controllers is None and not facts.usb.config:
            text += ", if its USB port can be a device's, which the card does not tell"
        found.append(Step("gadget", text, gadget.raising(LAUNCHER, wish.name, facts.usb)))
    if wish.gadget and gadget.is_to_be_told(facts.usb):
        text = f"have its USB port be a device's, from its next start on: {gadget.OVERLAY} in {facts.usb.config}"
        found.append(Step("boot", text, gadget.telling(facts.usb.config)))
    if changed or not is_there or not facts.runs or (facts.init == "systemd" and not facts.enabled):
        at_boot = ", and at each boot" if facts.init == "systemd" else ""
        found.append(Step("start", f"start it on port {wish.port}{at_boot}", _start(facts)))
    return tuple(found)


def sweep(facts: Facts, root: str) -> str:
    """The script that removes what earlier releases have left, once this one runs; empty where nothing did."""
    old = [name for name in facts.left if name != root and re.fullmatch(r"[0-9a-f]{64}", name)]
    return "".join(f"rm -rf {CODE}/{name}\n" for name in old)


def removal(facts: Facts, *, keep_state: bool) -> tuple[Step, ...]:
    """What is there of us, and how it goes. A :class:`Fault` where what was to go may be anything else."""
    found: list[Step] = []
    is_ours = facts.device and facts.state.endswith("/bootloader")
    if not keep_state and (not facts.state.startswith("/") or (facts.kept_kb and not is_ours)):
        what = f"'{facts.state}' may hold what is not a bootloader's: it has no key, or is not called so"
        do = "begin with --keep-state, and remove by hand what is the bootloader's there"
        raise Fault("odd-state", what, to=facts.name, do=do)
    if facts.runs or facts.enabled or UNIT in facts.files or START in facts.files:
        stop = (
            f"systemctl disable --now --quiet bootloader || true\nrm -f {UNIT}\nsystemctl daemon-reload\n"
            "systemctl reset-failed --quiet bootloader 2>/dev/null || true\n"
            if facts.init == "systemd"
            else f"[ ! -x {START} ] || {START} stop\n"
        )
        found.append(Step("stop", "stop it and what it runs, and have it start no more", stop))
    if gadget.UNIT in facts.files:
        found.append(Step("gadget", "be no USB gadget any more", gadget.lowering(LAUNCHER)))
    if facts.usb.told:
        text = f"take the lines for that out of {facts.usb.config}, as of its next start"
        found.append(Step("boot", text, gadget.untelling(facts.usb.config)))
    if facts.left or LAUNCHER in facts.files or START in facts.files:
        found.append(Step("code", f"remove {CODE} and {LAUNCHER}", f"rm -rf {CODE}\nrm -f {LAUNCHER}\n"))
    if facts.kept_kb and not keep_state:
        size = f"{facts.kept_kb / 1024:.1f} MB"
        text = f"remove {facts.state}, with its key, all generations and what applications have kept ({size})"
        places = " ".join(
            f"{place}/bootloader-{facts.uid}-*" for place in ("/run", f"/run/user/{facts.uid}", "/dev/shm", "/tmp")
        )
        empty = ""
        if facts.state.endswith(_STATE_IN_HOME):  # a user who had no such folders before has none after
            folder = facts.state.removesuffix("/bootloader")
            empty = f"rmdir {quote(folder)} {quote(folder.removesuffix('/state'))} 2>/dev/null || true\n"
        found.append(Step("state", text, f"rm -rf {quote(facts.state)} {places}\n{empty}"))
    return tuple(found)


def script(facts: Facts, todo: Sequence[Step]) -> str:
    """One script of all steps, which says `step NAME` as it begins each; standard input is for the step ``code``."""
    user = quote(facts.user)
    lines = ["set -eu", "umask 022", "PATH=$PATH:/usr/local/bin:/usr/sbin:/sbin", "cd /", _PUT]
    if facts.uid == 0:
        lines.append('as_user() { sh -c "$1" </dev/null; }')
    else:
        lines.append(f'as_user() {{ su -s /bin/sh -c "$1" {user} </dev/null; }}')
    for step in todo:
        lines += [f"echo 'step {step.name}'", step.script]
    return "\n".join([*lines, "echo 'step done'", ""])


def files(facts: Facts, wish: Wish, python: Python, root: str) -> Mapping[str, tuple[str, str]]:
    """The files beside the code: path to mode and text."""
    where = f"[{wish.listen}]" if ":" in wish.listen else wish.listen
    words = ["run", "--state", facts.state, "--listen", f"{where}:{wish.port}", "--name", wish.name]
    if wish.gadget:
        words += ["--rescue", gadget.PORT]
    run = f"{LAUNCHER} {join(words)}"
    launcher = (
        "#!/bin/sh\n# `reactor provision` wrote this file, and `reactor unprovision` removes it.\n"
        f'export PYTHONPATH="{CODE}/{root}${{PYTHONPATH:+:$PYTHONPATH}}"\n'
        f'exec {quote(python.path)} -P -m bootloader "$@"\n'
    )
    found = {LAUNCHER: ("755", launcher)}
    if facts.init == "systemd":
        group = facts.usb.group if wish.gadget and facts.uid else ""
        found[UNIT] = ("644", _unit(wish.unit, facts.runs_as or facts.user, run, group))
        if wish.gadget:
            found[gadget.UNIT] = ("644", gadget.unit(wish.gadget, LAUNCHER, wish.name))
    else:
        found[START] = ("755", _start_script(facts, run))
    return found


def _unit(packaged: str, user: str, run: str, group: str = "") -> str:
    """The package's own unit, for that user and command; ``group``: one that the user need not be in for it."""
    user += f"\nSupplementaryGroups={group}" if group else ""
    changed = {"User=": f"User={user}", "ExecStart=": f"ExecStart={run}"}
    return "".join(
        next((new for start, new in changed.items() if line.startswith(start)), line) + "\n"
        for line in packaged.splitlines()
    )


def _start_script(facts: Facts, run: str) -> str:
    become = "" if facts.uid == 0 else f"su -s /bin/sh {quote(facts.user)} -c "
    command = f"{run} </dev/null >/dev/null 2>&1 & echo $!"
    started = f"{become}{quote(command)}" if become else f"sh -c {quote(command)}"
    return f"""\
#!/bin/sh
# Starts and stops the bootloader where there is no systemd: start (if nothing is said), stop, status.
# `reactor provision` wrote this file, and `reactor unprovision` removes it.
kept=/run/live-reactor.pid
pid=$(cat "$kept" 2>/dev/null)
runs() {{ [ -n "$pid" ] && grep -q bootloader "/proc/$pid/cmdline" 2>/dev/null; }}
case ${{1:-start}} in
    start)
        runs && exit 0
        cd / && {started} >"$kept"
        ;;
    stop)
        if runs; then
            kill "$pid"
            left=60
            while runs && [ "$left" -gt 0 ]; do sleep 1; left=$((left - 1)); done
            if runs; then kill -9 "$pid"; fi
        fi
        rm -f "$kept"
        ;;
    status) runs ;;
    *) echo "usage: $0 [start|stop|status]" >&2; exit 2 ;;
esac
"""


def _code(python: Python, root: str) -> str:
    new, place = f"{CODE}/.new", f"{CODE}/{root}"
    return f"""
mkdir -p {CODE}
rm -rf {new}
mkdir {new}
tar -xvf - -C {new}
(cd {new} && sha256sum -c SHA256SUMS >/dev/null)
{quote(python.path)} -I -m compileall -q --invalidation-mode unchecked-hash {new} >/dev/null || true
sync
rm -rf {place}
mv {new} {place}
"""


_MAKE_KEY = "import sys; from pathlib import Path; from bootloader.trust import begin; begin(Path(sys.argv[1]))"


def _trust(facts: Facts, wish: Wish, python: Python, root: str) -> str:
    """The device's own code makes the key, as its own user: that it runs there is known by that, too."""
    trust = f"{facts.state}/trust"
    hosts = f"{trust}/hosts"
    make = f"PYTHONPATH={CODE}/{root} exec {quote(python.path)} -P -c {quote(_MAKE_KEY)} {quote(trust)}"
    digest = hashlib.sha256(wish.host_pem.encode()).hexdigest()[:8]
    name = wish.host if not facts.obeys else f"{wish.host}-{digest}"
    file = f"{hosts}/{name}.crt"
    obey = f"umask 077; mkdir -p {quote(hosts)}; printf %s {quote(wish.sealed)} >{quote(file + '.new')}; "
    obey += f"mv -f {quote(file + '.new')} {quote(file)}"
    show = f"sed -n '/^-----BEGIN/,/^-----END/p' {quote(trust + '/device.crt')} | tr '\\n' '|'"
    return f"""
as_user {quote("umask 077; " + make)}
as_user {quote(obey)}
echo "fact device=$({show})"
"""


_ASK = """
import sys, time
from pathlib import Path
from bootloader.itself import ask
from bootloader.trust import Trust
state, end = Path(sys.argv[1]), time.monotonic() + float(sys.argv[2])
while True:
    try:
        host, port = (state / "run" / "address").read_text("ascii").split()
        ask((host, int(port)), Trust.load(state / "trust"), "hello", 10.0)
        break
    except Exception:
        if time.monotonic() > end:
            raise
        time.sleep(0.2)
"""


def question(facts: Facts, python: Python, root: str, most_s: float) -> str:
    """The script that asks the bootloader, on the board itself, whether it answers; it fails where that does not."""
    words = (python.path, "-P", "-c", _ASK, facts.state, str(most_s))
    return f"PYTHONPATH={CODE}/{root} exec {join(words)}\n"


def _service(files: Mapping[str, tuple[str, str]], changed: Sequence[str]) -> str:
    return "".join(f"put {files[path][0]} {path} <<'END-OF-FILE'\n{files[path][1]}END-OF-FILE\n" for path in changed)


def _start(facts: Facts) -> str:
    if facts.init == "systemd":
        orders = ("daemon-reload", "enable --quiet bootloader", "restart --no-block bootloader")
        return "".join(f"systemctl {order}\n" for order in orders) + "sync\n"
    return f"{START} stop\n{START} start\nsync\n"


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
