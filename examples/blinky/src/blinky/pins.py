"""Which pins there are: a Raspberry Pi's own, or pretended ones where there are none."""

import os
from pathlib import Path

from gpiozero.pins import Factory
from gpiozero.pins.mock import MockFactory

MODEL = Path("/proc/device-tree/model")


def factory() -> Factory | None:
    """The pins to use; None leaves the choice to gpiozero, which knows each Raspberry Pi."""
    if "GPIOZERO_PIN_FACTORY" in os.environ or (MODEL.exists() and "Raspberry Pi" in MODEL.read_text()):
        return None
    return MockFactory()
