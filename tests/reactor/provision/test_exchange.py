"""Orders and answers on a line that anybody may talk into."""

from __future__ import annotations

import base64

from hypothesis import given
from hypothesis import strategies as st

from reactor.provision.exchange import COLUMNS, Answers, lines_of, order, sum_of

NOISE = st.binary(max_size=200) | st.sampled_from([b"@7 0123456789abcdef no\n", b"@?\r\n", b"[ 1.0] usb 1-1\r\n"])


@given(before=NOISE, after=NOISE, said=st.from_regex(r"[a-z0-9 ]{0,40}", fullmatch=True), cut=st.integers(0, 300))
def test_an_answer_is_heard_whole_whatever_is_said_around_it_and_no_other_one(
    before: bytes, after: bytes, said: str, cut: int
) -> None:
    heard = before + f"\n@7 {sum_of(f'7 {said}')} {said}\r\n".encode() + after
    answers = Answers()
    answers.feed(heard[:cut])
    answers.feed(heard[cut:])
    assert answers.to(8) is None
    assert answers.to(7) == said
    assert answers.to(7) is None


def test_an_answer_that_others_talk_into_is_known_to_be_spoilt_and_one_that_comes_again_is_not() -> None:
    whole = f"@7 {sum_of('7 done')} done\r\n"
    for said, is_spoilt in (
        (f"[ 1.0] usb\r\n{whole}@8 ", False),
        (f"{whole[:9]}[ 1.0] usb\r\n", True),
        ("@?\r\n", True),
    ):
        answers = Answers()
        answers.feed(said.encode())
        assert answers.is_spoilt() == is_spoilt
        assert not answers.is_spoilt()


@given(st.binary(max_size=3000))
def test_content_is_sent_in_letters_on_short_lines(content: bytes) -> None:
    lines = lines_of(content).splitlines()
    assert all(0 < len(line) <= COLUMNS for line in lines)
    assert base64.b64decode("".join(lines)) == content


@given(st.text(st.characters(codec="ascii", exclude_characters="@\n")), st.integers(1, 999))
def test_an_order_ends_with_a_sum_of_all_of_it(text: str, number: int) -> None:
    said = order(number, f"{text}\n").decode()
    assert said.startswith("@\n@\n")
    assert said.splitlines()[-1] == f"@{number} {sum_of(f'{number} {text}' + chr(10))}"
