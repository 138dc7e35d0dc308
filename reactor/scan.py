"""A project's files as a manifest, and the manifest after some of them changed.

Owns the hashing and its cache. Content decides what changed; a file's times only say whether it must be read again.
What lies where, and what a symlink is worth, is :mod:`reactor.survey`'s.

:meth:`Scanner.full`, :meth:`~Scanner.rescan`, :meth:`~Scanner.update` and :meth:`~Scanner.tree` are for one thread at a
time; :meth:`~Scanner.content`, :meth:`~Scanner.parts` and :meth:`~Scanner.kept` are for any. A call that fails changes
nothing, and the paths that it was given are looked at again by the next one.
"""

from __future__ import annotations

import os
import stat
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

from bootloader.wire import launch
from bootloader.wire.errors import Fault
from bootloader.wire.limits import FILE_BYTES
from bootloader.wire.manifest import EMPTY, PLAIN, RUNNABLE, Edits, Entry, Manifest, blob_name

from .plan import python_path
from .project import SETTINGS_FILE, Project, load
from .survey import Progress, Survey, unreadable

KEPT_BYTES = 64 * 1024 * 1024
"""Most bytes of file content that are kept in memory to make deltas against."""

KEPT_FILE_BYTES = 4 * 1024 * 1024
"""The content of a longer file is not kept."""

_OVERHEAD_BYTES = 200
"""About what keeping a blob costs besides its content."""

CHUNK_BYTES = 1024 * 1024

RACY_NS = 2_000_000_000
"""A file that changed so short a time before it was read may change again under the same times (git's rule)."""

READS = 5
"""How often a file that changes while it is read is read, at most."""


class FileChanged(Fault):
    """A file's content is not what the manifest says any more: update or rescan, then go on."""

    def __init__(self, path: str) -> None:
        super().__init__("file-changed", "changed after it was hashed", to=path, do="save again", file=path)


