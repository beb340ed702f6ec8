"""Loop as the engine sees it: a leaf that waits for executions and shows how far they are (``flows.md`` 4.16)."""

from __future__ import annotations

import pytest

from runner.engine.effects import Dispatch, KillChildren, StartIterations, StartTimer, StopIterations
from runner.engine.events import Broken, IterationsChanged, Pause, Restart, Started, Update, WorkerLost
from runner.engine.ready import ready
from runner.engine.replay import replay
from runner.engine.states import State
from tests.runner.engine.build import flow, loop, par, retry, t, ts
from tests.runner.engine.shell import Shell, history


def begun(*after: str, **more: object) -> Shell:
    """A Loop of which three iterations run."""
    shell = Shell(flow(loop("l", *ts("a"), **more), *ts(" ".join(after)))).start()
    shell.iterate("l", running=3)
    return shell


def test_its_tasks_are_no_task_runs_of_the_execution():
    shell = begun("after")
    shell.iterate("l", ended={State.SUCCESS: 3}, done=True)
    shell.end("after")

    assert shell.states() == {"l": "SUCCESS", "after": "SUCCESS"}
    assert shell.run("l").outputs == {
        "iterationCount": 3,
        "runningIterations": 0,
        "terminatedIterations": {"SUCCESS": 3},
    }
    assert len(shell.run("l").attempts) == 1


@pytest.mark.parametrize(
    ("ended", "transmit", "state"),
    [
        ({State.SUCCESS: 1, State.FAILED: 1}, True, "FAILED"),
        ({State.KILLED: 1}, True, "FAILED"),
        ({State.SUCCESS: 2, State.WARNING: 1}, True, "WARNING"),
        ({State.CANCELLED: 3}, True, "SUCCESS"),
        ({State.FAILED: 1, State.KILLED: 1, State.WARNING: 1}, False, "SUCCESS"),
        ({}, True, "SUCCESS"),
    ],
)
def test_its_state_follows_from_how_the_iterations_ended(ended, transmit, state):
    shell = begun(transmit_failed=transmit)
    shell.iterate("l", ended=ended, done=True)
    assert shell.states() == {"l": state}


def test_a_failure_is_not_tried_again_by_the_loop():
    shell = begun(retry=retry(3))
    shell.iterate("l", ended={State.FAILED: 1}, running=2, done=True)

    assert shell.state == "FAILED"
    assert shell.asked_for(StartTimer) == []


def test_a_paused_iteration_shows_on_the_loop_and_the_execution():
    shell = begun()
    shell.iterate("l", running=3, paused=2)
    assert (shell.run("l").state, shell.state) == ("PAUSED", "PAUSED")
    shell.iterate("l", running=2, ended={State.SUCCESS: 1})
    assert (shell.run("l").state, shell.state) == ("RUNNING", "RUNNING")
    shell.iterate("l", ended={State.SUCCESS: 3}, done=True)
    assert history(shell.execution) == ["CREATED", "RUNNING", "PAUSED", "RUNNING", "SUCCESS"]


@pytest.mark.parametrize("cascade", [True, False])
def test_a_kill_stops_the_iterations_and_waits_for_them(cascade):
    shell = begun()
    shell.kill(cascade=cascade)

    run = shell.run("l")
    assert shell.asked_for(StopIterations) == [StopIterations(task_run_id=run.id, kill=True, cascade=cascade)]
    assert shell.asked_for(KillChildren) == ([KillChildren()] if cascade else [])
    assert (shell.state, run.state) == ("KILLING", "RUNNING")
    shell.iterate("l", ended={State.SUCCESS: 1, State.KILLED: 2}, done=True)
    assert (shell.state, shell.run("l").state) == ("KILLED", "KILLED")


def test_a_kill_before_its_start_ends_it_at_once():
    shell = Shell(flow(loop("l", *ts("a")))).start()
    shell.kill()
    assert (shell.state, shell.run("l").state) == ("KILLED", "KILLED")
    assert shell.iterate("l", running=1).ignored


