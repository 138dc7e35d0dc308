"""The kernel's gadgets, as folders of configfs: what is there, and steps carried out. Owns no state.

Knows nothing of what a gadget should be. All of it takes the kernel's own time, which is short, but for one call: the
function of a serial port goes only once nobody has the port open, so that has to be seen to before.
"""

from __future__ import annotations

import os
from pathlib import Path

from ..wire.errors import Fault
from .command import run
from .design import GADGET, UDC, Link, Make, Remove, Step, There, Unlink, Write

ROOT = Path("/sys/kernel/config")
_GADGETS = "usb_gadget"
_MODULE = "libcomposite"
_LONGEST_BYTES = 4096
_DEEPEST = 4


class Configfs:
    """The gadget of ours below ``root``, where configfs is mounted."""

    def __init__(self, root: Path = ROOT) -> None:
        self.root = root
        self._folder = root / _GADGETS / GADGET

    def prepare(self) -> None:
        """Have the kernel offer gadgets, or say why it can't: :class:`Fault`."""
        if not self._is_ready():
            said = run("modprobe", _MODULE)
        if not self.root.joinpath(_GADGETS).is_dir() and not os.path.ismount(self.root):
            said = run("mount", "-t", "configfs", "configfs", str(self.root)) or said
        if not self._is_ready():
            do = "a kernel with CONFIG_USB_CONFIGFS has it; be root"
            raise Fault("no-gadgets", f"the kernel offers no USB gadgets here ({said or _MODULE})", do=do)

    def there(self) -> There:
        """What is there now."""
        folders, links, files = set(), {}, {}
        if self._folder.is_dir():
            folders.add("")
        for top, below, names in os.walk(self._folder):
            here = Path(top).relative_to(self._folder)
            if len(here.parts) >= _DEEPEST:
                below.clear()
            for name in [*below, *names]:
                path, key = Path(top, name), (here / name).as_posix()
                if path.is_symlink():
                    links[key] = _inside(path)
                elif path.is_dir():
                    folders.add(key)
                else:
                    files[key] = text(path)
        return There(frozenset(folders), links, files)

    def read(self, path: str) -> str:
        """What the gadget's file ``path`` says; nothing where there is none."""
        return text(self._folder / path)

    def perform(self, steps: tuple[Step, ...]) -> None:
        """One after the other, up to the first that the kernel refuses: :class:`Fault`."""
        for step in steps:
            path = self._folder / step.path
            try:
                self.do(step, path)
            except OSError as error:
                raise self._refused(step, error) from error

    def do(self, step: Step, path: Path) -> None:
        """One step, on the path that it is about: what the kernel is asked. ``OSError`` where it refuses."""
        match step:
            case Make():
                path.mkdir()
            case Write(_, text):
                path.write_text(f"{text}\n", "utf-8")
            case Link(_, to):
                path.symlink_to(self._folder / to)
            case Unlink():
                path.unlink()
            case Remove():
                path.rmdir()

    def _is_ready(self) -> bool:
        return self.root.joinpath(_GADGETS).is_dir()

    def _refused(self, step: Step, error: OSError) -> Fault:
        if isinstance(step, Write) and step.path == UDC:
            others = [
                path.parent.name
                for path in self.root.joinpath(_GADGETS).glob(f"*/{UDC}")
                if path.parent != self._folder and text(path) == step.text
            ]
            if others:
                do = f"take that one down: echo '' >{self.root}/{_GADGETS}/{others[0]}/{UDC}"
                return Fault("udc-busy", f"is the gadget {others[0]!r} already", to=step.text, do=do)
        what = f"the kernel refuses {type(step).__name__.lower()} {step.path or 'of it'} ({error.strerror})"
        do = "be root" if isinstance(error, PermissionError) else "the kernel's log says more: dmesg"
        return Fault("gadget-refused", what, to=GADGET, do=do)


def _inside(link: Path) -> str:
    """What of the gadget a link leads to: the kernel writes these from wherever it likes."""
    return "/".join(link.readlink().parts[-2:])


def text(path: Path) -> str:
    """The words in one of the kernel's files, some of which end as strings in C do; nothing where it tells none."""
    try:
        with path.open("rb") as file:
            return file.read(_LONGEST_BYTES).decode(errors="replace").strip("\0 \n")
    except OSError:  # some can't be read, and some tell what is not there yet
        return ""
