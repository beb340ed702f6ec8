"""Zip archives from outside: checked before and while they are unpacked (``reliability.md`` S12). Nothing is written
to disk here; names that could leave a folder never come out."""

from __future__ import annotations

import re
import stat
import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from namespaces.errors import InvalidInput

MOST_ENTRIES = 10_000
MOST_BYTES = 1 << 30
MOST_RATIO = 100
_DRIVE = re.compile(r"^[A-Za-z]:")
_DEVICES = frozenset(
    {"con", "prn", "aux", "nul", *(f"com{n}" for n in range(1, 10)), *(f"lpt{n}" for n in range(1, 10))}
)
_CHUNK = 1 << 16


def entries(file: BinaryIO) -> Iterator[tuple[str, bytes]]:
    """(name, content) of each file of a zip, folders left out; names are relative, with ``/``.

    Everything about the archive as a whole is checked before the first entry comes. Raises ``InvalidInput``.
    """
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise _refused(f"not a zip archive: {error}") from error
    with archive:
        infos = archive.infolist()
        _check(infos)
        left = MOST_BYTES
        for info in infos:
            if info.is_dir():
                continue
            content = _read(archive, info, left)
            left -= len(content)
            yield info.filename.replace("\\", "/"), content


def _refused(reason: str) -> InvalidInput:
    return InvalidInput(f"Invalid archive: {reason}", code="bad_archive")


def _check(infos: list[zipfile.ZipInfo]) -> None:
    if len(infos) > MOST_ENTRIES:
        raise _refused(f"{len(infos)} entries, at most {MOST_ENTRIES}")
    if sum(info.file_size for info in infos) > MOST_BYTES:
        raise _refused(f"more than {MOST_BYTES >> 20} MiB when unpacked")
    seen: set[str] = set()
    for info in infos:
        check_name(info.filename)
        mode = info.external_attr >> 16
        if mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _refused(f"'{info.filename[:80]}' is a link or a device")
        if info.flag_bits & 0x1:
            raise _refused(f"'{info.filename[:80]}' is encrypted")
        if info.file_size > 1 << 20 and info.file_size > MOST_RATIO * max(1, info.compress_size):
            raise _refused(f"'{info.filename[:80]}' unpacks to more than {MOST_RATIO} times its size")
        key = info.filename.replace("\\", "/").rstrip("/")
        if key in seen:
            raise _refused(f"'{info.filename[:80]}' is there twice")
        seen.add(key)


def check_name(name: str) -> None:
    """Raise ``InvalidInput`` for a name that is absolute, climbs, or means a device or a drive somewhere."""
    plain = name.replace("\\", "/").rstrip("/")
    parts = plain.split("/")
    if (
        not plain
        or plain.startswith("/")
        or _DRIVE.match(plain)
        or any(part in ("", ".", "..") for part in parts)
        or any(ord(sign) < 32 or ord(sign) == 127 for sign in plain)
        or any(part.split(".")[0].lower() in _DEVICES for part in parts)
    ):
        raise _refused(f"name not allowed: {name[:80]!r}")


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo, left: int) -> bytes:
    """The content, counted while it is unpacked: the size in the directory may lie."""
    found = bytearray()
    try:
        with archive.open(info) as source:
            while chunk := source.read(_CHUNK):
                found += chunk
                if len(found) > info.file_size or len(found) > left:
                    raise _refused(f"'{info.filename[:80]}' is larger than it says")
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, OSError) as error:
        raise _refused(f"'{info.filename[:80]}' is damaged: {error}") from error
    return bytes(found)
