"""Several writers of one key at once, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from namespaces import kv
from namespaces.store.db import Database, create_schema, open_database

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = open_database(database_url)
    create_schema(opened)
    yield opened
    opened.close()


def test_writers_of_one_key_get_a_version_each(database: Database) -> None:
    def write(number: int) -> int:
        return database.write(lambda tx: kv.put(tx, "a.b", "k", number, now=NOW)).version

    with ThreadPoolExecutor(8) as pool:
        versions = sorted(pool.map(write, range(16)))

    assert versions == list(range(1, 17))


def test_writers_of_a_new_namespace_do_not_meet(database: Database) -> None:
    def write(number: int) -> int:
        return database.write(lambda tx: kv.put(tx, "new.one", f"k{number}", number, now=NOW)).version

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(write, range(16))) == {1}
