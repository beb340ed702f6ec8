"""Multipart bodies of webhook calls: text parts become form fields, files are kept with the execution they start."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

from namespaces.blobs import Storage, execution_folder, safe_name, trigger_file, uri
from namespaces.errors import InvalidInput, TooLarge
from namespaces.flows.model import Flow, Trigger
from runner.triggers.webhook import WebhookRequest

LONGEST_FIELD = 1 << 20


@dataclass(frozen=True, slots=True)
class Part:
    """One file of the body. ``path`` is where internal storage keeps it."""

    name: str
    filename: str
    content_type: str
    content: bytes
    path: str

    def variables(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "filename": self.filename,
            "contentType": self.content_type,
            "size": len(self.content),
            "uri": uri(self.path),
        }


@dataclass(frozen=True, slots=True)
class Form:
    fields: dict[str, list[str]]
    parts: tuple[Part, ...] = ()

    def store(self, storage: Storage) -> None:
        for part in self.parts:
            storage.put(part.path, part.content)


def is_multipart(request: WebhookRequest) -> bool:
    return request.content_type.lower().startswith("multipart/form-data")


def read_form(request: WebhookRequest, flow: Flow, trigger: Trigger, execution_id: str, most_parts: int) -> Form:
    """The parts of the body. Raises ``InvalidInput`` for what is no multipart body, ``TooLarge`` for too many parts."""
    from werkzeug.exceptions import HTTPException, RequestEntityTooLarge
    from werkzeug.formparser import FormDataParser
    from werkzeug.http import parse_options_header

    kind, options = parse_options_header(request.content_type)
    parser = FormDataParser(max_form_parts=most_parts, max_form_memory_size=LONGEST_FIELD, silent=False)
    try:
        _, fields, files = parser.parse(io.BytesIO(request.body), kind, len(request.body), options)
    except RequestEntityTooLarge:
        raise TooLarge(f"a form has at most {most_parts} parts, and 1 MiB of text") from None
    except (ValueError, HTTPException):
        raise InvalidInput("the body is not the multipart form that its Content-Type promises") from None
    parts: list[Part] = []
    for index, (name, file) in enumerate(files.items(multi=True)):
        filename = file.filename or ""
        path = trigger_file(flow.namespace, flow.id, execution_id, trigger.id, f"{index}-{safe_name(filename)}")
        parts.append(Part(name, filename, file.mimetype or "application/octet-stream", file.read(), path))
        file.close()
    return Form({name: list(values) for name, values in fields.lists()}, tuple(parts))


def forget(storage: Storage, flow: Flow, execution_id: str) -> None:
    """The call started nothing: drop what was kept for it."""
    storage.delete_prefix(execution_folder(flow.namespace, flow.id, execution_id))
