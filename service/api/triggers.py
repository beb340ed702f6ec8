"""Routes of triggers (``api.md`` 4.7): list, switch, unlock, restart, forget, backfills; single and many."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flask import Response, request

from namespaces.errors import BadRequest, Conflict, InvalidInput
from namespaces.filters import Filters, Op, instant_field, text_field, where
from namespaces.labels import read_labels
from runner import triggerstate
from runner.queries_filters import read_instant, scope_field
from runner.triggerrows import Key, declaration_table, state_table
from runner.triggerstate import FIELDS, TriggerQuery, TriggerStates
from service.api import filters
from service.api.answers import answer, bulk, csv, empty, paged
from service.api.context import flag, instant, json_body, json_object, lanner, page
from service.api.routes import Resource

resource = Resource("triggers")

_TEXTS = ("namespace", "flowId", "triggerId", "type")
_DATES = ("nextExecutionDate", "nextEvaluationDate", "lastTriggeredDate", "date")
_CONDITIONS = {
    **{name: text_field(name, FIELDS[name]) for name in _TEXTS},
    **{name: instant_field(name, FIELDS[name], read_instant) for name in _DATES},
    "startDate": instant_field("startDate", FIELDS["nextExecutionDate"], read_instant),
    "endDate": instant_field("endDate", FIELDS["nextExecutionDate"], read_instant),
    "updated": instant_field("updated", state_table.c.updated_at, read_instant),
    "workerId": text_field("workerId", state_table.c.execution_id),
    "triggerExecutionId": text_field("triggerExecutionId", state_table.c.execution_id),
    "scope": scope_field(declaration_table.c.namespace),
}
_STATES = {"ENABLED": False, "DISABLED": True}


def _states() -> TriggerStates:
    return lanner().triggers.states


def _query(wanted: Filters | None = None) -> TriggerQuery:
    """The filters as the trigger list takes them. Raises ``BadRequest``."""
    q = disabled = locked = None
    rest = []
    for one in wanted if wanted is not None else filters.read(filters.TRIGGERS, lanner().clock.now()):
        field, op, value = getattr(one, "field", ""), getattr(one, "op", None), getattr(one, "value", None)
        if field == "q" and op in (Op.EQUALS, Op.CONTAINS):
            q = str(value)
        elif field == "enabled" and op is Op.EQUALS:
            disabled = str(value).lower() != "true"
        elif field == "triggerState" and op is Op.EQUALS and value in _STATES:
            disabled = _STATES[value]
        elif field == "locked" and op is Op.EQUALS:
            locked = str(value).lower() == "true"
        else:
            rest.append(one)
    return TriggerQuery(q=q, disabled=disabled, locked=locked, where=tuple(where(rest, _CONDITIONS)))


def _key(body: Any) -> Key:
    """The three ids of a body; whole rows (v1) hold them too, also inside ``triggerContext`` or ``state``."""
    found = body if isinstance(body, dict) else {}
    inner = found.get("triggerContext") or found.get("state") or found
    namespace, flow_id, trigger_id = (
        (inner.get("namespace"), inner.get("flowId"), inner.get("triggerId"))
        if isinstance(inner, dict)
        else (None, None, None)
    )
    if isinstance(namespace, str) and isinstance(flow_id, str) and isinstance(trigger_id, str):
        return namespace, flow_id, trigger_id
    raise InvalidInput("Invalid json: expected {namespace, flowId, triggerId}", code="invalid_json")


def _keys() -> list[Key]:
    body = json_body(default=[])
    if isinstance(body, dict):
        body = body.get("triggers", [])
    if not isinstance(body, list):
        raise InvalidInput("Invalid json: expected a list of triggers", code="invalid_json")
    return list(dict.fromkeys(_key(one) for one in body))


def _matching(wanted: Filters | None = None) -> list[Key]:
    query = _query(wanted)
    found: list[Key] = lanner().database.read(lambda c: triggerstate.keys(c, query))
    return found


def _each(keys: Sequence[Key], do: Callable[[Key], Any], *, skip: tuple[type[Exception], ...] = ()) -> Response:
    """Act on each; what does not apply to one of them (``skip``) is not counted."""
    done = 0
    for key in keys:
        try:
            do(key)
        except skip:
            continue
        done += 1
    return bulk(done)


# ---------------------------------------------------------------------- lists


@resource.on("GET", "/triggers/search")
def search() -> Response:
    asked = page()
    query = _query()
    unknown = [field for field, _ in asked.sort if field not in FIELDS]
    if unknown:
        raise InvalidInput(f"Illegal argument: cannot sort by '{unknown[0]}'", hint=f"one of {', '.join(FIELDS)}")
    rows, total = lanner().database.read(
        lambda c: triggerstate.search(c, query, page=asked.number, size=asked.size, sort=asked.sort)
    )
    return paged(rows, total)


@resource.on("GET", "/triggers/<namespace>/<flow_id>")
def of_flow(namespace: str, flow_id: str) -> Response:
    asked, q = page(), request.args.get("q")
    rows = lanner().database.read(lambda c: triggerstate.of_flow(c, namespace, flow_id, q=q))
    return paged(rows[asked.offset : asked.offset + asked.size], len(rows))


@resource.on("GET", "/triggers/<namespace>/<flow_id>/<trigger_id>")
def get(namespace: str, flow_id: str, trigger_id: str) -> Response:
    return answer(lanner().database.read(lambda c: triggerstate.one(c, (namespace, flow_id, trigger_id))))


@resource.on("GET", "/triggers/<namespace>/<flow_id>/<trigger_id>/fires")
def fires(namespace: str, flow_id: str, trigger_id: str) -> Response:
    """Ours: what was decided last for a schedule, skips with their reasons."""
    return answer(lanner().database.read(lambda c: triggerstate.fires(c, (namespace, flow_id, trigger_id))))


@resource.on("GET", "/triggers/export/by-query/csv")
def export_csv() -> Response:
    query = _query()
    rows, _ = lanner().database.read(lambda c: triggerstate.search(c, query, page=1, size=100_000))
    names = ("namespace", "flowId", "triggerId", "disabled", "lastTriggeredDate", "nextExecutionDate", "executionId")
    return csv([names, *([row["state"].get(name) for name in names] for row in rows)], "triggers.csv")


# ---------------------------------------------------------------------- one trigger


@resource.on("PUT", "/triggers/set-disabled")
def set_disabled() -> Response:
    body = json_object()
    return answer(
        _states().set_disabled(_key(body), bool(body.get("disabled")), recover=body.get("recoverMissedSchedules"))
    )


@resource.on("PUT", "/triggers")
def update() -> Response:
    """v0/v1: the row comes back changed; a ``backfill`` object starts one, ``disabled`` toggles."""
    body = json_object()
    key = _key(body)
    row = lanner().database.read(lambda c: triggerstate.one(c, key))
    found = body.get("triggerContext") or body.get("state") or body
    backfill = found.get("backfill")
    if isinstance(backfill, dict) and not row.get("backfill"):
        row = _create_backfill(key, backfill)
    if "disabled" in found and bool(found["disabled"]) != row["disabled"]:
        row = _states().set_disabled(key, bool(found["disabled"]), recover=found.get("recoverMissedSchedules"))
    return answer(row)


@resource.on("POST", "/triggers/<namespace>/<flow_id>/<trigger_id>/unlock")
def unlock(namespace: str, flow_id: str, trigger_id: str) -> Response:
    return answer(_states().unlock((namespace, flow_id, trigger_id)))


@resource.on("POST", "/triggers/<namespace>/<flow_id>/<trigger_id>/restart")
def restart(namespace: str, flow_id: str, trigger_id: str) -> Response:
    return answer(_states().restart((namespace, flow_id, trigger_id)))


@resource.on("DELETE", "/triggers/<namespace>/<flow_id>/<trigger_id>")
def delete(namespace: str, flow_id: str, trigger_id: str) -> Response:
    _states().delete((namespace, flow_id, trigger_id))
    return empty(204)


# ---------------------------------------------------------------------- backfills


def _create_backfill(key: Key, backfill: Any) -> dict[str, Any]:
    if not isinstance(backfill, dict) or not isinstance(backfill.get("start"), str):
        raise InvalidInput("Invalid entity: backfill.start: must not be null", where="backfill.start")
    pairs, faults = read_labels(backfill.get("labels"))
    errors = [fault.message for fault in faults if not fault.warning]
    if errors:
        raise InvalidInput("Invalid entity: backfill.labels: " + ", ".join(errors))
    end = backfill.get("end")
    return _states().create_backfill(
        key,
        start=instant(backfill["start"], "backfill.start"),
        end=instant(end, "backfill.end") if isinstance(end, str) else None,
        inputs=backfill.get("inputs") or {},
        labels=pairs,
    )


@resource.on("PUT", "/triggers/backfill/create")
def create_backfill() -> Response:
    body = json_object()
    return answer(_create_backfill(_key(body), body.get("backfill")))


@resource.on("PUT", "/triggers/backfill/pause")
def pause_backfill() -> Response:
    return answer(_states().pause_backfill(_key(json_object())))


@resource.on("PUT", "/triggers/backfill/unpause")
def unpause_backfill() -> Response:
    return answer(_states().pause_backfill(_key(json_object()), paused=False))


@resource.on("POST", "/triggers/backfill/delete")
def delete_backfill() -> Response:
    return answer(_states().delete_backfill(_key(json_object())))


# ---------------------------------------------------------------------- many


@resource.on("POST", "/triggers/set-disabled/by-triggers")
def set_disabled_many() -> Response:
    body = json_object()
    disabled, recover = bool(body.get("disabled")), body.get("recoverMissedSchedules")
    return _each(_keys(), lambda key: _states().set_disabled(key, disabled, recover=recover))


@resource.on("POST", "/triggers/set-disabled/by-query")
def set_disabled_query() -> Response:
    disabled = flag("disabled", True)
    return _each(_matching(), lambda key: _states().set_disabled(key, disabled))


@resource.on("POST", "/triggers/unlock/by-triggers")
def unlock_many() -> Response:
    """Counts only those that were locked."""
    return _each(_keys(), _states().unlock, skip=(Conflict,))


@resource.on("POST", "/triggers/unlock/by-query")
def unlock_query() -> Response:
    return _each(_matching(), _states().unlock, skip=(Conflict,))


@resource.on("DELETE", "/triggers/delete/by-triggers")
def delete_many() -> Response:
    return _each(_keys(), _states().delete)


@resource.on("DELETE", "/triggers/delete/by-query")
def delete_query() -> Response:
    """The filters are in the body here."""
    wanted = filters.from_body(json_object().get("filters"), lanner().clock.now())
    return _each(_matching(wanted), _states().delete)


def _pause(keys: Sequence[Key], paused: bool) -> Response:
    return _each(keys, lambda key: _states().pause_backfill(key, paused=paused), skip=(BadRequest,))


@resource.on("POST", "/triggers/backfill/pause/by-triggers")
def pause_many() -> Response:
    return _pause(_keys(), True)


@resource.on("POST", "/triggers/backfill/pause/by-query")
def pause_query() -> Response:
    return _pause(_matching(), True)


@resource.on("POST", "/triggers/backfill/unpause/by-triggers")
def unpause_many() -> Response:
    return _pause(_keys(), False)


@resource.on("POST", "/triggers/backfill/unpause/by-query")
def unpause_query() -> Response:
    return _pause(_matching(), False)


@resource.on("POST", "/triggers/backfill/delete/by-triggers")
def delete_backfill_many() -> Response:
    return _each(_keys(), _states().delete_backfill, skip=(BadRequest,))


@resource.on("POST", "/triggers/backfill/delete/by-query")
def delete_backfill_query() -> Response:
    return _each(_matching(), _states().delete_backfill, skip=(BadRequest,))
