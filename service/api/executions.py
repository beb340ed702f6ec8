"""Routes of executions: start, read, search, follow, delete (``api.md`` 4.1). Actions are in ``execution_actions``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

from flask import Response, request

from namespaces import revisions
from namespaces.errors import BadRequest, InvalidFlow, InvalidInput, NotFound
from namespaces.filters import Filters, Page
from namespaces.store.base import to_micros
from runner import queries, queries_shapes
from runner.starting import StartRequest
from service import stream
from service.api import filters, flow_shapes
from service.api.answers import answer, csv, empty, paged
from service.api.context import (
    flag,
    json_list,
    label_pairs,
    lanner,
    number,
    optional_instant,
    optional_number,
    page,
    required,
)
from service.api.outputs import load_outputs
from service.api.routes import Resource
from service.api.uploads import file_parts, submitted
from service.auth.principal import require_here

resource = Resource("executions")

# ---------------------------------------------------------------------- starting


@resource.on("POST", "/executions/<namespace>/<flow_id>", "/executions/trigger/<namespace>/<flow_id>")
def create(namespace: str, flow_id: str) -> Response:
    """Start a flow; the answer has the execution as it is now, or (``wait``) once it has ended or pauses."""
    if not flag("wait"):
        return _create(namespace, flow_id, waits=False)
    # The place is taken before anything starts: a refusal must not leave an execution behind.
    with stream.place():
        return _create(namespace, flow_id, waits=True)


def _create(namespace: str, flow_id: str, *, waits: bool) -> Response:
    revision = optional_number("revision")
    key = request.headers.get("Idempotency-Key") or None
    labels = label_pairs(request.args.getlist("labels"))
    breakpoints = tuple(part for part in request.args.get("breakpoints", "").split(",") if part)
    schedule_date = optional_instant("scheduleDate")
    with submitted(_file_inputs(namespace, flow_id, revision)) as given:
        started = lanner().executions.start(
            StartRequest(
                namespace=namespace,
                flow_id=flow_id,
                revision=revision,
                inputs=given.inputs,
                labels=labels,
                schedule_date=schedule_date,
                idempotency_key=key,
                body_hash=given.digest if key else "",
                breakpoints=breakpoints,
                kind=_kind(),
            )
        )
    if waits:
        stream.wait_for_end(started.execution_id)
    shape = (
        replayed_shape(namespace, flow_id, started.execution_id)
        if started.replayed
        else started_shape(started.execution_id, None if waits else started.row)
    )
    shape["url"] = url_of(namespace, flow_id, started.execution_id)
    if started.replayed:
        return answer(shape, Lanner_Replayed="true")
    return answer(shape)


def _kind() -> str:
    kind = request.args.get("kind", "NORMAL")
    if kind not in ("NORMAL", "TEST", "PLAYGROUND"):
        raise InvalidInput(f"Illegal argument: kind is NORMAL, TEST or PLAYGROUND, not '{kind[:20]}'")
    return kind


def started_shape(execution_id: str, row: Mapping[str, Any] | None) -> dict[str, Any]:
    """The answer to a start: made of the row that was written when it is at hand, else read."""
    if row is None:
        return shape_of(execution_id)
    return queries_shapes.inserted(row, to_micros(lanner().clock.now()))


def replayed_shape(namespace: str, flow_id: str, execution_id: str) -> dict[str, Any]:
    """The answer to a repeat: the execution of the first call, of one deleted since what is known (R2).

    A delivery stays one execution: its repeat neither starts another nor looks like a failure to who sends it.
    """
    try:
        return shape_of(execution_id)
    except NotFound:
        return {"id": execution_id, "namespace": namespace, "flowId": flow_id, "deleted": True}


def _file_inputs(namespace: str, flow_id: str, revision: int | None) -> list[str] | None:
    """Ids of the flow's FILE inputs, needed only to tell the two forms of file parts apart."""
    if not file_parts():
        return None
    wiring = lanner()

    def read(connection: Any) -> list[str]:
        flow = wiring.registry.flow(connection, namespace, flow_id, revision)
        return [one.id for one in flow.inputs]

    found: list[str] = wiring.database.read(read)
    return found


def url_of(namespace: str, flow_id: str, execution_id: str) -> str:
    base = (lanner().settings.server.url or request.host_url).rstrip("/")
    return f"{base}/ui/main/executions/{namespace}/{flow_id}/{execution_id}"


