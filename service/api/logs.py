"""Routes of logs (``api.md`` 4.6): read, download, follow, search, delete."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flask import Response, request

from namespaces.errors import InvalidInput
from namespaces.filters import Filter, Filters, Op
from runner import queries, queries_logs
from runner.logs import LEVELS
from service import stream
from service.api import filters
from service.api.answers import answer, download, empty
from service.api.context import lanner, page, required
from service.api.executions import require_execution
from service.api.routes import Resource

resource = Resource("logs")

STEP = 1_000
"""Lines a follower reads at once: its buffer stays small whatever the log holds."""


def _wanted() -> Filters:
    """``minLevel``, ``taskRunId``, ``taskId``, ``attempt`` and bracketed filters. Raises ``InvalidInput``."""
    found: list[Any] = list(filters.from_pairs(_bracketed(), filters.LOGS, lanner().clock.now()))
    level = request.args.get("minLevel")
    if level:
        if level.upper() not in LEVELS:
            raise InvalidInput(f"Illegal argument: minLevel is one of {', '.join(LEVELS)}, not '{level[:20]}'")
        found.append(Filter("level", Op.EQUALS, level))
    for name, field in (("taskRunId", "taskRunId"), ("taskId", "taskId"), ("attempt", "attemptNumber")):
        value = request.args.get(name)
        if value:
            found.append(Filter(field, Op.EQUALS, value))
    return found


def _bracketed() -> list[tuple[str, str]]:
    return [(name, value) for name, value in request.args.items(multi=True) if name.startswith("filters[")]


@resource.on("GET", "/logs/<execution_id>")
def of_execution(execution_id: str) -> Response:
    """Of an unknown (or deleted) execution there are none: an empty list, as in Kestra."""
    wanted = _wanted()
    lines, _ = lanner().database.read(lambda c: queries.log_lines(c, execution_id, wanted))
    return answer(lines)


@resource.on("GET", "/logs/<execution_id>/download")
def download_text(execution_id: str) -> Response:
    """Works at once, also before the first line (``api.md`` 8.13)."""
    wanted = _wanted()
    text = lanner().database.read(lambda c: "".join(queries.log_text(c, execution_id, wanted)))
    return download(text.encode(), f"{execution_id}.log", "text/plain")


@resource.on("GET", "/logs/<execution_id>/follow")
def follow(execution_id: str) -> Response:
    """Past lines first, then new ones; closes when the execution has ended and its lines are out."""
    require_execution(execution_id)
    wanted = _wanted()
    wiring = lanner()
    database = wiring.database

    def events(stops: Any) -> Iterator[stream.Event]:
        state: dict[str, Any] = {"after": 0, "ended": False, "opened": False}

        def lines() -> Iterator[stream.Event] | None:
            if state["ended"]:
                return None

            def read(connection: Any) -> tuple[bool, list[dict[str, Any]], int]:
                version = queries.version(connection, execution_id)
                rows, last = queries.log_lines(connection, execution_id, wanted, after=state["after"], limit=STEP)
                return version is None or version[1], rows, last

            return out(*read_all(read))

        def read_all(read: Any) -> tuple[bool, list[dict[str, Any]]]:
            found: list[dict[str, Any]] = []
            ended, rows, last = database.read(read)
            found.extend(rows)
            state["after"] = last
            # A full step says that more is waiting: the end is told only with the last of it.
            return ended and len(rows) < STEP, found

        def out(ended: bool, rows: list[dict[str, Any]]) -> Iterator[stream.Event]:
            state["ended"] = ended
            if not state["opened"]:
                state["opened"] = True
                yield stream.PING
            for row in rows:
                yield "progress", row

        return stream.watch(wiring.nudges, f"logs:{execution_id}", lines, stops)

    return stream.respond(events(stream.stopping()))


@resource.on("GET", "/logs/search")
def search() -> Response:
    wanted = filters.read(filters.LOGS, lanner().clock.now())
    asked = page()
    rows, total = lanner().database.read(lambda c: queries.search_logs(c, wanted, asked))
    return answer({"results": rows, "total": total, "type": "OFFSET"})


@resource.on("DELETE", "/logs/<execution_id>")
def delete(execution_id: str) -> Response:
    require_execution(execution_id)
    wanted = _wanted()
    lanner().database.write(lambda tx: queries.delete_logs(tx, execution_id, wanted))
    return empty(200)


@resource.on("DELETE", "/logs/<namespace>/<flow_id>")
def delete_of_trigger(namespace: str, flow_id: str) -> Response:
    trigger_id = required("triggerId")
    lanner().database.write(lambda tx: queries_logs.delete_trigger_logs(tx, namespace, flow_id, trigger_id))
    return empty(200)
