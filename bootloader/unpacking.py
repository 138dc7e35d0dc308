"""Has layers made ahead of the overlay that needs them, on a thread of its own: that may take minutes.

Owns that thread, of which there is one at a time, and how far it is. A host asks until it is done, so a link that is
cut in between costs nothing. Knows nothing of what layers are for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from functools import partial

from .store.store import Store
from .wire.errors import Fault, Refused
from .wire.layer import Wheel, layer_name
from .wire.messages import Body

_END_S = 2.0


class Unpacking:
    """Of the layers of ``store``. ``locked`` holds its lock, or refuses; ``alone`` keeps all that runs from writing."""

    def __init__(
        self,
        store: Store,
        locked: Callable[[], AbstractContextManager[None]],
        alone: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._store = store
        self._locked = locked
        self._alone = alone
        self._changed = threading.Condition()
        self._name = ""
        self._done = (0, 0)
        self._fault: Fault | None = None
        self._thread: threading.Thread | None = None
        self._closing = False

    def ask(self, wheels: tuple[Wheel, ...], wait_s: float, check: Callable[[], None]) -> Body:
        """How far their layer is: which blobs are missing, how much is unpacked, or that it is ready. ``check`` raises
        where who asks is not to have it made any more.

        It is begun where nothing is missing, and waited for that long. Where it can't be made, that is raised, and the
        next one who asks has it tried anew.
        """
        name = layer_name(wheels)
        with self._locked():
            missing, ready = self._store.layers.missing(wheels), self._store.layers.has(wheels)
        with self._changed:
            if not missing and not ready:
                check()
                self._begin(name, wheels)
                self._changed.wait_for(lambda: self._thread is None, wait_s)
                if self._fault is not None and self._name == name:
                    raise self._fault  # to each one who waited
                ready = self._thread is None and self._store.layers.has(wheels)
            done, total = self._done if self._name == name else (0, 0)
        return {"layer": name, "missing": missing, "ready": ready, "done_bytes": done, "total_bytes": total}

    def _begin(self, name: str, wheels: Collection[Wheel]) -> None:
        if self._closing:
            raise Refused("ending", "the bootloader ends", do="try again when it runs again")
        if self._thread is None:
            self._name, self._done, self._fault = name, (0, 0), None
            self._thread = threading.Thread(target=self._run, args=(wheels,), name="unpacker", daemon=True)
            self._thread.start()
        elif self._name != name:
            raise Refused("busy", "another layer is being made", do="try again")

    def _run(self, wheels: Collection[Wheel]) -> None:
        fault: Fault | None = None
        try:
            self._make(wheels)
        except Fault as error:
            fault = error
        except Exception as error:  # noqa: BLE001 - raised in the thread that asks
            code = "disk-failed" if isinstance(error, OSError) else "internal-error"
            fault = Refused(code, f"the layer can't be made: {error}", to=self._name[:12])
        with self._changed:
            self._thread, self._fault = None, fault
            self._changed.notify_all()

    def _make(self, wheels: Collection[Wheel]) -> None:
        make = partial(self._store.layers.make, wheels, self._store.room, self._progress)
        try:
            make()
        except Refused as refused:
            if refused.code != "disk-full":
                raise
            with self._locked(), self._alone():
                make()

    def _progress(self, done: int, total: int) -> None:
        self._done = (done, total)
        if self._closing:
            raise Refused("ending", "the bootloader ends", do="try again when it runs again")

    def close(self) -> None:
        """Break off what is under way: it leaves nothing behind."""
        self._closing = True
        thread = self._thread
        if thread is not None:
            thread.join(_END_S)
