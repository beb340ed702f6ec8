"""Routes of namespaces (``api.md`` 4.9): search, one, completion, inherited secrets' names."""

from __future__ import annotations

from typing import Any

from flask import Response, request

from namespaces import listing
from namespaces.errors import BadRequest, InvalidInput, NotFound
from namespaces.filters import Op
from service.api import filters
from service.api.answers import answer, paged
from service.api.context import flag, json_object, lanner, page
from service.api.routes import Resource

resource = Resource("namespaces")


def _shape(name: str, exists: bool) -> dict[str, Any]:
    # 0.2x: ``disabled`` marks what is there only through the flows below it.
    return {"id": name, "deleted": False, **({} if exists else {"disabled": True})}


@resource.on("GET", "/namespaces/search")
def search() -> Response:
    asked = page()
    q, existing = request.args.get("q", ""), flag("existing")
    for one in filters.read({}, lanner().clock.now()):
        field, op = getattr(one, "field", ""), getattr(one, "op", None)
        if field in ("q", "id", "namespace") and op in (Op.EQUALS, Op.CONTAINS, Op.PREFIX, Op.STARTS_WITH):
            q = str(one.value)  # type: ignore[union-attr]
        elif field == "existingOnly":
            existing = str(one.value).lower() == "true"  # type: ignore[union-attr]
        else:
            raise BadRequest(f"Invalid query filters: field '{field}' is not supported here")
    known = lanner().database.read(listing.namespaces)
    rows = sorted(
        (name, exists) for name, exists in known.items() if q.lower() in name.lower() and (exists or not existing)
    )
    for field, descending in reversed(asked.sort):
        if field not in ("id", "namespace"):
            raise InvalidInput(f"Illegal argument: cannot sort by '{field}'")
        rows.sort(key=lambda row: row[0], reverse=descending)
    part = rows[asked.offset : asked.offset + asked.size]
    return paged([_shape(name, exists) for name, exists in part], len(rows))


@resource.on("GET", "/namespaces/<namespace>")
def get(namespace: str) -> Response:
    """404 for a name never seen: Terraform and kestractl ask this way whether it exists."""
    if not lanner().database.read(lambda c: listing.namespace_exists(c, namespace)):
        raise NotFound(f"namespace '{namespace}' does not exist")
    return answer(_shape(namespace, True))


@resource.on("POST", "/namespaces/autocomplete")
def autocomplete() -> Response:
    body = json_object()
    q, ids = str(body.get("q") or ""), body.get("ids") or []
    known = lanner().database.read(listing.namespaces)
    found = sorted(
        name for name, exists in known.items() if q.lower() in name.lower() and (exists or not body.get("existingOnly"))
    )
    return answer(list(dict.fromkeys([*(str(one) for one in ids if one in known), *found])))


@resource.on("GET", "/namespaces/<namespace>/inherited-secrets")
def inherited_secrets(namespace: str) -> Response:
    return answer({namespace: lanner().secrets.names()})


@resource.on("GET", "/namespaces/<namespace>/secrets")
def secrets(namespace: str) -> Response:
    asked = page()
    names = lanner().secrets.names()
    rows = [{"key": name, "namespace": namespace} for name in names[asked.offset : asked.offset + asked.size]]
    return answer({"readOnly": True, "results": rows, "total": len(names)})
