"""Files of a task: what is put into its working folder, which of its files are kept (``flows.md`` 6.4, 6.5)."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from namespaces.errors import InvalidInput
from runner.plugin import RunFailed
from runner.tasks.globs import namespace_matcher, output_matcher

if TYPE_CHECKING:
    from runner.worker.running import Running

STORAGE_URI = re.compile(r"kestra:///[-a-zA-Z0-9%._+~#=/]*[-a-zA-Z0-9%_+~#=]")
FILE_SCHEMES = ("kestra:///", "nsfile://", "file:///")


def inside(folder: Path, name: str) -> Path:
    """The path of a relative name below ``folder``. Raises ``RunFailed`` for one that leaves it."""
    parts = PurePosixPath(name).parts
    if not name or name.startswith("/") or ".." in parts or "\0" in name or not parts:
        raise RunFailed(f"file name {name!r} leaves the working directory", code="bad_file_name")
    place = folder
    for part in parts[:-1]:
        place = place / part
        if place.is_symlink():
            raise RunFailed(f"file name {name!r} goes through a link", code="bad_file_name")
    return folder.joinpath(*parts)


def is_uri(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(FILE_SCHEMES) and "\n" not in value


def write_file(context: Running, target: Path, value: Any) -> None:
    """Write text, structured content as JSON, or the file behind a URI."""
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if is_uri(value):
        with context.open(value) as source, target.open("wb") as file:
            shutil.copyfileobj(source, file, 1 << 20)
        return
    if isinstance(value, Mapping | list):
        import orjson

        target.write_bytes(orjson.dumps(value))
        return
    text = ("true" if value else "false") if isinstance(value, bool) else str(value)
    target.write_text(text, encoding="utf-8")


def place_input_files(context: Running, files: Any, folder: Path) -> list[str]:
    """Put ``inputFiles`` there; null values are skipped. Returns the names."""
    if files is None or files == "":
        return []
    if not isinstance(files, Mapping):
        raise RunFailed("`inputFiles` must be a map of file name to content or URI")
    placed = []
    for name, value in files.items():
        if value is None:
            continue
        write_file(context, inside(folder, str(name)), value)
        placed.append(str(name))
    return placed


def place_namespace_files(context: Running, wanted: Any, folder: Path) -> list[str]:
    """Copy the namespace's files there (``namespaceFiles``); returns their relative paths."""
    settings = _as_map(wanted)
    if not settings or settings.get("enabled", True) in (False, "false"):
        return []
    include = settings.get("include") or []
    exclude = settings.get("exclude") or []
    chosen = namespace_matcher([include] if isinstance(include, str) else include)
    refused = namespace_matcher([exclude] if isinstance(exclude, str) else exclude)
    placed: list[str] = []
    for namespace in settings.get("namespaces") or [context.flow.namespace]:
        root = folder / namespace if settings.get("folderPerNamespace") else folder
        for path in context.world.namespace_files(namespace):
            if (include and not chosen(path)) or refused(path):
                continue
            target = inside(root, path.lstrip("/"))
            if target.exists() and not _replace(context, str(settings.get("ifExists") or "OVERWRITE"), path):
                continue
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            target.write_bytes(context.world.namespace_file_read(namespace, path))
            placed.append(str(target.relative_to(folder)))
    return placed


def _replace(context: Running, rule: str, path: str) -> bool:
    if rule == "FAIL":
        raise RunFailed(f"namespace file {path} exists already in the working directory")
    if rule == "WARN":
        context.log("WARN", f"namespace file {path} exists already and is left as it is")
    return rule == "OVERWRITE"


def _as_map(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if isinstance(value, Mapping):
        return dict(value)
    return dict(value.model_dump(by_alias=True, exclude_unset=True)) or {"enabled": True}


def fetch_uris(context: Running, text: str, folder: Path) -> str:
    """The text with every ``kestra://`` URI replaced by the path of a local copy below ``folder``."""
    known: dict[str, str] = {}

    def local(match: re.Match[str]) -> str:
        uri = match[0]
        if uri not in known:
            folder.mkdir(mode=0o700, exist_ok=True)
            target = folder / f"{len(list(folder.iterdir()))}-{uri.rpartition('/')[2][-100:]}"
            write_file(context, target, uri)
            known[uri] = str(target)
        return known[uri]

    return STORAGE_URI.sub(local, text) if "kestra://" in text else text


def walk(folder: Path) -> Iterator[str]:
    """Relative paths of all files below a folder, sorted; folders that are links are not entered."""
    for place, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            yield os.path.relpath(os.path.join(place, name), folder)


def collect(context: Running, patterns: Sequence[str] | None, folder: Path) -> dict[str, str]:
    """Keep the files that match; relative path to URI. Raises ``RunFailed`` naming the file that cannot be kept."""
    if not patterns:
        return {}
    matches = output_matcher(patterns, str(folder))
    return keep(context, {path: folder / path for path in walk(folder) if matches(path)}, folder)


def collect_folder(context: Running, folder: Path) -> dict[str, str]:
    """Keep every file of ``outputDir``."""
    return keep(context, {path: folder / path for path in walk(folder)}, folder)


def keep(context: Running, files: Mapping[str, Path], root: Path) -> dict[str, str]:
    limits = context.services.limits
    if len(files) > limits.files:
        limits.hits.note("output_files")
        raise RunFailed(f"{len(files)} output files, more than {limits.files}", code="too_many_files")
    kept: dict[str, str] = {}
    total = 0
    for relative, path in files.items():
        size = _regular(path, relative, root)
        total += size
        if size > limits.file or total > limits.files_total:
            limits.hits.note("output_file_bytes" if size > limits.file else "output_files_bytes")
            raise RunFailed(f"output file {relative} is too large", code="file_too_large")
        kept[relative] = store_file(context, relative, path.resolve())
    return kept


def store_file(context: Running, relative: str, path: Path) -> str:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
    with os.fdopen(os.open(path, flags), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise RunFailed(f"output file {relative} is not a regular file", code="not_a_file")
        try:
            return context.store(storage_name(relative), file)
        except InvalidInput as error:
            raise RunFailed(f"output file {relative}: {error.message}", code=error.code) from error


def _regular(path: Path, relative: str, root: Path) -> int:
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode):
        real = path.resolve()
        if real.is_relative_to(root.resolve()) and real.is_file():
            return real.stat().st_size
    elif stat.S_ISREG(found.st_mode):
        return found.st_size
    raise RunFailed(
        f"output file {relative} is not a regular file", code="not_a_file", hint="links may only point into the folder"
    )


def storage_name(relative: str) -> str:
    """A relative path as it is kept: characters that a URI in a script could not carry become ``_``."""
    plain = re.sub(r"[^-a-zA-Z0-9%._+~#=/]", "_", relative)
    if plain == relative and len(relative) < 200:
        return relative
    mark = hashlib.sha256(relative.encode(errors="surrogateescape")).hexdigest()[:8]
    folder, _, name = plain[-180:].rpartition("/")
    return f"{folder}/{mark}_{name}".lstrip("/")
