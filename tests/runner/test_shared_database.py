"""Several processes on one database: every result counts once, whoever brings it, whenever, however often."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa

from namespaces.store.db import Database, open_database
from runner.engine.states import State
from runner.renderer import Renderer
from runner.rows import execution_table
from runner.tables import LateResultRow
from tests.support.instances import Shell
from tests.support.waiting import until

late_table = LateResultRow.__table__  # type: ignore[attr-defined]

WIDE = 50
SCRIPT = "{{id: t{}, type: io.kestra.plugin.scripts.shell.Script, script: 'true'}}"


@pytest.fixture(scope="module")
def renderer() -> Iterator[Renderer]:
    with Renderer() as made:
        yield made


@pytest.fixture
def process(database: Database, renderer: Renderer) -> Iterator[Callable[[], Shell]]:
    """Makes one more process: its own connection, cache, queues."""
    made: list[Shell] = []

    def make() -> Shell:
        url = database.url.render_as_string(hide_password=False)
        made.append(Shell(open_database(url, must_exist=True), renderer))
        return made[-1]

    yield make
    for shell in made:
        shell.close()
        shell.database.close()


def fan(shell: Shell, width: int, join: str = "io.kestra.plugin.core.debug.Return, format: x") -> str:
    tasks = ", ".join(SCRIPT.format(number) for number in range(width))
    shell.deploy(
        "fan",
        f"tasks:\n  - {{id: p, type: io.kestra.plugin.core.flow.Parallel, tasks: [{tasks}]}}\n"
        f"  - {{id: join, type: {join}}}\n",
    )
    return shell.start("fan")


def late(shell: Shell) -> list[Any]:
    return list(shell.database.read(lambda c: c.execute(sa.select(late_table)).all()))


def test_fifty_results_at_once_from_two_processes_are_all_recorded(process: Callable[[], Shell]) -> None:
    first, second = process(), process()
    one = fan(first, WIDE)
    until(lambda: len(first.dispatch.waiting) == WIDE, "the attempts")
    ready = threading.Barrier(WIDE)

    def end(number: int, run_id: str, epoch: int) -> tuple[bool, bool]:
        shell = (first, second)[number % 2]
        ready.wait(20)
        claimed = shell.claim(one, run_id, epoch)
        return claimed, shell.finish(one, run_id, epoch, outputs={"n": number})

    with ThreadPoolExecutor(WIDE) as pool:
        work = [pool.submit(end, number, *attempt) for number, attempt in enumerate(first.dispatch.waiting)]
        assert [future.result() for future in work] == [(True, True)] * WIDE

    first.in_state(one, "SUCCESS")
    runs = first.runs(one)
    assert len(runs) == WIDE + 2
    assert sorted(run.outputs["n"] for run in runs if run.task_id.startswith("t")) == list(range(WIDE))
    assert late(first) == []


def test_a_result_that_comes_three_times_counts_once_and_leaves_its_trace(process: Callable[[], Shell]) -> None:
    first, second = process(), process()
    one = fan(first, 2)
    until(lambda: len(first.dispatch.waiting) == 2, "the attempts")
    (run_id, epoch), (other, other_epoch) = first.dispatch.waiting
    first.claim(one, run_id, epoch)

    assert first.finish(one, run_id, epoch, outputs={"n": 1}) is True
    assert second.finish(one, run_id, epoch, State.FAILED) is False
    assert first.finish(one, run_id, epoch) is False
    assert second.finish(one, run_id, epoch + 5) is False

    assert [(row.task_run_id, row.epoch, row.state) for row in late(first)] == [
        (run_id, epoch, "FAILED"),
        (run_id, epoch, "SUCCESS"),
        (run_id, epoch + 5, "SUCCESS"),
    ]
    first.claim(one, other, other_epoch)
    first.finish(one, other, other_epoch)
    first.in_state(one, "SUCCESS")


def test_a_result_after_the_end_changes_nothing(process: Callable[[], Shell]) -> None:
    first, second = process(), process()
    one = fan(first, 1)
    until(lambda: first.dispatch.waiting, "the attempt")
    ((run_id, epoch),) = first.dispatch.waiting
    first.claim(one, run_id, epoch)
    first.finish(one, run_id, epoch)
    first.in_state(one, "SUCCESS")
    before = first.row(one)

    assert second.finish(one, run_id, epoch, State.FAILED) is False

    after = first.row(one)
    assert (after.state, after.history, after.outputs) == (before.state, before.history, before.outputs)
    assert len(late(first)) == 1


def test_of_two_workers_with_one_message_one_gets_the_attempt(process: Callable[[], Shell]) -> None:
    first, second = process(), process()
    one = fan(first, 1)
    until(lambda: first.dispatch.waiting, "the attempt")
    ((run_id, epoch),) = first.dispatch.waiting
    ready = threading.Barrier(2)

    def take(shell: Shell, name: str) -> bool:
        ready.wait(10)
        return shell.claim(one, run_id, epoch, name)

    with ThreadPoolExecutor(2) as pool:
        got = [pool.submit(take, first, "a"), pool.submit(take, second, "b")]
        assert sorted(future.result() for future in got) == [False, True]


def test_the_same_start_in_two_processes_is_one_execution(process: Callable[[], Shell]) -> None:
    shells = [process(), process()]
    shells[0].deploy("f", "tasks: [{id: t, type: io.kestra.plugin.core.debug.Return, format: x}]\n")
    ready = threading.Barrier(20)

    def start(number: int) -> str:
        ready.wait(20)
        return shells[number % 2].start("f", idempotency_key="k", body_hash="h")

    with ThreadPoolExecutor(20) as pool:
        assert len(set(pool.map(start, range(20)))) == 1


def test_two_processes_admit_no_more_than_the_limit(process: Callable[[], Shell]) -> None:
    shells = [process(), process()]
    shells[0].deploy(
        "f",
        "concurrency: {limit: 3, behavior: QUEUE}\n"
        "tasks: [{id: t, type: io.kestra.plugin.scripts.shell.Script, script: 'true'}]\n",
    )
    with ThreadPoolExecutor(20) as pool:
        started = list(pool.map(lambda number: shells[number % 2].start("f"), range(20)))

    def states() -> list[str]:
        query = sa.select(execution_table.c.state).where(execution_table.c.flow_id == "f")
        return sorted(shells[0].database.read(lambda c: list(c.execute(query).scalars())))

    until(lambda: states() == ["QUEUED"] * 17 + ["RUNNING"] * 3, "three of twenty")
    for number in range(20):
        _end_one(shells[number % 2], started)
        if number < 17:
            until(lambda: states().count("RUNNING") == 3, "the next one")
        assert states().count("RUNNING") <= 3
    until(lambda: states() == ["SUCCESS"] * 20, "all ends")


def _end_one(shell: Shell, started: list[str]) -> None:
    one = next(found for found in started if shell.state(found) == "RUNNING")
    (run,) = until(lambda: shell.runs(one), "its task run")
    shell.claim(one, run.id, run.epoch)
    shell.finish(one, run.id, run.epoch)


def test_a_kill_beats_the_claims_of_the_other_process(process: Callable[[], Shell]) -> None:
    first, second = process(), process()
    one = fan(first, 10)
    until(lambda: len(first.dispatch.waiting) == 10, "the attempts")
    running, *waiting = first.dispatch.waiting
    first.claim(one, *running)

    second.executions.kill(one)

    assert [first.claim(one, *attempt) for attempt in waiting] == [False] * 9
    until(lambda: second.dispatch.killed == [running], "the signal to the one that runs")
    assert first.finish(one, *running, State.KILLED) is True
    first.in_state(one, "KILLED")
    assert {run.state for run in first.runs(one)} <= {"KILLED"}


def test_an_attempt_of_a_killed_execution_that_ends_by_itself_keeps_its_state(process: Callable[[], Shell]) -> None:
    first, second = process(), process()
    one = fan(first, 1)
    until(lambda: first.dispatch.waiting, "the attempt")
    ((run_id, epoch),) = first.dispatch.waiting
    first.claim(one, run_id, epoch)
    second.executions.kill(one)

    assert first.finish(one, run_id, epoch, outputs={"done": True}) is True

    first.in_state(one, "KILLED")
    (run,) = [run for run in first.runs(one) if run.id == run_id]
    assert (run.state, run.outputs) == ("SUCCESS", {"done": True})
