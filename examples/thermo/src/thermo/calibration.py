"""What the sensor reads, turned into what it is: a straight line between each two points of a table."""

import csv
from bisect import bisect_left
from importlib import resources

Point = tuple[float, float]


def load() -> list[Point]:
    """The points of ``calibration.csv``, which lies next to this file: (reads, is) in degrees Celsius, sorted."""
    text = resources.files(__package__).joinpath("calibration.csv").read_text()
    return sorted((float(row["reads_c"]), float(row["is_c"])) for row in csv.DictReader(text.splitlines()))


def correct(reads_c: float, points: list[Point]) -> float:
    """The temperature that it is. Past the table's ends, its first and its last line go on."""
    at = min(max(bisect_left(points, (reads_c, 0.0)), 1), len(points) - 1)
    (low, low_is), (high, high_is) = points[at - 1], points[at]
    return low_is + (reads_c - low) * (high_is - low_is) / (high - low)
