"""What is done to a board, and what is refused before anything is changed."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootloader.wire.errors import Fault, Malformed
from reactor import trust
from reactor.platforms import Platform
from reactor.provision import plan
from reactor.provision.board import wish
from reactor.provision.facts import Facts, Python, read
from reactor.provision.payload import unit

PYTHON = Python("/usr/bin/python3.11", "CPython", (3, 11, 2), Platform("aarch64", "glibc", (2, 36), (3, 11, 2)), ())
ROOT = "ab" * 32
BOARD = Facts(
    kernel="Linux",
    name="porch",
    called="",
    user="pi",
    uid=1000,
    runs_as="",
    root="sudo",
    init="systemd",
    address="192.168.1.9",
    mount="/dev/mmcblk0p2 rw,noatime",
    state="/home/pi/.local/state/bootloader",
    clock_s=1_700_000_000,
    free_kb=1_000_000,
    state_free_kb=1_000_000,
    writable=True,
    tar=True,
    taken=False,
    runs=False,
    enabled=False,
    kept_kb=0,
    pythons=(PYTHON,),
    releases=frozenset(),
    left=(),
    files={},
    obeys=(),
    device="",
)
WISH = plan.Wish("porch", "0.0.0.0", 7717, "ada@desk", "PEM\n", "SEALED\n", unit())
OLD = replace(PYTHON, path="/usr/bin/python3", version=(3, 9, 2))


def look(folder: Path, **given: object) -> Facts:
    """What a board tells of itself whose files and kernel's folders are those in ``folder``."""
    there = {"home_of_code": folder, "port_hex": "1E25", "python": "false", "host_file": "ada", "sys": folder / "sys"}
    there |= dict.fromkeys(("launcher", "start", "unit", "gadget", "configs"), "")
    head = "".join(f"{name}='{value}'\n" for name, value in {**there, **given}.items())
    script = (Path(plan.__file__).parent / "look.sh").read_text()
    return read(subprocess.run(["sh", "-c", head + script], capture_output=True, text=True, check=True).stdout)


def names(facts: Facts) -> list[str]:
    return [step.name for step in plan.steps(facts, WISH, PYTHON, ROOT, ["blake3 1.0"], 5_000_000)]


@pytest.mark.parametrize(
    ("change", "code", "way_out"),
    [
        ({"kernel": "Darwin"}, "not-linux", ""),
        ({"pythons": ()}, "old-python", "--python"),
        ({"pythons": (OLD,)}, "old-python", "--python"),
        ({"pythons": (replace(PYTHON, kind="PyPy"),)}, "old-python", "--python"),
        ({"pythons": (replace(PYTHON, lacks=("ssl",)),)}, "stripped-python", "python3-minimal"),
        ({"root": "none"}, "no-root", "sudo"),
        ({"runs_as": "ada"}, "other-user", "log in as"),
        ({"state": "?"}, "odd-state", "--state"),
        ({"tar": False}, "no-tar", "install it"),
        ({"mount": "overlayroot rw"}, "volatile-root", "raspi-config"),
        ({"mount": "/dev/mmcblk0p2 ro,noatime"}, "read-only", "remount,rw"),
        ({"writable": False}, "read-only", "writable"),
        ({"free_kb": 20_000}, "disk-full", "apt clean"),
        ({"state_free_kb": 1000}, "disk-full", "free"),
        ({"taken": True}, "port-taken", "--port"),
    ],
    ids=str,
)
def test_what_can_t_be_done_is_refused_with_the_way_out(change: dict[str, object], code: str, way_out: str) -> None:
    facts = replace(BOARD, **change)  # type: ignore[arg-type]

    def look() -> None:
        plan.refuse(facts, WISH.port, 5_000_000, changes=True)
        plan.python_of(facts)

    with pytest.raises(Fault) as raised:
        look()
    assert (raised.value.code, raised.value.to) == (code, "porch")
    assert way_out in raised.value.do


def test_a_stock_board_is_refused_nothing_and_an_old_python_beside_a_new_one_does_not_matter() -> None:
    plan.refuse(BOARD, WISH.port, 5_000_000, changes=True)
    assert plan.python_of(replace(BOARD, pythons=(OLD, PYTHON))) == PYTHON
    assert names(BOARD) == ["code", "trust", "service", "start"]


def test_what_is_done_already_is_not_done_again() -> None:
    (service,) = (step for step in plan.steps(BOARD, WISH, PYTHON, ROOT, [], 0) if step.name == "service")
    files = {}
    for text in service.script.split("put ")[1:]:
        head, _, body = text.partition(" <<'END-OF-FILE'\n")
        files[head.split()[1]] = plan._sha256(body.removesuffix("END-OF-FILE\n"))
    done = replace(
        BOARD,
        runs=True,
        enabled=True,
        taken=True,
        releases=frozenset({ROOT}),
        left=(ROOT,),
        files=files,
        obeys=("PEM\n",),
        device="DEVICE\n",
    )
    plan.refuse(done, WISH.port, 0, changes=False)
    assert names(done) == []
    assert names(replace(done, runs=False)) == ["start"]
    assert names(replace(done, enabled=False)) == ["start"]
    assert names(replace(done, obeys=())) == ["trust"]
    assert names(replace(done, releases=frozenset())) == ["code", "start"]
    assert names(replace(done, files={**files, plan.UNIT: "other"})) == ["service", "start"]
    assert plan.sweep(done, ROOT) == ""
    assert plan.sweep(replace(done, left=(ROOT, "cd" * 32, "../etc")), ROOT) == f"rm -rf {plan.CODE}/{'cd' * 32}\n"


