"""Several savers of one flow or file at once, on both databases: last wins, nobody meets a broken constraint."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from namespaces import files
from namespaces.clock import SystemClock
from namespaces.errors import InvalidInput
from namespaces.flows.catalog import Catalog
from namespaces.registry import Registry
from namespaces.store.db import Database, create_schema, open_database

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SAVERS = 8


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = open_database(database_url)
    create_schema(opened)
    yield opened
    opened.close()


def text(message: object, flow_id: str = "f") -> str:
    return (
        f"id: {flow_id}\nnamespace: a.b\n"
        f"tasks: [{{id: t, type: io.kestra.plugin.core.log.Log, message: 'm{message}'}}]\n"
    )


def test_one_of_many_creators_of_a_flow_wins(database: Database) -> None:
    registry = Registry(database, Catalog(), SystemClock())

    def create(number: int) -> str:
        try:
            return str(registry.create(text(number)).revision)
        except InvalidInput as refused:
            return refused.message

    with ThreadPoolExecutor(SAVERS) as pool:
        answers = list(pool.map(create, range(SAVERS)))

    assert sorted(answers) == ["1", *["Flow id already exists"] * (SAVERS - 1)]


def test_flows_of_one_new_namespace_are_created_at_once(database: Database) -> None:
    registry = Registry(database, Catalog(), SystemClock())

    with ThreadPoolExecutor(SAVERS) as pool:
        made = list(pool.map(lambda number: registry.create(text(number, f"f{number}")), range(SAVERS)))

    assert [stored.revision for stored in made] == [1] * SAVERS


def test_each_of_many_updates_is_a_revision(database: Database) -> None:
    registry = Registry(database, Catalog(), SystemClock())
    registry.create(text("first"))

    with ThreadPoolExecutor(SAVERS) as pool:
        made = list(pool.map(lambda number: registry.update("a.b", "f", text(number)), range(SAVERS)))

    assert sorted(stored.revision for stored in made) == list(range(2, SAVERS + 2))


def test_each_write_of_a_file_is_a_revision(database: Database) -> None:
    def write(number: int) -> int:
        content = f"text {number}".encode()
        return database.write(lambda tx: files.write(tx, "a.b", "/x.txt", content, now=NOW)).revision

    with ThreadPoolExecutor(SAVERS) as pool:
        assert max(pool.map(write, range(SAVERS))) == SAVERS
