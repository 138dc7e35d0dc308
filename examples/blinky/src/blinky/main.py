"""Blinks an LED. Change ``BLINK_S``, save, and watch."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from gpiozero import LED, GPIOZeroError

from . import pins

LED_PIN = 17
BLINK_S = 0.5
RETRY_S = 1.0

FAILURES = (GPIOZeroError, OSError)

log = logging.getLogger("blinky")


def main() -> None:
    """Blink until the program is stopped. A pin that fails is opened again; other mistakes end the program."""
    while True:
        try:
            with lamp() as led:
                blink(led)
        except FAILURES as error:
            log.warning("pin %d failed: %s; trying again in %g s", LED_PIN, error, RETRY_S)
            time.sleep(RETRY_S)


@contextmanager
def lamp() -> Iterator[LED]:
    """The LED, which is off afterwards, however the program ends."""
    with LED(LED_PIN, pin_factory=pins.factory()) as led:
        try:
            yield led
        finally:
            try:
                led.off()
                print("LED off, for good")
            except FAILURES as error:  # may not take the place of what ends the program
                log.error("pin %d can't be switched off: %s", LED_PIN, error)


def off() -> None:
    """The safe state, where the program itself was killed before it could see to that."""
    with lamp():
        pass


def blink(led: LED) -> None:
    """One change after the other."""
    while True:
        change(led)
        time.sleep(BLINK_S)


def change(led: LED) -> None:
    """On or off. A save that edits this shows at the next change, and the program does not stop for it."""
    led.toggle()
    print("LED on" if led.is_lit else "LED off")
