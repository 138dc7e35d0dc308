"""``python -m benchmarks.floor.target TREE MODULE…``: keeps TREE, and the application in it, as new as what arrives.

Imports the modules that the application needs from outside of TREE, once; each file that arrives then costs a
SIGTERM, a write, a wait and a fork. Prints its port.
"""

from __future__ import annotations

import atexit
import compileall
import gc
import importlib
import importlib.util
import os
import signal
import socket
import sys
import traceback
from pathlib import Path

from .host import FRAME

APPLICATION, EDITED = "station", "station.main"


def _start(connection: socket.socket) -> int:
    child = os.fork()
    if child:
        return child
    connection.close()
    try:
        importlib.import_module(EDITED).main()
    except SystemExit:
        pass  # how the application ends itself on SIGTERM
    except BaseException:  # noqa: BLE001 - the process ends here, as it would
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        os._exit(0)  # not the modules' teardown, which nobody waits for


def receive(connection: socket.socket, size: int) -> bytes:
    """Exactly ``size`` bytes; the end of the connection is the end of the process."""
    data = bytearray()
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            sys.exit(0)
        data += part
    return bytes(data)


def main(tree: str, modules: list[str]) -> None:
    """Serves one host until it goes away."""
    for name in modules:
        importlib.import_module(name)
    # The compiled files of all but the edited module are there once and for all; the edited one gets none, so that
    # two saves of one second and one size can't be confused.
    compileall.compile_dir(f"{tree}/{APPLICATION}", quiet=1)
    edited = f"{tree}/{EDITED.replace('.', '/')}.py"
    Path(importlib.util.cache_from_source(edited)).unlink()
    sys.dont_write_bytecode = True
    sys.path.insert(0, tree)
    with socket.create_server(("127.0.0.1", 0)) as server:
        print(server.getsockname()[1], flush=True)
        connection, _ = server.accept()
    gc.freeze()
    child = _start(connection)
    try:
        while True:
            path_size, size = FRAME.unpack(receive(connection, FRAME.size))
            path = receive(connection, path_size).decode()
            content = receive(connection, size)
            os.kill(child, signal.SIGTERM)
            with open(f"{tree}/{path}", "wb") as file:
                file.write(content)
            os.waitpid(child, 0)
            child = _start(connection)
    finally:
        os.kill(child, signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