@dataclass(frozen=True, slots=True)
class Change:
    """What an update found: ``edits`` lead from ``previous`` to ``manifest``; ``hashed`` files were read for it.

    ``settings_changed``: the settings or the ignore files are others now, and so may be what is watched and shipped;
    the scanner's ``project`` is the new one.
    """

    manifest: Manifest
    previous: Manifest
    edits: Edits
    hashed: int
    settings_changed: bool = False


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a file held when it was read, and the stat that it had then."""

    blake3: str
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    racy: bool

    def fits(self, status: os.stat_result) -> bool:
        """Whether a file of this stat need not be read again."""
        return (
            not self.racy
            and self.size == status.st_size
            and self.mtime_ns == status.st_mtime_ns
            and self.ctime_ns == status.st_ctime_ns
            and self.inode == status.st_ino
        )


class Scanner:
    """The manifest of one project as ``target`` runs it, kept up to date."""

    def __init__(self, project: Project, target: str = "local") -> None:
        self.project = project
        self.manifest = EMPTY
        """The tree as of the last scan."""
        self._target = target
        self._launch = b""
        self._launches: dict[str, bytes] = {}
        self._links: dict[str, str] = {}
        self._seen: dict[str, _Seen] = {}
        self._owed: set[str] = set()
        self._owes_all = True
        self._kept = _Kept()
        self._where: dict[str, str] = {}
        self._hashed = 0

    def full(self, progress: Progress | None = None) -> Manifest:
        """The manifest of everything that ships. Only what its stat shows to have changed is read again."""
        return self.rescan(progress).manifest

    def rescan(self, progress: Progress | None = None) -> Change:
        """As :meth:`full`, from the settings on: for when it is not known what changed."""
        before, self._hashed = self.project, 0
        self._owes_all = True
        project = Project.open(before.folder)
        survey = Survey(project, progress)
        for root in project.roots:
            survey.look(root, "")
        entries: dict[str, Entry] = {}
        for done, (path, (host, status)) in enumerate(survey.files.items(), 1):
            try:
                entry = self._entry(path, host, status)
            except Fault as fault:
                survey.refuse(fault)
                continue
            if entry is not None:
                entries[path] = entry
            if progress:
                progress(done, len(survey.files))
        survey.check()
        files = Manifest(entries)
        launched = self._launched(project, files, self._target)
        manifest = files.edit({launch.PATH: _entry_of(launched)})
        previous = self.manifest
        edits = previous.edits_to(manifest)
        hosts = {host for host, _ in survey.files.values()}
        self._seen = {host: seen for host, seen in self._seen.items() if host in hosts}
        self._where = {entry.blake3: path for path, entry in entries.items()}
        self._done(project, manifest, launched, survey.links)
        return Change(manifest, previous, edits, self._hashed, project.differs(before))

    def update(self, paths: Iterable[Path]) -> Change:
        """The change since the last scan, if nothing but ``paths`` changed: files or folders, there or gone."""
        self._owed.update(map(str, paths))
        if self._owes_all or self._decided():
            return self.rescan()
        self._hashed = 0
        survey = Survey(self.project)
        looked = survey.look_again(self._owed, self.manifest, self._links)
        previous = self.manifest
        edits = self._edits(survey, looked)
        manifest = previous.edit(edits) if edits else previous
        launched = self._launch
        if any(entry is None or path not in previous for path, entry in edits.items()):
            launched = self._launched(self.project, manifest, self._target)
            if launched != self._launch:
                edits[launch.PATH] = _entry_of(launched)
                manifest = manifest.edit({launch.PATH: edits[launch.PATH]})
        for path in edits:
            if before := previous.get(path):
                self._where.pop(before.blake3, None)
        for path, entry in edits.items():
            if entry is not None:
                self._where[entry.blake3] = path
            else:
                self._seen.pop(str(self.project.host_path(path)), None)
        links = {link: real for link, real in self._links.items() if not _at_or_below(link, looked)}
        self._done(self.project, manifest, launched, {**links, **survey.links})
        return Change(manifest, previous, edits, self._hashed)

    def tree(self, target: str) -> Manifest:
        """The manifest of the last scan, as ``target`` runs it: another target's launch file may differ."""
        launched = self._launches[target] = self._launched(self.project, self.manifest, target)
        return self.manifest.edit({launch.PATH: _entry_of(launched)})

    def dress(self, target: str, launched: bytes) -> Entry:
        """The entry of a launch file that was made of one of here, for ``target``: its content can be had here too."""
        self._launches[f"{target} dressed"] = launched
        return _entry_of(launched)

    def content(self, blob: str) -> bytes:
        """The content of a blob of the last scan, or of one that is kept. :class:`FileChanged` where it is gone."""
        return b"".join(self.parts(blob, KEPT_FILE_BYTES))

    def parts(self, blob: str, part_bytes: int) -> Iterator[bytes]:
        """As :meth:`content`, in parts that are read when they are asked for; an empty blob is one empty part.

        Where the file is not that blob any more, :class:`FileChanged` comes in place of the last part, or sooner.
        """
        content = self._in_memory(blob)
        if content is not None:
            for start in range(0, max(1, len(content)), part_bytes):
                yield content[start : start + part_bytes]
            return
        changed = FileChanged(blob[:12])
        for path in self._paths(blob, self.manifest):
            given = False
            try:
                for part in _read_parts(self.project.host_path(path), path, blob, part_bytes):
                    given = True
                    yield part
            except FileChanged as error:
                if given:
                    raise
                changed = error  # another file may have that content, too
            else:
                return
        raise changed

    def _in_memory(self, blob: str) -> bytes | None:
        content = self.kept(blob)
        if content is not None:
            return content
        launched = (self._launch, *self._launches.copy().values())
        return next((each for each in launched if blob_name(each) == blob), None)

    def kept(self, blob: str) -> bytes | None:
        """The content of the blob, now or earlier in the project, if it is still in memory: for making deltas."""
        return self._kept.get(blob)

    def _paths(self, blob: str, manifest: Manifest) -> Iterator[str]:
        """Where the blob should be, the likely place first."""
        likely = self._where.get(blob)
        if likely is not None:
            yield likely
        yield from (path for path, entry in manifest.items() if entry.blake3 == blob and path != likely)

    def _edits(self, survey: Survey, looked: set[str]) -> dict[str, Entry | None]:
        """What the survey of the paths ``looked`` changes in the manifest."""
        edits: dict[str, Entry | None] = {}
        for path in looked:
            for old in (path, *self.manifest.below(path)):
                if old in self.manifest and old not in survey.files:
                    edits[old] = None
        for path, (host, status) in survey.files.items():
            try:
                entry = self._entry(path, host, status)
            except Fault as fault:
                survey.refuse(fault)
                continue
            if entry != self.manifest.get(path):
                edits[path] = entry
        survey.check()
        return edits

    def _done(self, project: Project, manifest: Manifest, launched: bytes, links: dict[str, str]) -> None:
        self.project, self.manifest, self._launch, self._links = project, manifest, launched, links
        self._owed.clear()
        self._owes_all = False

    def _decided(self) -> bool:
        """Whether what is owed may change the settings or the rules, or is a whole root."""
        for path in self._owed:
            for root in self.project.roots:
                within = root.within(path)
                if not within:
                    if within is not None:
                        return True
                elif root.decides(within) and (
                    within != SETTINGS_FILE or root.name or load(self.project.folder) != self.project.settings
                ):
                    return True
        return False

    def _launched(self, project: Project, manifest: Manifest, target: str) -> bytes:
        names = [root.name for root in project.roots[1:]]
        return project.settings.launch(target, python_path(manifest, names), project.siblings).encode()

    def _entry(self, path: str, host: str, status: os.stat_result) -> Entry | None:
        """The entry of a file, read again where its stat does not vouch for it; None where it is gone."""
        seen = self._seen.get(host)
        if seen is None or not seen.fits(status):
            try:
                seen, status = self._read(path, host)
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                self._seen.pop(host, None)
                return None
            except OSError as error:
                raise unreadable(path, error) from error
            self._seen[host] = seen
        return Entry(seen.blake3, RUNNABLE if status.st_mode & stat.S_IXUSR else PLAIN, seen.size)

    def _read(self, path: str, host: str) -> tuple[_Seen, os.stat_result]:
        """Hash a file, and keep its content."""
        for _ in range(READS):
            self._hashed += 1
            started_ns = time.time_ns()
            descriptor = os.open(host, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            try:
                before = os.fstat(descriptor)
                if before.st_size > FILE_BYTES:
                    do = "exclude it in [tool.reactor]"
                    raise Fault("too-large", f"is larger than {FILE_BYTES} bytes", to=path, do=do, file=path)
                blob, content = _hash(descriptor, before.st_size)
                after = os.fstat(descriptor)
            finally:
                os.close(descriptor)
            if blob and (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns):
                if content is not None:
                    self._kept.put(blob, content)
                racy = max(after.st_mtime_ns, after.st_ctime_ns) > started_ns - RACY_NS
                seen = _Seen(blob, after.st_size, after.st_mtime_ns, after.st_ctime_ns, after.st_ino, racy)
                return seen, after
        do = "save again when it is written, or exclude it in [tool.reactor]"
        raise Fault("file-changes", f"changed {READS} times while it was read", to=path, do=do, file=path)


def _hash(descriptor: int, size: int) -> tuple[str, bytes | None]:
    """The blob of an open file of ``size`` bytes, empty where it has another size, and its content if it may be kept.

    Read, not mapped: whoever shortens a mapped file while it is hashed kills this process with SIGBUS.
    """
    hasher, done = blake3(), 0
    chunks: list[bytes] | None = [] if size <= KEPT_FILE_BYTES else None
    while chunk := os.read(descriptor, min(CHUNK_BYTES, size + 1 - done)):
        hasher.update(chunk)
        done += len(chunk)
        if chunks is not None:
            chunks.append(chunk)
        if done > size:
            return "", None
    return hasher.hexdigest() if done == size else "", b"".join(chunks) if chunks is not None else None


def _read_parts(file: Path, path: str, blob: str, part_bytes: int) -> Iterator[bytes]:
    """The content of ``file``, checked to be ``blob`` before the last part is given."""
    try:
        with open(file, "rb", opener=_open) as opened:
            before, hasher = os.fstat(opened.fileno()), blake3()
            if not stat.S_ISREG(before.st_mode):
                raise FileChanged(path)
            part = opened.read(part_bytes)
            hasher.update(part)
            while ahead := opened.read(part_bytes):
                now = os.fstat(opened.fileno())
                if (now.st_size, now.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
                    raise FileChanged(path)
                yield part
                part = ahead
                hasher.update(part)
            if hasher.hexdigest() != blob:
                raise FileChanged(path)
            yield part
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise FileChanged(path) from None
    except OSError as error:
        raise unreadable(path, error) from error


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK)  # what is a pipe now must not block


def _entry_of(content: bytes) -> Entry:
    return Entry(blob_name(content), PLAIN, len(content))


def _at_or_below(path: str, tops: set[str]) -> bool:
    return path in tops or any(path[:end] in tops for end, mark in enumerate(path) if mark == "/")


class _Kept:
    """The content of the blobs that were used last, ``KEPT_BYTES`` of it at most. Thread-safe."""

    def __init__(self) -> None:
        self._blobs: OrderedDict[str, bytes] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def put(self, blob: str, content: bytes) -> None:
        with self._lock:
            if blob not in self._blobs:
                self._blobs[blob] = content
                self._bytes += len(content) + _OVERHEAD_BYTES
            self._blobs.move_to_end(blob)
            while self._bytes > KEPT_BYTES:
                _, gone = self._blobs.popitem(last=False)
                self._bytes -= len(gone) + _OVERHEAD_BYTES

    def get(self, blob: str) -> bytes | None:
        with self._lock:
            if blob in self._blobs:
                self._blobs.move_to_end(blob)
            return self._blobs.get(blob)
