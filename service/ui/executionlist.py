"""The list of executions, of all flows or of one, and its filters in the URL."""

from __future__ import annotations

from typing import Any

from flask import Response, request
from sqlalchemy.engine import Connection

from namespaces import listing
from namespaces.filters import Filter, Op
from runner import queries
from service.api import filters as api_filters
from service.api.context import lanner
from service.ui import parts, words
from service.ui.site import page, render, url

NAMES = {
    "q": "q",
    "namespace": "namespace",
    "flow": "flowId",
    "state": "state",
    "label": "labels",
    "since": "timeRange",
    "trigger": "triggerId",
    "parent": "parentId",
    "kind": "kind",
}
SORT = {"started": "state.startDate", "duration": "state.duration", "state": "state.current", "flow": "flowId"}
RANGES = (("PT1H", "last hour"), ("PT24H", "last 24 hours"), ("P7D", "last 7 days"), ("P30D", "last 30 days"))
QUICK = (
    ("Failed, 24 h", {"state": "FAILED", "since": "PT24H"}),
    ("Running", {"state": "RUNNING"}),
    ("Paused", {"state": "PAUSED"}),
    ("Queued", {"state": "QUEUED"}),
)
HIDDEN_LABELS = "system."


@page("/executions", "execution.read")
def executions() -> Response:
    return draw(None)


def draw(flow_head: dict[str, Any] | None) -> Response:
    """The list; ``flow_head`` fixes it to one flow and is what the head of that flow's pages shows."""
    wanted = parts.read_filters(NAMES, api_filters.EXECUTIONS)
    found = list(wanted.filters)
    if flow_head is not None:
        stored = flow_head["stored"]
        found += [Filter("namespace", Op.EQUALS, stored.namespace), Filter("flowId", Op.EQUALS, stored.id)]
    asked = parts.page_of(tuple(SORT))
    order = tuple((SORT[name], descending) for name, descending in asked.sort)
    now = lanner().clock.now()

    def read(connection: Connection) -> Any:
        from dataclasses import replace

        rows, total = queries.search_executions(connection, found, replace(asked, sort=order), now=now, light=True)
        return rows, total, listing.flow_namespaces(connection) if flow_head is None else []

    rows, total, namespaces = lanner().database.read(read)
    for row in rows:
        row["shown_labels"] = [one for one in row["labels"] if not one["key"].startswith(HIDDEN_LABELS)]
    base = (
        url("executions")
        if flow_head is None
        else url("flow_executions", namespace=flow_head["stored"].namespace, flow_id=flow_head["stored"].id)
    )
    return render(
        "executions.html" if flow_head is None else "flow_executions.html",
        **(flow_head or {}),
        rows=rows,
        total=total,
        asked=asked,
        wanted=wanted,
        namespaces=namespaces,
        of_flow=flow_head is not None,
        states=[name for name in words.STATES if name not in ("SUBMITTED", "RESUBMITTED")],
        chosen=set(",".join(request.args.getlist("state")).split(",")) - {""},
        ranges=RANGES,
        quick=[(text, base + "?" + "&".join(f"{key}={value}" for key, value in args.items())) for text, args in QUICK],
        base=base,
    )
