"""Routes of namespace files (``api.md`` 4.9). Paths are judged by ``namespaces/files.py``, zips by ``archives.py``."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from flask import Response, request
from sqlalchemy.engine import Connection

from namespaces import archives, files, revisions
from namespaces.errors import Conflict, InvalidFlow, InvalidInput, NotFound
from namespaces.files import Entry, clean
from service.api.answers import answer, download, empty
from service.api.context import lanner, optional_number, required
from service.api.flow_text import with_namespace
from service.api.routes import Resource

resource = Resource("namespace_files")


def _millis(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _file(entry: Entry) -> dict[str, Any]:
    return {
        "fileName": entry.path.rpartition("/")[2],
        "type": "File",
        "size": entry.size,
        "lastModifiedTime": _millis(entry.created_at),
        "creationTime": _millis(entry.created_at),
        "revision": entry.revision,
    }


def _folder(name: str, entries: Sequence[Entry]) -> dict[str, Any]:
    moments = [_millis(entry.created_at) for entry in entries] or [0]
    return {
        "fileName": name,
        "type": "Directory",
        "size": 0,
        "lastModifiedTime": max(moments),
        "creationTime": min(moments),
    }


def _path() -> str:
    return clean(required("path"))


@resource.on("GET", "/namespaces/<namespace>/files")
def get(namespace: str) -> Response:
    path, revision = _path(), optional_number("revision")
    content = lanner().database.read(lambda c: files.read(c, namespace, path, revision=revision))
    if content is None:
        raise NotFound(f"file '{path}' does not exist in namespace '{namespace}'")
    return download(content, path.rpartition("/")[2])


@resource.on("POST", "/namespaces/<namespace>/files")
def upload(namespace: str) -> Response:
    """One file, or a zip whose files go below ``/``."""
    part = request.files.get("fileContent")
    if part is None:
        raise InvalidInput("Illegal argument: the part fileContent is missing")
    if (part.filename or "").lower().endswith(".zip"):
        _unpack(namespace, part.stream)
        return empty(200)
    path = _path()
    content = part.read()
    now = lanner().clock.now()

    def work(tx: Connection) -> None:
        _require_api_managed(files.find(tx, namespace, path))
        _forget_marker(tx, namespace, path, now)
        files.write(tx, namespace, path, content, now=now)

    lanner().database.write(work)
    return empty(200)


def _require_api_managed(entry: Entry | None) -> None:
    if entry is not None and entry.source is not None:
        raise Conflict(
            f"file '{entry.path}' is managed by the Git source '{entry.source}'",
            code="managed_by_git",
            hint="change it in the repository and push",
        )


def _forget_marker(tx: Connection, namespace: str, path: str, now: datetime) -> None:
    """A folder that has a file needs no marker any more."""
    folder = path.rpartition("/")[0]
    if folder:
        marker = f"{folder}/{files.FOLDER}"
        if files.find(tx, namespace, marker) is not None:
            files.delete(tx, namespace, marker, now=now)


def _unpack(namespace: str, stream: Any) -> None:
    """All or nothing; what lies in ``_flows/`` is imported as flows of this namespace."""
    wiring = lanner()
    now = wiring.clock.now()
    contents: list[tuple[str, bytes]] = []
    flows: list[tuple[Any, str]] = []
    for name, content in archives.entries(stream):
        if name.startswith("_flows/"):
            flows.append(_flow(namespace, content.decode("utf-8", "replace")))
        else:
            contents.append((clean("/" + name), content))

    def work(tx: Connection) -> None:
        for path, content in contents:
            _require_api_managed(files.find(tx, namespace, path))
            files.write(tx, namespace, path, content, now=now)
        if flows:
            wiring.registry.save_many(tx, flows)

    wiring.database.write(work)
    if flows:
        wiring.nudges.send("catalog")


def _flow(namespace: str, text: str) -> tuple[Any, str]:
    registry = lanner().registry
    reading = registry.read(text, namespace=namespace)
    if reading.flow is not None and reading.flow.namespace != namespace:
        text = with_namespace(text, reading.flow.written, namespace)
        reading = registry.read(text)
    if reading.flow is None:
        raise InvalidFlow(reading.problems)
    return reading.flow, text


@resource.on("DELETE", "/namespaces/<namespace>/files")
def delete(namespace: str) -> Response:
    """Recursive; folders that become empty go with it, because they exist only through their files."""
    path, now = _path(), lanner().clock.now()

    def work(tx: Connection) -> None:
        for entry in [files.find(tx, namespace, path), *files.listing(tx, namespace, path)]:
            _require_api_managed(entry)
        files.delete(tx, namespace, path, now=now)

    lanner().database.write(work)
    return empty(200)


@resource.on("PUT", "/namespaces/<namespace>/files")
def move(namespace: str) -> Response:
    source, target, now = clean(required("from")), clean(required("to")), lanner().clock.now()

    def work(tx: Connection) -> None:
        for entry in [files.find(tx, namespace, source), *files.listing(tx, namespace, source)]:
            _require_api_managed(entry)
        files.move(tx, namespace, source, target, now=now)

    lanner().database.write(work)
    return empty(200)


@resource.on("GET", "/namespaces/<namespace>/files/directory")
def directory(namespace: str) -> Response:
    """The children of a folder, not recursive; an unknown folder is 404, the root of an empty namespace is empty."""
    folder = clean(request.args.get("path", "/") or "/")
    below = lanner().database.read(lambda c: files.listing(c, namespace, folder))
    if not below and folder != "/":
        raise NotFound(f"folder '{folder}' does not exist in namespace '{namespace}'")
    prefix = folder.rstrip("/") + "/"
    children: dict[str, list[Entry]] = {}
    direct: dict[str, Entry] = {}
    for entry in below:
        name, slash, _ = entry.path.removeprefix(prefix).partition("/")
        if slash:
            children.setdefault(name, []).append(entry)
        elif not files.is_marker(entry.path):
            direct[name] = entry
    rows = [_folder(name, inside) for name, inside in sorted(children.items())]
    return answer([*rows, *(_file(entry) for _, entry in sorted(direct.items()))])


@resource.on("POST", "/namespaces/<namespace>/files/directory")
def make_directory(namespace: str) -> Response:
    folder, now = _path(), lanner().clock.now()

    def work(tx: Connection) -> None:
        if not files.listing(tx, namespace, folder):
            files.write(tx, namespace, f"{folder.rstrip('/')}/{files.FOLDER}", b"", now=now)

    lanner().database.write(work)
    return empty(200)


@resource.on("GET", "/namespaces/<namespace>/files/stats")
def stats(namespace: str) -> Response:
    """404 for what does not exist: kestractl probes with it before every upload (``api.md`` 8.17)."""
    path = clean(request.args.get("path", "/") or "/")

    def read(connection: Connection) -> dict[str, Any] | None:
        entry = files.find(connection, namespace, path) if path != "/" else None
        if entry is not None:
            return _file(entry)
        below = files.listing(connection, namespace, path)
        return _folder(path.rpartition("/")[2], below) if below or path == "/" else None

    found = lanner().database.read(read)
    if found is None:
        raise NotFound(f"'{path}' does not exist in namespace '{namespace}'")
    return answer(found)


@resource.on("GET", "/namespaces/<namespace>/files/search")
def search(namespace: str) -> Response:
    q = request.args.get("q", "")
    paths = lanner().database.read(lambda c: files.paths(c, namespace))
    return answer([path for path in paths if q in path])


@resource.on("GET", "/namespaces/<namespace>/files/revisions")
def versions(namespace: str) -> Response:
    path = _path()
    found = lanner().database.read(lambda c: files.versions(c, namespace, path))
    if not found:
        raise NotFound(f"file '{path}' does not exist in namespace '{namespace}'")
    return answer([{"revision": number} for number in found])


@resource.on("GET", "/namespaces/<namespace>/files/export")
def export(namespace: str) -> Response:
    """All files, and the flows under ``_flows/``."""

    def read(connection: Connection) -> bytes:
        target = io.BytesIO()
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in files.paths(connection, namespace):
                archive.writestr(path.lstrip("/"), files.read(connection, namespace, path) or b"")
            for stored in revisions.of_namespace(connection, namespace):
                archive.writestr(f"_flows/{stored.id}.yml", stored.text)
        return target.getvalue()

    return download(lanner().database.read(read), f"{namespace}_files.zip", "application/zip")
