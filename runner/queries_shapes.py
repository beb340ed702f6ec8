"""Rows of this room in the JSON shapes of the API (``api.md`` 2). No query lives here."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import orjson

from namespaces.secrets import MARK, masked
from namespaces.store.base import dump_json, to_micros
from runner.engine.states import TERMINAL
from runner.logs import NAMES

TENANT = "main"
MASK = "********"
INPUT_MASK = "******"
"""Kestra's six stars, whatever the length (``decisions.md`` 7)."""

LoadOutputs = Callable[[str], Any]
"""Reads outputs that are kept in the internal storage, by URI."""


@lru_cache(maxsize=4_096)
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def instant(micros: int) -> str:
    """Microseconds since 1970 as ISO-8601 with ``Z`` and microseconds."""
    seconds, rest = divmod(micros, 1_000_000)
    return f"{_second(seconds)}.{rest:06d}Z"


def duration(micros: int) -> str:
    """Microseconds as Java writes a duration: ``PT1M2.5S``."""
    whole, fraction = divmod(max(0, micros), 1_000_000)
    hours, rest = divmod(whole, 3600)
    minutes, seconds = divmod(rest, 60)
    text = "PT"
    if hours:
        text += f"{hours}H"
    if minutes:
        text += f"{minutes}M"
    if seconds or fraction or text == "PT":
        text += f"{seconds}" + (f".{fraction:06d}".rstrip("0") if fraction else "") + "S"
    return text


def last_entered(raw: str | None, state: str) -> int | None:
    """When a stored history last entered the state, in microseconds; None when it never did."""
    moments = [at for word, at in orjson.loads(raw or "[]") if word == state]
    return moments[-1] if moments else None


def began(raw: str | None) -> int:
    """The first moment of a stored history, 0 for an empty one."""
    history = orjson.loads(raw or "[]")
    return int(history[0][1]) if history else 0


def state(history: Iterable[Any], now: int, current: str | None = None, until: int | None = None) -> dict[str, Any]:
    """State of an execution or task run from its ``[[state, microseconds], …]``; ``now`` in microseconds.

    ``until`` leaves out what came after that moment.
    """
    changes = list(history)
    if until is not None:
        changes = [change for change in changes if change[1] <= until]
    if not changes:
        return {"current": current or "CREATED", "histories": []}
    first, last = changes[0], changes[-1]
    word = last[0]
    shape: dict[str, Any] = {
        "current": word,
        "histories": [{"state": name, "date": instant(at)} for name, at in changes],
        "duration": duration((last[1] if len(changes) > 1 else now) - first[1]),
        "startDate": instant(first[1]),
    }
    if word in TERMINAL or word == "PAUSED":
        shape["endDate"] = instant(last[1])
    return shape


def json_of(raw: str | None, mask: str = MASK) -> Any:
    """A stored JSON text as a value, sealed secrets in it shown as stars."""
    if raw is None:
        return None
    value = orjson.loads(raw)
    return masked(value, mask) if MARK in raw else value


def labels(pairs: Iterable[Any] | None) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in pairs or ()]


def trigger(raw: str | None) -> dict[str, Any] | None:
    """``{id, type, variables}``; what only the server needs (keys beginning with ``_``) stays out."""
    value = json_of(raw)
    if not value:
        return None
    return {key: item for key, item in value.items() if not key.startswith("_") and item is not None}


_NOT_READABLE = (ValueError, TypeError, KeyError, IndexError, AttributeError)
"""What a stored value of a wrong shape may raise here: one such row must not empty the page it is on (R20)."""


def execution(row: Any, runs: list[dict[str, Any]] | None, now: int, until: int | None = None) -> dict[str, Any]:
    """One execution; ``runs`` None leaves ``taskRunList`` out. An unreadable row is shown as far as it goes."""
    try:
        return _execution(row, runs, now, until)
    except _NOT_READABLE as error:
        shape: dict[str, Any] = {
            "id": row.id,
            "tenantId": TENANT,
            "namespace": row.namespace,
            "flowId": row.flow_id,
            "flowRevision": row.revision,
            "labels": [],
            "state": {"current": row.state, "histories": [], "startDate": instant(row.created_at)},
            "originalId": row.original_id,
            "deleted": False,
            "metadata": {"attemptNumber": row.attempt_number, "originalCreatedDate": instant(row.created_at)},
            "error": {"message": f"a stored value of this execution cannot be read: {error}"},
        }
        return shape if runs is None else shape | {"taskRunList": runs}


def _execution(row: Any, runs: list[dict[str, Any]] | None, now: int, until: int | None) -> dict[str, Any]:
    history = orjson.loads(row.history) if row.history else []
    created = row.original_created_at or row.created_at
    shape: dict[str, Any] = {
        "id": row.id,
        "tenantId": TENANT,
        "namespace": row.namespace,
        "flowId": row.flow_id,
        "flowRevision": row.revision,
    }
    if runs is not None:
        shape["taskRunList"] = runs
    if row.inputs is not None:
        shape["inputs"] = json_of(row.inputs, INPUT_MASK)
    outputs = json_of(row.outputs)
    if outputs:
        shape["outputs"] = outputs
    shape["labels"] = labels(orjson.loads(row.labels) if row.labels else ())
    variables = json_of(row.variables)
    if variables:
        shape["variables"] = variables
    shape["state"] = state(history, now, row.state, until)
    parent = row.trigger_execution_id if row.kind == "LOOP" else row.parent_id
    if parent is not None:
        shape["parentId"] = parent
    shape["originalId"] = row.original_id
    started_by = trigger(row.trigger)
    if started_by is not None:
        shape["trigger"] = started_by
    shape["deleted"] = False
    shape["metadata"] = {"attemptNumber": row.attempt_number, "originalCreatedDate": instant(created)}
    if row.schedule_date is not None:
        shape["scheduleDate"] = instant(row.schedule_date)
    if row.kind != "NORMAL":
        shape["kind"] = row.kind
    if row.loop_run is not None:
        shape["loopRun"] = json_of(row.loop_run)
    if row.breakpoints is not None:
        shape["breakpoints"] = json_of(row.breakpoints)
    if row.error is not None:
        shape["error"] = {"message": row.error}
    if row.commit is not None:
        shape["git"] = {"commit": row.commit, "source": row.source, "generation": row.generation}
    return shape


