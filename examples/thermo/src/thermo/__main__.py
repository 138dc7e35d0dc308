"""``python -m thermo``: reads without a bootloader, which would turn SIGTERM into a cancellation too."""

import asyncio
import contextlib
import signal

from .main import main


async def _until_asked_to_stop() -> None:
    task = asyncio.ensure_future(main())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


asyncio.run(_until_asked_to_stop())
