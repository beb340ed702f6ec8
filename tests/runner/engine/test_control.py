"""Kill, pause, resume, Exit, SLA, gate, force run, subflows: what acts on a whole execution."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from namespaces.flows.model import Concurrency, ConcurrencyBehavior, Sla
from runner.engine.advance import advance
from runner.engine.concurrency import admit
from runner.engine.effects import KillAttempt, KillChildren, Question, StartTimer
from runner.engine.events import (
    AttemptFinished,
    Broken,
    ForceRun,
    Pause,
    Queued,
    Refused,
    Restart,
    Started,
    SubflowChanged,
    SubflowStarted,
    TimerFired,
    TimerKind,
    Update,
    WorkerLost,
)
from runner.engine.states import State
from tests.runner.engine.build import each, eachpar, flow, output, par, pause, retry, seq, sub, t, ts, until
from tests.runner.engine.shell import Shell, Trouble, history

FAILED, WARNING, SUCCESS, KILLED = State.FAILED, State.WARNING, State.SUCCESS, State.KILLED
CANCELLED, PAUSED, RUNNING = State.CANCELLED, State.PAUSED, State.RUNNING


# ---- kill ----


def test_killing_an_execution_that_has_not_begun_ends_it_at_once():
    shell = Shell(flow(*ts("a"), after_execution=ts("z")))
    shell.kill()

    assert history(shell.execution) == ["CREATED", "KILLED"]
    assert shell.execution.finished


def test_a_killed_execution_starts_no_new_task_run():
    shell = Shell(flow(*ts("a b"), errors=ts("e"), finally_=ts("f"), after_execution=ts("z"))).start()
    shell.begin("a")
    shell.kill()

    assert shell.state is State.KILLING
    assert [act.task_run_id for act in shell.asked_for(KillAttempt)] == [shell.run("a").id]
    shell.run_all()
    assert shell.states()["a"] == "SUCCESS"
    assert shell.order() == ["a", "z"]
    assert shell.state is KILLED


def test_what_does_not_run_yet_is_killed_with_a_higher_epoch():
    shell = Shell(flow(par("p", *ts("a b")))).start()
    shell.begin("a")
    shell.kill()

    assert shell.run("b").state is KILLED
    assert shell.run("b").epoch == 2
    assert shell.run("a").epoch == 1
    assert shell.run("p").state is RUNNING
    shell.end("a", KILLED)
    assert shell.run("p").state is KILLED
    assert history(shell.execution) == ["CREATED", "RUNNING", "KILLING", "KILLED"]


def test_a_kill_ends_retries_pauses_and_waiting_loops():
    tree = flow(par("p", t("a", retry=retry()), pause("q"), until("u", *ts("b"))))
    shell = Shell(tree, {Question.CONDITION: False}).start()
    shell.end("a", FAILED)
    shell.kill()
    shell.end("b") if "b" in shell.dispatched() and not shell.run("b").state.terminal else None

    assert {state for task, state in shell.states().items()} == {"KILLED"}
    assert shell.state is KILLED
    assert (shell.execution.waiting, shell.execution.retrying) == (0, 0)


def test_a_second_kill_changes_nothing():
    shell = Shell(flow(*ts("a"))).start()
    shell.begin("a")
    shell.kill()

    assert shell.kill().ignored


def test_a_kill_cascades_to_child_executions_and_waits_for_them():
    shell = Shell(flow(sub("s"))).start()
    shell.subflow("s", state=None)
    shell.kill()

    assert shell.state is State.KILLING
    assert shell.asked_for(KillChildren)
    shell.send(SubflowChanged(at=shell.now, task_run_id=shell.run("s").id, execution_id="child", state=KILLED))
    assert shell.state is KILLED


def test_without_cascade_the_subflow_task_is_killed_alone():
    shell = Shell(flow(sub("s"))).start()
    shell.subflow("s", state=None)
    shell.kill(cascade=False)

    assert shell.state is KILLED
    assert not shell.asked_for(KillChildren)


def test_a_child_that_starts_too_late_is_killed():
    shell = Shell(flow(sub("s"))).start()
    act = shell.pending[0]
    shell.kill()
    shell.send(SubflowStarted(at=shell.now, task_run_id=act.task_run_id, epoch=act.epoch, execution_id="c"))

    assert KillChildren(task_run_id=act.task_run_id) in shell.asked_for(KillChildren)


def test_a_lost_worker_ends_a_kill():
    shell = Shell(flow(*ts("a"))).start()
    shell.begin("a")
    shell.kill()
    run = shell.run("a")
    shell.send(WorkerLost(at=shell.now, task_run_id=run.id, epoch=run.epoch))

    assert shell.state is KILLED
    assert shell.run("a").attempts[-1].state is KILLED


def test_broken_outputs_do_not_turn_a_kill_into_a_failure():
    shell = Shell(flow(*ts("a"), outputs=(output("o"),)), {Question.OUTPUTS: Trouble("x")}).start()
    shell.kill()

    assert shell.state is KILLED


def test_a_failing_task_is_not_retried_while_its_execution_is_killed():
    shell = Shell(flow(t("a", retry=retry()))).start()
    shell.begin("a")
    shell.kill()
    shell.end("a", FAILED)

    assert shell.run("a").state is FAILED
    assert shell.state is KILLED


# ---- pause ----


def test_a_pause_waits_and_a_resume_runs_its_tasks():
    shell = Shell(flow(pause("p", *ts("x")), *ts("b"))).start()

    assert shell.states() == {"p": "PAUSED"}
    assert shell.state is PAUSED
    shell.resume(onResume={"ok": True})
    shell.run_all()
    assert shell.order() == ["p", "x", "b"]
    assert shell.run("p").outputs == {"onResume": {"ok": True}}
    assert history(shell.run("p")) == ["CREATED", "RUNNING", "PAUSED", "RUNNING", "SUCCESS"]
    assert history(shell.execution) == ["CREATED", "RUNNING", "PAUSED", "RUNNING", "SUCCESS"]


@pytest.mark.parametrize(
    ("behavior", "end", "execution"),
    [("RESUME", "SUCCESS", SUCCESS), ("WARN", "WARNING", WARNING), ("FAIL", "FAILED", FAILED)],
)
def test_the_end_of_the_pause_duration_does_what_behavior_says(behavior, end, execution):
    answer = {Question.PAUSE: (timedelta(seconds=1), None, behavior)}
    shell = Shell(flow(pause("p"), *ts("b")), answer).start()
    shell.fire(TimerKind.PAUSE)
    shell.run_all()

    assert history(shell.run("p")) == ["CREATED", "RUNNING", "PAUSED", "RUNNING", end]
    assert shell.state is execution


def test_a_cancelled_pause_cancels_the_execution():
    answer = {Question.PAUSE: (timedelta(seconds=1), None, "CANCEL")}
    shell = Shell(flow(seq("s", pause("p"), *ts("b")), errors=ts("e"), finally_=ts("f")), answer).start()
    shell.fire(TimerKind.PAUSE)

    assert shell.states() == {"s": "CANCELLED", "p": "CANCELLED"}
    assert shell.state is CANCELLED


def test_a_cancelled_pause_waits_for_its_on_pause():
    answer = {Question.PAUSE: (timedelta(seconds=1), None, "CANCEL")}
    shell = Shell(flow(pause("p", on_pause=t("n"))), answer).start()
    shell.begin("n")
    shell.fire(TimerKind.PAUSE)

    assert shell.states() == {"p": "RUNNING", "n": "RUNNING"}
    shell.end("n")
    assert shell.states() == {"p": "CANCELLED", "n": "SUCCESS"}
    assert shell.state is CANCELLED


def test_a_pause_that_times_out_fails_after_its_errors():
    answer = {Question.PAUSE: (None, timedelta(seconds=1), "RESUME")}
    tree = flow(pause("p", *ts("x"), errors=ts("e"), finally_=ts("f")), *ts("b"), after_execution=ts("z"))
    shell = Shell(tree, answer).start()
    shell.fire(TimerKind.TIMEOUT)
    shell.run_all()

    assert shell.states() == {"p": "FAILED", "e": "SUCCESS", "f": "SUCCESS", "z": "SUCCESS"}
    assert shell.state is FAILED


def test_a_pause_that_times_out_with_allow_failure_runs_its_children():
    answer = {Question.PAUSE: (None, timedelta(seconds=1), "RESUME")}
    shell = Shell(flow(pause("p", *ts("x"), allow_failure=True), *ts("b")), answer).start()
    shell.fire(TimerKind.TIMEOUT)
    shell.run_all()

    assert shell.states() == {"p": "WARNING", "x": "SUCCESS", "b": "SUCCESS"}


def test_a_timer_after_the_resume_changes_nothing():
    answer = {Question.PAUSE: (timedelta(seconds=1), None, "FAIL")}
    shell = Shell(flow(pause("p"), *ts("b")), answer).start()
    shell.resume()

    assert shell.fire(TimerKind.PAUSE).ignored
    assert shell.run("p").state is SUCCESS


def test_parallel_branches_finish_what_runs_and_hold_what_is_new():
    shell = Shell(flow(par("p", pause("q"), seq("s", *ts("a b"))))).start()
    shell.end("a")

    assert shell.states()["b"] == "CREATED"
    assert shell.dispatched() == []
    shell.resume()
    assert shell.dispatched() == ["b"]
    shell.run_all()
    assert shell.state is SUCCESS


def test_one_resume_resumes_one_of_several_pauses():
    shell = Shell(flow(par("p", pause("q"), pause("r")), *ts("z"))).start()
    shell.resume()

    assert shell.states() == {"p": "RUNNING", "q": "SUCCESS", "r": "PAUSED"}
    assert shell.state is PAUSED
    shell.resume()
    shell.run_all()
    assert shell.state is SUCCESS


def test_delays_of_parallel_pauses_each_run_their_tasks():
    answers = {Question.PAUSE: (timedelta(seconds=1), None, "RESUME"), Question.VALUES: ("a", "b", "c")}
    shell = Shell(flow(eachpar("e", pause("p", *ts("log")))), answers).start().run_all()

    assert len(shell.runs()) == 7
    assert shell.state is SUCCESS


def test_on_pause_runs_while_the_execution_is_paused():
    shell = Shell(flow(pause("p", on_pause=t("n")), *ts("b"))).start()

    assert shell.dispatched() == ["n"]
    shell.end("n", FAILED)
    assert shell.state is PAUSED
    shell.resume()
    shell.run_all()
    assert shell.states() == {"p": "SUCCESS", "n": "FAILED", "b": "SUCCESS"}
    assert shell.state is SUCCESS


def test_a_pause_by_hand_lets_running_tasks_finish_and_starts_no_other():
    shell = Shell(flow(*ts("a b"))).start()
    shell.begin("a")
    shell.send(Pause(at=shell.now))

    assert shell.state is PAUSED
    shell.end("a")
    assert shell.dispatched() == []
    shell.resume()
    assert shell.state is RUNNING
    shell.run_all()
    assert shell.state is SUCCESS


def test_an_execution_paused_by_hand_ends_only_after_its_resume():
    shell = Shell(flow(*ts("a"))).start()
    shell.send(Pause(at=shell.now))
    shell.end("a")

    assert shell.state is PAUSED
    shell.resume()
    assert shell.state is SUCCESS


def test_only_a_running_execution_can_be_paused_and_only_a_paused_one_resumed():
    shell = Shell(flow(*ts("a")))

    assert shell.send(Pause(at=shell.now)).ignored
    shell.start()
    assert shell.resume().ignored


# ---- Exit ----


def test_exit_ends_its_parents_and_the_execution_in_its_state():
    shell = Shell(flow(seq("s", *ts("x b")), *ts("c"), errors=ts("e"), finally_=ts("f"), after_execution=ts("z")))
    shell.start()
    shell.end("x", update=Update(exit_state=FAILED))

    assert shell.states() == {"s": "FAILED", "x": "FAILED", "z": "CREATED"}
    assert shell.state is FAILED


def test_exit_lets_running_siblings_finish():
    shell = Shell(flow(par("p", *ts("x"), seq("s", *ts("a b")), *ts("d")))).start()
    shell.begin("a")
    shell.end("x", update=Update(exit_state=WARNING))

    assert shell.state is RUNNING
    assert shell.run("d").state is WARNING
    shell.end("a")
    assert shell.run("a").state is SUCCESS
    assert shell.state is WARNING


def test_an_exit_seen_through_a_narrow_view_stops_the_rest_a_moment_later():
    shell = Shell(flow(par("p", *ts("x a"), pause("q"), until("u", *ts("b")))), compare=False).start()
    exit_run = shell.run("x")
    view = replace(shell.execution, runs={run.id: run for run in (exit_run, shell.run("p"))})
    event = AttemptFinished(
        at=shell.now, task_run_id=exit_run.id, epoch=1, state=SUCCESS, update=Update(exit_state=WARNING)
    )
    step = advance(shell.flow, view, event)
    shell.execution = replace(step.execution, runs={**shell.execution.runs, **step.execution.runs})

    assert [act.kind for act in step.acts if isinstance(act, StartTimer)] == [TimerKind.STOP]
    shell.send(TimerFired(at=shell.now, kind=TimerKind.STOP, epoch=1))
    assert shell.state is WARNING
    assert {run.state for run in shell.runs()} == {WARNING}


def test_exit_killed_interrupts_running_siblings():
    shell = Shell(flow(par("p", *ts("x a")))).start()
    shell.begin("a")
    shell.end("x", update=Update(exit_state=KILLED))

    assert shell.asked_for(KillAttempt)
    shell.end("a", KILLED)
    assert shell.state is KILLED


def test_updates_change_labels_and_variables():
    shell = Shell(flow(*ts("a"))).start()
    shell.end("a", update=Update(labels=(("k", "1"), ("k", "2"), ("m", "3")), variables={"v": 1}))

    assert shell.execution.labels == (("k", "2"), ("m", "3"))
    assert shell.execution.variables == {"v": 1}


# ---- SLA ----


def assertion(behavior, **more):
    return Sla(id="s", type="EXECUTION_ASSERTION", behavior=behavior, assert_="{{ x }}", **more)


def test_a_violated_assertion_cancels_the_execution():
    shell = Shell(flow(*ts("a"), sla=(assertion("CANCEL"),)), {Question.SLA: False}).start()

    assert shell.states() == {"a": "CANCELLED"}
    assert shell.state is CANCELLED


def test_a_violated_assertion_without_consequence_only_labels():
    rules = (assertion("CANCEL"), assertion("NONE", labels=(("sla", "violated"),)))
    answers = {Question.SLA: lambda ask, _run: ask.index == 0}
    shell = Shell(flow(*ts("a"), sla=rules), answers).start().run_all()

    assert shell.execution.labels == (("sla", "violated"),)
    assert shell.state is SUCCESS


def test_an_exceeded_duration_kills_what_runs_and_fails_the_execution():
    rule = Sla(id="s", type="MAX_DURATION", behavior="FAIL", duration=timedelta(seconds=9))
    shell = Shell(flow(par("p", *ts("a b")), errors=ts("e"), sla=(rule,))).start()
    shell.begin("a")
    shell.begin("b")
    shell.fire(TimerKind.SLA)

    assert len(shell.asked_for(KillAttempt)) == 2
    shell.run_all()
    shell.end("b", KILLED) if not shell.state.terminal else None
    assert shell.state is FAILED
    assert "e" not in shell.order()


def test_an_sla_deadline_counts_from_the_creation():
    rule = Sla(id="s", type="MAX_DURATION", behavior="FAIL", duration=timedelta(seconds=9))
    shell = Shell(flow(*ts("a"), sla=(rule,)))
    created = shell.now
    shell.tick(5)
    shell.start()

    assert shell.asked_for(StartTimer)[0].due == created + timedelta(seconds=9)


# ---- the gate ----


@pytest.mark.parametrize(
    ("running", "behavior", "state"),
    [(0, "QUEUE", RUNNING), (1, "QUEUE", State.QUEUED), (2, "CANCEL", CANCELLED), (1, "FAIL", FAILED)],
)
def test_the_gate_decides_by_the_limit(running, behavior, state):
    limit = Concurrency(limit=1, behavior=ConcurrencyBehavior(behavior))

    assert admit(running, limit).state is state
    assert admit(running, None).state is RUNNING


def test_a_queued_execution_goes_straight_to_running():
    shell = Shell(flow(*ts("a")))
    shell.send(Queued(at=shell.now))
    shell.start()

    assert history(shell.execution) == ["CREATED", "QUEUED", "RUNNING"]
    assert shell.send(Started(at=shell.now)).ignored


def test_a_refused_execution_ends_without_task_runs():
    shell = Shell(flow(*ts("a"), errors=ts("e"), after_execution=ts("z")))
    shell.send(Refused(at=shell.now, state=CANCELLED, reason="limit"))

    assert shell.state is CANCELLED
    assert shell.execution.finished
    assert not shell.runs()


def test_force_run_starts_what_is_queued_and_resumes_what_is_paused():
    shell = Shell(flow(pause("p"), *ts("b")))
    shell.send(Queued(at=shell.now))
    shell.send(ForceRun(at=shell.now))

    assert shell.state is PAUSED
    shell.send(ForceRun(at=shell.now))
    assert shell.dispatched() == ["b"]


def test_force_run_dispatches_again_what_seems_stuck():
    shell = Shell(flow(*ts("a"))).start()
    shell.pending.clear()
    shell.send(ForceRun(at=shell.now))

    assert [(a.task_run_id, a.epoch) for a in shell.pending] == [(shell.run("a").id, 1)]


def test_a_broken_execution_fails_at_once_and_is_finished():
    shell = Shell(flow(par("p", *ts("a b")), after_execution=ts("z"))).start()
    shell.begin("a")
    shell.send(Broken(at=shell.now, reason="bug"))

    assert shell.state is FAILED
    assert shell.execution.finished
    assert shell.execution.error == "bug"
    assert shell.run("b").state is FAILED
    assert all(run.state.terminal for run in shell.runs())


def test_a_task_that_the_revision_does_not_know_breaks_the_execution_only():
    shell = Shell(flow(*ts("a")), compare=False).start()
    act = shell.pending[0]
    shell.flow = flow(*ts("other"))
    shell.pending = [act]
    shell.run_all()

    assert shell.state is FAILED
    assert "Task a is not in revision 1" in shell.execution.error


# ---- Subflow ----


@pytest.mark.parametrize(
    ("child", "plain", "failure", "warning", "both", "silent"),
    [
        ("SUCCESS", "SUCCESS", "SUCCESS", "SUCCESS", "SUCCESS", "SUCCESS"),
        ("WARNING", "WARNING", "WARNING", "SUCCESS", "SUCCESS", "SUCCESS"),
        ("FAILED", "FAILED", "WARNING", "FAILED", "SUCCESS", "SUCCESS"),
        ("KILLED", "KILLED", "KILLED", "KILLED", "KILLED", "SUCCESS"),
        ("CANCELLED", "SUCCESS", "SUCCESS", "SUCCESS", "SUCCESS", "SUCCESS"),
    ],
)
def test_the_end_of_a_child_decides_the_subflow_task(child, plain, failure, warning, both, silent):
    cases = [
        ({}, plain),
        ({"allow_failure": True}, failure),
        ({"allow_warning": True}, warning),
        ({"allow_failure": True, "allow_warning": True}, both),
        ({"transmit_failed": False}, silent),
    ]
    for flags, expected in cases:
        shell = Shell(flow(sub("s", **flags))).start()
        shell.subflow("s", State(child), outputs={"o": 1})

        assert shell.run("s").state == expected
        assert shell.run("s").outputs == {"executionId": "child", "state": child, "outputs": {"o": 1}}
        assert len(shell.run("s").attempts) == 1


def test_a_subflow_that_is_not_waited_for_ends_when_its_child_exists():
    shell = Shell(flow(sub("s", wait=False), *ts("b"))).start()
    shell.subflow("s", state=None)

    assert shell.run("s").state is SUCCESS
    assert shell.run("s").outputs == {"executionId": "child"}
    assert shell.dispatched() == ["b"]


def test_a_paused_child_shows_in_the_parent():
    shell = Shell(flow(sub("s"))).start()
    shell.subflow("s", PAUSED)

    assert shell.state is PAUSED
    shell.send(SubflowChanged(at=shell.now, task_run_id=shell.run("s").id, execution_id="child", state=RUNNING))
    assert shell.state is RUNNING


def test_a_child_that_cannot_start_fails_the_subflow_task():
    shell = Shell(flow(sub("s"))).start()
    act = shell.pending.pop()
    shell.send(
        AttemptFinished(at=shell.now, task_run_id=act.task_run_id, epoch=act.epoch, state=FAILED, error="no flow")
    )

    assert shell.run("s").state is FAILED
    assert shell.run("s").error == "no flow"


def test_outputs_that_cannot_be_rendered_fail_the_subflow_task():
    shell = Shell(flow(sub("s"))).start()
    shell.subflow("s", SUCCESS, error="no such output")

    assert shell.run("s").state is FAILED


def test_a_retried_child_is_followed_by_the_execution_that_replaces_it():
    shell = Shell(flow(sub("s"))).start()
    shell.subflow("s", State.RETRIED)
    run = shell.run("s")
    assert run.state is RUNNING
    shell.send(SubflowStarted(at=shell.now, task_run_id=run.id, epoch=run.epoch, execution_id="child2"))
    shell.send(SubflowChanged(at=shell.now, task_run_id=run.id, execution_id="child2", state=SUCCESS))

    assert shell.state is SUCCESS
    assert shell.run("s").outputs["executionId"] == "child2"


def test_an_end_reported_before_the_start_counts():
    shell = Shell(flow(sub("s"))).start()
    act = shell.pending.pop()
    shell.send(SubflowChanged(at=shell.now, task_run_id=act.task_run_id, execution_id="c", state=SUCCESS))

    assert shell.state is SUCCESS


def test_a_missing_subflow_in_a_loop_fails_the_loop():
    shell = Shell(flow(each("e", sub("s"), limit=0)), {Question.VALUES: ("1", "2")}).start()
    shell.run_all({"s": FAILED})

    assert shell.states() == {"e": "FAILED", "s@1": "FAILED", "s@2": "FAILED"}


def test_a_restart_that_is_refused_leaves_nothing_that_seems_to_run():
    shell = Shell(flow(seq("s", *ts("a b")))).start()
    shell.end("a", State.FAILED)
    shell.send(Restart(at=shell.now))
    assert shell.states() == {"s": "RUNNING", "a": "RESTARTED"}

    shell.send(Refused(at=shell.now, state=State.FAILED, reason="quota"))

    assert shell.states() == {"s": "FAILED", "a": "FAILED"}
    assert shell.state == "FAILED"
    assert shell.execution.finished
