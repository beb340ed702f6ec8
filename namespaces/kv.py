"""Key-value pairs of a namespace: typed values, time to live, a version for each write.

Functions take the connection of the caller's unit of work. Inheritance is the caller's business (``lineage``).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from namespaces.durations import format_duration, parse_duration
from namespaces.errors import Conflict, InvalidInput, NotFound
from namespaces.tables import FileRow, FlowRow, KvRow, NamespaceRow

kv_table = KvRow.__table__  # type: ignore[attr-defined]
flow_table = FlowRow.__table__  # type: ignore[attr-defined]
file_table = FileRow.__table__  # type: ignore[attr-defined]
namespace_table = NamespaceRow.__table__  # type: ignore[attr-defined]

KEY = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]*")
LONGEST_KEY = 256
TYPES = ("STRING", "NUMBER", "BOOLEAN", "DATETIME", "DATE", "DURATION", "JSON")

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_DATETIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?")
_DURATION = re.compile(r"-?P(\d+D)?(T(\d+H)?(\d+M)?(\d+(\.\d+)?S)?)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """The newest version of a key. ``value`` is the native value: dates and durations as ISO text."""

    namespace: str
    key: str
    version: int
    type: str
    value: Any
    description: str | None
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None

    def expired(self, now: datetime) -> bool:
        return self.expires_at is not None and self.expires_at <= now


def check_key(key: str) -> None:
    """Raise ``InvalidInput`` naming the pattern for what cannot be a key."""
    if not KEY.fullmatch(key) or len(key) > LONGEST_KEY:
        raise InvalidInput(
            f"Key must start with an alphanumeric character (uppercase or lowercase) and can contain alphanumeric "
            f"characters, dots, dashes and underscores only, got '{key[:80]}'",
            code="bad_key",
        )


def typed(value: Any, type_: str | None = None) -> tuple[str, Any]:
    """(type, stored value) of a native value; ``type_`` converts a text. Raises ``InvalidInput``."""
    if type_ is not None and type_ not in TYPES:
        raise InvalidInput(f"kvType '{type_}' is not one of {', '.join(TYPES)}")
    if isinstance(value, str) and type_ not in (None, "STRING"):
        return str(type_), _converted(value, str(type_))
    if type_ == "STRING":
        return "STRING", value if isinstance(value, str) else orjson.dumps(value).decode()
    return _natural(value)


def _natural(value: Any) -> tuple[str, Any]:
    match value:
        case bool():
            return "BOOLEAN", value
        case int() | float():
            return "NUMBER", value
        case datetime():
            return "DATETIME", value.isoformat().replace("+00:00", "Z")
        case date():
            return "DATE", value.isoformat()
        case timedelta():
            return "DURATION", format_duration(value)
        case str():
            return "STRING", value
        case _:
            return "JSON", value


def _converted(text: str, type_: str) -> Any:
    try:
        match type_:
            case "NUMBER":
                return _number(text)
            case "BOOLEAN":
                return text.strip().lower() == "true"
            case "DATETIME" | "DATE":
                datetime.fromisoformat(text)
                return text
            case "DURATION":
                return format_duration(parse_duration(text))
            case _:
                return orjson.loads(text)
    except ValueError as error:
        raise InvalidInput(f"'{text[:80]}' is not a {type_}") from error


def _number(text: str) -> int | float:
    number = orjson.loads(text)
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise InvalidInput(f"'{text[:80]}' is not a NUMBER")
    return number


def parse_body(raw: bytes | str) -> tuple[str, Any]:
    """(type, value) of the API's body: JSON in the wide sense of Ion (``api.md`` 4.8). Raises ``InvalidInput``."""
    text = (raw.decode("utf-8", "strict") if isinstance(raw, bytes) else raw).strip()
    if _DATETIME.fullmatch(text):
        return "DATETIME", text
    if _DATE.fullmatch(text):
        return "DATE", text
    if len(text) > 1 and text.upper() != "P" and _DURATION.fullmatch(text):
        return "DURATION", format_duration(parse_duration(text))
    try:
        value = orjson.loads(text)
    except ValueError as error:
        if text[:1] in ("{", "["):
            return "JSON", _from_ion(text)
        raise InvalidInput(
            "Invalid json: the value could not be parsed", hint='a text needs quotes: "text"', code="bad_value"
        ) from error
    if isinstance(value, str) and len(value) > 1 and value.upper() != "PT" and _DURATION.fullmatch(value):
        return "DURATION", format_duration(parse_duration(value))
    return _natural(value)


