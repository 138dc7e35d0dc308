"""What is typed at a console until there is a shell."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootloader.wire.errors import Fault
from reactor.provision.login import ANSWER, QUESTION, Ask, Login, Type

LONG_S = 30.0
NAME = "pi\r"
PASSWORD = "secret\r"
Talk = list[tuple[str, str]]
"""What is typed, and what is said to it."""


def talk(said: Talk, name: str = "pi") -> str:
    """Log in where all that is expected to be typed is answered so; what the fault says, if it ends with one."""
    login = Login(name, "serial:x")
    for typed, answer in said:
        due = login.due(LONG_S)
        while due is Ask.WAIT:
            due = login.due(LONG_S)
        if due is Ask.PASSWORD:
            due = login.password("secret")
        assert isinstance(due, Type), due
        assert due.data.decode() == typed
        login.heard(answer.encode())
    try:
        due = login.due(LONG_S)
    except Fault as fault:
        return f"{fault.code}: {fault}"
    assert due is Ask.SHELL
    assert login.has_logged_in == (NAME in dict(said))
    return ""


LOGIN = "\r\nDebian GNU/Linux 12 board ttyS0\r\n\r\nboard login: "
ASKED = "pi\r\nPassword: "
GREETED = "\r\nLast login: Mon Nov 30 on ttyS0\r\npi@board:~$ "
SHOWN = f"sh -c 'echo @$((6*7))@'\r\n{ANSWER}\r\n$ "


@pytest.mark.parametrize(
    "said",
    [
        [("\r", LOGIN), (NAME, ASKED), (PASSWORD, GREETED), (QUESTION, SHOWN)],
        [("\r", LOGIN), (NAME, "pi\r\nPasswort: "), (PASSWORD, GREETED), (QUESTION, SHOWN)],
        [("\r", LOGIN), (NAME, "pi\r\npi's secret, please: "), (PASSWORD, GREETED), (QUESTION, SHOWN)],
        [("\r", LOGIN), (NAME, "pi\r\n$ "), (QUESTION, SHOWN)],
        [("\r", LOGIN), (NAME, LOGIN), (NAME, ASKED), (PASSWORD, GREETED), (QUESTION, SHOWN)],
        [
            ("\r", "\r\nPassword: "),
            ("\r", "\r\nLogin incorrect\r\nboard login: "),
            (NAME, "pi\r\n$ "),
            (QUESTION, SHOWN),
        ],
        [("\r", "\r\nroot@board:~# "), (QUESTION, SHOWN)],
        [("\r", f"{LOGIN}\x1b[0m\x1b[6n"), (NAME, "pi\r\n$ "), (QUESTION, SHOWN)],
        [("\r", "\r\n> "), (QUESTION, ""), (QUESTION, SHOWN)],
        [("\r", ""), ("\r", "\r\n$ "), (QUESTION, SHOWN)],
        [("\r", "@-\r\n"), ("@.\n", "$ "), ("\r", "\r\n$ "), (QUESTION, SHOWN)],
    ],
    ids=str,
)
def test_a_shell_is_reached_by_what_a_person_would_type(said: Talk) -> None:
    assert talk(said) == ""


@pytest.mark.parametrize(
    ("name", "said", "fault"),
    [
        ("pi", [("\r", LOGIN), (NAME, ASKED), (PASSWORD, "\r\nLogin incorrect\r\n")], "login-failed"),
        ("pi", [("\r", LOGIN), (NAME, ASKED), (PASSWORD, LOGIN)], "login-failed"),
        ("pi", [("\r", LOGIN), (NAME, ASKED), (PASSWORD, "\r\nNew password: ")], "it asks for more: 'New password:'"),
        ("pi", [("\r", LOGIN), (NAME, "pi\r\nSay: "), (PASSWORD, "secret New password: ")], "more: '… New password:'"),
        ("", [("\r", LOGIN)], "USER@serial:PORT"),
        ("pi", [("\r", "")] * 3, "nothing answers there"),
        ("pi", [("\r", "=> "), *[(QUESTION, "Unknown command 'sh'\r\n=> ")] * 9], "but: '=>'"),
    ],
    ids=str,
)
def test_what_lets_nobody_in_is_told_after_one_try_of_the_password(name: str, said: Talk, fault: str) -> None:
    assert fault in talk(said, name)


@given(st.lists(st.binary() | st.sampled_from([LOGIN, ASKED, GREETED, "@-\n", "assword: "]).map(str.encode)))
def test_a_console_may_say_what_it_wants_and_gets_one_password_and_a_bounded_number_of_words(said: list[bytes]) -> None:
    login = Login("pi", "serial:x")
    typed: list[bytes] = []
    for data in [*said, b""]:
        login.heard(data)
        try:
            due = login.due(LONG_S)
            if due is Ask.PASSWORD:
                due = login.password("secret")
        except Fault:
            break
        if due is Ask.SHELL:
            break
        if isinstance(due, Type):
            typed.append(due.data)
    assert len(typed) <= 10
    assert typed.count(PASSWORD.encode()) <= 1
    assert set(typed) <= {b"\r", b"@.\n", NAME.encode(), PASSWORD.encode(), QUESTION.encode()}
