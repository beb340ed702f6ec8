"""The list of flows, and the search in their sources."""

from __future__ import annotations

from typing import Any

from flask import Response, request
from sqlalchemy.engine import Connection

from namespaces import listing
from namespaces.errors import InvalidFlow
from runner import queries_counters
from service.api import filters as api_filters
from service.api.context import lanner
from service.ui import parts
from service.ui.site import page, render

NAMES = {"q": "q", "namespace": "namespace", "label": "labels"}
SORT = ("id", "namespace", "updated")
BARS = 20
MORE_HITS = 12


@page("/flows", "flow.read")
def flows() -> Response:
    wanted = parts.read_filters(NAMES, api_filters.FLOWS)
    asked = parts.page_of(SORT)
    text = request.args.get("q", "").strip()
    if request.args.get("in") == "source" and text:
        return _source_hits(text, asked)
    now = lanner().clock.now()

    def read(connection: Connection) -> Any:
        rows, total = listing.search_flows(connection, wanted.filters, asked)
        keys = [row.key for row in rows]
        return (
            rows,
            total,
            queries_counters.last_executions(connection, keys, BARS) if keys else {},
            queries_counters.triggers_of(connection, keys),
            listing.flow_namespaces(connection),
        )

    rows, total, runs, triggers, namespaces = lanner().database.read(read)
    broken = parts.broken_flows()
    shown = [_row(stored, runs.get(stored.key, []), triggers[stored.key], broken, now) for stored in rows]
    keys = {stored.key for stored in rows}
    never = [
        {"key": key, "status": status, "item": item, "problems": parts.own_problems(item)}
        for key, (status, item) in sorted(broken.items())
        if key not in keys and item.blob_oid is None
    ]
    return render(
        "flows.html",
        rows=shown,
        total=total,
        asked=asked,
        wanted=wanted,
        namespaces=namespaces,
        never=never if asked.number == 1 and not wanted.active else [],
        sources=len(lanner().sync.list()),
    )


def _row(stored: Any, runs: list[Any], triggers: list[Any], broken: Any, now: Any) -> dict[str, Any]:
    try:
        flow = lanner().registry.parsed(stored)
        labels, description, fault = flow.labels, flow.description, ""
    except InvalidFlow as error:
        labels, description, fault = (), None, error.message
    held = broken.get(stored.key)
    upcoming = [one["next"] for one in triggers if one["next"] is not None and not one["disabled"]]
    done = [run for run in runs if run["state"] in ("SUCCESS", "FAILED", "WARNING", "KILLED")]
    return {
        "stored": stored,
        "labels": [{"key": key, "value": value} for key, value in labels if not key.startswith("system.")],
        "description": _plain(description),
        "fault": fault,
        "held": held,
        "bars": parts.bars(stored.key, runs, now),
        "last": runs[0] if runs else None,
        "last_at": parts.instant(runs[0]["start"]) if runs else None,
        "ok": round(100 * sum(run["state"] in ("SUCCESS", "WARNING") for run in done) / len(done)) if done else None,
        "triggers": triggers,
        "next": parts.instant(min(upcoming)) if upcoming else None,
    }


def _plain(description: str | None) -> str:
    """The first line of a description without Markdown's emphasis."""
    first = (description or "").strip().partition("\n")[0]
    return first.replace("**", "").replace("`", "").lstrip("# ")


def _source_hits(text: str, asked: Any) -> Response:
    wanted = parts.read_filters({"namespace": "namespace", "label": "labels"}, api_filters.FLOWS)
    rows, total = lanner().database.read(lambda c: listing.search_sources(c, text, wanted.filters, asked))
    found = [{"stored": stored, "lines": lines[:MORE_HITS], "more": len(lines) - MORE_HITS} for stored, lines in rows]
    return render("flow_hits.html", rows=found, total=total, asked=asked, wanted=wanted, q=text)
