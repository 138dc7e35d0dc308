"""Reads a temperature every ``PERIOD_S`` and prints it with its moving average. Change something, save, and watch."""

import asyncio
import logging
from collections import deque
from statistics import fmean

import sensorkit

from . import calibration

PERIOD_S = 1.0
WINDOW = 10

log = logging.getLogger("thermo")


async def main() -> None:
    """Read until the program is stopped. A reading that fails is said and left out."""
    sensor = sensorkit.find()
    points = calibration.load()
    recent: deque[float] = deque(maxlen=WINDOW)
    clock = asyncio.get_running_loop()
    due_s = clock.time()
    print(f"reading sensor '{sensor.name}' every {PERIOD_S:g} s")
    try:
        while True:
            try:
                recent.append(calibration.correct(sensor.read_c(), points))
                print(f"{recent[-1]:.2f} °C, average of {len(recent)}: {fmean(recent):.2f} °C")
            except OSError as error:
                log.warning("sensor '%s' can't be read: %s", sensor.name, error)
            due_s = max(due_s + PERIOD_S, clock.time())
            await asyncio.sleep(due_s - clock.time())
    finally:
        print("stopped")