def shape_of(execution_id: str, *, light: bool = False, rewind: str | None = None) -> dict[str, Any]:
    """The execution's JSON as of now, or (``rewind``) as it last entered a state. Raises ``NotFound``."""
    wiring = lanner()
    now = wiring.clock.now()
    load = load_outputs(wiring)
    found: dict[str, Any] | None = wiring.database.read(
        lambda c: queries.execution(c, execution_id, now=now, light=light, load=load, rewind=rewind)
    )
    if found is None:
        raise NotFound(f"execution '{execution_id}' does not exist")
    return found


def require_execution(execution_id: str) -> Any:
    """Head of an execution the caller may see. Raises ``NotFound``."""
    head = lanner().database.read(lambda c: queries.head(c, execution_id))
    if head is None:
        raise NotFound(f"execution '{execution_id}' does not exist")
    require_here(head.namespace)
    return head


@resource.on("POST", "/executions/<namespace>/<flow_id>/validate")
def validate(namespace: str, flow_id: str) -> Response:
    with submitted(_file_inputs(namespace, flow_id, optional_number("revision"))) as given:
        door = lanner().executions
        flow, resolved = door.validate_inputs(namespace, flow_id, optional_number("revision"), given.inputs)
        checks = door.failing_checks(flow, resolved)
    return answer(validated(flow, resolved, checks))


def validated(flow: Any, resolved: Any, checks: Iterable[Any] = ()) -> dict[str, Any]:
    """What each input resolves to, its problems, and the checks that do not pass."""
    by_input: dict[str, list[str]] = {}
    for problem in resolved.problems:
        name = problem.partition("`")[2].partition("`")[0]
        by_input.setdefault(name, []).append(problem)
    values: dict[str, Any] = dict(resolved.values)
    rows = []
    for declared in flow.inputs:
        value: Any = values
        for part in declared.id.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        row: dict[str, Any] = {
            "input": {**declared.written, "id": declared.id, "type": declared.type, "required": declared.required},
            "enabled": True,
            "isDefault": False,
            "errors": [{"message": text} for text in by_input.get(declared.id, [])],
        }
        if value is not None:
            row["value"] = "******" if declared.id in resolved.secret_ids else value
        rows.append(row)
    return {"id": flow.id, "namespace": flow.namespace, "inputs": rows, "checks": [asdict(one) for one in checks]}


# ---------------------------------------------------------------------- reading


@resource.on("GET", "/executions/<execution_id>")
def get(execution_id: str) -> Response:
    shape = shape_of(execution_id, light=flag("light"))
    require_here(shape["namespace"])
    return answer(shape)


@resource.on("GET", "/executions/search")
def search() -> Response:
    return _search(filters.read(filters.EXECUTIONS, lanner().clock.now()))


def _search(wanted: Filters) -> Response:
    wiring = lanner()
    asked = page()
    now = wiring.clock.now()
    load = load_outputs(wiring)
    rows, total = wiring.database.read(
        lambda c: queries.search_executions(
            c,
            wanted,
            asked,
            now=now,
            light=flag("light"),
            date_filter=request.args.get("dateFilter", "START_DATE"),
            load=load,
        )
    )
    return paged(rows, total)


@resource.on("GET", "/executions")
def of_flow() -> Response:
    """v0/v1: runs of one flow; the namespace is exact here."""
    pairs = [("filters[namespace][EQUALS]", required("namespace")), ("filters[flowId][EQUALS]", required("flowId"))]
    return _search(filters.from_pairs(pairs, filters.EXECUTIONS, lanner().clock.now()))


@resource.on("POST", "/executions/latest")
def latest() -> Response:
    flows = []
    for one in json_list():
        if not isinstance(one, dict):
            raise InvalidInput("Invalid json: expected a list of {namespace, id}", code="invalid_json")
        flows.append((str(one.get("namespace")), str(one.get("id") or one.get("flowId"))))
    if len(flows) > 1_000:
        raise BadRequest("at most 1,000 flows in one request")
    return answer(lanner().database.read(lambda c: queries.latest(c, flows)))


@resource.on("GET", "/executions/namespaces")
def namespaces() -> Response:
    return answer(lanner().database.read(queries.distinct_namespaces))


@resource.on("GET", "/executions/namespaces/<namespace>/flows")
def flows_of(namespace: str) -> Response:
    registry = lanner().registry
    found = []
    for stored in lanner().database.read(lambda c: revisions.of_namespace(c, namespace)):
        try:
            found.append(flow_shapes.for_execution(registry.parsed(stored)))
        except InvalidFlow as error:
            found.append({"id": stored.id, "namespace": stored.namespace, "tasks": [], "exception": error.message})
    return answer(found)


