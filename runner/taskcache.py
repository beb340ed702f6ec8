"""Outputs of tasks with ``taskCache`` (``flows.md`` 2.6): found again by the hash of what the task was given.

Secrets among them are sealed for their key; large ones are kept in the internal storage. What is expired is deleted by
the scheduler, what is too much of one task when more comes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from namespaces.blobs import SCHEME, Storage, path_of, task_cache_file, uri
from namespaces.errors import NotFound
from namespaces.store.base import dump_json
from namespaces.store.db import Database
from runner.tables import TaskCacheRow

cache_table = TaskCacheRow.__table__  # type: ignore[attr-defined]


def find(database: Database, storage: Storage, key: str, now: datetime) -> Any | None:
    """The kept outputs (sealed parts still sealed), None when there are none or a file they name is gone."""
    query = sa.select(cache_table).where(cache_table.c.key == key)
    row = database.read(lambda c: c.execute(query).one_or_none())
    if row is None or (row.expires_at is not None and row.expires_at <= now):
        return None
    outputs = row.outputs
    try:
        if row.outputs_uri:
            with storage.open(path_of(row.outputs_uri)) as file:
                outputs = orjson.loads(file.read())
        if all(storage.exists(path_of(one)) for one in _uris(outputs)):
            return outputs
    except NotFound:
        return None
    return None


def _uris(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if value.startswith(f"{SCHEME}/"):
            yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _uris(item)
    elif isinstance(value, list):
        for item in value:
            yield from _uris(item)


def keep(
    database: Database,
    storage: Storage,
    key: str,
    place: tuple[str, str, str],
    outputs: Any,
    *,
    now: datetime,
    ttl: timedelta | None,
    row_bytes: int,
    most: int,
) -> bool:
    """Keep outputs for ``ttl`` (None: without end). ``place``: namespace, flow, task, of which ``most`` are kept.

    Whether older ones had to go for it.
    """
    namespace, flow_id, task_id = place
    values: dict[str, Any] = {
        "key": key,
        "namespace": namespace,
        "flow_id": flow_id,
        "task_id": task_id,
        "outputs": outputs,
        "outputs_uri": None,
        "stored_at": now,
        "expires_at": now + ttl if ttl is not None else None,
    }
    text = dump_json(outputs)
    if len(text) > row_bytes:
        path = task_cache_file(namespace, flow_id, task_id, key)
        storage.put(path, text.encode())
        values.update(outputs=None, outputs_uri=uri(path))
    of_task = (
        cache_table.c.namespace == namespace, cache_table.c.flow_id == flow_id, cache_table.c.task_id == task_id,
    )  # fmt: skip

    surplus: list[str] = []

    def write(tx: Connection) -> list[str]:
        tx.execute(sa.delete(cache_table).where(cache_table.c.key == key))
        tx.execute(sa.insert(cache_table).values(values))
        newest = (
            sa.select(cache_table.c.key).where(*of_task).order_by(cache_table.c.stored_at.desc(), cache_table.c.key)
        )
        surplus[:] = tx.execute(newest.offset(most)).scalars()
        return _delete(tx, surplus)

    _remove(storage, database.write(write))
    return bool(surplus)


def forget_expired(database: Database, storage: Storage, now: datetime, limit: int) -> int:
    """Delete up to ``limit`` entries whose time is over; how many there were."""
    found: list[str] = []

    def write(tx: Connection) -> list[str]:
        over = sa.select(cache_table.c.key).where(cache_table.c.expires_at <= now).limit(limit)
        found[:] = tx.execute(over).scalars()
        return _delete(tx, found)

    _remove(storage, database.write(write))
    return len(found)


def _delete(tx: Connection, keys: list[str]) -> list[str]:
    """Delete entries; the addresses of their files."""
    if not keys:
        return []
    mine = cache_table.c.key.in_(keys)
    files = list(tx.execute(sa.select(cache_table.c.outputs_uri).where(mine)).scalars())
    tx.execute(sa.delete(cache_table).where(mine))
    return [one for one in files if one]


def _remove(storage: Storage, uris: list[str]) -> None:
    for one in uris:
        storage.delete(path_of(one))
