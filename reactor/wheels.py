"""Wheels for a target's platform, fetched on this host by pip: the target needs no network, no compiler and no pip.

    <cache>/wheels/<blake3>/<file name>   a wheel, by the hash of its content
    <cache>/sets/<blake3>.json            which ones some requirements came to on some platform

Owns that cache, in the folder that the system has for such (``~/.cache/reactor``), or in ``REACTOR_HOME``. What some
requirements came to once, they are, until somebody asks anew: no board gets other versions than the one before it, and
none of it needs the network. What lies in the cache is taken only where it still has its hash. The index, its mirrors
and credentials are those of the user's own pip.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bootloader.wire.errors import Fault
from bootloader.wire.layer import plain
from bootloader.wire.manifest import blob_name

from .platforms import Platform
from .report import clean

_FETCH_S = 900.0
_FORMAT = 1
_FILE = re.compile(r"([A-Za-z0-9][A-Za-z0-9._]*)-([A-Za-z0-9_.!+]+)(-\d[^-]*)?-[^-/]+-[^-/]+-[^-/]+\.whl")
_NONE = re.compile(r"No matching distribution found for (.+)")
_CLASH = re.compile(r"(.+) depends on (.+)|The user requested (.+)")
_UNREACHED = ("Retrying (", "ConnectionError", "ProxyError", "SSLError", "Network is unreachable", "Name or service")
_RECOVERED = re.compile(r".*Retrying \(Retry\(total=[1-9].*")
"""A failure after which pip tried again: only the last try decides."""

_SHORT = 400
_MOST_MADE = 8
"""Wheels that are made here for one set of requirements."""

_COMPILED = (".c", ".cc", ".cpp", ".cxx", ".pyx", ".rs", ".go", ".f", ".f90", "/Cargo.toml")

# pip has options for the tags of another platform, and none for its markers: it would answer `python_version < "3.12"`
# for the Python that it runs on.
_PIP = """
import json, runpy, sys
from pip._vendor.packaging import markers
there, here = json.loads(sys.argv.pop(1)), markers.default_environment
markers.default_environment = lambda: {**here(), **there}
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel in the cache. ``name`` is the distribution's, as indexes write it; ``blake3`` is of the whole file."""

    name: str
    version: str
    path: Path
    blake3: str
    size_bytes: int


def cache_folder() -> Path:
    """Where wheels are kept."""
    chosen = os.environ.get("REACTOR_HOME")
    if chosen:
        return Path(chosen).expanduser().absolute() / "cache"
    from platformdirs import user_cache_path

    return user_cache_path("reactor")


def fetch(
    requirements: Sequence[str],
    platform: Platform,
    *,
    fresh: bool = False,
    build: bool = False,
    on_progress: Callable[[str], None] = lambda _text: None,
) -> tuple[Wheel, ...]:
    """The wheels of ``requirements`` (PEP 508) and of all that these need, by name, for ``platform``.

    ``fresh``: ask the index, whatever is cached; ``build``: where there is only the source of something, make its
    wheel, which runs that source here; ``on_progress`` is told of each file that is downloaded. A
    :class:`Fault` names what has no wheel for the platform, or what can't be had; the cache is as before then.
    """
    wanted = sorted({text.strip() for text in requirements if text.strip()})
    if not wanted:
        return ()
    cache = cache_folder()
    key = blob_name(json.dumps([_FORMAT, wanted, str(platform)]).encode())
    note = cache / "sets" / f"{key}.json"
    try:
        found = None if fresh else _cached(cache, note)
        if found is None:
            found = _fetch(cache, note, wanted, platform, build, on_progress)
    except OSError as error:
        what = f"the cache of wheels can't be used ({error.strerror or error})"
        do = "make it usable, or set REACTOR_HOME to another folder"
        raise Fault("no-cache", what, to=str(error.filename or cache), do=do) from error
    return found


def _cached(cache: Path, note: Path) -> tuple[Wheel, ...] | None:
    """What was noted, if all of it is there and whole."""
    try:
        rows = [(str(name), str(digest)) for name, digest in json.loads(note.read_bytes())]
        return tuple(_wheel(cache / "wheels" / digest / name, digest) for name, digest in rows)
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _wheel(path: Path, digest: str = "") -> Wheel:
    """The wheel at ``path``; a ``ValueError`` where it is none, or has not the hash ``digest``."""
    told = _FILE.fullmatch(path.name)
    content = path.read_bytes()
    found = blob_name(content)
    if told is None or found != (digest or found):
        raise ValueError(f"'{path}' is not what it was")
    name = plain(told[1])
    return Wheel(name, told[2], path, found, len(content))


def _fetch(
    cache: Path,
    note: Path,
    wanted: Sequence[str],
    platform: Platform,
    build: bool,
    on_progress: Callable[[str], None],
) -> tuple[Wheel, ...]:
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=cache) as folder:
        _download(wanted, platform, folder, build, on_progress)
        wheels = sorted((_keep(cache, path) for path in Path(folder).iterdir()), key=lambda one: one.name)
    note.parent.mkdir(exist_ok=True)
    aside = note.with_suffix(f".{os.getpid()}.{threading.get_ident()}")
    aside.write_text(json.dumps([[one.path.name, one.blake3] for one in wheels]))
    aside.replace(note)
    return tuple(wheels)


