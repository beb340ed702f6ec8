"""The first decision about an execution is written with the execution itself."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from runner.rows import execution_table
from runner.starting import StartRequest
from runner.tables import LogRow
from tests.runner.shell.house import NS, House

log_table = LogRow.__table__  # type: ignore[attr-defined]

LOGS = """
tasks:
  - {id: one, type: io.kestra.plugin.core.log.Log, message: first}
  - {id: two, type: io.kestra.plugin.core.log.Log, message: second}
"""


def messages(house: House, execution_id: str) -> list[str]:
    query = sa.select(log_table.c.message).where(log_table.c.execution_id == execution_id).order_by(log_table.c.id)
    return list(house.database.read(lambda c: c.execute(query).scalars()))


def words(house: House, execution_id: str) -> list[str]:
    return [word for word, _ in house.row(execution_id).history]


def test_a_flow_of_inline_tasks_is_over_in_the_commit_that_accepts_it(house: House) -> None:
    house.deploy("f", LOGS)

    execution_id = house.start("f")

    assert words(house, execution_id) == ["CREATED", "RUNNING", "SUCCESS"]
    assert house.states(execution_id) == ["one SUCCESS", "two SUCCESS"]
    assert messages(house, execution_id) == ["first", "second"]
    assert house.errands.waiting == []


def test_the_first_task_of_a_worker_is_rung_for_without_another_decision(house: House) -> None:
    house.deploy("f", "tasks:\n  - {id: s, type: io.kestra.plugin.scripts.shell.Commands, commands: [ls]}\n")

    execution_id = house.start("f")

    assert words(house, execution_id) == ["CREATED", "RUNNING"]
    assert house.bell.rung == [(house.run(execution_id, "s").id, 1)]
    assert house.end(execution_id) == "SUCCESS"


@pytest.mark.parametrize(
    "body",
    [
        'tasks:\n  - {id: l, type: io.kestra.plugin.core.log.Log, message: "{{ flow.id }}"}\n',
        'tasks:\n  - {id: l, type: io.kestra.plugin.core.log.Log, message: x, runIf: "{{ true }}"}\n',
        "tasks:\n  - {id: l, type: io.kestra.plugin.core.log.Log, message: x}\n"
        "outputs:\n  - {id: o, type: STRING, value: x}\n",
        "concurrency: {limit: 1}\ntasks:\n  - {id: l, type: io.kestra.plugin.core.log.Log, message: x}\n",
        'tasks:\n  - id: e\n    type: io.kestra.plugin.core.flow.ForEach\n    values: ["a"]\n    tasks:\n'
        "      - {id: l, type: io.kestra.plugin.core.log.Log, message: x}\n",
    ],
    ids=["template", "runIf", "outputs", "limit", "loop"],
)
def test_what_needs_an_answer_or_a_slot_begins_after_it_is_accepted(house: House, body: str) -> None:
    house.deploy("f", body)

    execution_id = house.start("f")

    assert words(house, execution_id) == ["CREATED"]
    assert house.end(execution_id) == "SUCCESS"


def test_an_opening_that_is_lost_after_its_commit_is_found_again(house: House) -> None:
    house.deploy("f", "tasks:\n  - {id: s, type: io.kestra.plugin.scripts.shell.Commands, commands: [ls]}\n")
    prepared = house.executions.prepare(StartRequest(namespace=NS, flow_id="f"))
    started = house.database.write(lambda tx: house.executions.start_in(tx, prepared))

    assert house.bell.rung == []  # nobody came to ring
    assert house.end(started.execution_id) == "SUCCESS"


def test_a_repeated_key_writes_and_runs_nothing_twice(house: House) -> None:
    house.deploy("f", LOGS)

    first = house.executions.start(StartRequest(namespace=NS, flow_id="f", idempotency_key="k"))
    again = house.executions.start(StartRequest(namespace=NS, flow_id="f", idempotency_key="k"))

    assert (again.execution_id, again.replayed) == (first.execution_id, True)
    assert [row.id for row in house.executions_of("f")] == [first.execution_id]
    assert messages(house, first.execution_id) == ["first", "second"]


def test_an_undone_start_leaves_nothing_of_its_opening(house: House) -> None:
    house.deploy("f", LOGS)
    prepared = house.executions.prepare(StartRequest(namespace=NS, flow_id="f"))

    class Undone(Exception):
        pass

    def work(tx: Connection) -> Any:
        house.executions.start_in(tx, prepared)
        raise Undone

    with pytest.raises(Undone):
        house.database.write(work)

    def count(table: Any) -> Any:
        return house.database.read(lambda c: c.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())

    assert (count(execution_table), count(log_table)) == (0, 0)


def test_many_inline_tasks_do_not_hold_up_the_caller(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runner.opening.INLINE_SECONDS", -1.0)
    house.deploy("f", LOGS)

    execution_id = house.start("f")

    assert words(house, execution_id) == ["CREATED", "RUNNING"]
    house.errands.run()
    assert words(house, execution_id) == ["CREATED", "RUNNING", "SUCCESS"]
    assert messages(house, execution_id) == ["first", "second"]
