"""Tasks on files of lines or rows: Split, Reverse, DeduplicateItems, FilterItems. Rows are Ion text or JSON lines."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import orjson

from namespaces.errors import LannerError
from namespaces.expressions import truthy
from runner.plugin import Output, RunFailed
from runner.tasks import CORE, Implementation
from runner.worker.running import Running

if TYPE_CHECKING:
    from namespaces.flows.types import tasks_data as types

_SIZE = re.compile(r"\s*(\d+)\s*([KMGT]?)B?\s*", re.IGNORECASE)
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def byte_count(text: str) -> int:
    """``1KB``, ``10 MB`` or a plain number as bytes; units count in 1024s. Raises ``RunFailed``."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise RunFailed(f"not a size: {text!r}, expected for example 10MB")
    return int(match[1]) * _UNITS[match[2].upper()]


def lines(file: BinaryIO, separator: bytes) -> Iterator[bytes]:
    """The parts between separators; an end without separator is a part too, an empty one is not."""
    rest = b""
    while chunk := file.read(1 << 16):
        *whole, rest = (rest + chunk).split(separator)
        yield from whole
    if rest:
        yield rest


def split(context: Running, task: types.Split) -> Output:
    found = cut(
        context,
        task.from_,
        separator=task.separator,
        size=task.bytes,
        partitions=task.partitions,
        rows=task.rows,
    )
    return Output(values={"uris": found})


def cut(
    context: Running,
    source: str,
    *,
    separator: str,
    size: str | None,
    partitions: int | None,
    rows: int | None,
    within: bool = False,
) -> list[str]:
    """Cut a file into files of the task run; returns their URIs. ``partitions`` before ``size`` before ``rows``.

    ``within``: a part ends before the row that would make it larger than ``size``, else with the one that does.
    """
    end = separator.encode()
    folder = context.home / "split"
    folder.mkdir(mode=0o700, exist_ok=True)
    extension = os.path.splitext(source.rpartition("/")[2])[1] or ".tmp"
    with context.open(source) as file:
        if partitions is not None:
            parts = _partitions(file, end, folder, partitions)
        elif size is not None:
            limit = byte_count(size)
            parts = _split(file, end, folder, lambda so_far, _rows, more: so_far + (more if within else 1) > limit)
        else:
            most = rows or 1
            parts = _split(file, end, folder, lambda _so_far, rows, _more: rows >= most)
    return [context.store(f"split-{number}{extension}", part) for number, part in enumerate(parts)]


def _split(file: BinaryIO, separator: bytes, folder: Path, full: Any) -> list[Path]:
    """``full(bytes, rows, bytes of the next row)`` says that the next row begins another part."""
    parts: list[Path] = []
    out: BinaryIO | None = None
    size = rows = 0
    try:
        for line in lines(file, separator):
            if out is None or full(size, rows, len(line) + len(separator)):
                if out is not None:
                    out.close()
                parts.append(folder / str(len(parts)))
                out = parts[-1].open("wb")
                size = rows = 0
            size += out.write(line + separator)
            rows += 1
    finally:
        if out is not None:
            out.close()
    return parts


def _partitions(file: BinaryIO, separator: bytes, folder: Path, count: int) -> list[Path]:
    parts = [folder / str(number) for number in range(count)]
    outs = [part.open("wb") for part in parts]
    used = 0
    try:
        for number, line in enumerate(lines(file, separator)):
            outs[number % count].write(line + separator)
            used = max(used, number + 1)
    finally:
        for out in outs:
            out.close()
    return parts[: min(used, count)]


def reverse(context: Running, task: types.Reverse) -> Output:
    """From the end of a local copy backwards, so that a large file needs little memory."""
    separator = task.separator.encode(task.charset)
    source, target = context.home / "source", context.home / "reversed"
    with context.open(task.from_) as file, source.open("wb") as copy:
        while chunk := file.read(1 << 20):
            copy.write(chunk)
    with source.open("rb") as file, target.open("wb") as out:
        for line in _backwards(file, separator):
            out.write(line + separator)
    extension = os.path.splitext(task.from_.rpartition("/")[2])[1] or ".tmp"
    return Output(values={"uri": context.store(f"reversed{extension}", target)})


