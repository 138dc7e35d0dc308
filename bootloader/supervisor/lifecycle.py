"""The states of one application, and what each event makes of them: a table, and nothing else.

Pure. The supervisor performs the actions. A pair that is not in the table changes nothing: a timer that comes late, or
a second death, is no event.
"""

from __future__ import annotations

from enum import Enum, StrEnum


class State(StrEnum):
    """Where an application is."""

    STOPPED = "stopped"
    STARTING = "starting"
    """Its process exists and imports its modules."""
    RUNNING = "running"
    """Its entry point has been called."""
    HEALTHY = "healthy"
    """It reported ready, or stayed up for its settle time, and has done so since it was patched."""
    FINISHED = "finished"
    """It ended by itself with status 0, as a script does."""
    STOPPING = "stopping"
    FAILED = "failed"


class Event(Enum):
    """What can happen to an application."""

    GO = "go"
    ENTERED = "entered"
    SETTLED = "settled"
    """It stayed up for its settle time."""
    READY = "ready"
    """It said that it is ready."""
    PATCHED = "patched"
    """Its code was replaced in place."""
    ENDED = "ended"
    """Its process is gone, with status 0."""
    DIED = "died"
    """Its process is gone, with another status or by a signal."""
    STOP = "stop"
    GRACE_OVER = "grace over"


class Action(Enum):
    """What the supervisor does about it."""

    SPAWN = "spawn"
    ARM_SETTLE = "arm settle"
    PROVE = "prove"
    """Start the settle time, whatever made it healthy before."""
    TERMINATE = "terminate"
    """SIGTERM to the group, and start the grace time."""
    KILL = "kill"
    """SIGKILL to the group."""
    SWEEP = "sweep"
    """The leader is gone: see to what is left of its group."""


Step = tuple[State, tuple[Action, ...]]

TABLE: dict[tuple[State, Event], Step] = {
    (State.STOPPED, Event.GO): (State.STARTING, (Action.SPAWN,)),
    (State.FINISHED, Event.GO): (State.STARTING, (Action.SPAWN,)),
    (State.FAILED, Event.GO): (State.STARTING, (Action.SPAWN,)),
    (State.STARTING, Event.ENTERED): (State.RUNNING, (Action.ARM_SETTLE,)),
    (State.STARTING, Event.READY): (State.HEALTHY, ()),
    (State.STARTING, Event.ENDED): (State.FINISHED, (Action.SWEEP,)),
    (State.STARTING, Event.DIED): (State.FAILED, (Action.SWEEP,)),
    (State.STARTING, Event.STOP): (State.STOPPING, (Action.TERMINATE,)),
    (State.RUNNING, Event.SETTLED): (State.HEALTHY, ()),
    (State.RUNNING, Event.READY): (State.HEALTHY, ()),
    (State.RUNNING, Event.PATCHED): (State.RUNNING, (Action.PROVE,)),
    (State.RUNNING, Event.ENDED): (State.FINISHED, (Action.SWEEP,)),
    (State.RUNNING, Event.DIED): (State.FAILED, (Action.SWEEP,)),
    (State.RUNNING, Event.STOP): (State.STOPPING, (Action.TERMINATE,)),
    (State.HEALTHY, Event.PATCHED): (State.RUNNING, (Action.PROVE,)),
    (State.HEALTHY, Event.ENDED): (State.FINISHED, (Action.SWEEP,)),
    (State.HEALTHY, Event.DIED): (State.FAILED, (Action.SWEEP,)),
    (State.HEALTHY, Event.STOP): (State.STOPPING, (Action.TERMINATE,)),
    (State.STOPPING, Event.GRACE_OVER): (State.STOPPING, (Action.KILL,)),
    (State.STOPPING, Event.ENDED): (State.STOPPED, (Action.SWEEP,)),
    (State.STOPPING, Event.DIED): (State.STOPPED, (Action.SWEEP,)),
}

ALIVE = frozenset({State.STARTING, State.RUNNING, State.HEALTHY, State.STOPPING})
WELL = frozenset({State.HEALTHY, State.FINISHED})


def step(state: State, event: Event) -> Step:
    """The next state and what to do; the same state and nothing where the event means nothing there."""
    return TABLE.get((state, event), (state, ()))
