from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest
from gpiozero import LED
from gpiozero.pins.mock import MockFactory

from tests.examples.processes import EXAMPLES, lines, started, stopped


def test_the_led_blinks_and_is_off_when_the_program_was_asked_to_stop() -> None:
    with started("blinky", "blinky") as process:
        assert lines(process, 4) == ["LED on", "LED off", "LED on", "LED off"]
        status, last = stopped(process)
    assert last[-1] == "LED off, for good"
    assert status == 0


def test_a_pin_that_fails_is_said_and_opened_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(EXAMPLES / "blinky" / "src")
    from blinky import main, pins

    board = MockFactory()
    naps = []

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 2:
            board.pin(main.LED_PIN).function = "input"  # somebody else took the pin
        if len(naps) == 5:
            raise SystemExit

    monkeypatch.setattr(pins, "factory", lambda: board)
    monkeypatch.setattr(main, "time", SimpleNamespace(sleep=sleep))
    with pytest.raises(SystemExit):
        main.main()

    assert naps == [main.BLINK_S, main.BLINK_S, main.RETRY_S, main.BLINK_S, main.BLINK_S]
    assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.WARNING]
    assert capsys.readouterr().out.splitlines() == ["LED on", "LED off", "LED on", "LED off", "LED off, for good"]
    with LED(main.LED_PIN, pin_factory=board) as led:  # given back
        assert not led.is_lit


def test_a_mistake_in_the_code_ends_the_program_with_the_led_off(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(EXAMPLES / "blinky" / "src")
    from blinky import main

    def sleep(_seconds: float) -> None:
        raise NameError("BLINK")

    monkeypatch.setattr(main, "time", SimpleNamespace(sleep=sleep))
    with pytest.raises(NameError):
        main.main()
    assert capsys.readouterr().out.splitlines() == ["LED on", "LED off, for good"]


def test_the_safe_state_is_the_led_off(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.syspath_prepend(EXAMPLES / "blinky" / "src")
    from blinky import main, pins

    board = MockFactory()
    monkeypatch.setattr(pins, "factory", lambda: board)
    board.pin(main.LED_PIN).function = "output"
    board.pin(main.LED_PIN).state = True  # as the program that was killed left it
    main.off()
    assert not board.pin(main.LED_PIN).state
    assert capsys.readouterr().out.splitlines() == ["LED off, for good"]