_JSON_COLUMNS = ("history", "labels", "inputs", "variables", "outputs", "trigger", "breakpoints", "loop_run")
_INSTANTS = ("created_at", "ended_at", "schedule_date", "original_created_at")


def inserted(values: Mapping[str, Any], now: int) -> dict[str, Any]:
    """An execution as it was just written, from the columns of its row: without task runs yet."""
    row = SimpleNamespace(parent_id=None, **dict.fromkeys((*_JSON_COLUMNS, *_INSTANTS)))
    for name, value in values.items():
        if value is not None and name in _JSON_COLUMNS:
            value = dump_json(value)
        elif value is not None and name in _INSTANTS:
            value = to_micros(value)
        setattr(row, name, value)
    return execution(row, [], now)


def task_run(
    row: Any, namespace: str, flow_id: str, now: int, load: LoadOutputs | None = None, until: int | None = None
) -> dict[str, Any]:
    """One task run; outputs kept elsewhere are read through ``load`` and left out without it."""
    try:
        return _task_run(row, namespace, flow_id, now, load, until)
    except _NOT_READABLE as error:
        return {
            "id": row.id,
            "tenantId": TENANT,
            "executionId": row.execution_id,
            "namespace": namespace,
            "flowId": flow_id,
            "taskId": row.task_id,
            "state": {"current": row.state, "histories": []},
            "error": {"message": f"a stored value of this task run cannot be read: {error}"},
        }


def _task_run(
    row: Any, namespace: str, flow_id: str, now: int, load: LoadOutputs | None, until: int | None
) -> dict[str, Any]:
    shape: dict[str, Any] = {
        "id": row.id,
        "tenantId": TENANT,
        "executionId": row.execution_id,
        "namespace": namespace,
        "flowId": flow_id,
        "taskId": row.task_id,
    }
    if row.parent_id is not None:
        shape["parentTaskRunId"] = row.parent_id
    if row.value is not None:
        shape["value"] = row.value
    if row.iteration is not None:
        shape["iteration"] = row.iteration
    attempts = orjson.loads(row.attempts) if row.attempts else None
    if attempts:
        shape["attempts"] = [attempt(item, now) for item in attempts]
    outputs = outputs_of(row, load)
    if outputs is not None:
        shape["outputs"] = outputs
    shape["state"] = state(orjson.loads(row.history) if row.history else (), now, row.state, until)
    if row.error is not None:
        shape["error"] = {"message": row.error}
    return shape


def outputs_of(row: Any, load: LoadOutputs | None) -> Any:
    if row.outputs_uri is not None and load is not None:
        return masked(load(row.outputs_uri), MASK)
    return json_of(row.outputs)


def attempt(item: Mapping[str, Any], now: int) -> dict[str, Any]:
    """One attempt: state with its two moments, and who ran it where."""
    info = item.get("info") or {}
    history: list[Any] = []
    start, end, word = item.get("start"), item.get("end"), item["state"]
    if start is not None:
        history = [["CREATED", start], ["RUNNING", start]]
        if end is not None:
            history.append([word, end])
        elif word not in ("CREATED", "RUNNING"):
            history.append([word, start])
    shape: dict[str, Any] = {"state": state(history, now, word)}
    # What was noted about the attempt (runner, exit code, why) stays visible beside Kestra's two members.
    shape.update({_CAMEL.get(key, key): value for key, value in info.items() if value is not None})
    return shape


_CAMEL = {"worker_id": "workerId", "log_file": "logFile", "task_runner": "taskRunner", "exit_code": "exitCode"}


def log_line(row: Any) -> dict[str, Any]:
    shape: dict[str, Any] = {
        "namespace": row.namespace,
        "flowId": row.flow_id,
        "level": NAMES.get(row.level, "INFO"),
        "timestamp": instant(row.at),
        "message": row.message,
        "thread": row.task_run_id or "lanner",
    }
    if row.execution_id is not None:
        shape["executionId"] = row.execution_id
    if row.task_id is not None:
        shape["taskId"] = row.task_id
    if row.task_run_id is not None:
        shape["taskRunId"] = row.task_run_id
        shape["attemptNumber"] = row.attempt
    if row.trigger_id is not None:
        shape["triggerId"] = row.trigger_id
    return shape


def metric(row: Any) -> dict[str, Any]:
    """Timers are kept in seconds and shown in milliseconds (``api.md`` 6.1)."""
    return {
        "namespace": row.namespace,
        "flowId": row.flow_id,
        "executionId": row.execution_id,
        "taskId": row.task_id,
        "taskRunId": row.task_run_id,
        "type": row.type,
        "name": row.name,
        "value": row.value * 1000 if row.type == "timer" else row.value,
        "timestamp": instant(row.at),
        "tags": orjson.loads(row.tags) if row.tags else {},
    }
