"""Routes of single flows: create, read, update, delete, revisions, search (``api.md`` 3). Bulk is in ``flows_bulk``."""

from __future__ import annotations

from flask import Response, request
from sqlalchemy.engine import Connection

from namespaces import listing, revisions
from namespaces.errors import InvalidFlow, InvalidInput, NotFound
from namespaces.filters import Page
from namespaces.revisions import Stored
from service.api import filters, flow_shapes
from service.api.answers import answer, empty, paged
from service.api.bodies import flow_text
from service.api.context import flag, lanner, number, optional_number, page
from service.api.routes import Resource

resource = Resource("flows")


@resource.on("POST", "/flows")
def create() -> Response:
    stored = lanner().registry.create(flow_text())
    _changed()
    return answer(flow_shapes.flow(lanner().registry, stored, source=True))


@resource.on("PUT", "/flows/<namespace>/<flow_id>")
def update(namespace: str, flow_id: str) -> Response:
    stored = lanner().registry.update(namespace, flow_id, flow_text(), if_match=if_match())
    _changed()
    return answer(flow_shapes.flow(lanner().registry, stored, source=True))


def if_match() -> int | None:
    """The revision the caller edited, from ``If-Match``; a missing header or ``*`` asks for nothing."""
    text = request.headers.get("If-Match", "*").strip().removeprefix("W/").strip('"')
    if text in ("*", ""):
        return None
    if not text.isdigit():
        raise InvalidInput("Illegal argument: If-Match must be a revision number")
    return int(text)


@resource.on("DELETE", "/flows/<namespace>/<flow_id>")
def delete(namespace: str, flow_id: str) -> Response:
    lanner().registry.delete(namespace, flow_id)
    _changed()
    return empty(204)


def _changed() -> None:
    lanner().nudges.send("catalog")


@resource.on("GET", "/flows/<namespace>/<flow_id>")
def get(namespace: str, flow_id: str) -> Response:
    stored = find(namespace, flow_id, optional_number("revision"), allow_deleted=flag("allowDeleted"))
    return answer(flow_shapes.flow(lanner().registry, stored, source=flag("source")))


def find(namespace: str, flow_id: str, revision: int | None, *, allow_deleted: bool = False) -> Stored:
    """A stored revision. Raises ``NotFound``, also for a deleted flow unless those are allowed."""

    def read(connection: Connection) -> Stored | None:
        if revision is None:
            return revisions.latest(connection, namespace, flow_id, allow_deleted=allow_deleted)
        return revisions.at_revision(connection, namespace, flow_id, revision)

    stored = lanner().database.read(read)
    if stored is None or (stored.deleted and not allow_deleted):
        raise NotFound(f"flow '{namespace}.{flow_id}' does not exist")
    found: Stored = stored
    return found


@resource.on("GET", "/flows/search")
def search() -> Response:
    wanted = filters.read(filters.FLOWS, lanner().clock.now())
    asked = page()
    rows, total = lanner().database.read(lambda c: listing.search_flows(c, wanted, asked))
    registry = lanner().registry
    return paged([flow_shapes.flow(registry, stored) for stored in rows], total)


@resource.on("GET", "/flows/<namespace>")
def of_namespace(namespace: str) -> Response:
    rows = lanner().database.read(lambda c: revisions.of_namespace(c, namespace))
    registry = lanner().registry
    return answer([flow_shapes.flow(registry, stored) for stored in rows])


@resource.on("GET", "/flows/<namespace>/<flow_id>/revisions")
def history(namespace: str, flow_id: str) -> Response:
    rows = lanner().database.read(lambda c: revisions.history(c, namespace, flow_id))
    deleted = flag("allowDelete") or flag("allowDeleted")
    if not deleted and rows[-1].deleted:
        raise NotFound(f"flow '{namespace}.{flow_id}' does not exist")
    registry = lanner().registry
    return answer([flow_shapes.flow(registry, row, source=True) for row in rows if deleted or not row.deleted])


@resource.on("GET", "/flows/<namespace>/<flow_id>/tasks/<task_id>")
def task(namespace: str, flow_id: str, task_id: str) -> Response:
    stored = find(namespace, flow_id, optional_number("revision"))
    found = lanner().registry.parsed(stored).by_id.get(task_id)
    if found is None:
        raise NotFound(f"flow '{namespace}.{flow_id}' has no task '{task_id}'")
    return answer(dict(found.written))


@resource.on("GET", "/flows/distinct-namespaces")
def distinct_namespaces() -> Response:
    q = request.args.get("q", "")
    return answer(lanner().database.read(lambda c: listing.flow_namespaces(c, q)))


@resource.on("GET", "/flows/source")
def search_source() -> Response:
    text = request.args.get("q", "")
    wanted = [one for one in filters.read(filters.FLOWS, lanner().clock.now()) if getattr(one, "field", "") != "q"]
    asked = Page(number("page", 1, least=1), number("size", 10, least=1, most=1_000))
    if not text:
        return paged([], 0)
    rows, total = lanner().database.read(lambda c: listing.search_sources(c, text, wanted, asked))
    registry = lanner().registry
    hits = []
    for stored, lines in rows:
        hits.append(
            {
                "model": flow_shapes.flow(registry, stored),
                "fragments": [line for _, line in lines],
                "namespace": stored.namespace,
                "id": stored.id,
                "editable": stored.source is None,
                "matches": [{"line": number, "content": line} for number, line in lines],
            }
        )
    return paged(hits, total)


@resource.on("GET", "/flows/deprecated")
def deprecated() -> Response:
    """Flows that use deprecated task types."""
    namespace = request.args.get("namespace", "")
    wanted = filters.from_pairs([("namespace", namespace)], filters.FLOWS, lanner().clock.now())
    found = []
    for stored in lanner().database.read(lambda c: listing.matching_flows(c, wanted)):
        tasks = _deprecated_tasks(stored)
        if tasks:
            found.append(
                {
                    "namespace": stored.namespace,
                    "flowId": stored.id,
                    "revision": stored.revision,
                    "deprecatedTasks": tasks,
                }
            )
    return answer(found)


def _deprecated_tasks(stored: Stored) -> list[str]:
    try:
        flow = lanner().registry.parsed(stored)
    except InvalidFlow:
        return []
    catalog = lanner().catalog
    found = []
    for one in flow.walk():
        entry = catalog.resolve(one.type)
        written = one.written.get("type", one.type)
        # An old name for a type counts as deprecated, as in Kestra.
        if entry is not None and (entry.cls.deprecated or (written != entry.name and written in entry.cls.aliases)):
            found.append(one.id)
    return found