def _from_ion(text: str) -> Any:
    """A map or list in Ion's looser writing: names without quotes, comments, a comma at the end."""
    from namespaces.expressions.failures import RenderError
    from namespaces.expressions.ion_text import parsed

    try:
        found = parsed(text, everything=True)
    except RenderError as error:
        raise InvalidInput(f"Invalid json: {error}", code="bad_value") from error
    if len(found) != 1:
        raise InvalidInput("Invalid json: expected one value", code="bad_value")
    return found[0]


def get(connection: Connection, namespace: str, key: str, *, now: datetime) -> Entry | None:
    """The newest version; None when the key is missing, deleted or expired."""
    entry = find(connection, namespace, key)
    return None if entry is None or entry.expired(now) else entry


def find(connection: Connection, namespace: str, key: str) -> Entry | None:
    """The newest version, an expired one too; None when missing or deleted."""
    row = connection.execute(
        sa.select(kv_table).where(kv_table.c.namespace == namespace, kv_table.c.key == key, kv_table.c.latest.is_(True))
    ).one_or_none()
    return None if row is None or row.deleted else _entry(row)


def put(
    tx: Connection,
    namespace: str,
    key: str,
    value: Any,
    *,
    now: datetime,
    type_: str | None = None,
    overwrite: bool = True,
    ttl: timedelta | None = None,
    description: str | None = None,
) -> Entry:
    """Write the next version. Raises ``InvalidInput`` for key or value, ``Conflict`` without ``overwrite``."""
    check_key(key)
    kind, stored = typed(value, type_)
    _one_writer(tx, namespace, key)
    before = tx.execute(
        sa.select(kv_table).where(kv_table.c.namespace == namespace, kv_table.c.key == key, kv_table.c.latest.is_(True))
    ).one_or_none()
    alive = None if before is None or before.deleted or _entry(before).expired(now) else _entry(before)
    if alive is not None and not overwrite:
        raise Conflict(f"key '{key}' already exists in namespace '{namespace}'", code="key_exists")
    if before is not None:
        _retire(tx, namespace, key)
    entry = Entry(
        namespace=namespace,
        key=key,
        version=before.version + 1 if before is not None else 1,
        type=kind,
        value=stored,
        description=description if description is not None or alive is None else alive.description,
        created_at=alive.created_at if alive is not None else now,
        updated_at=now,
        expires_at=now + ttl if ttl is not None else None,
    )
    tx.execute(
        sa.insert(kv_table).values(
            namespace=entry.namespace,
            key=entry.key,
            version=entry.version,
            latest=True,
            deleted=False,
            type=entry.type,
            value={"v": entry.value},
            description=entry.description,
            created_at=entry.created_at,
            updated_at=entry.updated_at,
            expires_at=entry.expires_at,
        )
    )
    _ensure_namespace(tx, namespace, now)
    return entry


def delete(tx: Connection, namespace: str, key: str, *, now: datetime) -> bool:
    """Whether there was something to delete."""
    _one_writer(tx, namespace, key)
    entry = get(tx, namespace, key, now=now)
    if entry is None:
        return False
    _retire(tx, namespace, key)
    tx.execute(
        sa.insert(kv_table).values(
            namespace=namespace,
            key=key,
            version=entry.version + 1,
            latest=True,
            deleted=True,
            type=entry.type,
            created_at=entry.created_at,
            updated_at=now,
        )
    )
    return True


def keys(connection: Connection, namespace: str, *, prefix: str | None = None, now: datetime) -> list[str]:
    """Names of the living keys, sorted."""
    found = [entry.key for entry in entries(connection, [namespace], now=now)]
    return sorted(key for key in found if prefix is None or key.startswith(prefix))


def entries(connection: Connection, namespaces: Iterable[str], *, now: datetime) -> list[Entry]:
    """The living entries of these namespaces, by namespace and key."""
    query = (
        sa.select(kv_table)
        .where(
            kv_table.c.namespace.in_(list(namespaces)),
            kv_table.c.latest.is_(True),
            kv_table.c.deleted.is_(False),
            sa.or_(kv_table.c.expires_at.is_(None), kv_table.c.expires_at > now),
        )
        .order_by(kv_table.c.namespace, kv_table.c.key)
    )
    return [_entry(row) for row in connection.execute(query)]


