"""What `--gadget` adds to what is done to a board, and when it is refused before anything is."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootloader.wire.errors import Fault
from reactor.provision import card, gadget, plan
from reactor.provision.board import wish
from reactor.provision.facts import Facts, Usb, read
from reactor.provision.payload import Payload, unit

from .test_card import needs_root, root_of
from .test_plan import BOARD, PYTHON, ROOT, WISH

USB = Usb(offered=True, controllers=("fe980000.usb",), config="/boot/firmware/config.txt", group="dialout")
ABLE = replace(BOARD, usb=USB)
WANTED = replace(WISH, listen="::", gadget=unit("bootloader-gadget"))


def names(facts: Facts, wanted: plan.Wish = WANTED) -> list[str]:
    return [step.name for step in plan.steps(facts, wanted, PYTHON, ROOT, [], 0)]


def there(facts: Facts, wanted: plan.Wish) -> Facts:
    """The board as it is once all of that is done."""
    files = {path: plan._sha256(text) for path, (_, text) in plan.files(facts, wanted, PYTHON, ROOT).items()}
    usb = replace(facts.usb, runs=bool(wanted.gadget))
    done = replace(facts, runs=True, enabled=True, releases=frozenset({ROOT}), left=(ROOT,), files=files, usb=usb)
    return replace(done, obeys=("PEM\n",), device="DEVICE\n", kept_kb=9)


@pytest.mark.parametrize(
    ("change", "usb", "code", "way_out"),
    [
        ({"init": "other"}, {}, "no-gadgets", "bootloader gadget up --watch"),
        ({}, {"offered": False}, "no-gadgets", "CONFIG_USB_CONFIGFS"),
        (
            {},
            {"controllers": ()},
            "no-udc",
            f"{gadget.OVERLAY} at the end of {USB.config}",
        ),
        ({}, {"controllers": (), "config": ""}, "no-udc", "device tree"),
    ],
    ids=str,
)
def test_a_board_that_can_t_be_one_is_refused_with_the_way_out(
    change: dict[str, object], usb: dict[str, object], code: str, way_out: str
) -> None:
    facts = replace(ABLE, usb=replace(USB, **usb), **change)  # type: ignore[arg-type]
    with pytest.raises(Fault) as raised:
        plan.refuse(facts, 7717, 0, changes=True, be_gadget=True)
    assert (raised.value.code, way_out in raised.value.do) == (code, True)
    plan.refuse(facts, 7717, 0, changes=True)
    is_one = there(facts, WANTED) if facts.init == "systemd" else ABLE
    plan.refuse(is_one, 7717, 0, changes=True, be_gadget=True)


def test_it_is_one_more_step_and_done_again_none() -> None:
    plan.refuse(ABLE, 7717, 0, changes=True, be_gadget=True)
    assert names(ABLE) == ["code", "trust", "service", "gadget", "start"]
    done = there(ABLE, WANTED)
    assert names(done) == []
    assert names(replace(done, usb=replace(done.usb, runs=False))) == ["gadget"]
    assert names(there(ABLE, WISH)) == ["service", "gadget", "start"]


def test_the_bootloader_listens_on_all_of_the_cable_with_the_right_to_its_serial_port() -> None:
    files = {path: text for path, (_, text) in plan.files(ABLE, WANTED, PYTHON, ROOT).items()}
    lines = files[plan.UNIT].splitlines()
    assert {"User=pi", "SupplementaryGroups=dialout"} <= set(lines)
    (run,) = [line for line in lines if line.startswith("ExecStart=")]
    assert "--listen '[::]:7717'" in run
    assert run.endswith("--rescue /dev/ttyGS0")
    assert "SupplementaryGroups" not in plan.files(replace(ABLE, uid=0), WANTED, PYTHON, ROOT)[plan.UNIT][1]
    assert set(files[gadget.UNIT].splitlines()) - set(unit("bootloader-gadget").splitlines()) == {
        "ExecStart=/usr/local/bin/bootloader gadget up --watch --name porch",
        "ExecStop=/usr/local/bin/bootloader gadget down",
    }


def test_a_board_that_is_one_stays_one_until_all_of_it_goes(tmp_path: Path) -> None:
    done = there(ABLE, WANTED)
    again = wish(replace(done, device=""), tmp_path, "porch", None, 7717)
    assert (again.gadget, again.listen) == (WANTED.gadget, "::")
    other = wish(ABLE, tmp_path, "porch", None, 7717)
    assert (other.gadget, other.listen) == ("", "0.0.0.0")
    gone = plan.removal(replace(done, usb=replace(done.usb, told=True)), keep_state=True)
    assert [step.name for step in gone] == ["stop", "gadget", "boot", "code"]
    assert f"rm -f {gadget.UNIT}\n" in gone[1].script
    for todo in (gone, plan.steps(ABLE, WANTED, PYTHON, ROOT, [], 0), plan.steps(done, WISH, PYTHON, ROOT, [], 0)):
        subprocess.run(["sh", "-n"], input=plan.script(ABLE, todo).encode(), check=True)


@settings(max_examples=12)
@given(config=st.lists(st.sampled_from(["[cm5]\n", "dtoverlay=dwc2,dr_mode=host\n", "# mine\n", "\n"])).map("".join))
def test_what_is_added_to_a_raspberry_pi_s_settings_goes_again(
    tmp_path_factory: pytest.TempPathFactory, config: str
) -> None:
    told = gadget.told(config)
    assert told.startswith(config)
    assert gadget.told(told) == told
    assert told.splitlines()[-3:-1] == ["[all]", gadget.OVERLAY]
    file = tmp_path_factory.getbasetemp() / "config.txt"
    file.write_text(told)
    subprocess.run(["sh", "-c", gadget.untold(str(file)).replace("sync", ":")], check=True)
    assert file.read_text() == config


def test_a_board_tells_what_it_has_for_it(tmp_path: Path) -> None:
    config, file = tmp_path / "config.txt", tmp_path / "gadget.service"
    config.write_text(gadget.told("[all]\n"))
    file.write_text("")
    given = {"home_of_code": tmp_path, "port_hex": "1E25", "python": "false", "host_file": "ada", "gadget": file}
    given |= {"configs": f"'{tmp_path}/none {config}'", **dict.fromkeys(("launcher", "start", "unit"), "")}
    head = "".join(f"{name}={value}\n" for name, value in given.items())
    look = (Path(plan.__file__).parent / "look.sh").read_text()
    facts = read(subprocess.run(["sh", "-c", head + look], capture_output=True, text=True, check=True).stdout)
    assert (facts.usb.config, facts.usb.told) == (str(config), True)
    assert facts.usb.controllers == tuple(sorted(path.name for path in Path("/sys/class/udc").glob("*")))
    assert str(file) in facts.files


@needs_root
def test_a_card_is_told_of_it_once_and_of_a_boot_partition_that_is_not_mounted(tmp_path: Path) -> None:
    folder, home = root_of(tmp_path / "card"), tmp_path / "home"
    firmware = folder / "boot" / "firmware"
    firmware.mkdir(parents=True)
    with pytest.raises(Fault, match="not mounted") as raised:
        card.check_boot(folder)
    assert str(firmware) in raised.value.do
    config = firmware / "config.txt"
    config.write_text("[cm5]\ndtoverlay=dwc2,dr_mode=host")
    card.check_boot(folder)
    with pytest.raises(Fault, match="kernel offers no USB gadgets"):
        plan.refuse(card.look(folder), 7717, 0, changes=True, be_gadget=True)
    modules = folder / "usr/lib/modules/6.1/kernel/drivers/usb/gadget"
    modules.mkdir(parents=True)
    (folder / "lib").symlink_to("usr/lib")
    (modules / "libcomposite.ko.xz").touch()
    (folder / "etc/group").write_text("root:x:0:\ndialout:x:20:\n")
    for _ in range(2):
        facts = card.look(folder)
        wanted = wish(facts, home, "porch", None, 7717, be_gadget=True)
        plan.refuse(facts, 7717, 0, changes=True, be_gadget=True)
        card.write(folder, facts, wanted, PYTHON, Payload({}, ()), home)
    assert config.read_text() == gadget.told("[cm5]\ndtoverlay=dwc2,dr_mode=host")
    wants = folder / "etc/systemd/system/multi-user.target.wants"
    assert {link.name: str(link.readlink()) for link in wants.iterdir()} == {
        Path(path).name: path for path in (plan.UNIT, gadget.UNIT)
    }
    assert "SupplementaryGroups=dialout\n" in (folder / plan.UNIT.lstrip("/")).read_text()
    assert wish(card.look(folder), home, "porch", None, 7717).gadget
