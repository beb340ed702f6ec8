"""Leases on both databases: one holder, a token that rises, the dead replaced at once where that can be known."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from namespaces.errors import Conflict
from namespaces.store import leases
from namespaces.store.db import Database
from namespaces.store.leases import Lease

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TTL = timedelta(seconds=15)


def acquire(database: Database, holder: str, now: datetime = NOW) -> Lease | None:
    return database.write(lambda tx: leases.acquire(tx, "leader", holder, now=now, ttl=TTL))


def set_host(database: Database, **more: str) -> None:
    host = {**leases.this_process(), **more}
    database.write(lambda tx: tx.execute(sa.update(leases.table).values(host=host)))


def test_one_holds_and_the_others_wait(database: Database) -> None:
    assert acquire(database, "a") == Lease("leader", "a", 1)
    assert acquire(database, "b") is None


def test_renewing_keeps_the_token_and_moves_the_end(database: Database) -> None:
    acquire(database, "a")

    assert acquire(database, "a", NOW + timedelta(seconds=10)) == Lease("leader", "a", 1)
    assert acquire(database, "b", NOW + timedelta(seconds=20)) is None


def test_the_token_rises_with_each_new_holder(database: Database) -> None:
    acquire(database, "a")

    assert acquire(database, "b", NOW + TTL) == Lease("leader", "b", 2)
    assert acquire(database, "a", NOW + TTL) is None
    assert acquire(database, "a", NOW + 2 * TTL) == Lease("leader", "a", 3)


def test_a_holder_that_was_away_too_long_gets_a_new_token(database: Database) -> None:
    acquire(database, "a")

    assert acquire(database, "a", NOW + TTL) == Lease("leader", "a", 2)


def test_writes_under_a_lost_lease_are_refused(database: Database) -> None:
    old = acquire(database, "a")
    new = acquire(database, "b", NOW + TTL)
    assert old is not None
    assert new is not None

    database.write(lambda tx: leases.check(tx, new))
    with pytest.raises(Conflict) as refused:
        database.write(lambda tx: leases.check(tx, old))
    assert refused.value.code == "lease_lost"


def test_a_released_lease_is_free_at_once_and_only_its_holder_can_release_it(database: Database) -> None:
    lease = acquire(database, "a")
    assert lease is not None

    database.write(lambda tx: leases.release(tx, Lease("leader", "a", 7)))
    database.write(lambda tx: leases.release(tx, Lease("leader", "b", 1)))
    assert acquire(database, "b") is None
    database.write(lambda tx: leases.release(tx, lease))

    assert acquire(database, "b") == Lease("leader", "b", 2)


def test_a_holder_that_died_on_this_host_is_replaced_at_once(database: Database, ended_process: dict[str, str]) -> None:
    acquire(database, "a")
    set_host(database, **ended_process)

    assert acquire(database, "b") == Lease("leader", "b", 2)


@pytest.mark.parametrize(
    ("host", "replaced"),
    [
        ({}, False),
        ({"start": "1"}, True),
        ({"boot": "another boot"}, True),
        ({"host": "another host", "start": "1"}, False),
        ({"start": ""}, False),
    ],
)
def test_who_counts_as_dead(database: Database, host: dict[str, str], replaced: bool) -> None:
    acquire(database, "a")
    set_host(database, **host)

    assert (acquire(database, "b") is not None) is replaced


def test_of_many_at_once_one_wins(database: Database) -> None:
    acquire(database, "before")
    ready = threading.Barrier(8)

    def take(number: int) -> Any:
        ready.wait(10)
        return acquire(database, f"h{number}", NOW + TTL)

    with ThreadPoolExecutor(8) as pool:
        won = [lease for lease in pool.map(take, range(8)) if lease is not None]

    assert len(won) == 1


def test_of_many_at_the_very_first_time_one_wins(database: Database) -> None:
    ready = threading.Barrier(8)

    def take(number: int) -> Any:
        ready.wait(10)
        return acquire(database, f"h{number}")

    with ThreadPoolExecutor(8) as pool:
        won = [lease for lease in pool.map(take, range(8)) if lease is not None]

    assert len(won) == 1


@pytest.fixture
def ended_process() -> Iterator[dict[str, str]]:
    """A process of this host that has ended, as a lease would have noted it."""
    process = subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE)
    noted = {"pid": str(process.pid), "start": leases.process_start(process.pid)}
    process.communicate()
    return noted
