"""What the target runs. Change something, save, and watch."""

import time

PERIOD_S = 1.0


def main() -> None:
    """Run until the program is stopped."""
    ticks = 0
    try:
        while True:
            ticks += 1
            step(ticks)
            time.sleep(PERIOD_S)
    finally:
        print("switched off")  # however it ends: the place to leave pins and motors as they should be


def step(tick: int) -> None:
    """What is done each time. A save that edits this does not stop the program: the next tick is new."""
    print(f"tick {tick}")
