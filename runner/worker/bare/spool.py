"""The spool of one attempt: log lines as frames in a file, bounded; files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import os
import struct
import time
from collections import deque
from collections.abc import Mapping

FRAME = struct.Struct("<IQBI")
"""A line in the spool: number, microseconds since 1970, stream, length of the bytes that follow."""
STDOUT, STDERR, MARKER = 1, 2, 3
"""``MARKER``: the bytes are the count of dropped lines, in ASCII."""

PROTOCOL_BYTES = 32 << 20
BURST_S = 60
"""The rate is a mean over so many seconds: lines of a burst wait in the spool until the database takes them."""
TAIL_LINES = 50_000
"""Lines of the tail at most, however short: they are kept in memory until the script has ended."""


class Spool:
    """The log file of one attempt (``reliability.md`` R21): its head, then only the last ``tail`` bytes.

    The head ends at ``head`` bytes, or where the script has written more than ``rate`` lines per second for a minute.
    ``full`` is the name of the limit that ended the head, ``met`` of those that cost a line or a part of one.
    One ``MARKER`` between head and tail counts what was dropped. Lines of the ``::{…}::`` protocol are results, not
    log: they are kept beyond the limits, up to 32 MiB.
    """

    def __init__(self, path: str, limits: Mapping[str, int]) -> None:
        self.fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.size = os.fstat(self.fd).st_size
        self.head, self.tail, self.rate = limits["head"], limits["tail"], limits["rate"]
        self.number = 0
        self.written = 0
        self.protocol = 0
        self.dropped = 0
        self.full = ""
        self.met: set[str] = set()
        self.kept: deque[tuple[int, int, bytes]] = deque()
        self.kept_bytes = 0
        self.tokens = float(self.rate * BURST_S)
        self.refilled = time.monotonic()
        self.pending: list[bytes] = []

    def line(self, stream: int, data: bytes) -> None:
        stamp = time.time_ns() // 1000
        if data[:3] == b"::{" and self.protocol + len(data) <= PROTOCOL_BYTES:
            self.protocol += len(data)
            self.frame(stamp, stream, data)
            return
        if not self.full and self.written + len(data) > self.head:
            self.full = "log_bytes"
        elif not self.full and not self.allowed():
            self.full = "log_lines_per_second"
        if not self.full:
            self.written += len(data)
            self.frame(stamp, stream, data)
            return
        self.kept.append((stamp, stream, data))
        self.kept_bytes += len(data)
        while self.kept_bytes > self.tail or len(self.kept) > TAIL_LINES:
            self.kept_bytes -= len(self.kept.popleft()[2])
            self.dropped += 1
            self.met.add(self.full)

    def allowed(self) -> bool:
        """Whether the rate leaves room for one more line; takes it."""
        if self.tokens < 1:
            now = time.monotonic()
            self.tokens = min(float(self.rate * BURST_S), self.tokens + (now - self.refilled) * self.rate)
            self.refilled = now
        self.tokens -= 1
        return self.tokens >= 0

    def frame(self, stamp: int, stream: int, data: bytes) -> None:
        self.pending.append(FRAME.pack(self.number, stamp, stream, len(data)))
        self.pending.append(data)
        self.number += 1

    def flush(self) -> bool:
        """Hand pending lines to the file; True when there were any. A full disk drops them, never ends the script."""
        if not self.pending:
            return False
        data = b"".join(self.pending)
        lines = len(self.pending) // 2
        self.pending.clear()
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(self.fd, view) :]
            self.size += len(data)
        except OSError:
            self.dropped += lines
            with contextlib.suppress(OSError):
                os.ftruncate(self.fd, self.size)  # half a frame would make the next ones unreadable
        return True

    def close(self) -> None:
        if self.dropped:
            # As old as what follows: whoever sorts by time finds it between head and tail.
            stamp = self.kept[0][0] if self.kept else time.time_ns() // 1000
            self.frame(stamp, MARKER, str(self.dropped).encode())
        for stamp, stream, data in self.kept:
            self.frame(stamp, stream, data)
        self.kept.clear()
        self.flush()
        os.close(self.fd)


class Lines:
    """Cuts one stream into lines. A line beyond ``limit`` bytes is cut and says so; protocol lines may be long."""

    def __init__(self, fd: int, stream: int, spool: Spool, limit: int) -> None:
        self.fd, self.stream, self.spool, self.limit = fd, stream, spool, limit
        self.rest = b""
        self.cut = 0
        self.open = True
        os.set_blocking(fd, False)

    def read(self) -> bool:
        """Take what is there, at most 1 MiB; False when nothing more can come now."""
        for _ in range(16):
            try:
                data = os.read(self.fd, 65536)
            except BlockingIOError:
                return False
            except OSError:
                data = b""
            if not data:
                self.end()
                return False
            self.feed(data)
        return True

    def feed(self, data: bytes) -> None:
        *whole, last = data.split(b"\n")
        for part in whole:
            if self.cut:
                self.emit(self.rest, self.cut + len(part))
            elif self.rest:
                self.emit(self.rest + part, 0)
            else:
                self.emit(part, 0)
            self.rest, self.cut = b"", 0
        if self.cut:
            self.cut += len(last)
            return
        self.rest += last
        bound = PROTOCOL_BYTES if self.rest[:3] == b"::{" else self.limit
        if len(self.rest) > bound:
            self.cut = len(self.rest) - bound
            self.rest = self.rest[:bound]

    def emit(self, data: bytes, cut: int) -> None:
        if data[-1:] == b"\r":
            data = data[:-1]
        if len(data) > self.limit and data[:3] != b"::{":
            cut += len(data) - self.limit
            data = data[: self.limit]
        if cut:
            self.spool.met.add("log_line_bytes")
            data += b" \xe2\x80\xa6 [%d bytes cut]" % cut
        self.spool.line(self.stream, data)

    def end(self) -> None:
        if self.rest or self.cut:
            self.emit(self.rest, self.cut)
        self.rest, self.cut, self.open = b"", 0, False
        os.close(self.fd)


def replace_file(folder: str, name: str, data: bytes) -> None:
    """Write ``folder/name`` so that it is there whole or not at all, also after a power cut."""
    temporary = os.path.join(folder, name + ".tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(fd, data)
        os.fsync(fd)
    finally:
        os.close(fd)
    os.rename(temporary, os.path.join(folder, name))
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
