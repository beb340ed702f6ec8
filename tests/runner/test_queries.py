"""The read side: shapes, search, and how many statements it takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from namespaces.errors import BadRequest, InvalidInput
from namespaces.filters import COUNTED, Filter, Group, Op, Page
from namespaces.secrets import MARK
from namespaces.store.base import to_micros
from namespaces.store.db import Database, SqliteDatabase
from namespaces.store.statements import raw
from runner import queries, queries_shapes
from runner.rows import execution_table, label_table, run_table
from runner.writing import log_table, metric_table

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def insert_execution(database: Database, execution_id: str, **more: Any) -> None:
    created = more.pop("created_at", NOW)
    labels = more.pop("labels", [])
    state = more.pop("state", "SUCCESS")
    values = {
        "id": execution_id,
        "version": 1,
        "namespace": "a.b",
        "flow_id": "flow",
        "revision": 1,
        "generation": 1,
        "state": state,
        "finished": state == "SUCCESS",
        "slot": False,
        "kind": "NORMAL",
        "created_at": created,
        "ended_at": created + timedelta(seconds=2),
        "history": [["CREATED", to_micros(created)], [state, to_micros(created) + 1_500_000]],
        "labels": labels,
        "original_id": execution_id,
        "attempt_number": 1,
        "original_created_at": created,
        "depth": 0,
        "recoveries": 0,
        **more,
    }

    def work(tx: sa.Connection) -> None:
        tx.execute(sa.insert(execution_table).values(values))
        if labels:
            tx.execute(
                sa.insert(label_table),
                [{"execution_id": execution_id, "key": key, "value": value} for key, value in labels],
            )

    database.write(work)


def insert_runs(database: Database, execution_id: str, count: int, **more: Any) -> None:
    history = [["CREATED", to_micros(NOW)], ["RUNNING", to_micros(NOW) + 1], ["SUCCESS", to_micros(NOW) + 2]]
    attempts = [
        {"n": 0, "state": "SUCCESS", "start": to_micros(NOW), "end": to_micros(NOW) + 2, "info": {"worker_id": "w"}}
    ]
    rows = [
        {
            "id": f"{execution_id}-{number}",
            "execution_id": execution_id,
            "task_id": "task",
            "sequence": number,
            "state": "SUCCESS",
            "terminal": True,
            "epoch": 1,
            "history": history,
            "attempts": attempts,
            "address": "",
            "outputs": {"value": number},
            **more,
        }
        for number in range(count)
    ]
    database.write(lambda tx: tx.execute(sa.insert(run_table), rows))


@contextmanager
def counted(database: Database) -> Iterator[list[str]]:
    """The statements sent while the block runs."""
    statements: list[str] = []

    def note(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.lstrip().upper().startswith("SELECT"):
            statements.append(statement)

    if isinstance(database, SqliteDatabase):
        # Below SQLAlchemy too: not every statement passes it.
        database.read(lambda c: raw(c).set_trace_callback(lambda text: note(None, None, text)))
        try:
            yield statements
        finally:
            database.read(lambda c: raw(c).set_trace_callback(None))
        return
    engine = database._engine  # type: ignore[attr-defined]
    sa.event.listen(engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        sa.event.remove(engine, "before_cursor_execute", note)


def search(database: Database, *filters: Filter | Group, page: Page | None = None, **more: Any) -> list[str]:
    rows, total = database.read(
        lambda c: queries.search_executions(c, filters, page or Page(), now=NOW, light=True, **more)
    )
    assert total >= len(rows)
    return [row["id"] for row in rows]


def test_an_execution_has_the_shape_of_the_contract(database: Database) -> None:
    insert_execution(
        database,
        "e1",
        labels=[["k", "v"]],
        inputs={"secret": {MARK: "c2VhbGVk"}, "plain": 1},
        outputs={"token": {MARK: "c2VhbGVk"}},
        trigger={"id": "t", "type": "x", "variables": {"a": 1}, "_hidden": 1},
        commit="abc",
        source="repo",
    )
    insert_runs(database, "e1", 1)

    shape = database.read(lambda c: queries.execution(c, "e1", now=NOW))

    assert shape is not None
    assert shape["state"] == {
        "current": "SUCCESS",
        "histories": [
            {"state": "CREATED", "date": "2026-01-01T12:00:00.000000Z"},
            {"state": "SUCCESS", "date": "2026-01-01T12:00:01.500000Z"},
        ],
        "duration": "PT1.5S",
        "startDate": "2026-01-01T12:00:00.000000Z",
        "endDate": "2026-01-01T12:00:01.500000Z",
    }
    assert shape["inputs"] == {"secret": "******", "plain": 1}
    assert shape["outputs"] == {"token": "********"}
    assert shape["trigger"] == {"id": "t", "type": "x", "variables": {"a": 1}}
    assert shape["git"] == {"commit": "abc", "source": "repo", "generation": 1}
    assert shape["labels"] == [{"key": "k", "value": "v"}]
    attempt = shape["taskRunList"][0]["attempts"][0]
    assert attempt["workerId"] == "w"
    assert [change["state"] for change in attempt["state"]["histories"]] == ["CREATED", "RUNNING", "SUCCESS"]
    assert database.read(lambda c: queries.execution(c, "none", now=NOW)) is None


def test_an_unfinished_execution_has_no_end(database: Database) -> None:
    insert_execution(database, "e1", state="RUNNING", ended_at=None)

    shape = database.read(lambda c: queries.execution(c, "e1", now=NOW))

    assert shape is not None
    assert "endDate" not in shape["state"]


@pytest.mark.parametrize("count", [1, 1_000])
def test_reading_an_execution_takes_two_statements_however_many_task_runs(database: Database, count: int) -> None:
    insert_execution(database, "e1")
    insert_runs(database, "e1", count)

    with counted(database) as statements:
        shape = database.read(lambda c: queries.execution(c, "e1", now=NOW))

    assert shape is not None
    assert [run["outputs"]["value"] for run in shape["taskRunList"]] == list(range(count))
    assert len(statements) == 2


def test_a_page_of_executions_takes_three_statements(database: Database) -> None:
    for number in range(5):
        insert_execution(database, f"e{number}")
        insert_runs(database, f"e{number}", 3)

    with counted(database) as statements:
        rows, total = database.read(lambda c: queries.search_executions(c, (), Page(size=4), now=NOW))

    assert [len(row["taskRunList"]) for row in rows] == [3, 3, 3, 3]
    assert total == 5
    assert len(statements) == 3


def test_large_outputs_are_read_from_where_they_are(database: Database) -> None:
    insert_execution(database, "e1")
    insert_runs(database, "e1", 1, outputs={"preview": 1}, outputs_uri="kestra:///x")

    shape = database.read(lambda c: queries.execution(c, "e1", now=NOW, load=lambda uri: {"from": uri}))

    assert shape is not None
    assert shape["taskRunList"][0]["outputs"] == {"from": "kestra:///x"}


def test_rewinding_shows_what_was_decided(database: Database) -> None:
    at = to_micros(NOW)
    history = [["CREATED", at], ["FAILED", at + 1], ["RESTARTED", at + 2], ["RUNNING", at + 3], ["SUCCESS", at + 4]]
    insert_execution(database, "e1", history=history)
    insert_runs(
        database, "e1", 1, history=[["CREATED", at], ["FAILED", at + 1], ["RESTARTED", at + 2], ["RUNNING", at + 3]]
    )

    def runs_later(tx: sa.Connection) -> None:
        tx.execute(
            sa.insert(run_table).values(
                id="late", execution_id="e1", task_id="late", sequence=9, state="CREATED", epoch=0, address="",
                terminal=False, history=[["CREATED", at + 3]],
            )
        )  # fmt: skip

    database.write(runs_later)

    shape = database.read(lambda c: queries.execution(c, "e1", now=NOW, rewind="RESTARTED"))

    assert shape is not None
    assert shape["state"]["current"] == "RESTARTED"
    assert [(run["taskId"], run["state"]["current"]) for run in shape["taskRunList"]] == [("task", "RESTARTED")]


def test_filters_mean_what_the_contract_says(database: Database) -> None:
    insert_execution(database, "one", labels=[["team", "data"], ["x", "50%"]], created_at=NOW)
    insert_execution(
        database, "two", namespace="a.bc", flow_id="other", state="FAILED", created_at=NOW - timedelta(days=2)
    )
    insert_execution(database, "loop", kind="LOOP", parent_id="one", created_at=NOW)
    insert_execution(
        database, "child", namespace="a.b.c", trigger_execution_id="one", created_at=NOW - timedelta(days=1)
    )
    insert_execution(database, "sys", namespace="system", created_at=NOW - timedelta(days=3))

    assert search(database) == ["one", "child", "two", "sys"]
    assert search(database, Filter("namespace", Op.PREFIX, "a.b")) == ["one", "child"]
    assert search(database, Filter("namespace", Op.EQUALS, "a.b")) == ["one"]
    assert search(database, Filter("state", Op.IN, ("FAILED", "KILLED"))) == ["two"]
    assert search(database, Filter("state", Op.NOT_IN, ("FAILED",))) == ["one", "child", "sys"]
    assert search(database, Filter("labels", Op.EQUALS, (("team", "data"), ("x", "50%")))) == ["one"]
    assert search(database, Filter("labels", Op.NOT_EQUALS, (("team", "data"),))) == ["child", "two", "sys"]
    assert search(database, Filter("q", Op.EQUALS, "50%")) == ["one"]
    assert search(database, Filter("q", Op.EQUALS, "_")) == []
    assert search(database, Filter("kind", Op.EQUALS, "LOOP")) == ["loop"]
    assert search(database, Filter("parentId", Op.EQUALS, "one")) == ["loop"]
    assert search(database, Filter("triggerExecutionId", Op.EQUALS, "one")) == ["child"]
    assert search(database, Filter("childFilter", Op.EQUALS, "CHILD")) == ["child"]
    assert search(database, Filter("scope", Op.IN, ("SYSTEM",))) == ["sys"]
    assert search(database, Filter("scope", Op.IN, ("USER", "SYSTEM"))) == ["one", "child", "two", "sys"]
    since = (NOW - timedelta(days=1)).isoformat()
    assert search(database, Filter("startDate", Op.GREATER_THAN_OR_EQUAL_TO, since)) == ["one", "child"]
    either = Group("or", (Filter("flowId", Op.EQUALS, "other"), Filter("namespace", Op.EQUALS, "system")))
    assert search(database, either) == ["two", "sys"]
    assert search(database, Filter("flowId", Op.ENDS_WITH, "er")) == ["two"]
    with pytest.raises(BadRequest):
        search(database, Filter("inputs", Op.EQUALS, "x"))
    with pytest.raises(BadRequest):
        search(database, Filter("startDate", Op.EQUALS, "soon"))


def test_pages_are_sorted_and_counted(database: Database) -> None:
    for number in range(7):
        insert_execution(database, f"e{number}", created_at=NOW + timedelta(seconds=number))

    def page(number: int, *sort: tuple[str, bool]) -> tuple[list[str], int]:
        rows, total = database.read(
            lambda c: queries.search_executions(c, (), Page(number, 3, sort), now=NOW, light=True)
        )
        return [row["id"] for row in rows], total

    assert page(1) == (["e6", "e5", "e4"], 7)
    assert page(3) == (["e0"], 7)
    assert page(4) == ([], 7)
    assert page(1, ("id", False)) == (["e0", "e1", "e2"], 7)
    assert page(1, ("state.duration", True))[1] == 7
    with pytest.raises(InvalidInput):
        page(1, ("inputs", False))


def test_a_long_list_says_at_least(database: Database) -> None:
    rows = [{"id": f"e{n:06}", "namespace": "a", "flow_id": "f", "revision": 1, "state": "SUCCESS", "created_at": NOW,
             "original_id": "x", "generation": 0, "version": 0, "finished": True, "slot": False, "kind": "NORMAL",
             "depth": 0, "attempt_number": 1, "recoveries": 0} for n in range(COUNTED + 5)]  # fmt: skip
    database.write(lambda tx: tx.execute(sa.insert(execution_table), rows))

    _, total = database.read(lambda c: queries.search_executions(c, (), Page(size=10), now=NOW, light=True))

    assert total == COUNTED + 1


def test_namespaces_are_found_by_skipping_through_the_index(database: Database) -> None:
    for number, namespace in enumerate(("b", "a", "b", "a.c")):
        insert_execution(database, f"e{number}", namespace=namespace)

    assert database.read(queries.distinct_namespaces) == ["a", "a.c", "b"]


def test_log_lines_can_be_followed_by_their_number(database: Database) -> None:
    def line(number: int) -> dict[str, Any]:
        return {"at": NOW - timedelta(seconds=number), "level": 30, "namespace": "a", "flow_id": "f",
                "execution_id": "e", "attempt": 0, "message": f"m{number}"}  # fmt: skip

    database.write(lambda tx: tx.execute(sa.insert(log_table), [line(1), line(2), line(3)]))

    ordered, _ = database.read(lambda c: queries.log_lines(c, "e"))
    first, last = database.read(lambda c: queries.log_lines(c, "e", limit=2))
    rest, end = database.read(lambda c: queries.log_lines(c, "e", after=last, limit=2))
    nothing, same = database.read(lambda c: queries.log_lines(c, "e", after=end, limit=2))

    assert [entry["message"] for entry in ordered] == ["m3", "m2", "m1"]
    assert [entry["message"] for entry in first + rest] == ["m1", "m2", "m3"]
    assert (nothing, same) == ([], end)


def test_timers_are_shown_in_milliseconds_and_summed_by_bucket(database: Database) -> None:
    def value(number: float, kind: str, at: datetime) -> dict[str, Any]:
        return {"at": at, "namespace": "a", "flow_id": "f", "execution_id": "e", "task_id": "t", "task_run_id": "r",
                "type": kind, "name": kind, "value": number, "tags": {"k": "v"}}  # fmt: skip

    rows = [value(1.5, "timer", NOW), value(2, "counter", NOW), value(3, "counter", NOW - timedelta(days=1))]
    database.write(lambda tx: tx.execute(sa.insert(metric_table), rows))

    shown, total = database.read(lambda c: queries.metrics(c, "e", Page()))
    sums = database.read(
        lambda c: queries.metric_aggregates(c, "a", "f", "counter", start=NOW - timedelta(days=2), end=NOW)
    )

    assert total == 3
    assert shown[0]["value"] == 1500
    assert sums["groupBy"] == "day"
    assert [point["value"] for point in sums["aggregations"]] == [0.0, 3.0, 2.0]
    assert database.read(lambda c: queries.metric_names(c, "a", "f")) == ["counter", "timer"]
    with pytest.raises(InvalidInput):
        database.read(lambda c: queries.metric_aggregates(c, "a", "f", "x", start=NOW, end=NOW, aggregation="median"))


@pytest.mark.parametrize(
    ("micros", "text"),
    [
        (0, "PT0S"),
        (1_500_000, "PT1.5S"),
        (60_000_000, "PT1M"),
        (3_661_000_001, "PT1H1M1.000001S"),
        (90_000_000_000, "PT25H"),
    ],
)
def test_durations_are_written_as_java_does(micros: int, text: str) -> None:
    assert queries_shapes.duration(micros) == text