def _backwards(file: BinaryIO, separator: bytes) -> Iterator[bytes]:
    at = file.seek(0, os.SEEK_END)
    rest = b""
    last = True
    while at > 0:
        step = min(1 << 16, at)
        at -= step
        file.seek(at)
        head, *whole = (file.read(step) + rest).split(separator)
        rest = head
        for line in reversed(whole):
            if last and line == b"":
                last = False
                continue
            last = False
            yield line
    if rest:
        yield rest


def read_rows(file: BinaryIO) -> Iterator[Any]:
    """The values of a row file: one per line where lines are whole, else one Ion stream. Raises ``RunFailed``."""
    data = file.read()
    found = []
    for line in data.splitlines():
        if not line.strip():
            continue
        try:
            found.append(_row(line))
        except (ValueError, LannerError):
            return iter(_stream(data))
    return iter(found)


def _row(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        from namespaces.expressions.ion_text import parsed

        values = parsed(line.decode(), everything=True)
        if len(values) != 1:
            raise ValueError("not one value on one line") from None
        return values[0]


def _stream(data: bytes) -> list[Any]:
    from namespaces.expressions.ion_text import parsed

    try:
        return parsed(data.decode(), everything=True)
    except (LannerError, UnicodeDecodeError) as error:
        raise RunFailed(f"the file holds no rows of Ion or JSON: {error}") from error


def write_rows(rows: Any) -> bytes:
    """Rows as Ion text, one per line."""
    from namespaces.expressions.ion_text import written

    return "".join(written(row) + "\n" for row in rows).encode()


def _fields(row: Any) -> Mapping[str, Any]:
    return row if isinstance(row, Mapping) else {"value": row}


def deduplicate(context: Running, task: types.DeduplicateItems) -> Output:
    with context.open(task.from_) as file:
        rows = list(read_rows(file))
    last: dict[str, int] = {}
    for number, row in enumerate(rows):
        last[str(context.render(task.expr, _fields(row)))] = number
    kept = sorted(last.values())
    return Output(
        values={
            "uri": context.store("deduplicated.ion", write_rows(rows[number] for number in kept)),
            "numKeys": len(last),
            "processedItemsTotal": len(rows),
            "droppedItemsTotal": len(rows) - len(kept),
        }
    )


def filter_items(context: Running, task: types.FilterItems) -> Output:
    kept, total = [], 0
    with context.open(task.from_) as file:
        for row in read_rows(file):
            total += 1
            if _wanted(context, task, row):
                kept.append(row)
    return Output(
        values={
            "uri": context.store("filtered.ion", write_rows(kept)),
            "processedItemsTotal": total,
            "droppedItemsTotal": total - len(kept),
        }
    )


def _wanted(context: Running, task: types.FilterItems, row: Any) -> bool:
    try:
        text = str(context.render(task.filter_condition, _fields(row))).strip()
        if text == "":
            raise RunFailed("the condition gave nothing")
    except LannerError as error:
        if task.error_or_null_behavior == "FAIL":
            raise RunFailed(f"`filterCondition` failed for a row: {error}") from error
        return task.error_or_null_behavior == "INCLUDE"
    return truthy(text) == (task.filter_type == "INCLUDE")


TASKS = {
    CORE + "storage.Split": Implementation(run=split),
    CORE + "storage.Reverse": Implementation(run=reverse),
    CORE + "storage.DeduplicateItems": Implementation(run=deduplicate, raw=frozenset({"expr"})),
    CORE + "storage.FilterItems": Implementation(run=filter_items, raw=frozenset({"filterCondition"})),
}
