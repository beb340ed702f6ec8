"""The outbox on both databases: written with its decision, held by one claimer, never lost with it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.engine import Connection

from namespaces.store import outbox
from namespaces.store.db import Database
from namespaces.store.outbox import Message

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HOLD = timedelta(seconds=30)


def put(database: Database, *payloads: Any, topic: str = "t", due_at: datetime = NOW) -> list[int]:
    return database.write(lambda tx: outbox.put(tx, topic, [("k", item) for item in payloads], due_at=due_at))


def claim(database: Database, now: datetime = NOW, *, topics: Sequence[str] = ("t",), limit: int = 10) -> list[Message]:
    return database.write(lambda tx: outbox.claim(tx, topics, now=now, hold=HOLD, limit=limit))


def test_a_message_of_a_transaction_that_failed_was_never_there(database: Database) -> None:
    def work(tx: Connection) -> None:
        outbox.put(tx, "t", [("k", 1)], due_at=NOW)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        database.write(work)

    assert claim(database) == []


def test_ids_come_in_the_order_of_the_messages(database: Database) -> None:
    ids = put(database, "a", "b", "c")

    assert {message.id: message.payload for message in claim(database)} == dict(zip(ids, "abc", strict=True))


def test_a_claimed_message_is_held_and_comes_back_when_its_claimer_dies(database: Database) -> None:
    put(database, {"n": 1})

    first = claim(database)
    meanwhile = claim(database, NOW + HOLD - timedelta(seconds=1))
    again = claim(database, NOW + HOLD)

    assert [message.payload for message in first] == [{"n": 1}]
    assert meanwhile == []
    assert [message.attempts for message in again] == [1]


def test_what_is_not_due_or_of_another_topic_stays(database: Database) -> None:
    put(database, 1, due_at=NOW + timedelta(seconds=5))
    put(database, 2, topic="other")

    assert claim(database) == []
    assert [message.payload for message in claim(database, NOW + timedelta(seconds=5))] == [1]


def test_done_and_postponed_messages(database: Database) -> None:
    delivered, delayed = put(database, "a", "b")
    claim(database)

    database.write(lambda tx: outbox.done(tx, [delivered]))
    database.write(lambda tx: outbox.postpone(tx, delayed, NOW + timedelta(minutes=5)))

    assert claim(database, NOW + HOLD) == []
    assert [message.payload for message in claim(database, NOW + timedelta(minutes=5))] == ["b"]


def test_done_takes_more_than_a_statement_holds(database: Database) -> None:
    ids = put(database, *range(900))

    database.write(lambda tx: outbox.done(tx, ids))

    assert claim(database, limit=1000) == []


def test_claimers_at_once_share_the_messages(database: Database) -> None:
    put(database, *range(100))
    ready = threading.Barrier(4)

    def take() -> list[Any]:
        ready.wait(10)
        taken: list[Any] = []
        while found := claim(database, limit=7):
            taken += [message.payload for message in found]
        return taken

    with ThreadPoolExecutor(4) as pool:
        taken = [future.result() for future in [pool.submit(take) for _ in range(4)]]

    assert sorted(item for part in taken for item in part) == list(range(100))


@pytest.mark.postgres
def test_a_claimer_passes_over_what_another_holds_at_this_moment(postgres_database: Database) -> None:
    put(postgres_database, 1, 2)
    inside, go_on = threading.Event(), threading.Event()

    def slow(tx: Connection) -> list[Message]:
        found = outbox.claim(tx, ("t",), now=NOW, hold=HOLD, limit=1)
        inside.set()
        go_on.wait(10)
        return found

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(postgres_database.write, slow)
        inside.wait(10)
        second = claim(postgres_database)
        go_on.set()

        assert [message.payload for message in first.result()] == [1]
        assert [message.payload for message in second] == [2]
