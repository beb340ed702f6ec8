"""The log of an execution: the tail in the first answer, older blocks and new lines on request."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flask import Response, request
from sqlalchemy.engine import Connection

from namespaces.errors import LannerError, NotFound
from namespaces.filters import Filter, Filters, Op
from runner import queries, queries_counters
from service import stream
from service.api.answers import answer
from service.api.context import lanner, number
from service.auth.principal import require_here
from service.ui import logview, words
from service.ui.executionpages import PATH, load
from service.ui.site import page, render, url

TAIL = 1_000
OLDER = 5_000
STEP = 1_000
MOST = 100_000
"""Lines a page holds; older ones are asked for by hand."""


def _wanted() -> tuple[Filters, dict[str, str]]:
    """Filters of the URL (``level``, ``task``, ``attempt``, ``q``, ``run``) and the parameters that name them again."""
    found: list[Filter] = []
    names: dict[str, str] = {}
    level = request.args.get("level", "").upper()
    if level in words.LEVELS and level != "TRACE":
        found.append(Filter("level", Op.EQUALS, level))
        names["level"] = level
    for name, field, op in (
        ("task", "taskId", Op.EQUALS),
        ("run", "taskRunId", Op.EQUALS),
        ("attempt", "attemptNumber", Op.EQUALS),
        ("q", "q", Op.CONTAINS),
    ):
        value = request.args.get(name, "").strip()
        if value and (name != "attempt" or value.isdigit()):
            found.append(Filter(field, op, value))
            names[name] = value
    return found, names


@page(PATH + "/logs", "execution.read")
def execution_logs(namespace: str, flow_id: str, execution_id: str) -> Response:
    filters, names = _wanted()
    before = number("before", 0, least=0) or None

    def read(connection: Connection) -> dict[str, Any]:
        head = load(connection, namespace, flow_id, execution_id, "logs")
        lines = queries_counters.log_window(connection, execution_id, filters, before=before, limit=TAIL)
        head |= {
            "lines": lines,
            "total": queries_counters.log_count(connection, execution_id, filters),
            "levels": queries_counters.log_levels(connection, execution_id),
            "log_tasks": queries_counters.log_tasks(connection, execution_id),
            "first": 1 + queries_counters.log_count(connection, execution_id, filters, before=lines[0].id)
            if lines
            else 1,
        }
        return head

    head = lanner().database.read(read)
    lines = head.pop("lines")
    place = head["place"]
    whole = sum(head["levels"].values())
    return render(
        "execution_logs.html",
        **head,
        whole=whole,
        filtered=bool(names),
        level_words=words.LEVELS,
        shown=len(lines),
        before=before,
        html=logview.blocks(logview.in_time(lines), head["first"], _line_url(place)),
        first_id=lines[0].id if lines else 0,
        last_id=lines[-1].id if lines else 0,
        older_url=url("execution_log_block", **place, **names),
        live_url=url("live_log", execution_id=execution_id, **names),
        finished=head["state"]["current"] in words.ENDED,
        most=MOST,
        downloads={
            "all": f"/api/v1/main/logs/{execution_id}/download",
            "filtered": f"/api/v1/main/logs/{execution_id}/download"
            + _query({"minLevel": names.get("level", ""), "taskId": names.get("task", "")}),
        },
    )


def _query(pairs: dict[str, str]) -> str:
    from urllib.parse import urlencode

    found = {key: value for key, value in pairs.items() if value}
    return "?" + urlencode(found) if found else ""


def _line_url(place: dict[str, str]) -> Any:
    base = url("execution_log_line", **place)
    return lambda line_id: f"{base}?id={line_id}"


@page(PATH + "/logs/block", "execution.read")
def execution_log_block(namespace: str, flow_id: str, execution_id: str) -> Response:
    """Older lines as HTML, just before the line ``before``, which has the number ``number``."""
    filters, _ = _wanted()
    before, end = number("before", 0, least=0), number("number", 1, least=1)
    _require(namespace, flow_id, execution_id)
    lines = lanner().database.read(
        lambda c: queries_counters.log_window(c, execution_id, filters, before=before, limit=OLDER)
    )
    place = {"namespace": namespace, "flow_id": flow_id, "execution_id": execution_id}
    start = max(1, end - len(lines))
    response = Response(logview.blocks(logview.in_time(lines), start, _line_url(place)), mimetype="text/html")
    response.headers["Lanner-First-Id"] = str(lines[0].id if lines else 0)
    response.headers["Lanner-First-Number"] = str(start)
    return response


def _require(namespace: str, flow_id: str, execution_id: str) -> Any:
    head: Any = lanner().database.read(lambda c: queries.head(c, execution_id))
    if head is None or (head.namespace, head.flow_id) != (namespace, flow_id):
        raise NotFound(f"There is no execution “{execution_id}” of {namespace}.{flow_id}.")
    return head


@page(PATH + "/logs/line", "execution.read")
def execution_log_line(namespace: str, flow_id: str, execution_id: str) -> Response:
    """One line in full, as plain text that a browser never runs."""
    _require(namespace, flow_id, execution_id)
    wanted = number("id", 0, least=0)
    lines = lanner().database.read(
        lambda c: queries_counters.log_window(c, execution_id, (), after=max(0, wanted - 1), limit=1)
    )
    if not lines or lines[0].id != wanted:
        raise NotFound("This log line does not exist any more.")
    response = Response(lines[0].message, mimetype="text/plain")
    response.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    return response


@page("/live/logs/<execution_id>", "execution.read")
def live_log(execution_id: str) -> Response:
    """New lines as they arrive: ``{html, after, number, count}`` an event, ``end`` when the execution is over."""
    filters, _ = _wanted()
    after, first = number("after", 0, least=0), number("number", 1, least=1)
    if "Last-Event-Id" in request.headers:
        # A stream that broke goes on where the browser last was.
        told = request.headers["Last-Event-Id"].split(".")
        if len(told) == 2 and all(part.isdigit() for part in told):
            after, first = int(told[0]), int(told[1])
    wiring = lanner()
    head: Any = wiring.database.read(lambda c: queries.head(c, execution_id))
    if head is None:
        raise NotFound("There is no such execution.")
    require_here(head.namespace)
    line_url = _line_url({"namespace": head.namespace, "flow_id": head.flow_id, "execution_id": execution_id})
    database = wiring.database
    at: dict[str, Any] = {"after": after, "number": first, "ended": False, "opened": False}

    def look() -> Iterator[stream.Event] | None:
        if at["ended"]:
            return None

        def read(connection: Connection) -> tuple[bool, list[Any]]:
            version = queries.version(connection, execution_id)
            rows = queries_counters.log_window(connection, execution_id, filters, after=at["after"], limit=STEP)
            return version is None or version[1], rows

        ended, rows = database.read(read)
        return events(ended and len(rows) < STEP, rows)

    def events(ended: bool, rows: list[Any]) -> Iterator[stream.Event]:
        at["ended"] = ended
        if not at["opened"]:
            at["opened"] = True
            yield stream.PING
        if rows:
            number = at["number"]
            html = str(logview.blocks(logview.in_time(rows), number, line_url))
            at["after"], at["number"] = rows[-1].id, number + len(rows)
            value = {"html": html, "after": at["after"], "number": at["number"], "count": len(rows)}
            yield f"{at['after']}.{at['number']}", value
        if ended:
            yield "end", {"end": True}

    try:
        return stream.respond(stream.watch(wiring.nudges, f"logs:{execution_id}", look, stream.stopping()))
    except LannerError as error:
        # Too many streams: the page falls back to asking now and then.
        return answer({"message": error.message}, error.status)
