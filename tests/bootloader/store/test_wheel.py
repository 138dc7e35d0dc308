"""A wheel is taken as it says that it is, or not at all."""

from __future__ import annotations

import stat
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootloader.store.wheel import opened
from bootloader.wire.errors import Fault, Refused
from bootloader.wire.limits import LAYER_BYTES
from tests.bootloader.wheels import Built, build, digest, entry, of


def read(built: Built, folder: Path) -> dict[str, tuple[bytes, int]]:
    with opened(built.write(folder), built.wheel) as archive:
        return {one.path: (b"".join(archive.read(one)), one.mode) for one in archive.members}


def test_a_wheel_is_spread_as_an_installer_spreads_it(tmp_path: Path) -> None:
    built = build(
        "some_pkg",
        "1.2",
        {
            "some_pkg/__init__.py": "",
            "some_pkg/native.so": b"\x7fELF",
            "some_pkg-1.2.data/purelib/pure.py": "PURE = 1\n",
            "some_pkg-1.2.data/platlib/plat.py": "PLAT = 1\n",
            "some_pkg-1.2.data/scripts/tool": "#!python\n",
            "some_pkg-1.2.data/headers/some.h": "",
            "some_pkg-1.2.data/data/share/some/table": b"\0\1",
        },
        runnable=["some_pkg/native.so"],
    )
    found = read(built, tmp_path)
    info = "site/some_pkg-1.2.dist-info"
    assert sorted(found) == [
        "bin/tool",
        "include/some.h",
        "share/some/table",
        "site/plat.py",
        "site/pure.py",
        f"{info}/METADATA",
        f"{info}/WHEEL",
        "site/some_pkg/__init__.py",
        "site/some_pkg/native.so",
    ]
    assert {path for path, (_, mode) in found.items() if mode == 0o755} == {"bin/tool", "site/some_pkg/native.so"}
    assert found["share/some/table"][0] == b"\0\1"


def test_names_are_utf8_also_where_the_archive_does_not_say_so(tmp_path: Path) -> None:
    said = build("some_pkg", files={"xx.py": "X = 1\n"}, record=lambda text: text.replace("xx.py", "é.py"))
    built = of(said.wheel.file, said.content.replace(b"xx.py", "é.py".encode()))
    assert "site/é.py" in read(built, tmp_path)


def test_what_a_wheel_brings_of_others_is_spread_as_the_rest_of_it(tmp_path: Path) -> None:
    inner = {f"bad/_vendor/other-2.dist-info/{name}": name for name in ("RECORD", "WHEEL", "METADATA")}
    found = read(build("bad", files={"a.dist-info": "", **inner}), tmp_path)
    assert {path: found[f"site/{path}"][0].decode() for path in inner} == inner
    with pytest.raises(Refused, match="only in one of"):
        read(build("bad", more=[("bad/_vendor/other-2.dist-info/RECORD", b"")]), tmp_path)


def renamed(row: str, to: str) -> Callable[[str], str]:
    return lambda text: text.replace(row, to)


def symlink(path: str) -> zipfile.ZipInfo:
    return entry(path, 0o777, stat.S_IFLNK)


def outside(path: str) -> Built:
    return build("bad", files={path: "x = 1\n"})


def end(built: Built, **fields: int) -> Built:
    """With other numbers in the record that ends an archive."""
    at = built.content.rindex(b"PK\x05\x06")
    names = ("sign", "disk", "first", "here", "count", "size", "offset", "comment")
    told = dict(zip(names, struct.unpack_from("<4s4H2IH", built.content, at), strict=True)) | fields
    return of(built.wheel.file, built.content[:at] + struct.pack("<4s4H2IH", *told.values()))


def located(built: Built) -> Built:
    """With what says that there is a record of zip64."""
    at = built.content.rindex(b"PK\x05\x06")
    return of(built.wheel.file, built.content[:at] + b"PK\x06\x07".ljust(20, b"\0") + built.content[at:])


def lines(count: int) -> str:
    return "".join(f"{number},sha256=,0\n" for number in range(count))


GOOD = build("bad")
SUM = digest(b"VERSION = '1'\n")