def test_the_unit_is_the_package_s_own_for_that_user() -> None:
    told = plan._unit(unit(), "ada", "/usr/local/bin/bootloader run")
    assert set(unit().splitlines()) - set(told.splitlines()) == {
        "User=pi",
        "ExecStart=/home/pi/bootloader/bin/bootloader run --listen 0.0.0.0",
    }
    lines = told.splitlines()
    assert {"User=ada", "ExecStart=/usr/local/bin/bootloader run"} <= set(lines)
    assert len(lines) == len(unit().splitlines())


def test_scripts_are_shell_whatever_a_board_calls_its_things() -> None:
    odd = replace(BOARD, init="other", user="o'brien; $(reboot)", state="/home/a b'/\"$x`y`/bootloader", device="PEM")
    for facts in (BOARD, odd, replace(odd, init="systemd")):
        removed = plan.removal(replace(facts, runs=True, kept_kb=9, left=(ROOT,), device="PEM"), keep_state=False)
        for todo in (plan.steps(facts, WISH, PYTHON, ROOT, [], 0), removed):
            subprocess.run(["sh", "-n"], input=plan.script(facts, todo).encode(), check=True)


@pytest.mark.parametrize(
    ("words", "state"),
    [
        ("--state '/mnt/My Data/state/bootloader' --listen 0.0.0.0", "/mnt/My Data/state/bootloader"),
        ("--state '/mnt/My Data/bootloader'", "/mnt/My Data/bootloader"),
        ("--state /srv --listen 0.0.0.0", "/srv"),
        ("--state=/srv/bootloader", "/srv/bootloader"),
        ("""--state '/mnt/o'"'"'brien/bootloader' --name porch""", "?"),
        ('--state "/mnt/My Data/bootloader"', "?"),
        ("--state /mnt/My\\ Data/bootloader", "?"),
        ("--state %h/bootloader", "?"),
    ],
)
def test_the_state_of_a_unit_is_read_whole_or_not_at_all(tmp_path: Path, words: str, state: str) -> None:
    file = tmp_path / "bootloader.service"
    file.write_text(f"[Service]\nExecStart=/usr/local/bin/bootloader run {words}\n")
    assert look(tmp_path, unit=file).state == state


@pytest.mark.parametrize(
    "change", [{"state": "/srv", "device": "PEM"}, {"state": "/srv/bootloader", "device": ""}, {"state": "?"}], ids=str
)
def test_a_state_that_may_be_anything_else_is_not_removed(change: dict[str, object]) -> None:
    odd = replace(BOARD, runs=True, kept_kb=9, **change)  # type: ignore[arg-type]
    with pytest.raises(Fault) as raised:
        plan.removal(odd, keep_state=False)
    assert (raised.value.code, "--keep-state" in raised.value.do) == ("odd-state", True)
    assert [step.name for step in plan.removal(odd, keep_state=True)] == ["stop"]


@pytest.mark.parametrize(("others", "left"), [((), []), (("share",), [".local", ".local/share"])], ids=str)
def test_of_a_state_in_a_home_no_empty_folder_is_left(tmp_path: Path, others: tuple[str, ...], left: list[str]) -> None:
    state = tmp_path / ".local" / "state" / "bootloader"
    for folder in (state, *(tmp_path / ".local" / other for other in others)):
        folder.mkdir(parents=True)
    facts = replace(BOARD, uid=999_999, state=str(state), kept_kb=9, device="PEM")
    (step,) = plan.removal(facts, keep_state=False)
    subprocess.run(["sh", "-euc", step.script], check=True)
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == left


def test_a_clock_that_was_never_set_is_told_and_refuses_nothing() -> None:
    assert list(plan.notes(BOARD, BOARD.clock_s + 5.0)) == []
    (note,) = plan.notes(replace(BOARD, clock_s=0), 1_700_000_000)
    assert note.startswith("its clock is 19676 days behind")


def test_a_name_that_another_device_has_is_refused(tmp_path: Path) -> None:
    other = trust.make_identity("other").cert_pem
    trust.remember(tmp_path, "porch", other, "10.0.0.1:7717")
    with pytest.raises(Fault, match="another device") as raised:
        wish(BOARD, tmp_path, None, "0.0.0.0", 7717)
    assert "reactor trust remove porch" in raised.value.do
    assert wish(BOARD, tmp_path, "shed", "0.0.0.0", 7717).name == "shed"
    assert wish(replace(BOARD, name="renamed", device=other), tmp_path, None, "0.0.0.0", 7717).name == "porch"


@pytest.mark.parametrize(("name", "host"), [("100%", "porch"), ("my porch", "porch"), (None, "%n"), (None, "")])
def test_a_name_that_is_none_is_refused_before_anything_is_done(tmp_path: Path, name: str | None, host: str) -> None:
    with pytest.raises(Fault) as raised:
        wish(replace(BOARD, name=host), tmp_path, name, "0.0.0.0", 7717)
    assert raised.value.code == "bad-name"


def test_facts_are_found_among_what_a_login_greets_with() -> None:
    python = "\t".join(["/usr/bin/python3.11", "CPython", "3.11.2", "", "aarch64", "glibc 2.36", ""])
    told = ["fact name=porch.lan", *[f"fact python={python}"] * 2, "fact clock=12", "fact looked=yes"]
    facts = read("\n".join(["Welcome!\r", "", *told]))
    assert (facts.name, facts.clock_s, facts.pythons) == ("porch", 12, (PYTHON,))
    assert facts.device == ""


@given(st.text() | st.lists(st.text().map(lambda text: f"fact python={text}")).map("\n".join))
def test_a_board_may_say_what_it_wants(said: str) -> None:
    with pytest.raises(Malformed):
        read(said)
    assert read(f"{said}\nfact looked=yes\n").kernel == ""
