"""Static files under an address that changes with their content, so that browsers may keep them for a year."""

from __future__ import annotations

import gzip
import hashlib
from functools import cache, lru_cache
from pathlib import Path

from flask import Response, request

from namespaces.errors import NotFound
from service.auth.endpoints import PUBLIC
from service.ui.site import ENDPOINTS, blueprint

ROOT = Path(__file__).parent / "static"
TYPES = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".json": "application/json",
    ".txt": "text/plain",
}


@cache
def build_id() -> str:
    """Names the whole set: modules import each other by relative addresses."""
    digest = hashlib.sha256()
    for path in sorted(ROOT.rglob("*")):
        if path.is_file():
            digest.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def asset(path: str) -> str:
    return f"/static/{build_id()}/{path}"


@lru_cache(maxsize=64)
def _read(path: str, compressed: bool) -> bytes | None:
    target = (ROOT / path).resolve()
    if not target.is_relative_to(ROOT.resolve()) or not target.is_file() or target.suffix not in TYPES:
        return None
    content = target.read_bytes()
    return gzip.compress(content, 9, mtime=0) if compressed else content


@blueprint.get("/static/<build>/<path:path>")
def static(build: str, path: str) -> Response:
    """One file. An older build's address gets today's file too, but nobody may keep that."""
    compressed = "gzip" in request.headers.get("Accept-Encoding", "")
    content = _read(path, compressed)
    if content is None:
        raise NotFound("Not Found")
    response = Response(content, mimetype=TYPES[Path(path).suffix])
    if compressed:
        response.headers["Content-Encoding"] = "gzip"
    response.headers["Vary"] = "Accept-Encoding"
    current = build == build_id()
    response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if current else "no-store"
    return response


ENDPOINTS["ui.static"] = PUBLIC
