"""``python -m benchmarks.floor.patched TREE MODULE…``: runs the application of TREE, and executes in it what arrives.

Each file that arrives is compiled and executed in its module, and nothing else: no comparison, no check, nothing kept.
Prints its port.
"""

from __future__ import annotations

import importlib
import socket
import sys
import threading

from .host import FRAME
from .target import EDITED, receive


def _serve(connection: socket.socket) -> None:
    while True:
        path_size, size = FRAME.unpack(receive(connection, FRAME.size))
        path = receive(connection, path_size).decode()
        content = receive(connection, size)
        module = sys.modules[path.removesuffix(".py").replace("/", ".")]
        exec(compile(content, path, "exec"), vars(module))


def main(tree: str) -> None:
    """Runs until it is killed."""
    sys.path.insert(0, tree)
    application = importlib.import_module(EDITED)
    with socket.create_server(("127.0.0.1", 0)) as server:
        print(server.getsockname()[1], flush=True)
        connection, _ = server.accept()
    threading.Thread(target=_serve, args=(connection,), daemon=True).start()
    application.main()


if __name__ == "__main__":
    main(sys.argv[1])
