"""``python -m benchmarks.floor.linked_host FOLDER PORT IDENTITY``: as :mod:`.host`, over the product's link."""

from __future__ import annotations

import sys
from pathlib import Path

from bootloader.wire.manifest import blob_name
from bootloader.wire.messages import pack
from bootloader.wire.stream import client_context, connect, fingerprint
from bootloader.wire.strict import Caller

from .host import saved

CALL_S = 10.0


def main(top: str, port: int, identity: Path) -> None:
    """Watches, hashes, and makes one call a save, until the target goes away."""
    certificate, key = identity / "host.crt", identity / "host.key"
    pem = certificate.read_text()
    link = Caller(connect("127.0.0.1", port, client_context(certificate, key, pem), fingerprint(pem), CALL_S))
    for path, content in saved(top):
        link.call("apply", pack({"path": path, "blake3": blob_name(content)}, [content]), CALL_S)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
