"""Parallel, Dag, If, Switch, ForEach, EachParallel, LoopUntil, WorkingDirectory: which child starts when."""

from __future__ import annotations

from datetime import timedelta

import pytest

from runner.engine.effects import DropRuns, Log, Question, StoreValues
from runner.engine.events import BlockFinished, ChildResult, TimerKind
from runner.engine.naming import task_run_id
from runner.engine.states import State
from tests.runner.engine.build import dag, each, eachpar, flow, if_, par, seq, switch, t, ts, until, wd
from tests.runner.engine.shell import Shell, Trouble, history

FAILED, WARNING, SUCCESS = State.FAILED, State.WARNING, State.SUCCESS


# ---- Parallel ----


def test_parallel_starts_all_children_at_once():
    shell = Shell(flow(par("p", *ts("a b c")), *ts("z"))).start()

    assert shell.dispatched() == ["a", "b", "c"]
    shell.run_all()
    assert shell.order() == ["p", "a", "b", "c", "z"]


def test_parallel_with_a_limit_starts_the_next_when_one_ends():
    shell = Shell(flow(par("p", *ts("a b c d"), concurrent=2))).start()

    assert shell.dispatched() == ["a", "b"]
    shell.end("b")
    assert shell.dispatched() == ["a", "c"]
    shell.run_all()
    assert shell.state is SUCCESS


def test_a_failure_lets_running_siblings_finish_and_starts_no_other():
    shell = Shell(flow(par("p", *ts("a b c d"), concurrent=2, errors=ts("e")))).start()
    shell.end("a", FAILED)

    assert shell.dispatched() == ["b"]
    shell.end("b")
    assert shell.dispatched() == ["e"]
    shell.run_all()
    assert shell.states() == {"p": "FAILED", "a": "FAILED", "b": "SUCCESS", "e": "SUCCESS"}


def test_children_of_nested_parallels_are_created_level_by_level():
    shell = Shell(flow(par("p", *ts("a"), par("q", *ts("b c")), *ts("d")))).start()

    assert shell.order() == ["p", "a", "q", "d", "b", "c"]


def test_a_parallel_without_children_ends_in_success():
    shell = Shell(flow(par("p", t("a", disabled=True)))).start()

    assert shell.states() == {"p": "SUCCESS"}


# ---- Dag ----


def test_a_dag_task_starts_when_all_it_depends_on_ended_well():
    tree = flow(dag("d", *ts("c a b"), depends={"c": ("a", "b")}))
    shell = Shell(tree).start()

    assert shell.dispatched() == ["a", "b"]
    shell.end("a")
    assert shell.dispatched() == ["b"]
    shell.end("b", WARNING)
    assert shell.dispatched() == ["c"]
    shell.run_all()
    assert shell.state is WARNING


def test_skipped_tasks_satisfy_dag_dependencies():
    tree = flow(dag("d", t("a", run_if="x"), t("b"), depends={"b": ("a",)}))
    shell = Shell(tree, {Question.RUN_IF: False}).start().run_all()

    assert shell.states() == {"d": "SUCCESS", "a": "SKIPPED", "b": "SUCCESS"}


def test_a_dag_limit_holds_back_ready_tasks():
    shell = Shell(flow(dag("d", *ts("a b c"), concurrent=1))).start()

    assert shell.dispatched() == ["a"]
    shell.end("a")
    assert shell.dispatched() == ["b"]
    shell.run_all()
    assert shell.state is SUCCESS


def test_after_a_failure_nothing_new_of_a_dag_starts():
    tree = flow(dag("d", *ts("a b c e"), depends={"c": ("b",), "e": ("a",)}))
    shell = Shell(tree).start()
    shell.end("a", FAILED)
    shell.end("b")

    assert shell.states() == {"d": "FAILED", "a": "FAILED", "b": "SUCCESS"}


def test_a_cyclic_dag_fails_instead_of_hanging():
    shell = Shell(flow(dag("d", *ts("a b"), depends={"a": ("b",), "b": ("a",)}))).start()

    assert shell.state is FAILED
    assert shell.asked_for(Log)[0].message == "Cyclic dependency detected: a, b"


def test_a_dependency_on_a_disabled_task_counts_as_satisfied():
    shell = Shell(flow(dag("d", t("a", disabled=True), t("b"), depends={"b": ("a",)}))).start()

    assert shell.dispatched() == ["b"]


# ---- If, Switch ----


@pytest.mark.parametrize(("holds", "order"), [(True, ["i", "a"]), (False, ["i", "b"])])
def test_if_runs_one_branch_and_keeps_the_result(holds, order):
    shell = Shell(flow(if_("i", *ts("a"), else_=ts("b"))), {Question.CONDITION: holds}).start().run_all()

    assert shell.order() == order
    assert shell.run("i").outputs == {"evaluationResult": holds}


def test_if_without_else_ends_in_success_without_children():
    shell = Shell(flow(if_("i", *ts("a"))), {Question.CONDITION: False}).start()

    assert shell.states() == {"i": "SUCCESS"}


