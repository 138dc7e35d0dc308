"""Records what a process does to a folder: every operation that changes it, and every fsync, in order.

Python imports a module of this name by itself, in each process that has this folder on PYTHONPATH: the bootloader, the
warm parent, what compiles. ``CHAOS_FOLDER`` is the folder, ``CHAOS_RECORD`` the file that gets one JSON object an
operation. Or, with an error's name such as ``EIO`` in ``CHAOS_REFUSES``, every operation fails with that (or so great a
part of them, by chance, as ``CHAOS_SHARE`` says), and with
``CHAOS_UNREADABLE`` besides, whatever reads a file or a folder. With ``CHAOS_BAD`` one file can't be
read (:mod:`.sector`). With ``CHAOS_CLOCK`` there is no clock: it is 1970.

An operation and its line are made under one lock of all processes, so the order of the lines is the order in
which things happened. What is not seen (another library's C code, say) is found by whoever replays the record.

Files are told by inode, as the disk knows them. Knows nothing of what the files are.
"""

from __future__ import annotations

import base64
import builtins
import errno
import fcntl
import io
import json
import os
import posix
import random
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_FOLDER = os.environ.get("CHAOS_FOLDER", "")
_RECORD = os.environ.get("CHAOS_RECORD", "")
_REFUSED = getattr(errno, os.environ.get("CHAOS_REFUSES", ""), 0)
_SHARE = float(os.environ.get("CHAOS_SHARE", "1"))
_UNREADABLE = "CHAOS_UNREADABLE" in os.environ
_REAL = {name: getattr(posix, name) for name in dir(posix)}
_LOCK = threading.RLock()
_UNSEEN = ("copy_file_range", "splice", "writev", "pwritev", "mknod", "mkfifo")
"""Nobody uses these so far; whoever begins to has to have them recorded."""


