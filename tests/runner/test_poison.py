"""R20: a row that nobody can read or that makes no sense stops nothing but itself, and says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from namespaces.clock import ManualClock
from namespaces.store import outbox
from namespaces.store.base import to_micros
from namespaces.store.db import Database
from runner.engine.states import State
from runner.renderer import Renderer
from runner.rows import execution_table, run_table, timer_table
from tests.support.instances import ENDED, NS, Shell

CORRUPT = '{"broken": '
FLOW = """
concurrency: {limit: 50, behavior: QUEUE}
tasks:
  - {id: a, type: io.kestra.plugin.core.debug.Return, format: x}
  - {id: script, type: io.kestra.plugin.scripts.shell.Script, script: 'true'}
  - {id: wait, type: io.kestra.plugin.core.flow.Pause, pauseDuration: PT1S}
"""
HEALTHY = 10

Poison = Callable[[Shell], list[str]]
"""Injects rows; returns the ids of the executions that must end visibly."""


@pytest.fixture(scope="module")
def renderer() -> Iterator[Renderer]:
    with Renderer() as made:
        yield made


@pytest.fixture
def shell(database: Database, renderer: Renderer, clock: ManualClock) -> Iterator[Shell]:
    made = Shell(database, renderer, clock=clock)
    made.deploy("f", FLOW)
    yield made
    made.close()


def raw(shell: Shell, statement: str, **values: Any) -> None:
    shell.database.write(lambda tx: tx.execute(sa.text(statement), values))


def spoil(shell: Shell, execution_id: str, **columns: Any) -> str:
    pairs = ", ".join(f"{name} = :{name}" for name in columns)
    raw(shell, f"UPDATE execution SET {pairs} WHERE id = :id", id=execution_id, **columns)
    return execution_id


def spoil_run(shell: Shell, execution_id: str, **columns: Any) -> str:
    pairs = ", ".join(f"{name} = :{name}" for name in columns)
    raw(shell, f"UPDATE task_run SET {pairs} WHERE execution_id = :id AND terminal = :no", id=execution_id, no=False,
        **columns)  # fmt: skip
    return execution_id


def running(shell: Shell) -> str:
    """An execution whose script waits for a worker."""
    one = shell.start("f")
    shell.in_state(one, "RUNNING")
    shell.dispatch.waiting.clear()
    return one


def corrupt_waiting(shell: Shell) -> list[str]:
    return [spoil(shell, shell.insert("f"), **{name: CORRUPT}) for name in ("history", "labels", "inputs", "progress")]


def corrupt_running(shell: Shell) -> list[str]:
    return [spoil(shell, running(shell), **{name: CORRUPT}) for name in ("history", "labels", "progress", "variables")]


def corrupt_runs(shell: Shell) -> list[str]:
    return [spoil_run(shell, running(shell), **{name: CORRUPT}) for name in ("history", "attempts", "progress", "path")]


def senseless_runs(shell: Shell) -> list[str]:
    return [
        spoil_run(shell, running(shell), history="7"),
        spoil_run(shell, running(shell), history='[["WEIRD", 5]]'),
        spoil_run(shell, running(shell), attempts='[{"n": "x"}]'),
        spoil_run(shell, running(shell), task_id="nothing"),
    ]


def unknown_states(shell: Shell) -> list[str]:
    spoil(shell, shell.insert("f"), state="WEIRD")  # no state of ours: nobody can say what should become of it
    return [spoil(shell, shell.insert("f"), history='[["WEIRD", 5]]')]


def missing_flows(shell: Shell) -> list[str]:
    created = [spoil(shell, shell.insert("f"), flow_id="gone"), spoil(shell, shell.insert("f"), revision=99)]
    return [*created, spoil(shell, running(shell), flow_id="gone"), spoil(shell, running(shell), revision=99)]


def broken_text(shell: Shell) -> list[str]:
    shell.deploy("g", FLOW)
    one = shell.insert("g")
    shell.registry._cache.clear()
    raw(shell, "UPDATE flow_revision SET text = :text WHERE flow_id = 'g'", text="id: [")
    return [one]


def killing(shell: Shell) -> list[str]:
    now = to_micros(shell.clock.now())
    return [
        spoil(shell, running(shell), state="KILLING", history=CORRUPT),
        spoil(shell, running(shell), state="KILLING", history=f'[["KILLING", {now}]]', flow_id="gone"),
    ]


def queued(shell: Shell) -> list[str]:
    return [
        spoil(shell, shell.insert("f"), state="QUEUED", history=CORRUPT),
        spoil(shell, shell.insert("f"), state="QUEUED", flow_id="gone"),
    ]


def messages(shell: Shell) -> list[str]:
    now = shell.clock.now()
    good = {"do": "announce", "state": "SUCCESS", "at": 1}
    for payload in (good, {"do": "nothing"}, {"no": 1}, 7, None, {"do": "start_subflow", "run": "x"}):
        shell.database.write(lambda tx, p=payload: outbox.put(tx, "effect", [("gone", p)], due_at=now))
    raw(shell, "UPDATE outbox SET payload = :text WHERE id = (SELECT min(id) FROM outbox)", text=CORRUPT)
    return []


def timers(shell: Shell) -> list[str]:
    now = to_micros(shell.clock.now())
    insert = (
        "INSERT INTO timer (due_at, kind, execution_id, task_run_id, epoch, name, payload, failures) "
        "VALUES (:due, :kind, :execution, :run, 0, '', :payload, 0)"
    )
    for kind, execution, payload in (
        ("weird", "gone", None),
        ("retry", "gone", CORRUPT),
        ("start", "gone", CORRUPT),
        ("new_execution", "gone", None),
    ):
        raw(shell, insert, due=now, kind=kind, execution=execution, run="x", payload=payload)
    return []


def workers_and_leases(shell: Shell) -> list[str]:
    now = to_micros(shell.clock.now())
    raw(
        shell,
        "INSERT INTO worker (id, host, boot_id, pid, process_start, groups, state, started_at, heartbeat_at) "
        "VALUES ('w', '', '', -1, '', :groups, 'RUNNING', 0, 0)",
        groups=CORRUPT,
    )
    raw(
        shell,
        "INSERT INTO lease (name, holder, host, token, until) VALUES ('reconciler', 'x', :host, 3, :until)",
        host=CORRUPT,
        until=now - 1,
    )
    return []


def long_labels(shell: Shell) -> list[str]:
    one = shell.insert("f")
    spoil(shell, one, labels='[["k", "' + "x" * 10_000_000 + '"]]')
    return [one]


POISONS: list[Poison] = [
    corrupt_waiting, corrupt_running, corrupt_runs, senseless_runs, unknown_states, missing_flows, broken_text,
    killing, queued, messages, timers, workers_and_leases, long_labels,
]  # fmt: skip


@pytest.mark.parametrize("poison", POISONS, ids=lambda poison: poison.__name__)
def test_healthy_executions_finish_beside_it_and_it_ends_visibly(
    shell: Shell, clock: ManualClock, poison: Poison
) -> None:
    bad = poison(shell)
    healthy = [shell.start("f") for _ in range(HEALTHY)]

    for _ in range(12):
        _a_round(shell, clock)
        if all(shell_state(shell, one) in ENDED for one in (*healthy, *bad)):
            break

    assert {shell_state(shell, one) for one in healthy} == {"SUCCESS"}
    if poison is not long_labels:
        assert {shell_state(shell, one) for one in bad} <= {"FAILED", "KILLED"}
    assert {shell_state(shell, one) for one in bad} <= ENDED
    _, total = _listed(shell)
    assert total >= HEALTHY + len(bad)


def _a_round(shell: Shell, clock: ManualClock) -> None:
    """Half a minute passes; every loop goes as it does in its thread, a failure is an error of this test."""
    clock.advance(timedelta(seconds=31))
    shell.reconciler.pass_once()
    shell.outbox.pass_once()
    shell.timers.pass_once()
    shell.work.submit(int).result()
    for run_id, epoch in list(shell.dispatch.waiting):
        shell.dispatch.waiting.remove((run_id, epoch))
        one = shell.database.read(
            lambda c, r=run_id: c.execute(sa.select(run_table.c.execution_id).where(run_table.c.id == r)).scalar()
        )
        try:
            if one is not None and shell.claim(one, run_id, epoch):
                shell.finish(one, run_id, epoch, State.SUCCESS)
        except Exception:  # noqa: BLE001 - a worker that cannot report a poisoned attempt goes on with the next
            continue


def shell_state(shell: Shell, execution_id: str) -> str:
    query = sa.select(execution_table.c.state).where(execution_table.c.id == execution_id)
    return str(shell.database.read(lambda c: c.execute(query).scalar_one()))


def _listed(shell: Shell) -> tuple[list[Any], int]:
    """The list as the API shows it."""
    from namespaces.filters import Page
    from runner import queries

    now = shell.clock.now()
    found: tuple[list[Any], int] = shell.database.read(
        lambda c: queries.search_executions(c, [], Page(1, 100), now=now)
    )
    return found


@pytest.mark.parametrize("column", ["history", "labels", "inputs", "outputs", "trigger", "variables"])
def test_a_list_shows_an_unreadable_execution_beside_the_others(shell: Shell, clock: ManualClock, column: str) -> None:
    ids = [shell.start("f") for _ in range(2)]
    for _ in range(3):
        _a_round(shell, clock)
    spoil(shell, ids[0], **{column: CORRUPT})
    raw(shell, "UPDATE task_run SET history = '7', attempts = :bad WHERE execution_id = :id", id=ids[0], bad=CORRUPT)

    found, total = _listed(shell)

    assert total == 2
    by_id = {one["id"]: one for one in found}
    assert by_id[ids[0]]["state"]["current"] == by_id[ids[1]]["state"]["current"] == "SUCCESS"
    assert "cannot be read" in by_id[ids[0]]["error"]["message"]
    assert "error" not in by_id[ids[1]]


def test_poisoned_timers_and_messages_are_given_up_or_put_off(shell: Shell, clock: ManualClock) -> None:
    messages(shell)
    timers(shell)
    for _ in range(12):
        _a_round(shell, clock)

    waiting = shell.database.read(lambda c: c.execute(sa.select(outbox.table.c.attempts, outbox.table.c.due_at)).all())
    left = shell.database.read(lambda c: c.execute(sa.select(timer_table.c.kind, timer_table.c.failures)).all())
    assert all(row.attempts >= 5 and row.due_at > clock.now() for row in waiting)
    assert all(row.failures > 0 for row in left)
    assert NS
