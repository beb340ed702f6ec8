"""What may be claimed: repairing a lost dispatch needs no memory of the message."""

from __future__ import annotations

from runner.engine.effects import Question
from runner.engine.events import Pause, TimerKind, WorkerLost
from runner.engine.ready import ready
from runner.engine.states import State
from tests.runner.engine.build import flow, par, pause, retry, seq, t, ts, until
from tests.runner.engine.shell import Shell


def tasks(shell: Shell) -> list[str]:
    return [shell.execution.runs[d.task_run_id].task_id for d in ready(shell.flow, shell.execution)]


def test_what_was_dispatched_and_has_not_begun_is_ready():
    shell = Shell(flow(par("p", *ts("a b"))))
    assert tasks(shell) == []
    shell.start()

    assert tasks(shell) == ["a", "b"]
    shell.begin("a")
    assert tasks(shell) == ["b"]


def test_after_execution_tasks_are_ready_although_the_execution_is_terminal():
    shell = Shell(flow(*ts("a"), after_execution=ts("z"))).start()
    shell.end("a")

    assert tasks(shell) == ["z"]
    shell.run_all()
    assert tasks(shell) == []


def test_siblings_of_a_waiting_loop_are_ready_although_the_execution_shows_paused():
    shell = Shell(flow(par("p", until("u", *ts("a")), seq("s", *ts("b c")))), {Question.CONDITION: False}).start()
    shell.end("a")
    shell.end("b")

    assert shell.state is State.PAUSED
    assert tasks(shell) == ["c"]


def test_what_a_pause_holds_back_is_not_ready():
    shell = Shell(flow(par("p", pause("q", on_pause=t("n")), seq("s", *ts("a b")), t("r", retry=retry())))).start()
    shell.end("a")
    shell.end("r", State.FAILED)
    shell.fire(TimerKind.RETRY)

    assert tasks(shell) == ["n"]
    shell.resume()
    assert set(tasks(shell)) == {"n", "r", "b"}


def test_an_attempt_lost_during_a_pause_is_ready_at_once():
    shell = Shell(flow(*ts("a"))).start()
    shell.begin("a")
    run = shell.run("a")
    shell.send(Pause(at=shell.now))
    shell.send(WorkerLost(at=shell.now, task_run_id=run.id, epoch=run.epoch))

    assert tasks(shell) == ["a"]
