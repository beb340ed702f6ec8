"""Is this data folder fit to start on? Lock, write probe, file system, integrity of the SQLite file (reliability R19).

Every refusal is one sentence with what to do; nothing here changes data.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from namespaces.errors import StartRefused

QUICK_CHECK_S = 10.0
NETWORK_FILE_SYSTEMS = {
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "fuse.sshfs",
    "fuse.glusterfs", "fuse.s3fs", "fuse.rclone", "virtiofs-remote",
}  # fmt: skip
SQLITE_HEADER = b"SQLite format 3\x00"


@dataclass(slots=True)
class Lock:
    """Held while the process lives: the kernel lets go of it however the process ends."""

    path: Path
    _descriptor: int

    def release(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def prepare(folder: Path) -> None:
    """Make the folder (0700) if it is missing and prove that it can be written. Raises ``StartRefused``."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        probe = folder / f".write-probe-{os.getpid()}"
        with open(probe, "xb") as file:
            file.write(b"lanner")
            file.flush()
            os.fsync(file.fileno())
        probe.unlink()
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise StartRefused(
                f"the disk of the data folder {folder} is full", hint="free some space", code="disk_full"
            ) from error
        raise StartRefused(
            f"the data folder {folder} cannot be written: {(error.strerror or 'error').lower()}",
            hint="choose another with --data, or change its owner",
            code="data_folder",
        ) from error


def lock(database: Path) -> Lock:
    """Take the lock beside the SQLite file. Raises ``StartRefused`` when another server holds it."""
    path = database.with_name(database.name + ".lock")
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise StartRefused(
            f"the lock file {path} cannot be opened: {(error.strerror or 'error').lower()}", code="data_folder"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
        os.close(descriptor)
        raise StartRefused(
            f"another Lanner server{f' (process {holder})' if holder.isdigit() else ''} uses {database}",
            hint="stop it, or give this one its own folder with --data; for several servers use PostgreSQL",
            code="already_running",
        ) from error
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    return Lock(path, descriptor)


def own_spool(folder: Path) -> tuple[Path, Lock]:
    """A spool that no other living worker uses: ``local``, else ``local-2`` and so on.

    Workers that share a data folder would otherwise adopt each other's running scripts at their start (R6). A worker
    that comes back takes the first one that is free, usually its own; what it finds there is adopted.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for number in itertools.count(1):
        name = "local" if number == 1 else f"local-{number}"
        path = folder / f"{name}.lock"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            continue
        return folder / name, Lock(path, descriptor)
    raise AssertionError("there is always another number")


def protect(database: Path) -> None:
    """Close the database to other users, wherever it is (S17): SQLite gives ``-wal`` and ``-shm`` the file's mode.

    Raises ``StartRefused`` when it can neither be made nor closed.
    """
    try:
        os.close(os.open(database, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        for name in (database.name, f"{database.name}-wal", f"{database.name}-shm"):
            path = database.with_name(name)
            if path.exists() and path.stat().st_mode & 0o077:
                path.chmod(0o600)
    except PermissionError as error:
        raise StartRefused(
            f"the database {database} cannot be made readable for this user alone: {(error.strerror or '').lower()}",
            hint="change its owner or mode",
            code="read_only",
        ) from error


def check_sqlite(database: Path, *, limit_s: float = QUICK_CHECK_S) -> None:
    """Refuse a file on a network disk, one that is no database, one that is damaged or read-only."""
    kind = file_system(database.parent)
    if kind in NETWORK_FILE_SYSTEMS:
        raise StartRefused(
            f"{database} is on a network file system ({kind}), where SQLite's locks do not hold",
            hint="use a local disk, or PostgreSQL with --database",
            code="network_file_system",
        )
    if not database.exists() or database.stat().st_size == 0:
        return
    try:
        with open(database, "r+b") as file:
            header = file.read(16)
    except OSError as error:
        raise StartRefused(
            f"the database {database} cannot be written: {(error.strerror or 'error').lower()}",
            hint="change its owner or mode",
            code="read_only",
        ) from error
    if header != SQLITE_HEADER:
        raise StartRefused(
            f"{database} is not an SQLite database", hint="restore it from a backup, or move it away", code="corrupt"
        )
    problem = quick_check(database, limit_s)
    if problem:
        raise StartRefused(
            f"the database {database} is damaged: {problem}", hint="restore it from a backup", code="corrupt"
        )


def quick_check(database: Path, limit_s: float) -> str:
    """SQLite's own finding, or an empty text when nothing was found within the time."""
    deadline = time.monotonic() + limit_s
    try:
        with closing(sqlite3.connect(database, timeout=5)) as connection:
            # A database too large for the limit starts unchecked rather than late: the limit is the promise.
            connection.set_progress_handler(lambda: int(time.monotonic() > deadline), 100_000)
            rows = connection.execute("PRAGMA quick_check(1)").fetchall()
    except sqlite3.OperationalError as error:
        return "" if "interrupted" in str(error) else str(error)
    except sqlite3.DatabaseError as error:
        return str(error)
    return "" if rows == [("ok",)] else str(rows[0][0]).splitlines()[0]


def file_system(folder: Path, mounts: Path = Path("/proc/self/mounts")) -> str:
    """Kind of the file system that holds the folder; empty where the kernel does not tell."""
    try:
        listed = mounts.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    wanted = folder.resolve()
    best, found = -1, ""
    for line in listed.splitlines():
        parts = line.split(" ")
        if len(parts) < 3:
            continue
        point = Path(parts[1].replace("\\040", " ").replace("\\134", "\\"))
        if (wanted == point or point in wanted.parents) and len(point.parts) >= best:
            best, found = len(point.parts), parts[2]
    return found