BAD: dict[str, tuple[Built, str]] = {
    "no archive": (of("bad-1-py3-none-any.whl", b"PK"), "no archive"),
    "cut": (of("bad-1-py3-none-any.whl", GOOD.content[:-30]), "no archive"),
    "not in RECORD": (build("bad", more=[("other.py", b"x = 1\n")]), "only in one of"),
    "only in RECORD": (build("bad", record=lambda text: f"{text}other.py,{SUM},14\n"), "only in one of"),
    "another content": (build("bad", record=renamed(SUM, digest(b"VERSION = '2'\n"))), "is not what its RECORD says"),
    "another size": (build("bad", record=renamed(f"{SUM},14", f"{SUM},15")), "its RECORD says 15"),
    "no hash": (build("bad", record=renamed(SUM, "")), "no good hash"),
    "no size": (build("bad", record=renamed(f"{SUM},14", SUM)), "neither hash nor size"),
    "a weak hash": (build("bad", record=renamed(SUM, "md5=abc")), "no good hash"),
    "a file twice": (build("bad", more=[("bad.py", b"x = 1\n")]), "twice"),
    "outside": (outside("../bad.py"), "'..' part"),
    "absolute": (outside("/etc/bad.py"), "'..' part"),
    "a drive": (outside("a\\..\\b.py"), "backslash"),
    "outside by data": (outside("bad-1.data/data/../../x"), "'..' part"),
    "control": (outside("a\1b.py"), "control character"),
    "two in one place": (build("bad", files={"x.py": "", "bad-1.data/purelib/x.py": ""}), "belong in one place"),
    "an unknown kind": (outside("bad-1.data/magic/x"), "kind that is not known, 'magic'"),
    "a symlink": (build("bad", record=lambda t: f"{t}l,{digest(b'/')},1\n", more=[(symlink("l"), b"/")]), "no plain"),
    "no dist-info": (build("bad", record=lambda _: ""), "only in one of"),
    "another name": (of("other-1-py3-none-any.whl", GOOD.content), "says that it is 'bad-1'"),
    "a later format": (build("bad", told="Wheel-Version: 2.0\n"), "version 1"),
    "a huge directory": (end(GOOD, size=2**27), "more than 65534 files"),
    "zip64": (end(GOOD, count=0xFFFF), "more than 65534 files"),
    "zip64, by its locator": (located(GOOD), "more than 65534 files"),
    "something after its end": (of(GOOD.wheel.file, GOOD.content + b"#"), "something follows"),
    "a large directory": (end(GOOD, size=2**24 + 1), "more than 65534 files"),
    "a file before its beginning": (end(GOOD, offset=2**16), "lies nowhere"),
    "a line twice": (build("bad", record=lambda text: text + text.splitlines()[0]), "twice"),
    "lines too many": (build("bad", record=lambda text: text + lines(101)), "its RECORD has more than"),
    "a bomb": (build("bad", record=renamed(f"{SUM},14", f"{SUM},{LAYER_BYTES + 1}")), "its RECORD says"),
}


@pytest.mark.parametrize("name", BAD)
def test_one_that_is_not_as_it_should_be_is_refused_with_the_reason(name: str, tmp_path: Path) -> None:
    built, why = BAD[name]
    with pytest.raises(Refused) as caught:
        read(built, tmp_path)
    assert caught.value.code == "bad-wheel"
    assert why in caught.value.what


def test_a_file_that_says_to_be_smaller_than_it_is_writes_no_more_than_it_says(tmp_path: Path) -> None:
    built = build("bad", files={"big.py": b"#" * 5_000_000})
    sizes = struct.pack("<I", 5_000_000)
    lying = of(built.wheel.file, built.content.replace(sizes, struct.pack("<I", 1000)))
    with pytest.raises(Refused) as caught:
        read(lying, tmp_path)
    assert "its RECORD says 5000000" in caught.value.what


def listing(count: int) -> Built:
    """With a list of so many files, of which the end says nothing."""
    at = GOOD.content.rindex(b"PK\x05\x06")
    entry_of = struct.Struct("<4s4B4HL2L5H2L")
    names = [b"%x" % number for number in range(count)]
    rows = [entry_of.pack(b"PK\x01\x02", *(0,) * 11, len(name), *(0,) * 6) + name for name in names]
    listed = b"".join(rows)
    return of(
        GOOD.wheel.file, GOOD.content[:at] + listed + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 4, 4, len(listed), at, 0)
    )


GREEDY: dict[str, tuple[Callable[[], Built], str]] = {
    "a RECORD of empty lines": (
        lambda: build("bad", record=lambda text: text + "\n" * 5_000_000),
        "more than 104 lines",
    ),
    "a RECORD of one line": (lambda: build("bad", record=lambda text: text + "x" * 15_000_000), "a line of more than"),
    "a RECORD of wide letters": (
        lambda: build("bad", record=lambda text: f"\U0001f600{text}{'x' * 15_000_000}"),
        "line",
    ),
    "a list of more files than it says": (lambda: listing(300_000), "says that it holds 4 files, and holds 300000"),
}


@pytest.mark.parametrize("name", GREEDY)
def test_an_archive_that_is_refused_takes_no_more_memory_than_its_list_is_long(name: str, tmp_path: Path) -> None:
    make, why = GREEDY[name]
    built = make()
    tracemalloc.start()
    try:
        with pytest.raises(Refused, match=why):
            read(built, tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 20 * 1024 * 1024
    finally:
        tracemalloc.stop()


@settings(max_examples=150)
@given(at=st.integers(0, len(GOOD.content) - 1), bit=st.integers(0, 7), cut=st.booleans())
def test_whatever_is_damaged_is_refused_or_makes_no_difference(
    tmp_path_factory: pytest.TempPathFactory, at: int, bit: int, cut: bool
) -> None:
    folder = tmp_path_factory.getbasetemp()
    damaged = bytearray(GOOD.content)
    damaged[at] ^= 1 << bit
    built = of(GOOD.wheel.file, bytes(damaged[:at] if cut and at else damaged))
    whole = {path: content for path, (content, _) in read(GOOD, folder).items()}
    code = ""
    try:
        found = read(built, folder)
    except Fault as fault:
        code, found = fault.code, {}
    assert code == "bad-wheel" or {path: content for path, (content, _) in found.items()} == whole
