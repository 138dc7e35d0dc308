"""Properties are not timed: machines are shared, and times are the benchmarks' business.

Where ``CI`` is set, hypothesis by itself draws the same examples every time and prints how to repeat a failure.

What tests have tried of chaos is told at the end of a run, all together.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict

import pytest
from hypothesis import settings

from benchmarks.chaos.tally import Finding, Tally

settings.register_profile("untimed", deadline=None)
if "CI" not in os.environ:
    settings.load_profile("untimed")

_FIGURES = "chaos"


@pytest.fixture
def tally(record_property: Callable[[str, object], None]) -> Iterator[Tally]:
    """What a test tries of chaos, and finds."""
    one = Tally()
    yield one
    record_property(_FIGURES, {**asdict(one), "counts": dict(one.counts)})  # which a worker hands on


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The figures of docs/chaos.md, of those tests that ran."""
    whole = Tally()
    for report in (report for reports in terminalreporter.stats.values() for report in reports):
        if getattr(report, "when", "") == "teardown":
            for told in (value for name, value in report.user_properties if name == _FIGURES):
                findings = [Finding(**finding) for finding in told["findings"]]
                whole.add(Tally(Counter(told["counts"]), findings, told["longest_s"]))
    if whole.counts:
        terminalreporter.section("chaos")
        terminalreporter.write_line(whole.text())