def test_a_broken_condition_fails_the_if():
    shell = Shell(flow(if_("i", *ts("a"))), {Question.CONDITION: Trouble("no x")}).start()

    assert shell.states() == {"i": "FAILED"}
    assert shell.run("i").error == "no x"


def test_switch_takes_the_case_that_matches():
    tree = flow(switch("s", {"A": ts("a"), "B": ts("b")}, defaults=ts("d")))
    shell = Shell(tree, {Question.SWITCH: "B"}).start().run_all()

    assert shell.order() == ["s", "b"]
    assert shell.run("s").outputs == {"value": "B", "defaults": False}


def test_switch_takes_the_defaults_when_nothing_matches():
    tree = flow(switch("s", {"A": ts("a")}, defaults=ts("d")))
    shell = Shell(tree, {Question.SWITCH: "C"}).start().run_all()

    assert shell.order() == ["s", "d"]
    assert shell.run("s").outputs == {"value": "C", "defaults": True}


def test_switch_without_match_and_defaults_fails():
    shell = Shell(flow(switch("s", {"A": ts("a")})), {Question.SWITCH: "C"}).start()

    assert shell.states() == {"s": "FAILED"}
    assert "'C'" in shell.run("s").error


# ---- ForEach ----


def values(*texts):
    return {Question.VALUES: texts}


def test_foreach_runs_one_value_after_the_other_and_stores_what_waits():
    shell = Shell(flow(each("e", *ts("a b"))), values("x", "y")).start()

    assert shell.asked_for(StoreValues)[0].values == ("x", "y")
    assert shell.dispatched() == ["a"]
    shell.run_all()
    assert shell.order() == ["e", "a@x", "b@x", "a@y", "b@y"]
    assert [(r.value, r.iteration) for r in shell.runs("b")] == [("x", 0), ("y", 1)]


def test_only_direct_children_of_a_foreach_carry_the_value():
    shell = Shell(flow(each("e", seq("s", *ts("a")))), values("x")).start().run_all()

    assert shell.run("s").value == "x"
    assert shell.run("a").value is None
    assert shell.run("a").iteration is None


def test_foreach_without_limit_starts_all_values_with_tasks_in_sequence():
    shell = Shell(flow(each("e", *ts("a b"), limit=0)), values("x", "y", "z")).start()

    assert shell.dispatched() == ["a", "a", "a"]
    assert not shell.asked_for(StoreValues)
    shell.end("a", value="y")
    assert shell.dispatched() == ["a", "a", "b"]
    shell.run_all()
    assert shell.state is SUCCESS
    assert len(shell.runs()) == 7


def test_foreach_with_a_limit_reuses_a_slot_when_a_value_has_ended():
    shell = Shell(flow(each("e", *ts("a b"), limit=2)), values("x", "y", "z")).start()
    shell.end("a", value="x")

    assert [r.value for r in shell.runs("a")] == ["x", "y"]
    shell.end("b", value="x")
    assert [r.value for r in shell.runs("a")] == ["x", "y", "z"]
    shell.run_all()
    assert shell.state is SUCCESS


def test_foreach_stops_after_a_failure_but_values_in_progress_go_on():
    shell = Shell(flow(each("e", *ts("a b"), limit=2)), values("x", "y", "z")).start()
    shell.end("a", FAILED, value="x")
    shell.end("a", value="y")
    assert shell.dispatched() == ["b"]
    shell.end("b", value="y")

    assert shell.states() == {"e": "FAILED", "a@x": "FAILED", "a@y": "SUCCESS", "b@y": "SUCCESS"}


def test_foreach_without_values_ends_in_success():
    shell = Shell(flow(each("e", *ts("a"))), values()).start()

    assert shell.states() == {"e": "SUCCESS"}


def test_a_lost_stored_value_fails_the_foreach():
    answers = {**values("x", "y"), (Question.ITERATION, "e"): Trouble("gone")}
    shell = Shell(flow(each("e", *ts("a"), errors=ts("f"))), answers).start().run_all()

    assert shell.states() == {"e": "FAILED", "a@x": "SUCCESS", "f": "SUCCESS"}


def test_each_parallel_starts_all_tasks_of_all_values():
    shell = Shell(flow(eachpar("e", *ts("a b"))), values("x", "y")).start()

    assert shell.dispatched() == ["a", "b", "a", "b"]
    shell.run_all()
    assert shell.order() == ["e", "a@x", "b@x", "a@y", "b@y"]


def test_each_parallel_limits_task_runs():
    shell = Shell(flow(eachpar("e", *ts("a b"), concurrent=3)), values("x", "y")).start()

    assert shell.dispatched() == ["a", "b", "a"]
    shell.end("a", value="x")
    assert shell.order() == ["e", "a@x", "b@x", "a@y", "b@y"]
    shell.run_all()
    assert shell.state is SUCCESS


# ---- LoopUntil ----


def test_loop_until_runs_its_tasks_before_it_asks():
    shell = Shell(flow(until("u", *ts("a")), *ts("z")), {Question.CONDITION: True}).start().run_all()

    assert shell.order() == ["u", "a", "z"]
    assert shell.run("u").outputs == {"iterationCount": 1}
    assert history(shell.run("u")) == ["CREATED", "RUNNING", "SUCCESS"]


