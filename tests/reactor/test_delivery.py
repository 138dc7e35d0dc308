"""Saves that wait for their way to a target become one."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from bootloader.wire.manifest import EMPTY, Entry, Manifest, blob_name
from reactor.session.delivery import Save, merged


def tree(files: dict[str, int]) -> Manifest:
    return Manifest({path: Entry(blob_name(bytes([content])), 0o644, 1) for path, content in files.items()})


TREES = st.dictionaries(st.sampled_from("abcd"), st.integers(0, 2)).map(tree)


@given(st.lists(TREES, min_size=2, max_size=6))
def test_saves_that_wait_become_one_that_leads_from_the_first_ones_start_to_the_last_ones_end(
    trees: list[Manifest],
) -> None:
    waiting: Save | None = None
    for number, (before, after) in enumerate(pairwise(trees)):
        waiting = merged(waiting, Save(after, before, before.edits_to(after), float(number), {}))
    assert waiting is not None
    assert (waiting.previous, waiting.manifest, waiting.saved_at) == (trees[0], trees[-1], 0.0)
    assert waiting.edits == trees[0].edits_to(trees[-1])


def test_a_save_that_does_not_follow_from_the_one_that_waits_takes_its_place() -> None:
    one, two, three = tree({"a": 1}), tree({"b": 1}), tree({"c": 1})
    waiting = Save(one, EMPTY, EMPTY.edits_to(one), 1.0, {})
    save = Save(three, two, two.edits_to(three), 2.0, {})
    assert merged(waiting, save) is save