def _keep(cache: Path, path: Path) -> Wheel:
    """Move what was downloaded to its place, where another process may have put it meanwhile."""
    wheel = _wheel(path)
    folder = cache / "wheels" / wheel.blake3
    folder.mkdir(parents=True, exist_ok=True)
    path.replace(folder / path.name)
    return Wheel(wheel.name, wheel.version, folder / path.name, wheel.blake3, wheel.size_bytes)


def _download(
    wanted: Sequence[str], platform: Platform, folder: str, build: bool, on_progress: Callable[[str], None]
) -> None:
    """All that ``wanted`` comes to, into ``folder``. Where there is only the source of something, and ``build``, this
    host makes the wheel, if that is Python alone, and so one for every platform.
    """
    how = ["--only-binary", ":all:", "--dest", folder, "--implementation", "cp"]
    how += ["--python-version", ".".join(map(str, platform.python)), "--abi", platform.abi]
    how += [word for tag in platform.tags for word in ("--platform", tag)]
    with tempfile.TemporaryDirectory(prefix="wheels-") as made:
        for _ in range(_MOST_MADE + 1):
            said = _pip(["download", *how, "--find-links", made, "--", *wanted], platform, on_progress)
            if said is None:
                return
            fault = _fault(said, platform)
            if not build or fault.code != "no-wheel":
                break
            if not _make(fault.to.partition(" (from")[0], Path(made), on_progress):
                break
    raise fault


def _make(requirement: str, folder: Path, on_progress: Callable[[str], None]) -> bool:
    """Make the wheel of a package of which there is only the source; whether that goes, and is worth a try."""
    with tempfile.TemporaryDirectory(prefix="source-") as place:
        how = ["--no-deps", "--no-binary", re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]]
        if _pip(["download", *how, "--dest", place, "--", requirement], None, on_progress) is not None:
            return False
        (source,) = Path(place).iterdir()
        if not _is_python_alone(source):
            return False
        on_progress(f"Making a wheel of {source.name}")
        before = set(folder.iterdir())
        _pip(["wheel", "--no-deps", "--wheel-dir", str(folder), "--", str(source)], None, on_progress)
        return any(path.name.endswith("-none-any.whl") for path in set(folder.iterdir()) - before)


def _is_python_alone(source: Path) -> bool:
    """Whether nothing in it is to be compiled, by the names of its files."""
    try:
        with tarfile.open(source) as archive:
            return not any(name.endswith(_COMPILED) for name in archive.getnames())
    except (tarfile.TarError, OSError):
        return False


def _pip(arguments: Sequence[str], platform: Platform | None, on_progress: Callable[[str], None]) -> str | None:
    """Run pip, with the markers of ``platform``: None where that went well, else what it said."""
    markers = json.dumps(platform.markers if platform is not None else {})
    command, *more = arguments
    words = [sys.executable, "-c", _PIP, markers, command, "--progress-bar=off", *more]
    env = {**os.environ, "PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONUTF8": "1"}
    with subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=env,
        start_new_session=True,  # so that what it starts goes with it
    ) as pip:
        alarm = threading.Timer(_FETCH_S, _kill, [pip])
        alarm.daemon = True
        alarm.start()
        said: list[str] = []
        try:
            assert pip.stdout is not None
            for line in pip.stdout:
                text = clean(line.decode(errors="replace")).strip()
                said.append(text)
                if text.startswith("Downloading "):
                    on_progress(text)
            code = pip.wait()
        except BaseException:
            _kill(pip)
            raise
        finally:
            alarm.cancel()
    return "\n".join(said) if code else None


def _kill(pip: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pip.pid, signal.SIGKILL)


def _fault(said: str, platform: Platform) -> Fault:
    """Why pip gave up, in the words of who reads it here."""
    whole = [line.removeprefix("ERROR: ") for line in said.splitlines() if line.startswith("ERROR: ")]
    if any(sign in _RECOVERED.sub("", said) for sign in _UNREACHED):
        do = "look at this host's network, or at the index in your pip's configuration"
        return Fault("no-index", f"the package index can't be reached ({_last(said)})", do=do)
    if "No module named 'pip'" in said or "No module named pip" in said:
        do = f"give it one: {sys.executable} -m ensurepip"
        return Fault("no-pip", "has no pip, which fetches wheels", to=sys.executable, do=do)
    if missing := _NONE.search(said):
        do = "choose a version that has one, add an index that has it (PIP_EXTRA_INDEX_URL), or leave it out"
        return Fault("no-wheel", f"there is no wheel of it for {platform}", to=missing[1].strip(), do=do)
    if "ResolutionImpossible" in said:
        parts = [line.strip() for line in said.splitlines() if _CLASH.match(line.strip())]
        return Fault("no-agreement", "these requirements exclude each other", to="; ".join(parts)[:_SHORT])
    return Fault("not-fetched", f"pip could not fetch them ({'; '.join(whole)[:_SHORT] or _last(said)})")


def _last(said: str) -> str:
    return (said.splitlines() or ["it said nothing"])[-1][:_SHORT]