def test_an_end_without_a_kill_lets_the_iterations_end():
    shell = Shell(flow(par("p", loop("l", *ts("a")), t("x")))).start()
    shell.iterate("l", running=3)
    shell.end("x", update=Update(exit_state=State.WARNING))
    assert shell.asked_for(StopIterations) == [StopIterations(task_run_id=shell.run("l").id, kill=False, cascade=False)]
    shell.iterate("l", ended={State.SUCCESS: 2}, done=True)
    assert (shell.state, shell.run("l").state) == ("WARNING", "SUCCESS")


def test_what_is_given_up_leaves_no_iteration_behind():
    shell = begun()
    shell.send(Broken(at=shell.now, reason="a bug"))
    assert shell.asked_for(StopIterations) == [StopIterations(task_run_id=shell.run("l").id, kill=True)]
    assert shell.iterate("l", ended={State.KILLED: 3}, done=True).ignored


def test_a_restart_goes_on_with_the_same_iterations_and_a_fresh_loop_begins_anew():
    shell = begun()
    shell.iterate("l", ended={State.FAILED: 1}, done=True)
    shell.send(Restart(at=shell.now))
    shell.send(Started(at=shell.now))

    first, second = shell.asked_for(StartIterations)
    assert (first.again, second.again) == (False, True)
    assert second.epoch > first.epoch
    shell.iterate("l", ended={State.SUCCESS: 3}, done=True)
    assert shell.state == "SUCCESS"


def test_a_start_that_nobody_carried_out_is_found_again():
    shell = Shell(flow(loop("l", *ts("a")))).start()
    assert ready(shell.flow, shell.execution) == tuple(shell.asked_for(StartIterations))
    shell.iterate("l", running=3)
    assert ready(shell.flow, shell.execution) == ()


def test_news_of_an_earlier_assignment_change_nothing():
    shell = begun()
    old = shell.run("l")
    shell.iterate("l", ended={State.FAILED: 1}, done=True)
    shell.send(Restart(at=shell.now))
    late = IterationsChanged(at=shell.now, task_run_id=old.id, epoch=old.epoch, total=3, done=True)
    assert shell.send(late).ignored


def test_a_replay_from_the_loop_knows_no_old_iteration():
    shell = begun()
    shell.iterate("l", ended={State.FAILED: 1}, done=True)
    value, runs, _ = replay(shell.flow, shell.execution, "new", shell.run("l").id, shell.now)

    assert [(run.task_id, run.state, run.outputs) for run in runs] == [("l", "RESTARTED", None)]
    again = Shell(shell.flow)
    again.execution = value
    again.start()
    assert [act.again for act in again.asked_for(StartIterations)] == [False]


def test_what_could_not_start_during_a_pause_is_asked_for_at_the_resume():
    shell = begun()
    shell.send(Pause(at=shell.now))
    assert shell.state == "PAUSED"
    shell.resume()
    assert len(shell.asked_for(StartIterations)) == 2


def test_a_loop_has_no_worker_to_lose():
    shell = begun()
    run = shell.run("l")
    assert shell.send(WorkerLost(at=shell.now, task_run_id=run.id, epoch=run.epoch)).ignored
    assert shell.asked_for(Dispatch) == []


def test_an_iteration_runs_the_loops_lists_without_what_belongs_to_the_whole_flow():
    whole = flow(
        loop("l", *ts("a b"), errors=ts("e"), finally_=ts("f"), retry=retry(2)),
        after_execution=ts("last"),
        errors=ts("other"),
    )
    body = whole.bodies["l"]
    assert list(body.by_id) == ["a", "b", "e", "f"]
    assert (body.after_execution, body.sla, body.triggers, body.whole) == ((), (), (), whole)

    shell = Shell(body).start()
    shell.end("a", State.FAILED)
    assert shell.run("a").state == "RETRYING"
