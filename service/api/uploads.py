"""Inputs of a request: text parts and uploaded files, which are streamed to temporary files first."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flask import request

from namespaces.errors import InvalidInput
from runner.starting import Upload, body_hash

MULTIPART = "multipart/form-data"
FORM = "application/x-www-form-urlencoded"


@dataclass(slots=True)
class Submitted:
    """``inputs`` by input id: text, or an ``Upload`` whose file lives as long as the ``with`` block."""

    inputs: dict[str, Any] = field(default_factory=dict)
    digest: str = ""
    """Names the content, for the idempotency check."""


@contextmanager
def submitted(file_inputs: Collection[str] | None = None, *, required: bool = False) -> Iterator[Submitted]:
    """Read the inputs of this request.

    ``file_inputs`` are the ids a file part may be for: a part of another name is the old form, in which the *file
    name* is the input id (``api.md`` 4.2). No body at all means no inputs, unless ``required``. Raises
    ``InvalidInput``.
    """
    if request.mimetype not in (MULTIPART, FORM):
        if required:
            raise InvalidInput("Invalid input: a multipart body is required, even without parts")
        # A small JSON object is taken as inputs too: friendlier than ignoring it.
        yield _from_json()
        return
    found = Submitted()
    parts: list[bytes] = []
    for name, text in request.form.items(multi=True):
        parts += [name.encode(), text.encode()]
        found.inputs[name] = text
    paths: list[Path] = []
    try:
        for name, storage in request.files.items(multi=True):
            filename = os.path.basename((storage.filename or "").replace("\\", "/"))
            handle, path_text = tempfile.mkstemp(prefix="lanner-upload-")
            path = Path(path_text)
            paths.append(path)
            with os.fdopen(handle, "wb") as target:
                storage.save(target)
            size = path.stat().st_size
            key = name if file_inputs is None or name in file_inputs else filename
            found.inputs[key] = Upload(filename or name, size, path)
            parts += [key.encode(), _digest(path)]
        found.digest = body_hash(parts)
        yield found
    finally:
        for path in paths:
            path.unlink(missing_ok=True)


def _from_json() -> Submitted:
    raw = request.get_data()
    if not raw or request.mimetype != "application/json":
        return Submitted(digest=body_hash([raw]) if raw else "")
    from service.api.context import json_object

    return Submitted(dict(json_object()), body_hash([raw]))


def _digest(path: Path) -> bytes:
    import hashlib

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def file_parts() -> bool:
    """Whether the request carries a file."""
    return request.mimetype == MULTIPART and bool(request.files)