class _Record:
    """The file, opened anew after a fork: a lock belongs to who opened the file."""

    def __init__(self) -> None:
        self._pid = 0
        self._file = -1
        self._depth = 0

    @contextmanager
    def held(self) -> Iterator[None]:
        if _REFUSED and (_SHARE == 1 or random.random() < _SHARE):
            raise OSError(_REFUSED, os.strerror(_REFUSED), _FOLDER)
        if not _RECORD:
            yield
            return
        with _LOCK:
            if self._pid != os.getpid():
                self._pid, self._depth = os.getpid(), 0
                self._file = _REAL["open"](_RECORD, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            if not self._depth:
                fcntl.flock(self._file, fcntl.LOCK_EX)
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
                if not self._depth:
                    fcntl.flock(self._file, fcntl.LOCK_UN)

    def add(self, **fields: Any) -> None:
        if _RECORD:
            _REAL["write"](self._file, json.dumps(fields).encode() + b"\n")


_record = _Record()


def _place(path: Any, dir_fd: int | None = None) -> str | None:
    """Where ``path`` (or an open descriptor) lies in the folder; None where it is not in there."""
    if isinstance(path, int):
        try:
            full = os.readlink(f"/proc/self/fd/{path}")
        except OSError:
            return None
    else:
        base = os.readlink(f"/proc/self/fd/{dir_fd}") if dir_fd is not None else os.getcwd()
        parent, name = os.path.split(os.path.join(base, os.fsdecode(path)))
        full = os.path.join(os.path.realpath(parent), name)
    if full == _FOLDER:
        return "."
    if _RECORD and full.startswith(_FOLDER + "/logs/"):
        return None  # written all the time, and no part of what is promised of a power cut
    return full[len(_FOLDER) + 1 :] if full.startswith(_FOLDER + "/") else None


def _open(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
    place = _place(path, dir_fd) if flags & (os.O_CREAT | os.O_TRUNC) or _UNREADABLE else None
    if place is None:
        return int(_REAL["open"](path, flags, mode, dir_fd=dir_fd))
    with _record.held():
        new = not os.path.exists(os.path.join(_FOLDER, place))
        descriptor = int(_REAL["open"](path, flags, mode, dir_fd=dir_fd))
        status = os.fstat(descriptor)
        if new:
            at = _place(descriptor)  # through a symlink, where the path's last part is one
            _record.add(op="create", path=at, ino=status.st_ino, mode=stat.S_IMODE(status.st_mode))
        elif flags & os.O_TRUNC:
            _record.add(op="truncate", ino=status.st_ino, size=0)
        return descriptor


def _written(descriptor: int, count: int | None, data: Any, at: int | None = None) -> None:
    if count:
        begin = os.lseek(descriptor, 0, os.SEEK_CUR) - count if at is None else at
        text = base64.b85encode(bytes(memoryview(data).cast("B")[:count])).decode()
        _record.add(op="write", ino=os.fstat(descriptor).st_ino, at=begin, data=text)


def _write(descriptor: int, data: Any) -> int:
    if _place(descriptor) is None:
        return int(_REAL["write"](descriptor, data))
    with _record.held():
        count = int(_REAL["write"](descriptor, data))
        _written(descriptor, count, data)
        return count


def _pwrite(descriptor: int, data: Any, at: int) -> int:
    if _place(descriptor) is None:
        return int(_REAL["pwrite"](descriptor, data, at))
    with _record.held():
        count = int(_REAL["pwrite"](descriptor, data, at))
        _written(descriptor, count, data, at)
        return count


def _sendfile(out: int, source: int, *more: Any, **named: Any) -> int:
    if _place(out) is not None:
        raise OSError(errno.ENOTSOCK, "not between files while it is recorded")  # who tries it copies otherwise then
    return int(_REAL["sendfile"](out, source, *more, **named))


class _File(io.FileIO):
    """A file as :func:`open` makes it, which writes through the record."""

    def __init__(self, file: Any, mode: str = "r", closefd: bool = True, opener: Any = None) -> None:
        super().__init__(file, mode, closefd, opener or (lambda path, flags: _open(path, flags, 0o666)))

    def write(self, data: Any, /) -> int:
        if _place(self.fileno()) is None:
            return super().write(data)
        with _record.held():
            count = super().write(data)
            _written(self.fileno(), count, data)
            return count

    def truncate(self, size: int | None = None, /) -> int:
        with _record.held():
            length = super().truncate(size)
            if _place(self.fileno()) is not None:
                _record.add(op="truncate", ino=os.fstat(self.fileno()).st_ino, size=length)
            return length


_read_open = builtins.open
_read_code = io.open_code


def _refuse_read(path: Any) -> None:
    if _UNREADABLE and _place(path) is not None:
        raise OSError(_REFUSED, os.strerror(_REFUSED), str(path))


def _open_code(path: Any) -> Any:
    _refuse_read(path)
    return _read_code(path)


def _on_folder(name: str) -> Callable[..., Any]:
    """A call that reads a folder."""
    real = _REAL[name]

    def call(path: Any = ".") -> Any:
        _refuse_read(path)
        return real(path)

    return call


def _file_open(
    file: Any,
    mode: str = "r",
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    closefd: bool = True,
    opener: Any = None,
) -> Any:
    if not set(mode) & set("wax+"):
        _refuse_read(file)
        return _read_open(file, mode, buffering, encoding, errors, newline, closefd, opener)
    raw = _File(file, mode.replace("b", "").replace("t", ""), closefd, opener)
    if buffering == 0:
        return raw
    size = buffering if buffering > 1 else io.DEFAULT_BUFFER_SIZE
    buffered = io.BufferedRandom(raw, size) if "+" in mode else io.BufferedWriter(raw, size)
    if "b" in mode:
        return buffered
    return io.TextIOWrapper(buffered, encoding, errors, newline, line_buffering=buffering == 1)


def _on_entry(name: str, op: str) -> Callable[..., None]:
    """A call that makes or takes away the entry ``path``."""
    real = _REAL[name]

    def call(path: Any, *more: Any, dir_fd: int | None = None) -> None:
        place = _place(path, dir_fd)
        if place is None:
            real(path, *more, dir_fd=dir_fd)
            return
        with _record.held():
            real(path, *more, dir_fd=dir_fd)
            fields: dict[str, Any] = {}
            if op == "mkdir":
                status = os.lstat(os.path.join(_FOLDER, place))
                fields = {"ino": status.st_ino, "mode": stat.S_IMODE(status.st_mode)}
            _record.add(op=op, path=place, **fields)

    return call


def _on_two(name: str) -> Callable[..., None]:
    """A call that leads from one path to another."""
    real = _REAL[name]

    def call(src: Any, dst: Any, *more: Any, **named: Any) -> None:
        source = None if name == "symlink" else _place(src, named.get("src_dir_fd"))
        place = _place(dst, named.get("dst_dir_fd") or named.get("dir_fd"))
        if place is None and source is None:
            real(src, dst, *more, **named)
            return
        with _record.held():
            real(src, dst, *more, **named)
            if name == "symlink":
                ino = os.lstat(os.path.join(_FOLDER, str(place))).st_ino
                _record.add(op="symlink", path=place, ino=ino, target=os.fsdecode(src))
            elif source is None or place is None:
                _record.add(op="unknown", name=f"{name} out of the folder or into it")
            else:
                _record.add(op="link" if name == "link" else "rename", path=source, to=place)

    return call


def _on_node(name: str, tell: Callable[[os.stat_result], dict[str, Any]]) -> Callable[..., Any]:
    """A call that changes what a file or folder is, given by its path or an open descriptor."""
    real = _REAL[name]

    def call(path: Any, *more: Any, **named: Any) -> Any:
        if _place(path, named.get("dir_fd")) is None:
            return real(path, *more, **named)
        with _record.held():
            result = real(path, *more, **named)
            look = {key: value for key, value in named.items() if key in ("dir_fd", "follow_symlinks")}
            status = os.stat(path, **look)
            _record.add(ino=status.st_ino, **tell(status))
            return result

    return call


def _all() -> None:
    if _REFUSED:
        return
    with _record.held():
        _REAL["sync"]()
        _record.add(op="sync")


def _on_unseen(name: str) -> Callable[..., Any]:
    real = _REAL[name]

    def call(*arguments: Any, **named: Any) -> Any:
        if any(_place(one) is not None for one in arguments if isinstance(one, (str, bytes, os.PathLike, int))):
            with _record.held():
                _record.add(op="unknown", name=name)
        return real(*arguments, **named)

    return call


def _chmod(status: os.stat_result) -> dict[str, Any]:
    return {"op": "chmod", "mode": stat.S_IMODE(status.st_mode)}


def _truncate(status: os.stat_result) -> dict[str, Any]:
    return {"op": "truncate", "size": status.st_size}


def install() -> None:
    """From here on everything is recorded."""
    calls: dict[str, Callable[..., Any]] = {
        "open": _open,
        "write": _write,
        "pwrite": _pwrite,
        "sendfile": _sendfile,
        "mkdir": _on_entry("mkdir", "mkdir"),
        "rmdir": _on_entry("rmdir", "unlink"),
        "unlink": _on_entry("unlink", "unlink"),
        "remove": _on_entry("remove", "unlink"),
        "rename": _on_two("rename"),
        "replace": _on_two("replace"),
        "link": _on_two("link"),
        "symlink": _on_two("symlink"),
        "chmod": _on_node("chmod", _chmod),
        "fchmod": _on_node("fchmod", _chmod),
        "truncate": _on_node("truncate", _truncate),
        "ftruncate": _on_node("ftruncate", _truncate),
        "posix_fallocate": _on_node("posix_fallocate", _truncate),
        "utime": _on_node("utime", lambda status: {"op": "utime", "ns": status.st_mtime_ns}),
        "fsync": _on_node("fsync", lambda _status: {"op": "fsync"}),
        "fdatasync": _on_node("fdatasync", lambda _status: {"op": "fsync"}),
        "sync": _all,
        "scandir": _on_folder("scandir"),
        "listdir": _on_folder("listdir"),
        **{name: _on_unseen(name) for name in _UNSEEN if name in _REAL},
    }
    for name, call in calls.items():
        for module in (posix, os):  # the import system writes bytecode through the former
            setattr(module, name, call)
        for known in (os.supports_dir_fd, os.supports_fd, os.supports_follow_symlinks):
            if _REAL[name] in known:
                known.add(call)
    io_module: Any = __import__("_io")
    for module in (io_module, io, builtins):
        vars(module)["open"] = _file_open
    for module in (io_module, io):
        vars(module)["FileIO"] = _File
        vars(module)["open_code"] = _open_code


if _FOLDER and (_RECORD or _REFUSED):
    install()
if "CHAOS_BAD" in os.environ:
    from benchmarks.chaos.inside import sector

    sector.begin(os.environ["CHAOS_BAD"])
if "CHAOS_CLOCK" in os.environ:
    time.time, time.time_ns = time.monotonic, time.monotonic_ns
