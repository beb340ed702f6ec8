"""Actions on many executions, by ids and by query (``api.md`` 1.8): all are fit, or nothing is touched."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from flask import Response, request

from namespaces.errors import Conflict, InvalidInput, NotFound
from runner import queries
from runner.engine.states import TERMINAL, State
from service.api import filters
from service.api.answers import BulkRefused, bulk
from service.api.context import flag, id_list, json_list, json_object, lanner, required
from service.api.execution_actions import label_body, state_word
from service.api.executions import what_to_delete
from service.api.routes import Resource

log = logging.getLogger("lanner.api")
resource = Resource("execution_bulk")

Found = Sequence[tuple[str, str]]
"""(id, state) of what an action is about."""
Fit = Callable[[str], str | None]
"""Why an execution in this state is unfit, None when it is fit."""


def _ids(ids: Sequence[str], action: str) -> Found:
    """Their states. Raises ``BulkRefused`` when one of them does not exist."""
    states = lanner().database.read(lambda c: queries.states(c, ids))
    missing = [(one, "execution not found") for one in ids if one not in states]
    if missing:
        raise BulkRefused(action, missing)
    return [(one, states[one]) for one in ids]


def _query() -> Found:
    """All executions the filters match; no filter means all of them, as in Kestra."""
    wanted = filters.read(filters.EXECUTIONS, lanner().clock.now())
    found: Found = lanner().database.read(lambda c: queries.matching(c, wanted))
    return found


def _each(action: str, found: Found, fit: Fit, do: Callable[[str], Any]) -> Response:
    """Refuse everything when one is unfit, else act on each.

    One that changed between the look and the act is left as it is: somebody else was faster.
    """
    invalids = [(one, reason) for one, state in found if (reason := fit(state)) is not None]
    if invalids:
        raise BulkRefused(action, invalids)
    for one, _ in found:
        try:
            do(one)
        except (Conflict, NotFound) as error:
            log.info("bulk %s passed over %s: %s", action, one, error, extra={"action": "bulk_passed_over"})
    return bulk(len(found))


def _in(*states: State) -> Fit:
    words = "|".join(state.value for state in states)
    return lambda state: None if state in states else f"execution not in state {words}"


def _running(state: str) -> str | None:
    return "execution already finished" if state in TERMINAL else None


def _terminated(state: str) -> str | None:
    return None if state in TERMINAL else "execution is not terminated"


def _in_terminated_state(state: str) -> str | None:
    return None if state in TERMINAL else "execution not in a terminated state"


def _not_terminated(state: str) -> str | None:
    return "execution in a terminated state" if state in TERMINAL else None


def _anything(state: str) -> str | None:  # noqa: ARG001
    return None


@resource.on("DELETE", "/executions/kill/by-ids")
def kill_ids() -> Response:
    return _kill(_ids(id_list(), "kill"))


@resource.on("DELETE", "/executions/kill/by-query")
def kill_query() -> Response:
    return _kill(_query())


def _kill(found: Found) -> Response:
    return _each("kill", found, _running, lambda one: lanner().executions.kill(one, cascade=False))


@resource.on("POST", "/executions/pause/by-ids")
def pause_ids() -> Response:
    return _each("pause", _ids(id_list(), "pause"), _in(State.RUNNING), lanner().executions.pause)


@resource.on("POST", "/executions/pause/by-query")
def pause_query() -> Response:
    return _each("pause", _query(), _in(State.RUNNING), lanner().executions.pause)


@resource.on("POST", "/executions/resume/by-ids")
def resume_ids() -> Response:
    return _each("resume", _ids(id_list(), "resume"), _in(State.PAUSED), lanner().executions.resume)


@resource.on("POST", "/executions/resume/by-query")
def resume_query() -> Response:
    return _each("resume", _query(), _in(State.PAUSED), lanner().executions.resume)


@resource.on("POST", "/executions/restart/by-ids")
def restart_ids() -> Response:
    return _each("restart", _ids(id_list(), "restart"), _in(State.FAILED), lanner().executions.restart)


@resource.on("POST", "/executions/restart/by-query")
def restart_query() -> Response:
    return _each("restart", _query(), _in(State.FAILED), lanner().executions.restart)


@resource.on("POST", "/executions/replay/by-ids")
def replay_ids() -> Response:
    return _replay(_ids(id_list(), "replay"))


@resource.on("POST", "/executions/replay/by-query")
def replay_query() -> Response:
    return _replay(_query())


def _replay(found: Found) -> Response:
    latest = flag("latestRevision")
    return _each("replay", found, _anything, lambda one: lanner().executions.replay(one, latest=latest))


@resource.on("DELETE", "/executions/by-ids")
def delete_ids() -> Response:
    """Without ``includeNonTerminated`` running ones count as unknown."""
    found = _ids(id_list(), "delete")
    if not flag("includeNonTerminated"):
        running = [(one, "execution not found") for one, state in found if state not in TERMINAL]
        if running:
            raise BulkRefused("delete", running)
    return _delete(found)


@resource.on("DELETE", "/executions/by-query")
def delete_query() -> Response:
    found = _query()
    if not flag("includeNonTerminated"):
        found = [(one, state) for one, state in found if state in TERMINAL]
    return _delete(found)


def _delete(found: Found) -> Response:
    what = what_to_delete()
    return _each("delete", found, _anything, lambda one: lanner().executions.delete(one, **what))


@resource.on("POST", "/executions/labels/by-ids")
def labels_ids() -> Response:
    body = json_object()
    ids, labels = body.get("executionsId"), body.get("executionLabels")
    if not isinstance(ids, list) or not isinstance(labels, list) or not all(isinstance(one, str) for one in ids):
        raise InvalidInput("Invalid json: expected {executionsId: [id], executionLabels: [{key, value}]}")
    return _label(_ids(list(dict.fromkeys(ids)), "set labels"), label_body(labels))


@resource.on("POST", "/executions/labels/by-query")
def labels_query() -> Response:
    return _label(_query(), label_body(json_list()))


def _label(found: Found, pairs: list[tuple[str, str]]) -> Response:
    offending = next((f"{key}={value}" for key, value in pairs if key.startswith("system.")), None)
    if offending:
        raise InvalidInput(f"System labels can only be set by Kestra itself, offending label: {offending}")
    return _each("set labels", found, _terminated, lambda one: lanner().executions.set_labels(one, pairs))


@resource.on("POST", "/executions/change-status/by-ids")
def change_status_ids() -> Response:
    return _change_status(_ids(id_list(), "change status"))


@resource.on("POST", "/executions/change-status/by-query")
def change_status_query() -> Response:
    return _change_status(_query())


def _change_status(found: Found) -> Response:
    state = state_word(required("newStatus"), "newStatus")
    return _each(
        "change status", found, _in_terminated_state, lambda one: lanner().executions.change_status(one, state)
    )


@resource.on("POST", "/executions/unqueue/by-ids")
def unqueue_ids() -> Response:
    return _unqueue(_ids(id_list(), "unqueue"), request.args.get("state"))


@resource.on("POST", "/executions/unqueue/by-query")
def unqueue_query() -> Response:
    return _unqueue(_query(), request.args.get("newState") or request.args.get("state"))


def _unqueue(found: Found, wanted: str | None) -> Response:
    state = state_word(wanted or "RUNNING")
    return _each("unqueue", found, _in(State.QUEUED), lambda one: lanner().executions.unqueue(one, state))


@resource.on("POST", "/executions/force-run/by-ids")
def force_run_ids() -> Response:
    return _each("force run", _ids(id_list(), "force run"), _not_terminated, lanner().executions.force_run)


@resource.on("POST", "/executions/force-run/by-query")
def force_run_query() -> Response:
    return _each("force run", _query(), _not_terminated, lanner().executions.force_run)
