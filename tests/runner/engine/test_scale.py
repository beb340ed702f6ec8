"""One event costs the same among few and among many task runs: counted, not timed."""

from __future__ import annotations

import pytest

from runner.engine.advance import advance
from runner.engine.effects import Dispatch, Question, StoreValues
from runner.engine.events import Answered, AttemptFinished, Started
from runner.engine.runs import Runs
from runner.engine.states import State
from runner.engine.values import Execution, TaskRun
from tests.runner.engine.build import dag, each, eachpar, flow, par, t, ts
from tests.runner.engine.shell import START

COUNT = 1500


def wide() -> dict[str, object]:
    names = [t(f"t{i}") for i in range(COUNT)]
    chain = {f"t{i}": (f"t{i - 1}",) for i in range(1, COUNT)}
    return {
        "sequence": flow(*names),
        "parallel": flow(par("p", *names)),
        "parallel with limit": flow(par("p", *names, concurrent=5)),
        "dag": flow(dag("d", *names, depends=chain)),
        "serial loop": flow(each("e", *ts("a"))),
        "limited loop": flow(each("e", *ts("a"), limit=8)),
        "unlimited loop": flow(each("e", *ts("a"), limit=0)),
        "parallel loop": flow(eachpar("e", *ts("a"), concurrent=8)),
    }


@pytest.mark.parametrize("kind", list(wide()))
def test_an_event_changes_its_own_task_run_its_owner_and_what_it_creates(kind):
    tree = wide()[kind]
    values = tuple(str(i) for i in range(COUNT))
    view = Execution(id="x", namespace="n", flow_id="f", revision=1, history=((State.CREATED, START),))
    queue: list[object] = [Started(at=START)]
    events = 0
    for event in queue:
        step = advance(tree, view, event)
        events += 1
        created = step.execution.created - view.created
        assert len(step.changed) <= created + 3
        view = step.execution
        for act in step.acts:
            if isinstance(act, Dispatch):
                done = {"task_run_id": act.task_run_id, "epoch": act.epoch, "state": State.SUCCESS}
                queue.append(AttemptFinished(at=START, **done))
            elif isinstance(act, StoreValues):
                assert act.values == values
        for ask in step.asks:
            value = values if ask.question is Question.VALUES else values[ask.index]
            queue.append(Answered(at=START, ask=ask, value=value))

    assert view.state is State.SUCCESS
    assert events <= 2 * COUNT + 3


def test_a_changed_map_of_runs_leaves_the_old_one_as_it_was():
    one = TaskRun(id="1", task_id="a")
    two = TaskRun(id="2", task_id="b")
    first = Runs.of({"1": one})
    second = first.changed({"2": two})

    assert dict(first) == {"1": one}
    assert second == {"1": one, "2": two}
    assert dict(second.without({"1"})) == {"2": two}
    assert "2" not in first


def test_many_changes_keep_few_layers():
    runs = Runs.of({})
    for number in range(2000):
        runs = runs.changed({str(number): TaskRun(id=str(number), task_id="a", sequence=number)})

    assert len(runs) == 2000
    assert len(runs._layers) <= 12
    assert runs["1999"].sequence == 1999
