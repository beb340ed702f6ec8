"""Routes over many flows: namespace and bulk updates, import and export, enable, disable, delete (``api.md`` 3)."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Sequence
from typing import Any, BinaryIO, cast

from flask import Response, request
from sqlalchemy.engine import Connection

from namespaces import archives, listing, revisions
from namespaces.errors import BadRequest, InvalidFlow, InvalidInput, LannerError, NotFound, Problem
from namespaces.flows.model import Flow
from namespaces.flows.parse import split_documents
from namespaces.revisions import Stored
from service.api import filters, flow_shapes
from service.api.answers import answer, bulk, csv, download
from service.api.bodies import flow_texts
from service.api.context import flag, json_list, lanner
from service.api.flow_text import with_disabled, with_namespace
from service.api.routes import Resource

resource = Resource("flows_bulk")

Texts = Sequence[tuple[Flow, str]]


# ---------------------------------------------------------------------- upserts


@resource.on("POST", "/flows/<namespace>")
def update_namespace(namespace: str) -> Response:
    """Upsert all documents; ``delete`` (the default!) removes the namespace's other flows, Git's spared."""
    texts = _valid(flow_texts(), namespace=namespace, override=flag("override"))
    removes = flag("delete", True)
    return _upsert(texts, lambda c: revisions.of_namespace(c, namespace) if removes else [])


@resource.on("POST", "/flows/bulk")
def update_all() -> Response:
    namespace, children = request.args.get("namespace"), flag("allowNamespaceChild")
    texts = _valid(flow_texts())
    if namespace:
        _require_inside(texts, namespace, children)

    removes = flag("delete", True)
    below = filters.from_pairs([("namespace", namespace)] if namespace else [], filters.FLOWS, lanner().clock.now())

    # Runs in the database's writer thread, like every unit of work: nothing of the request is reachable there.
    def others(connection: Connection) -> list[Stored]:
        if not removes:
            return []
        if namespace and not children:
            return revisions.of_namespace(connection, namespace)
        return listing.matching_flows(connection, below)

    return _upsert(texts, others)


def _require_inside(texts: Texts, namespace: str, children: bool) -> None:
    for index, (flow, _) in enumerate(texts):
        inside = flow.namespace == namespace or (children and flow.namespace.startswith(f"{namespace}."))
        if not inside:
            raise _foreign(index, flow, namespace)


def _foreign(index: int, flow: Flow, namespace: str) -> InvalidFlow:
    message = f"document {index}: flow namespace is invalid, expected '{namespace}', got '{flow.namespace}'"
    return InvalidFlow([Problem("foreign_namespace", message, path="flow.namespace")])


def _valid(texts: Iterable[str], *, namespace: str | None = None, override: bool = False) -> Texts:
    """Read every document. Raises ``InvalidFlow`` with the findings of all of them."""
    registry = lanner().registry
    found: list[tuple[Flow, str]] = []
    problems: list[Problem] = []
    for index, text in enumerate(texts):
        reading = registry.read(text, namespace=namespace)
        flow = reading.flow
        if flow is not None and namespace is not None and flow.namespace != namespace:
            if not override:
                raise _foreign(index, flow, namespace)
            text = with_namespace(text, flow.written, namespace)
            reading = registry.read(text)
            flow = reading.flow
        if flow is None:
            problems.extend(reading.problems)
        else:
            found.append((flow, text))
    if problems:
        raise InvalidFlow(problems)
    keys = [(flow.namespace, flow.id) for flow, _ in found]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        names = ", ".join(f"{key[0]}.{key[1]}" for key in twice)
        raise InvalidFlow([Problem("duplicate_flow", f"Duplicate flow ids: {names}", path="flow.id")])
    return found


def _upsert(texts: Texts, others: Any) -> Response:
    """One transaction: what is missing is deleted, the rest saved. Answers the deleted ones first."""
    wiring = lanner()
    keys = {(flow.namespace, flow.id) for flow, _ in texts}

    def work(tx: Connection) -> tuple[list[Stored], list[Stored]]:
        known = {stored.key: stored for stored in listing.newest_of(tx, keys)}
        changed = [(flow, text) for flow, text in texts if _differs(known.get((flow.namespace, flow.id)), text)]
        gone = [stored for stored in others(tx) if stored.key not in keys and stored.source is None]
        if gone:
            now, generation = wiring.clock.now(), revisions.next_generation(tx)
            revisions.delete(tx, [stored.key for stored in gone], now=now, generation=generation)
        if changed:
            wiring.registry.save_many(tx, changed)
        return gone, listing.newest_of(tx, [(flow.namespace, flow.id) for flow, _ in texts])

    gone, written = wiring.database.write(work)
    wiring.nudges.send("catalog")
    deleted = [{**flow_shapes.flow(wiring.registry, stored, source=True), "deleted": True} for stored in gone]
    return answer([*deleted, *(flow_shapes.flow(wiring.registry, stored, source=True) for stored in written)])


def _differs(stored: Stored | None, text: str) -> bool:
    """A Git-managed flow sent with its own text is left alone; with another one, saving it will be refused."""
    return stored is None or revisions.normalized(stored.text) != revisions.normalized(text)


# ---------------------------------------------------------------------- by ids, by query


def flow_keys() -> list[tuple[str, str]]:
    """The body of a by-ids route: ``[{namespace, id}]``."""
    found = []
    for one in json_list():
        if not isinstance(one, dict) or not one.get("namespace") or not one.get("id"):
            raise InvalidInput("Invalid json: expected a list of {namespace, id}", code="invalid_json")
        found.append((str(one["namespace"]), str(one["id"])))
    return list(dict.fromkeys(found))


def _by_ids() -> list[Stored]:
    """The flows of the body. Raises ``NotFound`` when one of them does not exist."""
    keys = flow_keys()
    rows: list[Stored] = lanner().database.read(lambda c: listing.newest_of(c, keys))
    missing = set(keys) - {stored.key for stored in rows}
    if missing:
        namespace, flow_id = sorted(missing)[0]
        raise NotFound(f"flow '{namespace}.{flow_id}' does not exist")
    return rows


def _by_query() -> list[Stored]:
    wanted = filters.read(filters.FLOWS, lanner().clock.now())
    rows: list[Stored] = lanner().database.read(lambda c: listing.matching_flows(c, wanted))
    return rows


def _switch(rows: list[Stored], disabled: bool) -> Response:
    """Write ``disabled`` into the sources of those that are not so yet: a new revision each, all in one transaction."""
    wiring = lanner()
    texts: list[tuple[Flow, str]] = []
    for stored in rows:
        flow = wiring.registry.parsed(stored)
        if flow.disabled == disabled:
            continue
        text = with_disabled(stored.text, flow.written, disabled)
        changed = wiring.registry.read(text).flow
        if changed is None:
            raise BadRequest(f"the text of '{stored.namespace}.{stored.id}' could not be changed")
        texts.append((changed, text))
    if texts:
        wiring.database.write(lambda tx: wiring.registry.save_many(tx, texts))
        wiring.nudges.send("catalog")
    return bulk(len(texts))


@resource.on("POST", "/flows/disable/by-ids")
def disable_ids() -> Response:
    return _switch(_by_ids(), True)


@resource.on("POST", "/flows/disable/by-query")
def disable_query() -> Response:
    return _switch(_by_query(), True)


@resource.on("POST", "/flows/enable/by-ids")
def enable_ids() -> Response:
    return _switch(_by_ids(), False)


@resource.on("POST", "/flows/enable/by-query")
def enable_query() -> Response:
    return _switch(_by_query(), False)


def _delete(rows: list[Stored]) -> Response:
    wiring = lanner()

    def work(tx: Connection) -> None:
        for stored in rows:
            revisions.require_api_managed(tx, stored.namespace, stored.id)
        if rows:
            now, generation = wiring.clock.now(), revisions.next_generation(tx)
            revisions.delete(tx, [stored.key for stored in rows], now=now, generation=generation)

    wiring.database.write(work)
    wiring.nudges.send("catalog")
    return bulk(len(rows))


@resource.on("DELETE", "/flows/delete/by-ids")
def delete_ids() -> Response:
    return _delete(_by_ids())


@resource.on("DELETE", "/flows/delete/by-query")
def delete_query() -> Response:
    return _delete(_by_query())


# ---------------------------------------------------------------------- import, export


@resource.on("POST", "/flows/export/by-ids")
def export_ids() -> Response:
    return _zipped(_by_ids())


@resource.on("GET", "/flows/export/by-query")
def export_query() -> Response:
    return _zipped(_by_query())


def _zipped(rows: list[Stored]) -> Response:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for stored in rows:
            archive.writestr(f"{stored.namespace}.{stored.id}.yml", stored.text)
    return download(target.getvalue(), "flows.zip")


@resource.on("GET", "/flows/export/by-query/csv")
def export_csv() -> Response:
    table: list[tuple[Any, ...]] = [("namespace", "id", "revision", "disabled", "updated")]
    rows = _by_query()
    table += [(row.namespace, row.id, row.revision, row.disabled, row.created_at.isoformat()) for row in rows]
    return csv(table, "flows.csv")


@resource.on("POST", "/flows/import")
def import_flows() -> Response:
    """Answers what *failed* (``api.md`` 8.4): names of zip entries, indexes of documents."""
    upload = request.files.get("fileUpload")
    if upload is None:
        raise InvalidInput("Illegal argument: the part fileUpload is missing")
    name = (upload.filename or "").lower()
    if name.endswith(".zip"):
        documents = [
            (entry, text)
            for entry, content in archives.entries(cast(BinaryIO, upload.stream))
            if entry.lower().endswith((".yml", ".yaml"))
            for text in split_documents(content.decode("utf-8", "replace"))
        ]
    elif name.endswith((".yml", ".yaml")):
        texts = split_documents(upload.read().decode("utf-8", "replace"))
        documents = [(str(index), text) for index, text in enumerate(texts)]
    else:
        raise InvalidInput("Illegal argument: cannot import a file that is not .yml, .yaml or .zip")
    failed: list[str] = []
    for label, text in documents:
        try:
            _import_one(text)
        except LannerError:
            if flag("failOnError"):
                raise
            failed.append(label)
    lanner().nudges.send("catalog")
    return answer(failed)


def _import_one(text: str) -> None:
    wiring = lanner()
    reading = wiring.registry.read(text)
    flow = reading.flow
    if flow is None:
        raise InvalidFlow(reading.problems)
    wiring.database.write(lambda tx: wiring.registry.save_many(tx, [(flow, text)]))
