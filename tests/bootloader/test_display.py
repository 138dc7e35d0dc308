"""The code of a window to pair in, on the application's own display: a callable in a process of its own."""

from __future__ import annotations

import json

from tests.bootloader.target import Target, app, gone

SHOW = """\
import os, time

SHOWN = os.environ["SHOWN"]

def main():
    time.sleep(600)

def show(code, open_s):
    with open(SHOWN, "a") as file:
        file.write(f"{code} {open_s > 100} {os.getpid()}\\n")
    print("shown" if code else "shown no more", flush=True)

def fails(code, open_s):
    raise ValueError(code)
"""


def ship(target: Target, source: str, entry: str) -> None:
    spec = app(settle_s=0, env={"SHOWN": str(target.state / "shown")})
    target.ship(source, spec, display=entry).healthy()


def test_the_code_is_shown_by_what_runs_and_taken_away_and_comes_back_with_the_next_generation(target: Target) -> None:
    ship(target, SHOW, "app:show")
    code = target.call("invite").text("code")
    spoken = f"{code[:4]}-{code[4:]}"
    first = target.log("shown")
    ship(target, SHOW + "\n", "app:show")
    again = target.event("log", after=first, text="shown")
    gone({int((target.state / "shown").read_text().split()[-1])})  # what comes while it shows one may be left out
    target.call("invite")  # ends the one that is open
    none = target.event("log", after=again, text="shown no more")
    target.event("log", after=none, text="shown")
    lines = [line.split() for line in (target.state / "shown").read_text().splitlines()]
    assert [line[:2] for line in lines[:2]] == [[spoken, "True"]] * 2
    assert lines[2][0] == "False"  # no code
    assert lines[3][0] != spoken
    assert len({line[-1] for line in lines}) == 4  # a process each


def test_a_callable_that_fails_is_told_of_without_the_code_and_the_window_is_open_all_the_same(target: Target) -> None:
    ship(target, SHOW, "app:fails")
    code = target.call("invite").text("code")
    notice = target.event("notice", code="code-not-shown")
    assert notice["text"] == "app:fails did not show the code to pair with: raised"
    assert (target.state / "run" / "pairing").read_text().startswith(code[:4])
    assert code[:4] not in json.dumps(target.events)
