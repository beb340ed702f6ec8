"""What went wrong: the first failing task of an execution, its last lines, and what changed since the last success."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.engine import Connection

from namespaces import revisions
from namespaces.filters import Filter, Op
from runner import queries, queries_counters
from service.ui import sources

LINES = 20


def first_failure(runs: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The failed task run that ended first and has no failed child of its own."""
    parents = {run.get("parentTaskRunId") for run in runs if run["state"]["current"] == "FAILED"}
    failed = [run for run in runs if run["state"]["current"] == "FAILED" and run["id"] not in parents]
    return min(failed, key=lambda run: run["state"]["histories"][-1]["date"], default=None)


def explain(connection: Connection, execution: Mapping[str, Any], now: Any) -> dict[str, Any]:
    """``{run, attempt, lines, line, error, since}``; every part may be missing."""
    run = first_failure(execution.get("taskRunList", []))
    found: dict[str, Any] = {"run": run, "lines": [], "error": "", "since": None, "line": None, "attempt": None}
    execution_id = execution["id"]
    if run is not None:
        filters = [Filter("taskRunId", Op.EQUALS, run["id"])]
        found["lines"] = queries_counters.log_window(connection, execution_id, filters, limit=LINES)
        if found["lines"]:
            found["number"] = 1 + queries_counters.log_count(connection, execution_id, (), before=found["lines"][0].id)
        found["error"] = (run.get("error") or {}).get("message", "")
        found["attempt"] = run["attempts"][-1] if run.get("attempts") else None
        stored = revisions.at_revision(
            connection, execution["namespace"], execution["flowId"], execution["flowRevision"]
        )
        if stored is not None:
            found["line"] = sources.task_line(stored.text.splitlines(), run["taskId"])
    found["error"] = found["error"] or (execution.get("error") or {}).get("message", "")
    found["since"] = _since(connection, execution, now)
    return found


def _since(connection: Connection, execution: Mapping[str, Any], now: Any) -> dict[str, Any] | None:
    flow = (execution["namespace"], execution["flowId"])
    good_id = queries_counters.last_success(connection, flow, execution["id"])
    good = queries.execution(connection, good_id, now=now, light=True) if good_id else None
    if good is None:
        return None
    mine, theirs = execution.get("inputs") or {}, good.get("inputs") or {}
    names = [name for name in {**theirs, **mine} if mine.get(name) != theirs.get(name)]
    return {
        "execution": good,
        "revisions": (good["flowRevision"], execution["flowRevision"]),
        "commit": (good.get("git") or {}).get("commit"),
        "inputs": [{"name": name, "then": theirs.get(name), "now": mine.get(name)} for name in names],
    }