def purge_keys(tx: Connection, chosen: Callable[[str, str], bool], *, expired_only: bool, now: datetime) -> int:
    """Remove keys with all their versions where ``chosen(namespace, key)``; how many there were."""
    query = sa.select(kv_table.c.namespace, kv_table.c.key).where(
        kv_table.c.latest.is_(True), kv_table.c.deleted.is_(False)
    )
    if expired_only:
        query = query.where(kv_table.c.expires_at <= now)
    found = [(row.namespace, row.key) for row in tx.execute(query) if chosen(row.namespace, row.key)]
    for namespace, key in found:
        tx.execute(sa.delete(kv_table).where(kv_table.c.namespace == namespace, kv_table.c.key == key))
    return len(found)


def purge_versions(
    tx: Connection, chosen: Callable[[str, str], bool], *, before: datetime | None, keep: int | None
) -> int:
    """Remove versions that are older than ``before`` and beyond the newest ``keep``; never the newest one."""
    query = sa.select(kv_table.c.namespace, kv_table.c.key, kv_table.c.version, kv_table.c.updated_at)
    newest = query.order_by(kv_table.c.namespace, kv_table.c.key, kv_table.c.version.desc())
    kept: Counter[tuple[str, str]] = Counter()
    gone = 0
    for row in tx.execute(newest).all():
        name = (row.namespace, row.key)
        kept[name] += 1
        old = (before is None or row.updated_at < before) and (keep is None or kept[name] > keep)
        if kept[name] > 1 and old and chosen(*name):
            gone += tx.execute(
                sa.delete(kv_table).where(
                    kv_table.c.namespace == row.namespace,
                    kv_table.c.key == row.key,
                    kv_table.c.version == row.version,
                )
            ).rowcount
    return gone


def require_namespace(connection: Connection, namespace: str) -> None:
    """Raise ``NotFound`` for a namespace without flows, entries and files (``decisions.md`` 7)."""
    known = connection.execute(
        sa.union_all(
            sa.select(flow_table.c.namespace).where(flow_table.c.namespace == namespace).limit(1).subquery().select(),
            sa.select(kv_table.c.namespace).where(kv_table.c.namespace == namespace).limit(1).subquery().select(),
            sa.select(file_table.c.namespace).where(file_table.c.namespace == namespace).limit(1).subquery().select(),
        )
    ).first()
    if known is None:
        raise NotFound(
            f"Cannot access the KV store: the namespace '{namespace}' does not exist", code="unknown_namespace"
        )


def _retire(tx: Connection, namespace: str, key: str) -> None:
    tx.execute(
        sa.update(kv_table)
        .where(kv_table.c.namespace == namespace, kv_table.c.key == key, kv_table.c.latest.is_(True))
        .values(latest=False)
    )


def _one_writer(tx: Connection, namespace: str, key: str) -> None:
    """Let writers of one key wait for each other until this transaction ends; SQLite has one writer anyway."""
    if tx.dialect.name == "postgresql":
        tx.execute(
            sa.text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": f"kv/{namespace}/{key}"}
        )


def _ensure_namespace(tx: Connection, namespace: str, now: datetime) -> None:
    known = tx.execute(sa.select(namespace_table.c.name).where(namespace_table.c.name == namespace)).scalar()
    if known is None:
        if tx.dialect.name == "postgresql":
            from sqlalchemy.dialects.postgresql import insert
        else:
            from sqlalchemy.dialects.sqlite import insert  # type: ignore[assignment]
        tx.execute(insert(namespace_table).values(name=namespace, created_at=now).on_conflict_do_nothing())


def _entry(row: Any) -> Entry:
    return Entry(
        namespace=row.namespace,
        key=row.key,
        version=row.version,
        type=row.type,
        value=(row.value or {}).get("v"),
        description=row.description,
        created_at=row.created_at,
        updated_at=row.updated_at,
        expires_at=row.expires_at,
    )


__all__: Sequence[str] = (
    "Entry", "check_key", "delete", "entries", "find", "get", "keys", "parse_body", "put", "require_namespace", "typed",
)  # fmt: skip
