"""The warm parent: has imported the third-party modules, and forks applications from there.

Started by the bootloader as a program of its own, so that no fork ever happens near a connection. One thread. It
speaks JSON lines over a socket pair: its first order lists the modules to import; then each ``fork`` order, with four
descriptors, makes one process (``guest.entry``). It reports ``ready``, ``forked``, ``unborn`` and ``ended``. When the
bootloader is gone, the socket ends, and it takes every process that it made with it.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import json
import os
import select
import signal
import socket
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

from .. import dump, libc
from . import kin, limits, packages
from .ahead import children, import_all
from .descriptors import apart
from .entry import Guest
from .imports import Imports
from .output import Output

_ORDER_BYTES = 4 * 1024 * 1024
_END_S = 2.0
_POLL_S = 0.005


class Warm:
    """The parent's loop. ``children``: process id to the bootloader's number for it, and its cgroup or nothing."""

    def __init__(self, control: socket.socket, lock: int) -> None:
        self._control = control
        self._lock = lock
        self._buffer = b""
        self._descriptors: list[int] = []
        self._children: dict[int, tuple[int, str]] = {}
        self._environment = dict(os.environ)
        self._imports = Imports()
        kin.adopt_orphans()  # what an application leaves behind is reaped here

    def run(self) -> Callable[[], None] | None:
        """Serve until the bootloader is gone; in a child, returns what the child does."""
        signals, waker = os.pipe()
        os.set_blocking(waker, False)
        os.set_blocking(signals, False)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        order = self._next_order()
        if order is None:
            return None
        packages.settle(order["layer"], order["system"])
        self._warm_up(order["import"])
        control = self._control.fileno()
        while True:
            waiting = b"\n" in self._buffer  # orders that came together
            ready, _, _ = select.select([control, signals], [], [], 0 if waiting else None)
            if signals in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(signals, 4096)
                self._reap()
            if waiting or control in ready:
                order = self._next_order()
                if order is None:
                    self._end_all()
                    return None
                child = self._fork(order["fork"], order["group"], (signals, waker))
                if child is not None:
                    return child

    def _next_order(self) -> dict[str, Any] | None:
        while b"\n" not in self._buffer:
            try:
                data, descriptors, _, _ = socket.recv_fds(self._control, 65536, 8)
            except ConnectionError:
                return None
            if not data or len(self._buffer) > _ORDER_BYTES:
                return None
            self._buffer += data
            self._descriptors += descriptors
        line, _, self._buffer = self._buffer.partition(b"\n")
        order: dict[str, Any] = json.loads(line)
        return order

    def _tell(self, **fields: Any) -> None:
        with contextlib.suppress(ConnectionError):  # the bootloader is gone: the next read sees it
            self._control.sendall(json.dumps(fields).encode() + b"\n")

    def _warm_up(self, names: list[str]) -> None:
        """Import ``names``; what can't be imported, or not ahead, costs its warmth and nothing else."""
        start = time.monotonic()
        failed, cold = import_all(names)
        if cold is not None:
            self._tell(cold=cold[0], why=cold[1])
            os._exit(3)  # the bootloader starts again without this module
        gc.collect()
        gc.freeze()
        self._tell(ready=len(names), failed=failed, seconds=round(time.monotonic() - start, 4))

    def _fork(self, number: int, group: str, own: tuple[int, int]) -> Callable[[], None] | None:
        orders, out, err, stacks = self._descriptors[:4]
        del self._descriptors[:4]
        with warnings.catch_warnings():
            # OpenBLAS and the like end their threads before a fork, by pthread_atfork; Python can't know.
            warnings.simplefilter("ignore", DeprecationWarning)
            parent = os.getpid()
            try:
                pid = os.fork()
            except OSError as error:  # too many processes, or no memory: the ones that run go on
                self._tell(unborn=number, why=f"no new process can be made: {error}")
                pid = -1
        if pid:
            for descriptor in (orders, out, err, stacks):
                os.close(descriptor)
            if pid > 0:
                self._children[pid] = (number, group)
                self._tell(forked=number, pid=pid)
            return None
        return lambda: self._become(group, (orders, out, err, stacks), own, parent)

    def _become(self, group: str, pipes: tuple[int, int, int, int], own: tuple[int, int], parent: int) -> None:
        """In the child: a session of its own, its own descriptors, and the orders."""
        orders, out, err, stacks = pipes
        os.setsid()
        if libc.die_with_parent() and os.getppid() != parent:  # it died before that
            os._exit(1)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        self._control.close()
        for descriptor in (*own, self._lock, *self._descriptors):
            os.close(descriptor)
        with open(os.devnull, "rb") as nothing:
            os.dup2(nothing.fileno(), 0)
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.close(err)
        _confine(group, "application")
        libc.buffer_by_line()
        faulthandler.enable(2)
        dump.answer_on(apart(stacks))
        output = Output(apart(out))
        output.install()
        Guest(orders, output, self._environment, self._imports).serve()

    def _reap(self) -> None:
        """Tell which children ended, and who is left of what they, or others before, have started."""
        ended: list[tuple[int, int]] = []
        any_ended = False
        with contextlib.suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                any_ended = True
                pid, status = found
                if pid in self._children:
                    ended.append((self._children.pop(pid)[0], os.waitstatus_to_exitcode(status)))
        if any_ended:
            self._tell(ended=ended, left=[pid for pid in children() if pid not in self._children])

    def _end_all(self) -> None:
        """Kill whatever was made here and what that left behind, and see it gone: its ports and pins are free then."""
        for pid, (_, group) in self._children.items():
            if group:
                with contextlib.suppress(OSError), open(f"{group}/cgroup.kill", "w") as kill:
                    kill.write("1")
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
        deadline = time.monotonic() + _END_S
        while time.monotonic() < deadline:
            for pid in children():
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            try:
                if os.waitpid(-1, os.WNOHANG)[0] == 0:
                    time.sleep(_POLL_S)
            except ChildProcessError:
                return


def _confine(group: str, kind: str) -> None:
    """Into its cgroup, where there is one; a process that can't go there is still ended with its process group."""
    limits.expend(kind)
    if group:
        try:
            limits.join(group)
        except OSError as error:
            os.write(2, f"no limits are set for this process: {error}\n".encode())


def main() -> Callable[[], None] | None:
    """Serve on the socket whose descriptor is the first argument.

    The second is the state folder's lock. It is only held: the next bootloader waits until this parent, and so all
    that it made, is gone. The third is the cgroup to enter, or empty, the fourth by how much to be nicer from here on.
    """
    os.setsid()
    control, lock = (int(argument) for argument in sys.argv[1:3])
    os.nice(int(sys.argv[4]))
    _confine(sys.argv[3], "warm")
    return Warm(socket.socket(fileno=control), lock).run()


if __name__ == "__main__":
    become = main()  # a child comes back up to here, so that no frame of the parent's is left on its stack
    if become is not None:
        become()
    os._exit(0)  # nothing is held here that an ordinary end would give back
