"""The end of an attempt and the claim of what follows are one commit, when the worker takes it."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from runner.engine.events import AttemptFinished
from runner.engine.states import State
from runner.pending import GoesOn
from runner.rows import execution_table
from runner.worker.reporter import Claim
from tests.runner.shell.house import House

SCRIPT = "type: io.kestra.plugin.scripts.shell.Commands, commands: [echo]"
SAY = "type: io.kestra.plugin.core.debug.Return, format: x"
SEQUENCE = f"tasks: [{{id: a, {SCRIPT}}}, {{id: say, {SAY}}}, {{id: b, {SCRIPT}}}]"


def first(house: House, text: str) -> tuple[str, Claim]:
    house.deploy("f", text)
    execution = house.start("f")
    house.errands.run()
    (run_id, epoch), house.bell.rung = house.bell.rung[0], []
    claim = house.reporter.claim(run_id, epoch, "worker")
    assert claim is not None
    return execution, claim


def end(house: House, claim: Claim, goes_on: GoesOn | None, state: State = State.SUCCESS) -> Claim | None:
    event = AttemptFinished(at=house.clock.now(), task_run_id=claim.task_run.id, epoch=claim.epoch, state=state)
    return house.reporter.finished(claim, event, goes_on=goes_on)


def test_the_worker_that_ends_an_attempt_has_the_next_one_with_the_same_commit(house: House) -> None:
    execution, claim = first(house, SEQUENCE)
    version = house.row(execution).version
    following = end(house, claim, lambda *_: True)
    assert following is not None
    assert (following.task.id, following.attempt) == ("b", 0)
    row = house.run(execution, "b")
    assert (row.state, row.worker_id, row.epoch) == ("RUNNING", "worker", following.epoch)
    assert row.attempts[-1]["info"]["workerId"] == "worker"
    assert house.row(execution).version == version + 1
    assert house.bell.rung == []
    assert house.reporter.claim(row.id, row.epoch, "other") is None
    assert house.reporter.scene(following).variables["outputs"]["say"] == {"value": "x"}
    assert end(house, following, lambda *_: True) is None
    assert house.row(execution).state == "SUCCESS"


@pytest.mark.parametrize("goes_on", [None, lambda *_: False])
def test_what_the_worker_does_not_take_is_dispatched(house: House, goes_on: Any) -> None:
    execution, claim = first(house, SEQUENCE)
    assert end(house, claim, goes_on) is None
    row = house.run(execution, "b")
    assert (row.state, row.worker_id) == ("SUBMITTED", None) or row.state == "CREATED"
    assert house.bell.rung == [(row.id, row.epoch)]


def test_of_several_that_follow_one_is_taken_and_the_others_are_dispatched(house: House) -> None:
    branches = f"[{{id: b, {SCRIPT}}}, {{id: c, {SCRIPT}}}]"
    parallel = f"{{id: all, type: io.kestra.plugin.core.flow.Parallel, tasks: {branches}}}"
    execution, claim = first(house, f"tasks: [{{id: a, {SCRIPT}}}, {parallel}]")
    following = end(house, claim, lambda *_: True)
    assert following is not None
    assert [one.task_id for one in following.ancestors] == ["all"]
    (other,) = house.bell.rung
    assert {following.task_run.id, other[0]} == {house.run(execution, "b").id, house.run(execution, "c").id}


def test_an_end_that_came_before_takes_nothing(house: House) -> None:
    _, claim = first(house, SEQUENCE)
    following = end(house, claim, lambda *_: True)
    assert following is not None
    assert end(house, claim, lambda *_: True) is None


def test_what_another_write_overtook_is_not_taken(house: House) -> None:
    """Nobody may think that it has an attempt which no commit gave it."""
    execution, claim = first(house, SEQUENCE)
    asked = []

    def killed_meanwhile(task_run_id: str, epoch: int) -> bool:
        asked.append(task_run_id)
        if len(asked) == 1:
            overtake(house, execution)
        return len(asked) == 1

    assert end(house, claim, killed_meanwhile) is None
    assert len(asked) == 2
    assert house.run(execution, "b").worker_id is None


def overtake(house: House, execution: str) -> None:
    """What another process would write: the version goes up."""
    more = sa.update(execution_table).where(execution_table.c.id == execution)
    house.database.write(lambda tx: tx.execute(more.values(version=execution_table.c.version + 1)))
