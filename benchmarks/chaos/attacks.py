"""What hostile applications do: each is bounded here too, so that a bad target spoils a figure and not the machine."""

from __future__ import annotations

from collections.abc import Mapping

ATTACKS: Mapping[str, str] = {
    "fork bomb": """
import mmap, os, time
count = mmap.mmap(-1, 4096)
while True:
    if int.from_bytes(count[:4], "little") > 600:
        time.sleep(0.01)
        continue
    try:
        if os.fork() == 0:
            count[:4] = (int.from_bytes(count[:4], "little") + 1).to_bytes(4, "little")
    except OSError:
        time.sleep(0.001)
""",
    "memory hog": """
hog = []
while len(hog) < 150:
    hog.append(b"x" * (10 << 20))
time.sleep(600)
""",
    "busy in every thread": """
import threading
def spin():
    while True:
        pass
for _ in range(16):
    threading.Thread(target=spin).start()
spin()
""",
    "busy processes": """
for _ in range(16):
    if os.fork() == 0:
        while True:
            pass
time.sleep(600)
""",
    "daemon that double-forks away": """
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.closerange(0, 4096)
        while True:
            time.sleep(1)
    os._exit(0)
time.sleep(600)
""",
    "daemon that outlives it": """
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(600)"])
    os._exit(0)
os.wait()
""",
    "closes every descriptor": "os.closerange(0, 65536)\ntime.sleep(600)\n",
    "floods stdout": """
while True:
    os.write(1, b"x" * 65536)
""",
    "floods stdout in lines": """
while True:
    print("a line of a flood " * 3)
""",
    "fills the disk": """
for _ in range(2):
    os.fork()
with open("filler", "ab", buffering=0) as file:
    while True:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                pass
""",
    "kills the warm parent": "os.kill(os.getppid(), 9)\ntime.sleep(600)\n",
    "kills the bootloader": """
status = open(f"/proc/{os.getppid()}/stat").read()
os.kill(int(status.rpartition(")")[2].split()[1]), 9)
time.sleep(600)
""",
    "ignores SIGTERM": """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGINT, signal.SIG_IGN)
while True:
    time.sleep(1)
""",
    "ends at once, badly": "os._exit(3)\n",
    "crashes": "import ctypes\nctypes.string_at(0)\n",
}
"""What an application does after it has said ``now``, by a name."""

FLOODS = ("floods stdout", "floods stdout in lines")
"""Those that print more than is kept."""

FILLS = "fills the disk"
"""What it writes goes to files of the name :data:`FILLER`."""

FILLER = "filler"
