"""Zip archives from outside: every trick is refused before anything comes out."""

from __future__ import annotations

import io
import stat
import zipfile

import pytest

from namespaces import archives
from namespaces.errors import InvalidInput


def zipped(*entries: tuple[str | zipfile.ZipInfo, bytes], compression: int = zipfile.ZIP_DEFLATED) -> io.BytesIO:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", compression) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    target.seek(0)
    return target


def names(file: io.BytesIO) -> list[str]:
    return [name for name, _ in archives.entries(file)]


def test_files_come_out_with_their_content() -> None:
    file = zipped(("a/", b""), ("a/b.txt", b"x"), ("c.txt", b"y"))

    assert list(archives.entries(file)) == [("a/b.txt", b"x"), ("c.txt", b"y")]


@pytest.mark.parametrize(
    "name", ["../x", "a/../x", "/x", "C:\\x", "c:x", "a\\..\\x", "a//b", "./x", "con", "a/NUL.txt", "com1.log", "a\nb"]
)
def test_names_that_leave_or_mean_a_device_are_refused(name: str) -> None:
    with pytest.raises(InvalidInput):
        names(zipped(("good.txt", b"x"), (name, b"x")))


def test_links_are_refused() -> None:
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16

    with pytest.raises(InvalidInput, match="link"):
        names(zipped((link, b"/etc/passwd")))


def test_a_bomb_is_refused_by_its_ratio() -> None:
    with pytest.raises(InvalidInput, match="100 times"):
        names(zipped(("zeros", b"\0" * (8 << 20))))


def test_too_many_entries_are_refused() -> None:
    with pytest.raises(InvalidInput, match="entries"):
        names(zipped(*((f"f{n}", b"") for n in range(archives.MOST_ENTRIES + 1)), compression=zipfile.ZIP_STORED))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_twice_is_refused() -> None:
    with pytest.raises(InvalidInput, match="twice"):
        names(zipped(("a", b"1"), ("a", b"2")))


def test_a_damaged_archive_is_refused() -> None:
    raw = bytearray(zipped(("a", b"hello world"), compression=zipfile.ZIP_STORED).getvalue())
    raw[raw.index(b"hello")] ^= 0xFF

    with pytest.raises(InvalidInput, match="damaged"):
        names(io.BytesIO(bytes(raw)))
    with pytest.raises(InvalidInput, match="not a zip"):
        names(io.BytesIO(b"PK nonsense"))
