"""Retention: what is too old goes, whole and in small steps; what runs, or is looked at by what runs, stays (R25)."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
import sqlalchemy as sa

from namespaces import audit
from namespaces.audit import Entry
from namespaces.blobs import execution_folder
from runner.retention import ROWS, Kept, Retention
from runner.rows import execution_table, run_table
from runner.writing import log_table
from tests.runner.shell.house import NS, House
from tests.runner.shell.test_liveness import work

DAY = timedelta(days=1)


def ids(house: House) -> set[str]:
    return set(house.database.read(lambda c: list(c.execute(sa.select(execution_table.c.id)).scalars())))


def count(house: House, table: sa.Table) -> int:
    query = sa.select(sa.func.count()).select_from(table)
    return int(house.database.read(lambda c: c.execute(query).scalar_one()))


def purge(house: House, **kept: timedelta) -> int:
    return Retention(house.executions, Kept(**kept)).pass_once(threading.Event())


def test_finished_executions_go_with_all_that_belongs_to_them_and_open_ones_stay(house: House) -> None:
    house.deploy("f", f"tasks: [{work('a')}]")
    old = house.start("f")
    assert house.end(old) == "SUCCESS"
    still_open = house.start("f")
    path = f"{execution_folder(NS, 'f', old)}/x.txt"
    house.storage.put(path, b"x")
    house.clock.advance(3 * DAY)
    young = house.start("f")
    assert house.end(young) == "SUCCESS"

    assert purge(house, executions=2 * DAY) == 1

    assert ids(house) == {still_open, young}
    left = house.database.read(lambda c: set(c.execute(sa.select(run_table.c.execution_id)).scalars()))
    assert left == {still_open, young}
    assert not house.storage.exists(path)


def test_what_a_running_parent_may_look_at_stays(house: House) -> None:
    house.deploy("child", f"tasks: [{work('a')}]")
    house.deploy(
        "f",
        f"tasks: [{{id: c, type: core.flow.Subflow, namespace: {NS}, flowId: child}},"
        " {id: b, type: core.flow.Pause}]",
    )
    parent = house.start("f")
    house.settle(lambda: house.row(parent).state == "PAUSED")
    (child,) = ids(house) - {parent}
    house.clock.advance(3 * DAY)

    assert purge(house, executions=DAY) == 0
    assert ids(house) == {parent, child}


def test_without_a_setting_nothing_is_deleted(house: House) -> None:
    house.deploy("f", f"tasks: [{work('a')}]")
    house.end(house.start("f"))
    house.clock.advance(9999 * DAY)

    assert purge(house) == 0
    assert len(ids(house)) == 1


def test_many_log_lines_go_in_small_transactions(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.deploy("f", f"tasks: [{work('a')}]")
    execution_id = house.start("f")
    house.end(execution_id)
    values = {"namespace": "company.team", "flow_id": "f", "execution_id": execution_id, "level": 20, "message": "m"}
    rows = [{**values, "at": house.clock.now(), "attempt": 0, "seq": None} for _ in range(2 * ROWS + 1)]
    house.database.write(lambda tx: tx.execute(sa.insert(log_table), rows))
    house.clock.advance(3 * DAY)

    assert purge(house, executions=DAY) == 1
    assert count(house, log_table) == 0


def test_the_audit_log_loses_its_oldest_rows_and_still_verifies(house: House) -> None:
    def note(name: str) -> None:
        entry = Entry(actor="a", verb="test", object=name)
        house.database.write(lambda tx: audit.append(tx, entry, now=house.clock.now()))

    for name in ("one", "two"):
        note(name)
    house.clock.advance(400 * DAY)
    note("three")

    assert purge(house, audit=365 * DAY) == 2

    objects = house.database.read(lambda c: list(c.execute(sa.select(audit.table.c.object)).scalars()))
    assert objects == ["three", "audit"]
    assert house.database.read(audit.verify) is None
    note("four")
    house.clock.advance(400 * DAY)
    purge(house, audit=365 * DAY)
    assert house.database.read(audit.verify) is None


def test_a_purge_hides_no_change_to_the_rows_that_are_left(house: House) -> None:
    for name in ("one", "two", "three"):
        entry = Entry(actor="a", verb="test", object=name)
        house.database.write(lambda tx, e=entry: audit.append(tx, e, now=house.clock.now()))
        house.clock.advance(200 * DAY)
    purge(house, audit=365 * DAY)

    first = house.database.read(lambda c: c.execute(sa.select(sa.func.min(audit.table.c.seq))).scalar_one())
    house.database.write(lambda tx: tx.execute(sa.delete(audit.table).where(audit.table.c.seq == first)))

    assert house.database.read(audit.verify) == first + 1
