"""The work per task run does not grow with the execution: counted in statements and commits, never in seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import sqlalchemy as sa

from namespaces.store.db import Database, PostgresDatabase, SqliteDatabase
from namespaces.store.statements import Query, Write, raw
from runner.renderer import Renderer
from tests.support.instances import Shell
from tests.support.waiting import until

RETURN = 'type: io.kestra.plugin.core.debug.Return, format: "{{ taskrun.value ?? 1 }}"'


@dataclass
class Counted:
    statements: int = 0
    commits: int = 0
    executed: list[str] = field(default_factory=list)


BELOW_SQLALCHEMY = ((Write, "run"), (Write, "run_many"), (Query, "all"), (Query, "one_or_none"))
"""Statements that SQLAlchemy's events do not see on SQLite."""


def _counted(own: Callable[..., Any], executed: Callable[[], None]) -> Callable[..., Any]:
    def run(*given: Any, **named: Any) -> Any:
        executed()
        return own(*given, **named)

    return run


@contextmanager
def counting(database: Database) -> Iterator[Counted]:
    """Statements (an executemany counts once) and commits (on PostgreSQL those of reads too) while the block runs."""
    counted = Counted()

    def executed(*_: object) -> None:
        counted.statements += 1

    sa.event.listen(sa.engine.Engine, "before_cursor_execute", executed)
    if isinstance(database, SqliteDatabase):
        below = raw(database._connection)

        def trace(text: str) -> None:
            counted.commits += text == "COMMIT"

        below.set_trace_callback(trace)
        patched = [(kind, name, getattr(kind, name)) for kind, name in BELOW_SQLALCHEMY]
        for kind, name, own in patched:
            setattr(kind, name, _counted(own, executed))
    else:
        assert isinstance(database, PostgresDatabase)

        def committed(*_: object) -> None:
            counted.commits += 1

        sa.event.listen(database._engine, "commit", committed)
    try:
        yield counted
    finally:
        sa.event.remove(sa.engine.Engine, "before_cursor_execute", executed)
        if isinstance(database, SqliteDatabase):
            below.set_trace_callback(None)
            for kind, name, own in patched:
                setattr(kind, name, own)
        else:
            sa.event.remove(database._engine, "commit", committed)


@pytest.fixture(scope="module")
def renderer() -> Iterator[Renderer]:
    with Renderer() as made:
        yield made


@pytest.fixture
def shell(database: Database, renderer: Renderer) -> Iterator[Shell]:
    made = Shell(database, renderer)
    yield made
    made.close()


def loop(size: int, limit: int) -> str:
    head = "tasks:\n  - id: each\n    type: io.kestra.plugin.core.flow.ForEach\n"
    return (
        f"{head}    values: {list(range(size))}\n    concurrencyLimit: {limit}\n    tasks: [{{id: item, {RETURN}}}]\n"
    )


def parallel(size: int, _limit: int = 0) -> str:
    tasks = ", ".join(f"{{id: t{number}, {RETURN}}}" for number in range(size))
    return f"tasks: [{{id: p, type: io.kestra.plugin.core.flow.Parallel, tasks: [{tasks}]}}]\n"


def chain(size: int, _limit: int = 0) -> str:
    return "tasks:\n" + "".join(f"  - {{id: t{number}, {RETURN}}}\n" for number in range(size))


def cost(shell: Shell, name: str, body: str, task_runs: int) -> Counted:
    shell.deploy(name, body)
    with counting(shell.database) as counted:
        one = shell.start(name)
        shell.in_state(one, "SUCCESS")
        shell.work.submit(int).result()
    assert len(shell.runs(one)) == task_runs
    print(f"{name}: {task_runs} task runs, {counted.statements} statements, {counted.commits} commits")
    return counted


@pytest.mark.parametrize(
    ("make", "small", "large", "more"),
    [
        pytest.param(loop, 100, 1000, 1, id="ForEach, all at once"),
        pytest.param(parallel, 20, 200, 1, id="Parallel"),
        pytest.param(chain, 20, 200, 0, id="sequence"),
    ],
)
def test_ten_times_the_task_runs_cost_at_most_ten_times_the_work(
    shell: Shell, make: object, small: int, large: int, more: int
) -> None:
    assert callable(make)
    few = cost(shell, "few", make(small, 0), small + more)
    many = cost(shell, "many", make(large, 0), large + more)

    assert many.statements <= 10 * few.statements
    assert many.commits <= 10 * few.commits
    # Tasks without I/O go many to a commit: a run of them is a handful of commits.
    assert many.commits <= 5 + large / 20


def test_a_loop_of_one_at_a_time_grows_in_step(shell: Shell) -> None:
    few = cost(shell, "few", loop(100, 1), 101)
    many = cost(shell, "many", loop(1000, 1), 1001)

    assert many.statements <= 10 * few.statements + 20
    assert many.commits <= 5 + 1000 / 20


def test_a_result_costs_the_same_in_a_wide_execution_as_in_a_narrow_one(shell: Shell) -> None:
    def per_result(width: int) -> Counted:
        script = "type: io.kestra.plugin.scripts.shell.Script, script: 'true'"
        tasks = ", ".join(f"{{id: t{number}, {script}}}" for number in range(width))
        shell.deploy(f"w{width}", f"tasks: [{{id: p, type: io.kestra.plugin.core.flow.Parallel, tasks: [{tasks}]}}]\n")
        shell.dispatch.waiting.clear()
        one = shell.start(f"w{width}")
        until(lambda: len(shell.dispatch.waiting) == width, "all attempts with the dispatch")
        shell.work.submit(int).result()
        run_id, epoch = shell.dispatch.waiting[0]
        with counting(shell.database) as counted:
            shell.claim(one, run_id, epoch)
            shell.finish(one, run_id, epoch)
        return counted

    narrow, wide = per_result(5), per_result(300)

    assert wide.statements <= narrow.statements + 1
    assert wide.commits == narrow.commits
