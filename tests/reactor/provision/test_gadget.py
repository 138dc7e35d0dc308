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
from reactor.provision.facts import Facts, Usb
from reactor.provision.payload import Payload, unit

from .test_card import needs_root, root_of
from .test_plan import BOARD, PYTHON, ROOT, WISH, look

USB = Usb(offered=True, controllers=("fe980000.usb",), config="/boot/firmware/config.txt", group="dialout")
ABLE = replace(BOARD, usb=USB)
WANTED = replace(WISH, listen="::", gadget=unit("bootloader-gadget"))


def names(facts: Facts, wanted: plan.Wish = WANTED) -> list[str]:
    return [step.name for step in plan.steps(facts, wanted, PYTHON, ROOT, [], 0)]


def there(facts: Facts, wanted: plan.Wish) -> Facts:
    """The board as it is once all of that is done."""
    files = {path: plan._sha256(text) for path, (_, text) in plan.files(facts, wanted, PYTHON, ROOT).items()}
    usb = replace(facts.usb, state="active" if wanted.gadget else "inactive", enabled=bool(wanted.gadget))
    done = replace(facts, runs=True, enabled=True, releases=frozenset({ROOT}), left=(ROOT,), files=files, usb=usb)
    return replace(done, obeys=("PEM\n",), device="DEVICE\n", kept_kb=9)


@pytest.mark.parametrize(
    ("change", "usb", "code", "way_out"),
    [
        ({"init": "other"}, {}, "no-gadgets", "bootloader gadget up --watch"),
        ({}, {"offered": False}, "no-gadgets", "CONFIG_USB_CONFIGFS"),
        ({}, {"controllers": (), "odd": "can't be written"}, "no-udc", f"{USB.config}, which can't be written"),
        ({}, {"controllers": (), "holds": "eth0"}, "no-udc", "Ethernet of a model B"),
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
    assert names(replace(done, usb=replace(done.usb, state="failed"))) == ["gadget"]
    assert names(there(ABLE, WISH)) == ["service", "gadget", "start"]


def test_a_raspberry_pi_s_firmware_is_told_and_a_restart_is_all_that_is_left(tmp_path: Path) -> None:
    stock = replace(ABLE, usb=replace(USB, controllers=(), state="inactive"))
    plan.refuse(stock, 7717, 0, changes=True, be_gadget=True)
    assert names(stock) == ["code", "trust", "service", "gadget", "boot", "start"]
    raised = gadget.raising(plan.LAUNCHER, "porch", stock.usb)
    assert ("enable" in raised, "gadget up" in raised or " start " in raised) == (True, False)
    assert gadget.later(stock).endswith("restart it once: sudo reboot")
    told = there(stock, WANTED)
    told = replace(told, usb=replace(told.usb, told=True, state="inactive"))
    assert names(told) == []
    assert gadget.later(told) == gadget.later(stock)
    for state in ("activating", "failed", "active"):  # after a start: a service that is tried again is all of these
        in_vain = replace(told, usb=replace(told.usb, state=state))
        assert names(in_vain) == []
        assert "may have no such port" in gadget.later(in_vain)
    able = replace(told, usb=replace(told.usb, controllers=("3f980000.usb",), state="active"))
    assert (names(able), gadget.later(able), gadget.later(ABLE)) == ([], "", "")


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
    file = tmp_path_factory.getbasetemp() / "the config.txt"
    file.write_text(config)

    def run(script: str) -> str:
        subprocess.run(["sh", "-euc", script.replace("sync", ":")], check=True)
        return file.read_text()

    assert [run(gadget.telling(str(file))) for _ in range(2)] == [told, told]
    assert run(gadget.untelling(str(file))) == config
    file.write_text("no end of a line")
    assert run(gadget.telling(str(file))) == gadget.told("no end of a line")
    assert [each.name for each in file.parent.glob("the config.txt*")] == [file.name]


def test_a_board_tells_what_it_has_for_it(tmp_path: Path) -> None:
    config, link, file = tmp_path / "config.txt", tmp_path / "link", tmp_path / "gadget.service"
    config.write_text(gadget.told("[all]\n"))
    link.symlink_to(config.name)
    file.write_text("")
    (tmp_path / "sys/class/udc/3f980000.usb").mkdir(parents=True)
    facts = look(tmp_path, configs=f"{tmp_path}/none {link}", gadget=file)
    assert (facts.usb.config, facts.usb.told, facts.usb.odd) == (str(config), True, "")
    assert facts.usb.controllers == ("3f980000.usb",)
    assert str(file) in facts.files
    config.write_text("#" * 300_000)
    usb = look(tmp_path, configs=config).usb
    assert (usb.told, "no small file" in usb.odd, gadget.is_to_be_told(usb)) == (False, True, False)


@pytest.mark.parametrize("driver", ["dwc_otg", "dwc2"])
@pytest.mark.parametrize("held", ["1-1/1-1.1/1-1.1:1.0/net/eth0", "1-1/1-1:1.0/host0/target0/0:0:0:0/block/sda", ""])
def test_what_hangs_on_a_raspberry_pi_s_own_usb_port_is_seen(tmp_path: Path, driver: str, held: str) -> None:
    config = tmp_path / "config.txt"
    config.write_text("")
    port = tmp_path / "sys/devices/platform/soc/3f980000.usb"
    (port / "usb1/1-0:1.0/power").mkdir(parents=True)
    other = tmp_path / "sys/devices/pci0000:00/0000:01:00.0/usb2/2-1/2-1:1.0/net/enx0"
    for each in [other, *([port / "usb1" / held / "queues"] if held else [])]:
        each.mkdir(parents=True)
    bound = tmp_path / "sys/bus/platform/drivers" / driver / port.name
    bound.parent.mkdir(parents=True)
    bound.symlink_to(port)
    usb = look(tmp_path, configs=config).usb
    assert usb.holds == Path(held).name
    assert gadget.is_to_be_told(usb) is not bool(held)


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