@resource.on("GET", "/executions/namespaces/<namespace>/flows/<flow_id>/average-duration")
def average_duration(namespace: str, flow_id: str) -> Response:
    mean, count = lanner().database.read(lambda c: queries.average_duration(c, namespace, flow_id))
    shape: dict[str, Any] = {"count": count}
    if mean is not None:
        shape["averageDuration"] = queries_shapes.duration(round(mean * 1e6))
    return answer(shape)


@resource.on("GET", "/executions/distinct-field-values")
def distinct_values() -> Response:
    field, size = required("field"), number("size", 100, least=1, most=1_000)
    wanted = filters.read(filters.EXECUTIONS, lanner().clock.now())
    return answer(lanner().database.read(lambda c: queries.distinct_values(c, field, wanted, size=size)))


@resource.on("GET", "/executions/flows/<namespace>/<flow_id>")
def flow_for_execution(namespace: str, flow_id: str) -> Response:
    revision = optional_number("revision")
    flow = lanner().database.read(lambda c: lanner().registry.flow(c, namespace, flow_id, revision))
    return answer(flow_shapes.for_execution(flow))


@resource.on("GET", "/executions/<execution_id>/flow")
def flow_of(execution_id: str) -> Response:
    head = require_execution(execution_id)
    flow = lanner().database.read(lambda c: lanner().registry.flow(c, head.namespace, head.flow_id, head.revision))
    return answer(flow_shapes.for_execution(flow))


@resource.on("GET", "/executions/<execution_id>/follow")
def follow(execution_id: str) -> Response:
    """``start``, then ``progress`` on each change, then ``end``; a finished execution has one ``end`` at once."""
    require_execution(execution_id)
    wiring = lanner()
    database, clock, load = wiring.database, wiring.clock, load_outputs(wiring)

    def look() -> tuple[int, bool] | None:
        found: tuple[int, bool] | None = database.read(lambda c: queries.version(c, execution_id))
        return found

    def shape() -> Any:
        now = clock.now()
        return database.read(lambda c: queries.execution(c, execution_id, now=now, load=load))

    def events(stops: Any) -> Iterator[stream.Event]:
        state: dict[str, Any] = {"version": -1, "ended": False, "not_before": 0.0}

        def changes() -> Iterator[stream.Event] | None:
            if state["ended"]:
                return None
            found = look()
            if found is None:
                return None
            began = clock.monotonic()
            if found[0] == state["version"] or (began < state["not_before"] and not found[1]):
                return iter(())
            first = state["version"] == -1
            state["version"], state["ended"] = found
            value = shape()
            # A large execution that changes all the time must not take more than a sixth of a core a stream.
            ended = clock.monotonic()
            state["not_before"] = ended + 5 * (ended - began)
            if value is None:
                return None
            if found[1]:
                return iter([("end", value)])
            opening: list[stream.Event] = [("start", {"id": execution_id})] if first else []
            return iter([*opening, ("progress", value)])

        return stream.watch(wiring.nudges, f"execution:{execution_id}", changes, stops)

    return stream.respond(events(stream.stopping()))


@resource.on("DELETE", "/executions/<execution_id>")
def delete(execution_id: str) -> Response:
    require_execution(execution_id)
    lanner().executions.delete(execution_id, **what_to_delete())
    return empty(204)


def what_to_delete() -> dict[str, bool]:
    return {
        "logs": flag("deleteLogs", True),
        "metrics": flag("deleteMetrics", True),
        "storage": flag("deleteStorage", True),
    }


@resource.on("GET", "/executions/export/by-query/csv")
def export_csv() -> Response:
    wiring = lanner()
    wanted = filters.read(filters.EXECUTIONS, wiring.clock.now())
    asked = Page(1, number("size", 10_000, least=1, most=100_000))
    now = wiring.clock.now()
    rows, _ = wiring.database.read(lambda c: queries.search_executions(c, wanted, asked, now=now, light=True))
    table: list[tuple[Any, ...]] = [
        ("id", "namespace", "flowId", "state", "startDate", "endDate", "duration", "labels")
    ]
    for row in rows:
        state = row["state"]
        labels = ",".join(f"{label['key']}:{label['value']}" for label in row["labels"])
        table.append(
            (
                row["id"],
                row["namespace"],
                row["flowId"],
                state["current"],
                state.get("startDate"),
                state.get("endDate"),
                state.get("duration"),
                labels,
            )
        )
    return csv(table, "executions.csv")
