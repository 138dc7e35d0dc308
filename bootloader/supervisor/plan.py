"""In which order applications start, and who may start now. Pure.

Init applications come before all others, and each application after those that it names. One is waited for until it is
ready or has failed to be: what does not work keeps nothing else from starting.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from graphlib import TopologicalSorter

from ..wire.launch import Application, prerequisites


def order(applications: Sequence[Application]) -> tuple[Application, ...]:
    """Each after all that it waits for, else as they are listed. ``wire.launch`` has seen to it that there is one."""
    by_name = {app.name: app for app in applications}
    graph = TopologicalSorter(dict.fromkeys(by_name, ()))  # first, as the order of a set is no order
    for name, others in prerequisites(applications).items():
        graph.add(name, *others)
    return tuple(by_name[name] for name in graph.static_order())


def due(applications: Sequence[Application], waiting: Collection[str], pending: Collection[str]) -> tuple[str, ...]:
    """The names of those of ``waiting`` that may start now. ``pending``: what has started, and may still become ready.

    Whoever waits for one of ``waiting`` waits for its turn as well.
    """
    ahead = {*pending, *waiting}
    return tuple(name for name, others in prerequisites(applications).items() if name in waiting and not others & ahead)