def test_loop_until_waits_without_children_and_runs_again():
    holds = iter([False, True])
    tree = flow(until("u", *ts("a"), interval=timedelta(seconds=5)))
    shell = Shell(tree, {Question.CONDITION: lambda *_: next(holds)}, compare=False).start()
    shell.end("a")

    assert shell.states() == {"u": "PAUSED"}
    assert shell.state is State.PAUSED
    assert shell.asked_for(DropRuns)[0].children_of == shell.run("u").id
    shell.fire(TimerKind.LOOP)
    assert shell.run("u").outputs == {"iterationCount": 2}
    shell.run_all()
    assert history(shell.run("u")) == ["CREATED", "RUNNING", "PAUSED", "RUNNING", "SUCCESS"]
    assert shell.state is SUCCESS


def test_a_waiting_loop_does_not_hold_its_siblings_back():
    tree = flow(par("p", until("u", *ts("a")), seq("s", *ts("b c"))))
    shell = Shell(tree, {Question.CONDITION: False}).start()
    shell.end("a")
    shell.end("b")

    assert shell.state is State.PAUSED
    assert shell.dispatched() == ["c"]


@pytest.mark.parametrize(("fails", "state"), [(True, FAILED), (False, SUCCESS)])
def test_loop_until_ends_after_its_highest_number_of_passes(fails, state):
    tree = flow(until("u", *ts("a"), max_iterations=3, fail_on_max_reached=fails))
    shell = Shell(tree, {Question.CONDITION: False}).start().run_all()

    assert shell.run("u").outputs == {"iterationCount": 3}
    assert shell.state is state


def test_loop_until_ends_after_its_longest_duration():
    tree = flow(until("u", *ts("a"), max_duration=timedelta(seconds=150), fail_on_max_reached=True))
    shell = Shell(tree, {Question.CONDITION: False}).start().run_all()

    assert shell.run("u").outputs == {"iterationCount": 4}
    assert shell.state is FAILED


def test_a_failing_child_ends_a_loop_until():
    shell = Shell(flow(until("u", *ts("a"), errors=ts("e"))), {Question.CONDITION: False}).start()
    shell.run_all({"a": FAILED})

    assert shell.states() == {"u": "FAILED", "a": "FAILED", "e": "SUCCESS"}


def test_a_broken_condition_fails_the_loop_after_its_errors():
    shell = Shell(flow(until("u", *ts("a"), errors=ts("e"))), {Question.CONDITION: Trouble("no x")}).start().run_all()

    assert shell.states() == {"u": "FAILED", "a": "SUCCESS", "e": "SUCCESS"}


def test_a_timer_of_an_earlier_pass_does_not_shorten_a_wait():
    shell = Shell(flow(until("u", *ts("a"))), {Question.CONDITION: False}).start()
    shell.end("a")
    timer = next(a for a in shell.pending if getattr(a, "kind", None) == TimerKind.LOOP)
    shell.fire(TimerKind.LOOP)
    shell.end("a")
    shell.pending.append(timer)

    assert shell.fire(TimerKind.LOOP).ignored
    assert shell.state is State.PAUSED


# ---- WorkingDirectory ----


def child(shell, task_id, state=SUCCESS, **more):
    return ChildResult(
        task_id=task_id,
        state=state,
        started_at=shell.now,
        ended_at=shell.now,
        attempts=((state, shell.now, shell.now),),
        **more,
    )


def finish_block(shell, *children, **more):
    act = shell.pending.pop(0)
    shell.send(BlockFinished(at=shell.now, task_run_id=act.task_run_id, epoch=act.epoch, children=children, **more))


def test_a_working_directory_is_one_dispatch_and_shows_its_children_at_the_end():
    shell = Shell(flow(wd("w", *ts("a b")), *ts("z"))).start()
    assert shell.dispatched() == ["w"]
    shell.begin("w")
    finish_block(shell, child(shell, "a", outputs={"v": 1}), child(shell, "b"), outputs={"outputFiles": {}})
    shell.run_all()

    assert shell.states() == {"w": "SUCCESS", "a": "SUCCESS", "b": "SUCCESS", "z": "SUCCESS"}
    assert shell.run("a").outputs == {"v": 1}
    assert shell.run("a").id == task_run_id("x1", "a", shell.run("w").id, 1)
    assert history(shell.run("w")) == ["CREATED", "RUNNING", "SUCCESS"]


def test_a_failed_child_fails_the_block_after_its_errors():
    shell = Shell(flow(wd("w", *ts("a b"), errors=ts("e")))).start()
    finish_block(shell, child(shell, "a", FAILED))
    shell.run_all()

    assert shell.states() == {"w": "FAILED", "a": "FAILED", "e": "SUCCESS"}
    assert [attempt.state for attempt in shell.run("w").attempts] == ["FAILED"]


def test_a_block_that_cannot_be_prepared_fails_without_children():
    shell = Shell(flow(wd("w", *ts("a")))).start()
    shell.end("w", FAILED, error="no such file")

    assert shell.states() == {"w": "FAILED"}
    assert shell.run("w").error == "no such file"
