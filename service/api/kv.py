"""Routes of the key-value store (``api.md`` 4.8). What a key and a value may be is decided in ``namespaces/kv.py``."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from flask import Response, request
from sqlalchemy.engine import Connection

from namespaces import kv
from namespaces.clock import iso
from namespaces.durations import parse_duration
from namespaces.errors import Gone, InvalidInput, NotFound, TooLarge
from namespaces.filters import Filters, Op, instant_field, ordered, text_field, total, where
from namespaces.kv import Entry, kv_table
from namespaces.secrets import lineage
from runner.queries_filters import read_instant
from service.api import filters
from service.api.answers import answer, empty, paged
from service.api.context import json_object, lanner, page
from service.api.routes import Resource

resource = Resource("kv")

VALUE_BYTES = 1 << 20


def entry_shape(entry: Entry) -> dict[str, Any]:
    shape: dict[str, Any] = {
        "namespace": entry.namespace,
        "key": entry.key,
        "version": entry.version,
        "revision": entry.version,
        "creationDate": iso(entry.created_at),
        "updateDate": iso(entry.updated_at),
    }
    if entry.description:
        shape["description"] = entry.description
    if entry.expires_at is not None:
        shape["expirationDate"] = iso(entry.expires_at)
    return shape


def _ttl() -> timedelta | None:
    text = request.headers.get("ttl")
    if not text:
        return None
    try:
        return parse_duration(text)
    except ValueError as error:
        raise InvalidInput(f"Illegal argument: ttl: {error}") from error


@resource.on("PUT", "/namespaces/<namespace>/kv/<key>")
def put(namespace: str, key: str) -> Response:
    """``ttl`` and ``description`` are headers (``api.md`` 8.16)."""
    raw = request.get_data()
    if len(raw) > VALUE_BYTES:
        raise TooLarge(f"a value has at most {VALUE_BYTES} bytes")
    kv.check_key(key)
    try:
        kind, value = kv.parse_body(raw)
    except UnicodeDecodeError as error:
        raise InvalidInput("Invalid json: the value is not UTF-8 text") from error
    ttl, description, now = _ttl(), request.headers.get("description"), lanner().clock.now()

    def work(tx: Connection) -> None:
        # The type was read from the body; a text of that type is not guessed anew.
        kv.put(
            tx,
            namespace,
            key,
            value,
            now=now,
            type_=kind if isinstance(value, str) else None,
            ttl=ttl,
            description=description,
        )

    lanner().database.write(work)
    return empty(200)


@resource.on("GET", "/namespaces/<namespace>/kv/<key>")
def get(namespace: str, key: str) -> Response:
    entry = lanner().database.read(lambda c: kv.find(c, namespace, key))
    if entry is None:
        raise NotFound(f"no value for key '{key}' in namespace '{namespace}'")
    if entry.expired(lanner().clock.now()):
        raise Gone(f"Resource has expired: key '{key}'")
    return answer(
        {"type": entry.type, "value": entry.value, "revision": entry.version, "updated": iso(entry.updated_at)}
    )


@resource.on("DELETE", "/namespaces/<namespace>/kv/<key>")
def delete(namespace: str, key: str) -> Response:
    now = lanner().clock.now()
    return answer(lanner().database.write(lambda tx: kv.delete(tx, namespace, key, now=now)))


@resource.on("GET", "/namespaces/<namespace>/kv")
def of_namespace(namespace: str) -> Response:
    now = lanner().clock.now()
    return answer([entry_shape(e) for e in lanner().database.read(lambda c: kv.entries(c, [namespace], now=now))])


@resource.on("DELETE", "/namespaces/<namespace>/kv")
def delete_many(namespace: str) -> Response:
    """Answers the keys that existed."""
    keys = json_object().get("keys")
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise InvalidInput("Invalid json: expected {keys: [key]}", code="invalid_json")
    now = lanner().clock.now()

    def work(tx: Connection) -> list[str]:
        return [key for key in dict.fromkeys(keys) if kv.delete(tx, namespace, key, now=now)]

    return answer({"keys": lanner().database.write(work)})


@resource.on("GET", "/namespaces/<namespace>/kv/inheritance")
def inherited(namespace: str) -> Response:
    """Own entries and those of the parents; the nearest one of a key hides the others."""
    now, levels = lanner().clock.now(), lineage(namespace)
    entries = lanner().database.read(lambda c: kv.entries(c, levels, now=now))
    nearest: dict[str, Entry] = {}
    for entry in sorted(entries, key=lambda e: levels.index(e.namespace)):
        nearest.setdefault(entry.key, entry)
    return answer([entry_shape(entry) for _, entry in sorted(nearest.items())])


_FIELDS = {
    "q": lambda op, value: text_field("q", kv_table.c.key)(Op.CONTAINS if op is Op.EQUALS else op, value),
    "key": text_field("key", kv_table.c.key),
    "namespace": text_field("namespace", kv_table.c.namespace),
    "type": text_field("type", kv_table.c.type),
    "created": instant_field("created", kv_table.c.created_at, read_instant),
    "updated": instant_field("updated", kv_table.c.updated_at, read_instant),
    "expirationDate": instant_field("expirationDate", kv_table.c.expires_at, read_instant),
}
_SORT = {
    "key": kv_table.c.key,
    "namespace": kv_table.c.namespace,
    "updateDate": kv_table.c.updated_at,
    "creationDate": kv_table.c.created_at,
    "expirationDate": kv_table.c.expires_at,
    "version": kv_table.c.version,
}


@resource.on("GET", "/kv")
def search() -> Response:
    """Expired entries are left out unless the filters are about the expiry."""
    now = lanner().clock.now()
    wanted = filters.read(filters.KV, now)
    asked = page()

    def read(connection: Connection) -> tuple[list[Entry], int]:
        base = sa.select(kv_table).where(*_living(wanted, now), *where(wanted, _FIELDS))
        rows = connection.execute(ordered(base, asked, _SORT, (kv_table.c.namespace, kv_table.c.key))).all()
        return [kv._entry(row) for row in rows], total(connection, base, asked, len(rows))

    rows, count = lanner().database.read(read)
    return paged([entry_shape(entry) for entry in rows], count)


def _living(wanted: Filters, now: datetime) -> list[Any]:
    conditions: list[Any] = [kv_table.c.latest.is_(True), kv_table.c.deleted.is_(False)]
    if not any(getattr(one, "field", "") == "expirationDate" for one in wanted):
        conditions.append(sa.or_(kv_table.c.expires_at.is_(None), kv_table.c.expires_at > now))
    return conditions
