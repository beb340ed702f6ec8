"""Answers in the API's forms: JSON, pages of results, bulk results, downloads. Errors are in ``problems``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import quote

import orjson
from flask import Response

from namespaces.errors import LannerError
from namespaces.ids import new_id

JSON = "application/json"


def answer(value: Any, status: int = 200, **headers: str) -> Response:
    """``value`` as JSON; keyword headers have ``_`` for ``-``."""
    response = Response(orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS), status, mimetype=JSON)
    for name, text in headers.items():
        response.headers[name.replace("_", "-")] = text
    return response


def empty(status: int = 204) -> Response:
    response = Response(b"", status)
    del response.headers["Content-Type"]
    return response


def paged(results: Sequence[Any], total: int) -> Response:
    return answer({"results": results, "total": total})


def bulk(count: int) -> Response:
    """The success of a bulk route, with the members of all generations (``api.md`` 1.8)."""
    return answer({"count": count, "totalItems": count, "operationId": new_id()})


class BulkRefused(LannerError):
    """Ids that are unfit for a bulk action: the whole request is refused and nothing was touched (HTTP 400)."""

    code = "bulk_refused"
    status = 400

    def __init__(self, action: str, invalids: Iterable[tuple[str, str]], what: str = "execution") -> None:
        """``invalids`` are (id, message)."""
        super().__init__(f"invalid bulk {action}")
        self.invalids = [
            {"message": message, "invalidValue": value, "propertyPath": what} for value, message in invalids
        ]


_PLAIN = re.compile(r"[A-Za-z0-9._-]+", re.ASCII)


def attachment(filename: str) -> str:
    """``Content-Disposition`` for a download; names outside ASCII in the form of RFC 6266."""
    if _PLAIN.fullmatch(filename):
        return f'attachment; filename="{filename}"'
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", filename) or "file"
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"


def download(body: Any, filename: str, mimetype: str = "application/octet-stream") -> Response:
    """Bytes or an iterator of bytes to be saved; a browser never runs what is in it (``reliability.md`` S7)."""
    response = Response(body, 200, mimetype=mimetype)
    response.headers["Content-Disposition"] = attachment(filename)
    response.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    return response


def csv_cell(value: Any) -> str:
    """One cell, quoted; text that a spreadsheet would run as a formula gets a leading quote (S8)."""
    text = "" if value is None else str(value)
    if text[:1] in ("=", "+", "-", "@", "\t", "\r"):
        text = "'" + text
    return '"' + text.replace('"', '""') + '"'


def csv(rows: Iterable[Sequence[Any]], filename: str) -> Response:
    text = "".join(",".join(csv_cell(cell) for cell in row) + "\r\n" for row in rows)
    return download(text.encode(), filename, "text/csv")
