"""Routes that judge flow texts without storing them: validate (``api.md`` 3), also single tasks and triggers."""

from __future__ import annotations

from typing import Any

import orjson
from flask import Response, request

from namespaces import revisions
from namespaces.errors import InvalidInput, Problem, Severity
from namespaces.flows.parse import Reading, read_task, read_trigger, split_documents
from service.api.answers import answer
from service.api.bodies import JSON_TYPES, flow_texts, text_body
from service.api.context import lanner, required
from service.api.routes import Resource
from service.api.uploads import MULTIPART

resource = Resource("flows_validate")


@resource.on("POST", "/flows/validate")
def flows() -> Response:
    """One entry per document, in order; always 200 (``api.md`` 8.9)."""
    found = []
    for index, (text, filename) in enumerate(_documents()):
        found.append(_judged(index, text, filename))
    return answer(found)


def _documents() -> list[tuple[str, str | None]]:
    if request.mimetype == MULTIPART:
        return [
            (text, name)
            for _, storage in request.files.items(multi=True)
            for text in split_documents(storage.read().decode("utf-8", "replace"))
            for name in (storage.filename,)
        ]
    return [(text, None) for text in flow_texts()]


def _judged(index: int, text: str, filename: str | None) -> dict[str, Any]:
    wiring = lanner()
    reading: Reading = wiring.registry.read(text)
    entry = violation(index, reading.problems)
    value = reading.document.value if isinstance(reading.document.value, dict) else {}
    flow_id, namespace = value.get("id"), value.get("namespace")
    if isinstance(flow_id, str):
        entry["flow"] = flow_id
    if isinstance(namespace, str):
        entry["namespace"] = namespace
    if filename:
        entry["filename"] = filename
    if reading.flow is not None:
        entry["infos"].append(f"language {reading.flow.language}: {reading.flow.language_reason}")
        entry["outdated"] = _outdated(reading, value)
        entry["deprecationPaths"] = _deprecations(reading)
    return entry


def violation(index: int, problems: tuple[Problem, ...]) -> dict[str, Any]:
    """ValidateConstraintViolation: ``constraints`` is absent when there is no error; one violation a line."""
    entry: dict[str, Any] = {"index": index}
    errors = [problem for problem in problems if problem.severity is Severity.ERROR]
    if errors:
        entry["constraints"] = "\n".join(problem.constraint() for problem in errors)
    entry["warnings"] = [problem.constraint() for problem in problems if problem.severity is Severity.WARNING]
    entry["infos"] = [problem.constraint() for problem in problems if problem.severity is Severity.INFO]
    if problems:
        # Ours: where each finding stands, for editors; Kestra's clients ignore it.
        entry["problems"] = [
            {
                "code": problem.code,
                "message": problem.message,
                "path": problem.path,
                "line": problem.line,
                "column": problem.column,
                "severity": problem.severity.value,
                **({"hint": problem.hint} if problem.hint else {}),
            }
            for problem in problems
        ]
    return entry


def _outdated(reading: Reading, value: dict[str, Any]) -> bool:
    """Whether a sent ``revision`` is not the one a save would give."""
    sent = value.get("revision")
    flow = reading.flow
    if flow is None or sent is None:
        return False
    stored = lanner().database.read(lambda c: revisions.latest(c, flow.namespace, flow.id, allow_deleted=True))
    return stored is not None and str(sent) != str(stored.revision + 1)


def _deprecations(reading: Reading) -> list[str]:
    catalog = lanner().catalog
    found = []
    for task in reading.flow.walk() if reading.flow else ():
        entry = catalog.resolve(task.type)
        if entry is not None and entry.cls.deprecated:
            found.append(task.id)
    return found


def _single(text: str, trigger: bool) -> Response:
    read = read_trigger if trigger else read_task
    entry = violation(0, read(text, lanner().catalog).problems)
    return answer(entry)


def _single_text() -> str:
    """The body; a JSON object is YAML already, but its keys must not be numbers and the like."""
    text = text_body()
    if request.mimetype in JSON_TYPES:
        try:
            orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise InvalidInput(f"Invalid json: {error}", code="invalid_json") from error
    return text


@resource.on("POST", "/flows/validate/task")
def task() -> Response:
    section = required("section").upper()
    if section not in ("TASKS", "TRIGGERS"):
        raise InvalidInput("Illegal argument: section is TASKS or TRIGGERS")
    return _single(_single_text(), section == "TRIGGERS")


@resource.on("POST", "/flows/validate/trigger")
def trigger() -> Response:
    return _single(_single_text(), True)
