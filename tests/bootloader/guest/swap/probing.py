"""The application that rows are tried on: it runs what it is sent, in one process for as many rows as it takes.

It reads orders from a pipe in its data folder, one JSON object a line: ``row``, ``section``, ``text``. A *hold* begins
a row: what the row before has imported is let go, and the row's own folder of the tree is what is imported from.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

ROWS = Path(__file__).parent / "rows"
ORDERS = "orders"


def main() -> None:
    """Run sections until the process is ended."""
    if not os.path.exists(ORDERS):  # noqa: PTH110 - pathlib would be one more thing that the rows find imported
        os.mkfifo(ORDERS)
    print("listening", flush=True)
    scope: dict[str, Any] = {}
    with open(os.open(ORDERS, os.O_RDWR), encoding="utf-8") as orders:  # it never ends: this process writes it, too
        for line in orders:
            order = json.loads(line)
            if order["section"] == "hold":
                begin(ROWS / order["row"])
                scope = {"__name__": "__main__"}
            wrong = run(order.pop("text"), order["section"], scope)
            print(json.dumps({**order, "wrong": wrong}), flush=True)


def begin(folder: Path) -> None:
    """Import from ``folder``, and forget what was imported from others like it."""
    sys.path[:] = [str(folder), *(path for path in sys.path if not path.startswith(str(ROWS)))]
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(str(ROWS)):
            del sys.modules[name]
    sys.path_importer_cache.clear()


def run(text: str, section: str, scope: dict[str, Any]) -> str:
    """Run ``text`` in ``scope``: nothing, or what went wrong."""
    try:
        exec(compile(text, f"<{section}>", "exec"), scope)
    except BaseException as error:  # noqa: BLE001 - told, whatever it is
        return "".join(traceback.format_exception(error))[-2000:]
    return ""
