from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.examples.processes import EXAMPLES, lines, started, stopped

if TYPE_CHECKING:
    import sensorkit as sensorkit_module


@pytest.fixture(autouse=True)
def _sources(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLES / "thermo" / "src")
    monkeypatch.syspath_prepend(EXAMPLES / "sensorkit" / "src")


def test_readings_and_their_average_are_printed_until_it_is_asked_to_stop() -> None:
    with started("thermo", "thermo", "sensorkit") as process:
        first, *readings = lines(process, 3)
        status, last = stopped(process)
    assert re.fullmatch(r"reading sensor '.+' every 1 s", first)
    assert [bool(re.fullmatch(r"-?\d+\.\d\d °C, average of \d: -?\d+\.\d\d °C", line)) for line in readings] == [
        True
    ] * 2
    assert last[-1] == "stopped"
    assert status == 0


def zone(folder: Path, name: str, temp: str | None) -> None:
    folder.mkdir()
    (folder / "type").write_text(f"{name}\n")
    if temp is not None:
        (folder / "temp").write_text(temp)


def test_the_first_thermal_zone_that_can_be_read_is_the_sensor(tmp_path: Path) -> None:
    import sensorkit

    zone(tmp_path / "thermal_zone0", "silent", None)
    zone(tmp_path / "thermal_zone1", "odd", "not a number\n")
    zone(tmp_path / "thermal_zone2", "cpu-thermal", "48312\n")
    sensor = sensorkit.find(tmp_path)
    assert (sensor.name, sensor.read_c()) == ("cpu-thermal", 48.312)


def test_without_a_thermal_zone_the_sensor_is_simulated_and_the_same_every_time(tmp_path: Path) -> None:
    import sensorkit

    def readings(sensor: sensorkit_module.Sensor) -> list[float]:
        return [sensor.read_c() for _ in range(60)]

    swing = readings(sensorkit.find(tmp_path))
    assert swing == readings(sensorkit.Simulated())
    assert (round(min(swing), 6), round(max(swing), 6)) == (15, 25)


@pytest.mark.parametrize(("reads", "expected"), [(0, 1), (10, 10), (5, 5.5), (20, 22), (15, 16), (-10, -8), (30, 34)])
def test_a_reading_is_corrected_along_the_table(reads: float, expected: float) -> None:
    from thermo import calibration

    assert calibration.correct(reads, [(0, 1), (10, 10), (20, 22)]) == pytest.approx(expected)


def test_the_average_goes_on_in_the_next_program(monkeypatch: pytest.MonkeyPatch) -> None:
    from thermo import main

    monkeypatch.setattr(main, "recent", [20.0, 21.0])
    given = json.loads(json.dumps(main.give()))
    monkeypatch.setattr(main, "recent", [])
    main.take(given, {"generation": 1, "root": ""})
    assert main.recent == [20.0, 21.0]


def test_a_new_table_counts_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from thermo import calibration, main

    monkeypatch.setattr(main, "points", [(0.0, 0.0), (1.0, 1.0)])
    table = main.points
    monkeypatch.setattr(calibration, "load", lambda: [(0.0, 1.0), (1.0, 2.0)])
    main.recalibrated([])
    assert table == [(0.0, 1.0), (1.0, 2.0)]


def test_a_reading_that_fails_is_said_and_left_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    import sensorkit
    from thermo import calibration, main

    answers: Iterator[float | OSError] = iter([20.0, OSError("gone"), 40.0])

    class Flaky:
        name = "flaky"

        def read_c(self) -> float:
            answer = next(answers, None)
            if answer is None:
                raise asyncio.CancelledError
            if isinstance(answer, OSError):
                raise answer
            return answer

    monkeypatch.setattr(sensorkit, "find", Flaky)
    monkeypatch.setattr(calibration, "load", lambda: [(0.0, 0.0), (1.0, 1.0)])
    monkeypatch.setattr(main, "PERIOD_S", 0.0)
    monkeypatch.setattr(main, "recent", [])
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main.main())
    assert capsys.readouterr().out.splitlines()[1:] == [
        "20.00 °C, average of 1: 20.00 °C",
        "40.00 °C, average of 2: 30.00 °C",
        "stopped",
    ]
    assert "gone" in caplog.text
