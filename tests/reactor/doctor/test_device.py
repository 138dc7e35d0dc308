"""What a doctor finds at a target's addresses, whatever these are."""

from __future__ import annotations

from reactor.doctor.checks import UNKNOWN_NAME, Attempt
from reactor.doctor.device import attempts


def test_what_can_be_no_name_is_an_unknown_one() -> None:
    assert list(attempts(["a..b", f"{'x' * 64}.local:1"])) == [
        Attempt("a..b:7717", UNKNOWN_NAME),
        Attempt(f"{'x' * 64}.local:1", UNKNOWN_NAME),
    ]
