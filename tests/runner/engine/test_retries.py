"""Retries: waits, limits, where they come from, and the two behaviours."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from namespaces.flows.model import Retry, RetryType
from runner.engine.effects import CreateRetry, StartTimer
from runner.engine.events import TimerKind, WorkerLost
from runner.engine.retries import next_try
from runner.engine.states import State
from tests.runner.engine.build import flow, new_execution, par, pause, retry, seq, sub, t, ts
from tests.runner.engine.shell import Shell, history

FAILED, WARNING, SUCCESS = State.FAILED, State.WARNING, State.SUCCESS
T0 = datetime(2026, 1, 1, tzinfo=UTC)
second = timedelta(seconds=1)


@pytest.mark.parametrize(("tries", "wait"), [(1, 1), (2, 2), (3, 4), (4, 8), (7, 60), (5000, 60)])
def test_exponential_waits_double_up_to_their_cap(tries, wait):
    rule = Retry(type=RetryType.EXPONENTIAL, interval=second, max_interval=60 * second)

    assert next_try(rule, tries, T0, T0).due == T0 + wait * second


def test_random_waits_leave_the_draw_to_the_shell():
    rule = Retry(type=RetryType.RANDOM, min_interval=second, max_interval=5 * second)
    decision = next_try(rule, 1, T0, T0)

    assert (decision.due, decision.spread) == (T0 + second, 4 * second)


def test_max_attempts_counts_the_first_try():
    assert next_try(retry(3), 2, T0, T0)
    assert next_try(retry(3), 3, T0, T0) is None
    assert next_try(retry(1), 1, T0, T0) is None


def test_no_retry_starts_after_the_longest_duration():
    rule = Retry(type=RetryType.CONSTANT, interval=10 * second, max_duration=15 * second)

    assert next_try(rule, 1, T0, T0 + 5 * second)
    assert next_try(rule, 2, T0, T0 + 6 * second) is None


def test_a_retry_without_wait_leaves_a_tenth_of_a_second():
    assert next_try(retry(seconds=0), 1, T0, T0).due == T0 + second / 10


def test_a_failed_try_is_retried_until_it_succeeds():
    shell = Shell(flow(t("a", retry=retry(3)), t("b"))).start()
    shell.end("a", FAILED)

    assert shell.run("a").state is State.RETRYING
    assert shell.state is State.RETRYING
    shell.fire(TimerKind.RETRY)
    assert shell.run("a").state is State.CREATED
    assert shell.state is State.RUNNING
    shell.run_all()
    assert shell.states() == {"a": "SUCCESS", "b": "SUCCESS"}
    assert [attempt.state for attempt in shell.run("a").attempts] == ["FAILED", "SUCCESS"]
    assert history(shell.run("a")) == ["CREATED", "RUNNING", "RETRYING", "CREATED", "RUNNING", "SUCCESS"]


def test_a_task_fails_when_no_retry_is_left():
    shell = Shell(flow(t("a", retry=retry(3)), errors=ts("e"))).start().run_all({"a": FAILED})

    assert len(shell.run("a").attempts) == 3
    assert shell.order() == ["a", "e"]
    assert shell.state is FAILED


def test_allow_failure_waits_for_the_last_retry():
    shell = Shell(flow(t("a", retry=retry(2), allow_failure=True))).start().run_all({"a": FAILED})

    assert len(shell.run("a").attempts) == 2
    assert shell.state is WARNING


def test_warning_on_retry_marks_a_late_success():
    shell = Shell(flow(t("a", retry=retry(3, warning_on_retry=True)))).start()
    shell.end("a", FAILED)
    shell.run_all()

    assert shell.state is WARNING


def test_the_nearest_ancestor_lends_its_retry():
    tree = flow(seq("s", seq("r", *ts("a"), retry=retry(2))), retry=retry(9))
    shell = Shell(tree).start().run_all({"a": FAILED})

    assert len(shell.run("a").attempts) == 2


def test_the_flow_lends_its_retry():
    shell = Shell(flow(*ts("a"), retry=retry(4))).start().run_all({"a": FAILED})

    assert len(shell.run("a").attempts) == 4


def test_siblings_go_on_while_a_task_waits_for_its_retry():
    shell = Shell(flow(par("p", t("a", retry=retry()), seq("s", *ts("b c"))))).start()
    shell.end("a", FAILED)
    shell.end("b")

    assert shell.dispatched() == ["c"]
    assert shell.state is State.RETRYING


def test_an_old_retry_timer_is_ignored():
    shell = Shell(flow(t("a", retry=retry(9)))).start()
    shell.end("a", FAILED)
    timer = shell.asked_for(StartTimer)[0]
    shell.fire(TimerKind.RETRY)
    shell.end("a", FAILED)
    shell.pending.insert(0, timer)

    assert shell.fire(TimerKind.RETRY).ignored
    assert shell.run("a").state is State.RETRYING


def test_a_subflow_is_retried_with_a_new_child():
    shell = Shell(flow(sub("s", retry=retry(3)))).start().run_all({"s": FAILED})

    assert [a.state for a in shell.run("s").attempts] == [FAILED, FAILED, FAILED]
    children = {a.info["executionId"] for a in shell.run("s").attempts}
    assert len(children) == 3


def test_a_new_execution_replaces_this_one_up_to_the_top():
    tree = flow(seq("s", t("a", retry=new_execution()), t("b")), errors=ts("e"), finally_=ts("f"))
    shell = Shell(tree).start().run_all({"a": FAILED})

    assert shell.states() == {"s": "RETRIED", "a": "RETRIED"}
    assert shell.state is State.RETRIED
    assert shell.asked_for(CreateRetry)[0].due > shell.execution.history[-1][1]


def test_the_last_new_execution_fails():
    from dataclasses import replace

    shell = Shell(flow(*ts("a"), retry=new_execution(3)))
    shell.execution = replace(shell.execution, attempt_number=3)
    shell.start().run_all({"a": FAILED})

    assert shell.state is FAILED
    assert not shell.asked_for(CreateRetry)


def test_a_new_execution_waits_for_running_siblings():
    shell = Shell(flow(par("p", t("a", retry=new_execution()), seq("s", *ts("b c"))))).start()
    shell.begin("b")
    shell.end("a", FAILED)

    assert not shell.state.terminal
    shell.end("b")
    assert shell.state is State.RETRIED
    assert shell.run("b").state is SUCCESS
    assert "c" not in shell.order()


def test_a_retry_that_comes_due_in_a_pause_waits_for_the_resume():
    shell = Shell(flow(par("p", t("a", retry=retry()), pause("q")))).start()
    shell.end("a", FAILED)
    shell.fire(TimerKind.RETRY)

    assert shell.dispatched() == []
    shell.resume()
    assert shell.dispatched() == ["a"]
    shell.run_all()
    assert shell.state is SUCCESS


def lose(shell, **more):
    act = shell.pending.pop(0)
    return shell.send(WorkerLost(at=shell.now, task_run_id=act.task_run_id, epoch=act.epoch, **more))


def test_a_lost_attempt_is_assigned_again_with_a_higher_epoch():
    shell = Shell(flow(*ts("a"))).start()
    shell.begin("a")
    old = shell.pending[0]
    lose(shell)

    assert shell.pending[0].epoch == old.epoch + 1
    assert [a.state for a in shell.run("a").attempts] == ["RESUBMITTED"]
    shell.run_all()
    assert shell.state is SUCCESS


def test_a_lost_attempt_fails_without_retry_when_the_policy_says_so():
    shell = Shell(flow(t("a", on_worker_lost="FAIL", retry=retry()))).start()
    shell.begin("a")
    lose(shell)

    assert shell.state is FAILED
    assert shell.run("a").error == "worker lost"


def test_the_namespaces_policy_counts_when_flow_and_task_say_nothing():
    shell = Shell(flow(*ts("a"))).start()
    shell.begin("a")
    lose(shell, policy="FAIL")

    assert shell.state is FAILED


def test_resubmitted_attempts_do_not_use_up_retries():
    shell = Shell(flow(t("a", retry=retry(2)))).start()
    shell.begin("a")
    lose(shell)
    shell.run_all({"a": FAILED})

    assert [a.state for a in shell.run("a").attempts] == ["RESUBMITTED", "FAILED", "FAILED"]


def test_a_retry_lent_by_a_flowable_waits_for_its_errors():
    tree = flow(seq("s", *ts("a"), errors=ts("e1 e2"), finally_=ts("f"), retry=retry(2)))
    shell = Shell(tree).start()
    shell.end("a", FAILED)

    assert shell.states() == {"s": "RUNNING", "a": "RETRYING", "e1": "CREATED"}
    assert not shell.asked_for(StartTimer)
    shell.end("e1")
    shell.end("e2")
    assert shell.asked_for(StartTimer)
    shell.run_all()
    assert shell.states() == {"s": "SUCCESS", "a": "SUCCESS", "e1": "SUCCESS", "e2": "SUCCESS", "f": "SUCCESS"}


def test_errors_that_ran_before_a_retry_do_not_run_again_at_the_last_failure():
    tree = flow(seq("s", *ts("a"), errors=ts("e"), finally_=ts("f"), retry=retry(3)), errors=ts("g"))
    shell = Shell(tree).start().run_all({"a": FAILED})

    assert shell.order() == ["s", "a", "e", "f", "g"]
    assert len(shell.run("a").attempts) == 3
    assert shell.state is FAILED


def test_a_second_failure_during_the_errors_waits_for_them_as_well():
    tree = flow(par("p", *ts("a b"), errors=ts("e"), retry=retry(2)))
    shell = Shell(tree).start()
    shell.end("a", FAILED)
    shell.end("b", FAILED)

    assert shell.dispatched() == ["e"]
    shell.end("e")
    assert len(shell.asked_for(StartTimer)) == 2
    shell.run_all()
    assert shell.state is SUCCESS


def test_a_tasks_own_retry_comes_before_the_errors_of_its_flowable():
    tree = flow(seq("s", t("a", retry=retry(2)), errors=ts("e")))
    shell = Shell(tree).start()
    shell.end("a", FAILED)

    assert "e" not in shell.order()
    shell.fire(TimerKind.RETRY)
    shell.end("a", FAILED)
    assert shell.dispatched() == ["e"]
