"""Key-value pairs: types, versions, expiry."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from namespaces import kv
from namespaces.errors import Conflict, InvalidInput, NotFound
from namespaces.store.db import Database

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'"text"', ("STRING", "text")),
        (b" 12 ", ("NUMBER", 12)),
        (b"-1.5e3", ("NUMBER", -1500.0)),
        (b"false", ("BOOLEAN", False)),
        (b'["a", {"b": 1}]', ("JSON", ["a", {"b": 1}])),
        (b"{a: 1, b: [2, 3,],}", ("JSON", {"a": 1, "b": [2, 3]})),
        (b"2024-05-06", ("DATE", "2024-05-06")),
        (b"2024-05-06T07:08:09.123+02:00", ("DATETIME", "2024-05-06T07:08:09.123+02:00")),
        (b"pt1h30m", ("DURATION", "PT1H30M")),
        (b'"P"', ("STRING", "P")),
        (b'"PT"', ("STRING", "PT")),
    ],
)
def test_a_body_has_the_type_it_is_written_as(body: bytes, expected: tuple[str, Any]) -> None:
    assert kv.parse_body(body) == expected


@pytest.mark.parametrize("body", [b"", b"word", b"{", b"[1", b"{a: 1} {b: 2}", b"'x'", b"NaN", b"[" * 5_000])
def test_what_cannot_be_read_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidInput):
        kv.parse_body(body)


@pytest.mark.parametrize("key", ["", ".a", "-a", "a b", "a/b", "é", "a" * 257, "a\n"])
def test_bad_keys_are_refused(key: str) -> None:
    with pytest.raises(InvalidInput):
        kv.check_key(key)


@pytest.mark.parametrize(
    ("value", "type_", "expected"),
    [
        (date(2024, 5, 6), None, ("DATE", "2024-05-06")),
        (timedelta(seconds=5), None, ("DURATION", "PT5S")),
        ("12", "NUMBER", ("NUMBER", 12)),
        ("TRUE", "BOOLEAN", ("BOOLEAN", True)),
        ({"a": 1}, "STRING", ("STRING", '{"a":1}')),
        ("PT60M", "DURATION", ("DURATION", "PT1H")),
    ],
)
def test_values_are_converted_to_the_wanted_type(value: Any, type_: str | None, expected: tuple[str, Any]) -> None:
    assert kv.typed(value, type_) == expected


def test_each_write_is_a_version_and_deleting_continues_the_count(database: Database) -> None:
    def put(value: Any) -> int:
        return database.write(lambda tx: kv.put(tx, "a", "k", value, now=NOW)).version

    assert [put(1), put(2)] == [1, 2]
    assert database.write(lambda tx: kv.delete(tx, "a", "k", now=NOW))
    assert not database.write(lambda tx: kv.delete(tx, "a", "k", now=NOW))
    assert put(3) == 4
    entry = database.read(lambda c: kv.get(c, "a", "k", now=NOW))
    assert entry is not None
    assert entry.value == 3


def test_an_expired_value_is_found_only_by_those_who_ask_for_it(database: Database) -> None:
    database.write(lambda tx: kv.put(tx, "a", "k", 1, now=NOW, ttl=timedelta(minutes=5)))
    later = NOW + timedelta(minutes=5)

    assert database.read(lambda c: kv.get(c, "a", "k", now=NOW)) is not None
    assert database.read(lambda c: kv.get(c, "a", "k", now=later)) is None
    assert database.read(lambda c: kv.keys(c, "a", now=later)) == []
    found = database.read(lambda c: kv.find(c, "a", "k"))
    assert found is not None
    assert found.expired(later)


def test_without_overwrite_a_living_key_is_kept_and_an_expired_one_replaced(database: Database) -> None:
    database.write(lambda tx: kv.put(tx, "a", "k", 1, now=NOW, ttl=timedelta(minutes=5)))

    with pytest.raises(Conflict):
        database.write(lambda tx: kv.put(tx, "a", "k", 2, now=NOW, overwrite=False))
    entry = database.write(lambda tx: kv.put(tx, "a", "k", 2, now=NOW + timedelta(hours=1), overwrite=False))

    assert entry.value == 2


def test_a_namespace_nobody_has_seen_is_refused(database: Database) -> None:
    with pytest.raises(NotFound):
        database.read(lambda c: kv.require_namespace(c, "never"))
    database.write(lambda tx: kv.put(tx, "seen", "k", 1, now=NOW))

    database.read(lambda c: kv.require_namespace(c, "seen"))
