"""Internal storage: files of executions, inputs, state, caches, addressed by ``kestra://`` URIs (``flows.md`` 9.5).

Who may read which URI is decided elsewhere; here are the layouts, the safe walk to a file, and two back ends.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import re
import secrets
import shutil
import stat
import threading
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from namespaces.errors import InvalidInput, NotFound, Unavailable

SCHEME = "kestra://"

Content = bytes | BinaryIO | Path
"""Bytes, an open binary file (read to its end), or the path of a local file."""

Paths = list[str]

_CHUNK = 1 << 20
_LONGEST_NAME = 200


class Storage(Protocol):
    """Files by absolute path (``/company/team/…``) or by URI (the same after ``kestra://``), whichever is at hand.

    A path with ``..``, an empty segment or a NUL raises ``InvalidInput``; a missing file ``NotFound``.
    """

    def put(self, path: str, content: Content, *, limit: int | None = None) -> str:
        """Keep a file, whole or not at all, replacing an older one; its URI. More bytes than ``limit``:
        ``InvalidInput``."""
        ...

    def open(self, path: str) -> BinaryIO: ...

    def size(self, path: str) -> int: ...

    def exists(self, path: str) -> bool: ...

    def delete(self, path: str) -> bool:
        """Whether there was such a file."""
        ...

    def delete_prefix(self, path: str) -> Paths:
        """Remove a folder with everything in it; the paths of the files that are gone."""
        ...

    def list(self, path: str) -> Paths:
        """The paths of all files below a folder, sorted; empty when there is no such folder."""
        ...

    def copy(self, source: str, target: str) -> None: ...


# -- layouts -----------------------------------------------------------------------------------------------------


def slug(text: str) -> str:
    """Kestra's slug: no accents, blanks and ``_`` become ``-``, other signs go, one ``-`` at a time, lower case."""
    plain = "".join(c for c in unicodedata.normalize("NFD", text) if not unicodedata.combining(c))
    dashed = re.sub(r"[\s_]+", "-", plain)
    return re.sub(r"-{2,}", "-", re.sub(r"[^\w-]", "", dashed)).lower()


def uri(path: str) -> str:
    return SCHEME + path


def path_of(address: str) -> str:
    """The path of a ``kestra://`` URI (or the path itself). Raises ``InvalidInput`` for anything else."""
    path = address[len(SCHEME) :] if address.startswith(SCHEME) else address
    if not path.startswith("/"):
        raise InvalidInput(f"not a URI of internal storage: {address!r}", hint="it begins with kestra:///")
    segments(path)
    return path


def namespace_path(namespace: str) -> str:
    return "/" + namespace.replace(".", "/")


def execution_folder(namespace: str, flow_id: str, execution_id: str) -> str:
    return f"{namespace_path(namespace)}/{slug(flow_id)}/executions/{execution_id}"


def task_folder(namespace: str, flow_id: str, execution_id: str, task_id: str, task_run_id: str) -> str:
    return f"{execution_folder(namespace, flow_id, execution_id)}/tasks/{slug(task_id)}/{task_run_id}"


def input_file(namespace: str, flow_id: str, execution_id: str, input_id: str, name: str) -> str:
    return f"{execution_folder(namespace, flow_id, execution_id)}/inputs/{input_id}/{name}"


def trigger_file(namespace: str, flow_id: str, execution_id: str, trigger_id: str, name: str) -> str:
    return f"{execution_folder(namespace, flow_id, execution_id)}/trigger/{trigger_id}/{name}"


def namespace_files_folder(namespace: str) -> str:
    return f"{namespace_path(namespace)}/_files"


def state_folder(namespace: str, flow_id: str | None) -> str:
    """Where the state store of a flow (or, None, of the namespace) lives."""
    flow = "" if flow_id is None else f"/{slug(flow_id)}"
    return f"{namespace_path(namespace)}{flow}/states"


def cache_file(namespace: str, flow_id: str, cache_id: str, value: str | None) -> str:
    """The zip that a WorkingDirectory keeps between runs, one per ``taskrun.value``."""
    part = "" if value is None else "/" + hashlib.sha256(value.encode()).hexdigest()[:32]
    return f"{namespace_path(namespace)}/{slug(flow_id)}/{slug(cache_id)}/cache{part}/cache.zip"


def task_cache_file(namespace: str, flow_id: str, task_id: str, key: str) -> str:
    """Large outputs that ``taskCache`` keeps, one file per key."""
    return f"{namespace_path(namespace)}/{slug(flow_id)}/{slug(task_id)}/task-cache/{key}.json"


def execution_of(path: str) -> str | None:
    """The execution a path belongs to, by the layouts above; None when to none."""
    parts = path.split("/")
    try:
        place = parts.index("executions")
    except ValueError:
        return None
    return parts[place + 1] if len(parts) > place + 2 else None


def segments(path: str) -> list[str]:
    """The parts of an absolute storage path. Raises ``InvalidInput`` for what could leave its folder."""
    if "\0" in path:
        raise InvalidInput("a storage path must not contain a NUL character")
    if not path.startswith("/"):
        raise InvalidInput(f"a storage path begins with '/': {path!r}")
    parts = path[1:].split("/")
    for part in parts:
        if part in ("", ".", ".."):
            raise InvalidInput(f"a storage path must not contain {part or 'an empty part'!r}: {path!r}")
        if len(part.encode()) > 255:
            raise InvalidInput(f"a part of a storage path is longer than 255 bytes: {part[:40]!r}…")
    return parts


def _parts(address: str) -> Paths:
    return segments(path_of(address))


def safe_name(name: str) -> str:
    """A file name from outside as one segment: folders and controls gone, at most 200 bytes, extension kept."""
    name = name.replace("\\", "/").rpartition("/")[2]
    name = "".join(c for c in name if c.isprintable()).strip().strip(".")
    while len(name.encode()) > _LONGEST_NAME:
        stem, dot, extension = name.rpartition(".")
        name = f"{stem[:-1]}{dot}{extension}" if stem and len(extension) < 50 else name[:-1]
    return name or "file"


# -- reading content ---------------------------------------------------------------------------------------------


def _chunks(content: Content, limit: int | None) -> Iterator[bytes]:
    seen = 0
    if isinstance(content, bytes):
        if limit is not None and len(content) > limit:
            raise _too_large(limit)
        yield content
        return
    opened = content.open("rb") if isinstance(content, Path) else contextlib.nullcontext(content)
    with opened as file:
        while chunk := file.read(_CHUNK):
            seen += len(chunk)
            if limit is not None and seen > limit:
                raise _too_large(limit)
            yield chunk


def _too_large(limit: int) -> InvalidInput:
    return InvalidInput(f"the file is larger than {limit} bytes", code="file_too_large")


# -- back ends ---------------------------------------------------------------------------------------------------


class MemoryStorage:
    """Files in a map, for tests."""

    def __init__(self) -> None:
        self._files: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def put(self, path: str, content: Content, *, limit: int | None = None) -> str:
        path = path_of(path)
        data = b"".join(_chunks(content, limit))
        with self._lock:
            if any(known.startswith(path + "/") for known in self._files):
                raise InvalidInput(f"{path!r} is a folder")
            self._files[path] = data
        return uri(path)

    def _get(self, path: str) -> bytes:
        path = path_of(path)
        try:
            return self._files[path]
        except KeyError:
            raise _missing(path) from None

    def open(self, path: str) -> BinaryIO:
        return io.BytesIO(self._get(path))

    def size(self, path: str) -> int:
        return len(self._get(path))

    def exists(self, path: str) -> bool:
        return path_of(path) in self._files

    def delete(self, path: str) -> bool:
        with self._lock:
            return self._files.pop(path_of(path), None) is not None

    def delete_prefix(self, path: str) -> Paths:
        with self._lock:
            gone = self.list(path)
            for name in gone:
                del self._files[name]
        return gone

    def list(self, path: str) -> Paths:
        path = path_of(path)
        return sorted(known for known in self._files if known.startswith(path + "/"))

    def copy(self, source: str, target: str) -> None:
        self.put(target, self._get(source))


class LocalStorage:
    """Files below one folder. Every walk goes by directory descriptors and follows no link (S13)."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(mode=0o700, parents=True, exist_ok=True)

    def put(self, path: str, content: Content, *, limit: int | None = None) -> str:
        *folders, name = _parts(path)
        temporary = f".{secrets.token_hex(8)}.tmp"
        with self._folder(folders, create=True) as folder:
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=folder)
            try:
                with os.fdopen(fd, "wb") as file:
                    for chunk in _chunks(content, limit):
                        file.write(chunk)
                    file.flush()
                    os.fsync(file.fileno())
                os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException as error:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(temporary, dir_fd=folder)
                if isinstance(error, IsADirectoryError):
                    raise InvalidInput(f"{path!r} is a folder") from error
                if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise Unavailable("internal storage is full", hint="free space below the data folder") from error
                raise
            os.fsync(folder)
        return uri(path_of(path))

    def open(self, path: str) -> BinaryIO:
        *folders, name = _parts(path)
        try:
            with self._folder(folders) as folder:
                # Not to block on a FIFO that somebody put there: non-blocking, then only regular files.
                fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        except OSError as error:
            raise _missing(path) from error
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise _missing(path)
        return cast(BinaryIO, os.fdopen(fd, "rb"))

    def _stat(self, path: str) -> os.stat_result | None:
        *folders, name = _parts(path)
        try:
            with self._folder(folders) as folder:
                found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except OSError:
            return None
        return found if stat.S_ISREG(found.st_mode) else None

    def size(self, path: str) -> int:
        found = self._stat(path)
        if found is None:
            raise _missing(path)
        return found.st_size

    def exists(self, path: str) -> bool:
        return self._stat(path) is not None

    def delete(self, path: str) -> bool:
        *folders, name = _parts(path)
        try:
            with self._folder(folders) as folder:
                os.unlink(name, dir_fd=folder)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError):
            return False
        self._prune(folders)
        return True

    def _prune(self, folders: Paths) -> None:
        """Remove the folders that became empty, from the innermost on."""
        while folders:
            *folders, last = folders
            try:
                with self._folder(folders) as folder:
                    os.rmdir(last, dir_fd=folder)
            except OSError:
                return

    def delete_prefix(self, path: str) -> Paths:
        gone = self.list(path)
        *folders, name = _parts(path)
        try:
            with self._folder(folders) as folder:
                shutil.rmtree(name, dir_fd=folder)
        except OSError:
            return gone
        self._prune(folders)
        return gone

    def list(self, path: str) -> Paths:
        try:
            with self._folder(_parts(path)) as folder:
                return sorted(self._walk(folder, path_of(path)))
        except OSError:
            return []

    def _walk(self, folder: int, path: str) -> Iterator[str]:
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda e: e.name):
                below = f"{path}/{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    fd = os.open(entry.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
                    try:
                        yield from self._walk(fd, below)
                    finally:
                        os.close(fd)
                elif entry.is_file(follow_symlinks=False) and not entry.name.endswith(".tmp"):
                    yield below

    def copy(self, source: str, target: str) -> None:
        with self.open(source) as file:
            self.put(target, file)

    @contextlib.contextmanager
    def _folder(self, parts: Paths, *, create: bool = False) -> Iterator[int]:
        fd = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for part in parts:
                if create:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(part, 0o700, dir_fd=fd)
                below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
                os.close(fd)
                fd = below
            yield fd
        finally:
            os.close(fd)


def _missing(path: str) -> NotFound:
    return NotFound(f"no such file in internal storage: {uri(path_of(path))}", code="file_not_found")
