"""Reads a temperature every ``PERIOD_S`` and prints it with its moving average. Change something, save, and watch."""

import asyncio
import logging
from pathlib import Path
from statistics import fmean

import sensorkit

from . import calibration

PERIOD_S = 1.0
WINDOW = 10

log = logging.getLogger("thermo")
recent: list[float] = []
points: list[calibration.Point] = []


async def main() -> None:
    """Read until the program is stopped. A reading that fails is said and left out."""
    sensor = sensorkit.find()
    points[:] = calibration.load()
    clock = asyncio.get_running_loop()
    due_s = clock.time()
    print(f"reading sensor '{sensor.name}' every {PERIOD_S:g} s")
    try:
        while True:
            try:
                recent.append(calibration.correct(sensor.read_c(), points))
                del recent[:-WINDOW]
                print(f"{recent[-1]:.2f} °C, average of {len(recent)}: {fmean(recent):.2f} °C")
            except OSError as error:
                log.warning("sensor '%s' can't be read: %s", sensor.name, error)
            due_s = max(due_s + PERIOD_S, clock.time())
            await asyncio.sleep(due_s - clock.time())
    finally:
        print("stopped")


def give() -> list[float]:
    """The readings, for the program that starts next."""
    return recent


def take(readings: list[float], _version: dict[str, object]) -> None:
    """The readings of the program before this one."""
    recent[:] = readings


def recalibrated(_paths: list[Path]) -> None:
    """The table has changed, while the program runs."""
    points[:] = calibration.load()
