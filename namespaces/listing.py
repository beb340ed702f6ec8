"""Lists over flows and namespaces: search, distinct names, hits in sources. Changing anything happens elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from namespaces.errors import BadRequest
from namespaces.filters import (
    Condition,
    Field,
    Filters,
    Op,
    Page,
    contains,
    flag_field,
    itself_or_child,
    ordered,
    text_field,
    total,
    unsupported,
    values_of,
    where,
)
from namespaces.revisions import (
    Stored,
    _select,
    _stored,
    flow_table,
    namespace_table,
    revision_table,
)
from namespaces.tables import FileRow, KvRow

file_table = FileRow.__table__  # type: ignore[attr-defined]
kv_table = KvRow.__table__  # type: ignore[attr-defined]

SYSTEM_NAMESPACE = "system"
_f = flow_table.c


def _query(op: Op, value: Any) -> Condition:
    if op not in (Op.EQUALS, Op.CONTAINS, Op.NOT_EQUALS):
        raise unsupported("q", op)
    found = sa.or_(
        contains(_f.id, str(value)), contains(_f.namespace, str(value)), contains(_f.description, str(value))
    )
    return sa.not_(found) if op is Op.NOT_EQUALS else found


def _labels(op: Op, value: Any) -> Condition:
    """Labels of a flow are ``[[key, value], …]`` in one column: a pair is found by its exact JSON text."""
    import orjson

    if not isinstance(value, tuple) or not all(isinstance(pair, tuple) for pair in value):
        raise BadRequest("Invalid query filters: labels need a key, as in filters[labels][EQUALS][key]=value")
    column = sa.type_coerce(_f.labels, sa.Text())
    parts = []
    for key, wanted in value:
        texts = [orjson.dumps([key, one]).decode() for one in ((wanted,) if op is not Op.IN else values_of(wanted))]
        found = sa.or_(*(column.contains(text, autoescape=True) for text in texts))
        if op in (Op.EQUALS, Op.IN, Op.CONTAINS):
            parts.append(found)
        elif op is Op.NOT_EQUALS:
            parts.append(sa.or_(sa.not_(found), column.is_(None)))
        else:
            raise unsupported("labels", op)
    return sa.and_(*parts)


def _scope(op: Op, value: Any) -> Condition:
    words = set(values_of(value))
    if op not in (Op.EQUALS, Op.NOT_EQUALS, Op.IN, Op.NOT_IN) or not words <= {"USER", "SYSTEM"}:
        raise BadRequest(f"Invalid query filters: scope is USER or SYSTEM, not '{value}'")
    if len(words) != 1:
        return sa.true()
    system = (words == {"SYSTEM"}) == (op in (Op.EQUALS, Op.IN))
    return sa.and_(_f.namespace == SYSTEM_NAMESPACE if system else _f.namespace != SYSTEM_NAMESPACE)


FLOW_FIELDS: Mapping[str, Field] = {
    "q": _query,
    "id": text_field("id", _f.id),
    "flowId": text_field("flowId", _f.id),
    "namespace": text_field("namespace", _f.namespace),
    "labels": _labels,
    "scope": _scope,
    "enabled": lambda op, value: sa.not_(flag_field("enabled", _f.disabled)(op, value)),
    "source": text_field("source", _f.source),
}
FLOW_SORT = {"id": _f.id, "namespace": _f.namespace, "updated": _f.updated_at, "revision": _f.revision}


def search_flows(connection: Connection, filters: Filters, page: Page) -> tuple[list[Stored], int]:
    """A page of the newest revisions of flows that exist, by namespace and id, and how many there are in all.

    Raises ``BadRequest`` for filters and ``InvalidInput`` for sort fields that do not exist.
    """
    base = _newest().where(*where(filters, FLOW_FIELDS))
    rows = connection.execute(ordered(base, page, FLOW_SORT, (_f.namespace, _f.id))).all()
    return [_stored(row) for row in rows], total(connection, base, page, len(rows))


def _newest() -> sa.Select[Any]:
    return _select().where(_f.deleted.is_(False), revision_table.c.revision == _f.revision)


def matching_flows(connection: Connection, filters: Filters) -> list[Stored]:
    """Every flow the filters match: what by-query actions and exports work on."""
    rows = connection.execute(_newest().where(*where(filters, FLOW_FIELDS)).order_by(_f.namespace, _f.id))
    return [_stored(row) for row in rows]


def newest_of(connection: Connection, keys: Iterable[tuple[str, str]]) -> list[Stored]:
    """The newest revisions of these flows, in the order asked for; those that do not exist are left out."""
    wanted = list(keys)
    found: dict[tuple[str, str], Stored] = {}
    by_namespace: dict[str, list[str]] = {}
    for namespace, flow_id in wanted:
        by_namespace.setdefault(namespace, []).append(flow_id)
    for namespace, ids in by_namespace.items():
        for start in range(0, len(ids), 400):
            query = _newest().where(_f.namespace == namespace, _f.id.in_(ids[start : start + 400]))
            found.update({stored.key: stored for stored in map(_stored, connection.execute(query))})
    return [found[key] for key in wanted if key in found]


def search_sources(
    connection: Connection, text: str, filters: Filters, page: Page
) -> tuple[list[tuple[Stored, list[tuple[int, str]]]], int]:
    """Flows whose source holds the text (any case), each with its hits (line number from 1, line)."""
    base = _newest().where(contains(revision_table.c.text, text), *where(filters, FLOW_FIELDS))
    rows = connection.execute(ordered(base, page, FLOW_SORT, (_f.namespace, _f.id))).all()
    lowered = text.lower()
    hits = []
    for stored in map(_stored, rows):
        lines = [(n, line) for n, line in enumerate(stored.text.splitlines(), 1) if lowered in line.lower()]
        hits.append((stored, lines))
    return hits, total(connection, base, page, len(rows))


def flow_namespaces(connection: Connection, q: str = "") -> list[str]:
    """Namespaces that hold at least one flow, by name."""
    query = sa.select(_f.namespace).where(_f.deleted.is_(False)).distinct().order_by(_f.namespace)
    if q:
        query = query.where(contains(_f.namespace, q))
    return list(connection.execute(query).scalars())


def namespaces(connection: Connection) -> dict[str, bool]:
    """Every namespace ever seen, its parents and ``system``: name to whether it exists by itself.

    One with flows, files, keys or settings exists; a parent of it that has none of these is there for the tree only.
    """
    exist: set[str] = set(flow_namespaces(connection))
    exist.update(connection.execute(sa.select(namespace_table.c.name)).scalars())
    exist.update(connection.execute(sa.select(kv_table.c.namespace).distinct()).scalars())
    exist.update(connection.execute(sa.select(file_table.c.namespace).distinct()).scalars())
    found = dict.fromkeys(exist, True)
    for name in exist:
        parent = name.rpartition(".")[0]
        while parent:
            found.setdefault(parent, False)
            parent = parent.rpartition(".")[0]
    found.setdefault(SYSTEM_NAMESPACE, True)
    return found


def namespace_exists(connection: Connection, name: str) -> bool:
    """Whether the namespace or something below it was ever seen."""
    if name == SYSTEM_NAMESPACE:
        return True
    for column in (namespace_table.c.name, _f.namespace, kv_table.c.namespace, file_table.c.namespace):
        if connection.execute(sa.select(column).where(itself_or_child(column, name)).limit(1)).first() is not None:
            return True
    return False
