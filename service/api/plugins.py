"""Routes about task and trigger types (``api.md`` 4.10), answered from the catalog."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Any

import orjson
from flask import Response, request

from namespaces.errors import NotFound
from namespaces.flows.catalog import Catalog, TypeEntry
from service.api.answers import answer
from service.api.context import flag, lanner, page
from service.api.routes import Resource

resource = Resource("plugins")

_GROUPS = {
    "task": "tasks",
    "flowable": "tasks",
    "trigger": "triggers",
    "condition": "conditions",
    "runner": "taskRunners",
}
_INPUTS = (
    "ARRAY", "BOOL", "BOOLEAN", "DATE", "DATETIME", "DURATION", "EMAIL", "ENUM", "FILE", "FLOAT", "INT", "JSON",
    "MULTISELECT", "SECRET", "SELECT", "STRING", "TIME", "URI", "YAML",
)  # fmt: skip


def _title(entry: TypeEntry) -> dict[str, Any]:
    shape: dict[str, Any] = {"cls": entry.name, "deprecated": entry.cls.deprecated}
    if entry.cls.title:
        shape["title"] = entry.cls.title
    return shape


@resource.on("GET", "/plugins")
def plugins() -> Response:
    """Types by package; ``total`` and ``results``, which clients before 1.0 do not ask for."""
    groups: dict[str, dict[str, Any]] = {}
    for entry in sorted(lanner().catalog, key=lambda one: one.name):
        package = entry.name.rpartition(".")[0]
        name = package.rpartition(".")[2]
        group = groups.setdefault(
            package, {"name": name, "title": name, "group": package, "version": "1.0", "aliases": []}
        )
        group.setdefault(_GROUPS[entry.kind], []).append(_title(entry))
    asked = page(10_000)
    rows = list(groups.values())
    return answer({"results": rows[asked.offset : asked.offset + asked.size], "total": len(rows)})


@resource.on("GET", "/plugins/groups/subgroups")
def subgroups() -> Response:
    return answer([])


@resource.on("GET", "/plugins/triggers")
def triggers() -> Response:
    rows = [_title(entry) for entry in lanner().catalog.of_kind("trigger")]
    return answer({"results": rows, "total": len(rows)})


@resource.on("GET", "/plugins/icons", "/plugins/icons/groups")
def icons() -> Response:
    """No icons of types are shipped: the pages draw their own."""
    return answer({})


@resource.on("GET", "/plugins/inputs")
def inputs() -> Response:
    return answer([{"type": name, "cls": f"io.kestra.core.models.flows.input.{name.title()}Input"} for name in _INPUTS])


@resource.on("GET", "/plugins/schemas/<kind>")
def schemas(kind: str) -> Response:
    """JSON Schema of the flow language or a part of it. Editors ask again and again: made once, and 304 after that."""
    body, tag = _schema(lanner().catalog, kind.lower(), flag("arrayOf"))
    response = Response(body, mimetype="application/json")
    response.set_etag(tag)
    response.headers["Cache-Control"] = "no-cache"
    response.make_conditional(request)
    return response


@lru_cache(maxsize=32)
def _schema(catalog: Catalog, kind: str, array_of: bool) -> tuple[bytes, str]:
    from namespaces.flows.schema import json_schema

    body = orjson.dumps(json_schema(kind, catalog, array_of=array_of))
    return body, hashlib.sha256(body).hexdigest()[:32]


@resource.on("GET", "/plugins/<cls>")
def plugin(cls: str) -> Response:
    entry = lanner().catalog.resolve(cls)
    if entry is None:
        raise NotFound(f"there is no type '{cls}'")
    from namespaces.flows.schema import type_schema

    return answer({"markdown": _markdown(entry), "schema": type_schema(entry, lanner().catalog)})


def _markdown(entry: TypeEntry) -> str:
    lines = [f"# {entry.name}", "", entry.cls.title or (entry.cls.__doc__ or "").strip()]
    if entry.cls.aliases:
        lines += ["", "Also known as: " + ", ".join(f"`{alias}`" for alias in entry.cls.aliases)]
    for title, words in (("Properties", entry.described()), ("Outputs", entry.described(outputs=True))):
        if words:
            lines += ["", f"## {title}", "", *(f"- `{name}`: {text}" for name, text in sorted(words.items()))]
    for example in entry.examples:
        lines += ["", "```yaml", example.strip(), "```"]
    return "\n".join(lines) + "\n"


@resource.on("GET", "/concurrency-limit/search")
def concurrency() -> Response:
    """Running executions of the flows that have a limit; counted from rows."""
    import sqlalchemy as sa

    from runner.rows import execution_table

    query = (
        sa.select(execution_table.c.namespace, execution_table.c.flow_id, sa.func.count().label("running"))
        .where(execution_table.c.slot.is_(True), execution_table.c.finished.is_(False))
        .group_by(execution_table.c.namespace, execution_table.c.flow_id)
        .order_by(execution_table.c.namespace, execution_table.c.flow_id)
    )
    rows = lanner().database.read(lambda c: c.execute(query).all())
    found = [
        {"tenantId": "main", "namespace": row.namespace, "flowId": row.flow_id, "running": row.running} for row in rows
    ]
    return answer({"results": found, "total": len(found)})
