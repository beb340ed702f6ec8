"""Routes of an execution's files (``api.md`` 4.1): download, size, preview. Only files of that execution are shown."""

from __future__ import annotations

import codecs
import itertools
from collections.abc import Iterator
from typing import Any, BinaryIO

import orjson
from flask import Response, request

from namespaces.blobs import execution_folder, execution_of, path_of
from namespaces.errors import InvalidInput, NotFound
from runner import queries
from service.api.answers import answer, download
from service.api.context import lanner, number, required
from service.api.executions import require_execution
from service.api.routes import Resource

resource = Resource("execution_files")

CHUNK = 1 << 16
LONGEST_PREVIEW = 1 << 20
_IMAGES = frozenset({"png", "jpg", "jpeg", "gif", "webp", "bmp"})


def _path(execution_id: str) -> str:
    """The storage path asked for. Raises ``InvalidInput`` for a file that is not this execution's."""
    head = require_execution(execution_id)
    path = path_of(required("path"))
    if path.startswith(execution_folder(head.namespace, head.flow_id, execution_id) + "/"):
        return path
    # An iteration of a Loop, a replay or a subflow hands on files of the execution it belongs to: allowed when that
    # one is shown to the caller too.
    owner = execution_of(path)
    other = lanner().database.read(lambda c: queries.head(c, owner)) if owner else None
    if other is not None and path.startswith(execution_folder(other.namespace, other.flow_id, other.id) + "/"):
        require_execution(other.id)
        return path
    raise InvalidInput("Illegal argument: Invalid prefix path", code="foreign_file")


def _open(path: str) -> BinaryIO:
    try:
        file: BinaryIO = lanner().storage.open(path)
    except NotFound as error:
        raise NotFound(f"file 'kestra://{path}' does not exist") from error
    return file


@resource.on("GET", "/executions/<execution_id>/file")
def get(execution_id: str) -> Response:
    path = _path(execution_id)
    file = _open(path)
    name = path.rpartition("/")[2]
    if request.args.get("format", "RAW").upper() == "JSONL" and name.endswith(".ion"):
        return download(_json_lines(file), name.removesuffix(".ion") + ".jsonl", "application/x-ndjson")
    response = download(_chunks(file), name)
    response.headers["Content-Length"] = str(lanner().storage.size(path))
    return response


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while chunk := file.read(CHUNK):
            yield chunk


def _json_lines(file: BinaryIO) -> Iterator[bytes]:
    with file:
        for line in file:
            if line.strip():
                yield orjson.dumps(_ion(line.decode("utf-8", "replace"))) + b"\n"


def _ion(text: str) -> Any:
    """One line of an Ion file as a JSON value."""
    from namespaces.expressions.ion_text import parsed

    found = parsed(text, everything=False)
    return found[0] if found else None


@resource.on("GET", "/executions/<execution_id>/file/metas")
def metas(execution_id: str) -> Response:
    path = _path(execution_id)
    return answer({"size": lanner().storage.size(path)})


@resource.on("GET", "/executions/<execution_id>/file/preview")
def preview(execution_id: str) -> Response:
    rows = number("maxRows", 100, least=1, most=5_000)
    encoding = request.args.get("encoding", "UTF-8")
    try:
        codecs.lookup(encoding)
    except LookupError as error:
        raise InvalidInput(f"Illegal argument: unable to preview using encoding '{encoding[:40]}'") from error
    path = _path(execution_id)
    extension = path.rpartition("/")[2].rpartition(".")[2].lower() if "." in path.rpartition("/")[2] else ""
    with _open(path) as file:
        return answer(_previewed(file, extension, rows, encoding))


def _previewed(file: BinaryIO, extension: str, rows: int, encoding: str) -> dict[str, Any]:
    shape: dict[str, Any] = {"extension": extension, "maxLine": rows, "truncated": False}
    if extension in _IMAGES or extension == "pdf":
        import base64

        raw = file.read(LONGEST_PREVIEW + 1)
        shape |= {
            "type": "PDF" if extension == "pdf" else "IMAGE",
            "content": base64.b64encode(raw[:LONGEST_PREVIEW]).decode(),
            "truncated": len(raw) > LONGEST_PREVIEW,
        }
        return shape
    lines: list[str] = []
    size = 0
    for raw in itertools.islice(iter(lambda: file.readline(LONGEST_PREVIEW), b""), rows):
        size += len(raw)
        lines.append(raw.decode(encoding, "replace"))
        if size > LONGEST_PREVIEW:
            break
    shape["truncated"] = bool(file.read(1))
    if extension == "ion":
        shape |= {"type": "LIST", "content": [_ion(line) for line in lines if line.strip()]}
    elif extension in ("jsonl", "ndjson"):
        shape |= {"type": "LIST", "content": [orjson.loads(line) for line in lines if line.strip()]}
    else:
        shape |= {"type": "MARKDOWN" if extension == "md" else "TEXT", "content": "".join(lines)}
    return shape
