"""Restart, marking by hand, replay: what is kept, what runs again, and that it comes to an end."""

from __future__ import annotations

from dataclasses import replace

import pytest

from namespaces.errors import Conflict, NotFound
from namespaces.flows.model import Flow
from runner.engine.effects import DropRuns, Question, RestartSubflow, StartSubflow, StoreValues
from runner.engine.events import Restart, Started, SubflowChanged, TaskRunMarked, TimerKind
from runner.engine.replay import replay, restart_as
from runner.engine.states import State
from tests.runner.engine.build import (
    dag,
    each,
    eachpar,
    flow,
    if_,
    par,
    pause,
    retry,
    seq,
    sub,
    switch,
    t,
    ts,
    until,
    wd,
)
from tests.runner.engine.shell import Shell, Trouble, history

FAILED, SUCCESS, KILLED = State.FAILED, State.SUCCESS, State.KILLED


def restart(shell: Shell, *, start: bool = True):
    shell.pending.clear()
    shell.tick()
    step = shell.send(Restart(at=shell.now))
    if start:
        shell.send(Started(at=shell.now))
    return step


def test_a_restart_runs_the_failed_task_again_and_goes_on():
    shell = Shell(flow(*ts("a b c"), errors=ts("e"), after_execution=ts("z"))).start().run_all({"b": FAILED})
    restart(shell, start=False)

    assert shell.state is State.RESTARTED
    assert shell.states() == {"a": "SUCCESS", "b": "RESTARTED"}
    assert len(shell.asked_for(DropRuns)[0].task_run_ids) == 2
    assert shell.execution.attempt_number == 2
    assert ("system.restarted", "true") in shell.execution.labels
    shell.send(Started(at=shell.now))
    shell.run_all()
    assert shell.states() == {"a": "SUCCESS", "b": "SUCCESS", "c": "SUCCESS", "z": "SUCCESS"}
    assert history(shell.run("b")) == ["CREATED", "RUNNING", "FAILED", "RESTARTED", "RUNNING", "SUCCESS"]
    assert len(shell.run("b").attempts) == 2
    assert history(shell.execution) == ["CREATED", "RUNNING", "FAILED", "RESTARTED", "RUNNING", "SUCCESS"]


def test_local_errors_are_removed_and_run_again():
    tree = flow(*ts("before"), seq("s", *ts("close fail"), errors=ts("handler")), *ts("after"))
    shell = Shell(tree).start().run_all({"fail": FAILED})
    old_handler = shell.run("handler").id
    restart(shell, start=False)

    assert shell.states() == {"before": "SUCCESS", "s": "RUNNING", "close": "SUCCESS", "fail": "RESTARTED"}
    shell.send(Started(at=shell.now))
    shell.run_all({"fail": FAILED})
    assert len(shell.runs()) == 5
    assert shell.run("handler").id != old_handler
    assert shell.state is FAILED


def test_an_execution_can_be_restarted_many_times():
    shell = Shell(flow(*ts("a"))).start().run_all({"a": FAILED})
    for _ in range(3):
        restart(shell)
        shell.run_all({"a": FAILED})

    assert len(shell.run("a").attempts) == 4
    assert shell.execution.attempt_number == 4


def test_retries_count_anew_after_a_restart():
    shell = Shell(flow(t("a", retry=retry(2)))).start().run_all({"a": FAILED})
    restart(shell)
    shell.run_all({"a": FAILED})

    assert len(shell.run("a").attempts) == 4


def test_nothing_to_restart_is_said():
    shell = Shell(flow(*ts("a"))).start().run_all()

    assert restart(shell, start=False).ignored == "No task found to restart execution from!"


def test_a_running_execution_cannot_be_restarted():
    shell = Shell(flow(*ts("a"))).start()

    assert "must be terminal or PAUSED" in shell.send(Restart(at=shell.now)).ignored


def test_restarting_several_values_of_a_loop():
    tree = flow(each("e", seq("s", *ts("a b")), limit=0), *ts("z"))
    shell = Shell(tree, {Question.VALUES: ("1", "2", "3")}).start().run_all({"a": FAILED})
    restart(shell, start=False)

    assert list(shell.states().values()).count("RUNNING") == 4
    shell.send(Started(at=shell.now))
    shell.run_all()
    assert shell.state is SUCCESS
    assert len(shell.runs()) == 11


def test_a_restarted_serial_loop_goes_on_with_the_values_that_never_started():
    tree = flow(each("e", *ts("a b")), *ts("z"))
    shell = Shell(tree, {Question.VALUES: ("1", "2", "3")}).start().run_all({"b": FAILED})
    restart(shell)
    shell.run_all()

    assert shell.order() == ["e", "a@1", "b@1", "a@2", "b@2", "a@3", "b@3", "z"]
    assert shell.state is SUCCESS


def test_a_killed_loop_goes_on_with_the_next_task_of_each_value():
    shell = Shell(flow(each("e", *ts("a b"), limit=0)), {Question.VALUES: ("1", "2")}).start()
    shell.begin("a")
    shell.pending[0], shell.pending[1] = shell.pending[1], shell.pending[0]
    shell.begin("a")
    shell.kill()
    shell.run_all()
    assert shell.state is KILLED
    restart(shell)
    shell.run_all()

    assert len(shell.runs()) == 5
    assert shell.state is SUCCESS


def test_an_execution_killed_between_two_tasks_goes_on_with_the_next():
    shell = Shell(flow(*ts("a b"))).start()
    shell.begin("a")
    shell.kill()
    shell.end("a")
    restart(shell)
    shell.run_all()

    assert shell.states() == {"a": "SUCCESS", "b": "SUCCESS"}


def test_a_restarted_dag_starts_what_became_ready():
    tree = flow(dag("d", *ts("a b c"), depends={"c": ("a", "b")}))
    shell = Shell(tree).start().run_all({"a": FAILED})
    restart(shell)
    shell.run_all()

    assert shell.states() == {"d": "SUCCESS", "a": "SUCCESS", "b": "SUCCESS", "c": "SUCCESS"}


def test_a_restarted_parallel_fills_its_places():
    shell = Shell(flow(par("p", *ts("a b c d"), concurrent=2))).start().run_all({"a": FAILED})
    restart(shell)

    assert shell.dispatched() == ["a", "c"]
    shell.run_all()
    assert shell.state is SUCCESS


def test_a_switch_that_failed_is_asked_again():
    words = iter(["C", "A"])
    shell = Shell(flow(switch("s", {"A": ts("a")})), {Question.SWITCH: lambda *_: next(words)}, compare=False).start()
    restart(shell)
    shell.run_all()

    assert shell.states() == {"s": "SUCCESS", "a": "SUCCESS"}


def test_a_broken_run_if_is_asked_again():
    answers = iter([Trouble("no"), True])

    def answer(*_):
        found = next(answers)
        if isinstance(found, Trouble):
            raise found
        return found

    shell = Shell(flow(t("a", run_if="x")), {Question.RUN_IF: answer}, compare=False).start()
    restart(shell)
    shell.run_all()

    assert shell.state is SUCCESS


def test_an_exhausted_loop_until_begins_anew():
    holds = iter([False, True])
    tree = flow(until("u", *ts("a"), max_iterations=1, fail_on_max_reached=True))
    shell = Shell(tree, {Question.CONDITION: lambda *_: next(holds)}, compare=False).start().run_all()
    assert shell.state is FAILED
    restart(shell)
    shell.run_all()

    assert shell.states() == {"u": "SUCCESS", "a": "SUCCESS"}


def test_a_working_directory_runs_again_as_a_whole():
    shell = Shell(flow(wd("w", *ts("a"), errors=ts("e")))).start()
    shell.end("w", FAILED)
    shell.run_all()
    restart(shell, start=False)

    assert shell.states() == {"w": "RESTARTED"}
    shell.send(Started(at=shell.now))
    assert shell.dispatched() == ["w"]


def test_a_block_whose_finally_was_interrupted_by_a_restart_ends():
    shell = Shell(flow(wd("w", *ts("a"), finally_=(pause("q"),)), *ts("z"))).start()
    shell.end("w")
    assert shell.run("q").state is State.PAUSED
    shell.send(Restart(at=shell.now))
    shell.send(Started(at=shell.now))
    shell.resume()
    shell.run_all()

    assert shell.states() == {"w": "SUCCESS", "q": "SUCCESS", "z": "SUCCESS"}


def test_a_paused_execution_can_be_restarted():
    shell = Shell(flow(par("p", pause("q"), seq("s", *ts("a b"))))).start()
    shell.end("a")
    shell.send(Restart(at=shell.now))
    shell.send(Started(at=shell.now))

    assert shell.run("q").state is State.PAUSED
    assert shell.state is State.PAUSED
    shell.resume()
    shell.run_all()
    assert shell.state is SUCCESS


def test_a_failed_child_execution_is_restarted_in_place():
    shell = Shell(flow(sub("s"))).start().run_all({"s": FAILED})
    child = shell.run("s").outputs["executionId"]
    restart(shell)

    assert [act.execution_id for act in shell.asked_for(RestartSubflow)] == [child]
    shell.run_all()
    assert shell.state is SUCCESS


def test_a_child_restarted_in_place_shows_by_going_on():
    shell = Shell(flow(sub("s"))).start()
    shell.subflow("s", FAILED)
    restart(shell)
    run = shell.run("s")
    again = {"at": shell.now, "task_run_id": run.id, "execution_id": "child"}

    assert shell.send(SubflowChanged(state=FAILED, **again)).ignored
    shell.send(SubflowChanged(state=State.RUNNING, **again))
    assert shell.run("s").state is State.RUNNING
    shell.send(SubflowChanged(state=SUCCESS, **again))
    assert shell.state is SUCCESS


def test_a_new_child_execution_is_started_when_the_task_says_so():
    shell = Shell(flow(sub("s", restart_behavior="NEW_EXECUTION"))).start().run_all({"s": FAILED})
    restart(shell)

    assert len(shell.asked_for(StartSubflow)) == 2


# ---- marking ----


def mark(shell: Shell, run, state: State, *, start: bool = True):
    shell.tick()
    shell.send(TaskRunMarked(at=shell.now, task_run_id=run.id, state=state))
    if start and shell.state is State.RESTARTED:
        shell.send(Started(at=shell.now))
    return shell


def test_marking_a_good_task_run_as_failed_fails_what_is_above():
    tree = flow(eachpar("e", seq("s", *ts("a b"))), *ts("z"))
    shell = Shell(tree, {Question.VALUES: ("1", "2", "3")}).start().run_all()
    mark(shell, shell.run("s", "1"), FAILED, start=False)

    assert shell.state is State.RESTARTED
    assert len(shell.runs()) == 11
    assert shell.run("e").state is State.RUNNING
    assert history(shell.run("s", "1")) == ["CREATED", "RUNNING", "SUCCESS", "FAILED"]
    shell.send(Started(at=shell.now))
    assert shell.state is FAILED
    assert shell.run("e").state is FAILED


def test_marking_a_failed_task_run_as_good_goes_on_after_it():
    shell = Shell(flow(seq("s", *ts("a b"), errors=ts("e")), *ts("c"))).start().run_all({"a": FAILED})
    mark(shell, shell.run("a"), SUCCESS).run_all()

    assert shell.states() == {"s": "SUCCESS", "a": "SUCCESS", "b": "SUCCESS", "c": "SUCCESS"}
    assert shell.state is SUCCESS


def test_marking_in_a_loop_goes_on_with_the_next_task_of_the_value():
    shell = Shell(flow(each("e", *ts("a b"))), {Question.VALUES: ("1", "2")}).start().run_all({"a": FAILED})
    mark(shell, shell.run("a"), SUCCESS).run_all()

    assert shell.order() == ["e", "a@1", "b@1", "a@2", "b@2"]
    assert shell.state is SUCCESS


def test_marking_one_of_two_pauses_leaves_the_execution_paused():
    shell = Shell(flow(par("p", seq("s", pause("q"), *ts("b")), pause("r")))).start()
    mark(shell, shell.run("q"), SUCCESS)

    assert shell.state is State.PAUSED
    assert shell.states()["b"] == "CREATED"
    shell.resume()
    shell.run_all()
    assert shell.state is SUCCESS


# ---- replay ----


def replayed(shell: Shell, run, tree: Flow | None = None) -> Shell:
    execution, runs, acts = replay(tree or shell.flow, shell.execution, "x2", run.id if run else None, shell.now)
    other = Shell(tree or shell.flow, shell.answers)
    other.now = shell.now
    other.execution = execution
    assert (list(execution.runs) and runs) or run is None
    olds = {act.task_run_id: act.copy_of for act in acts if isinstance(act, StoreValues)}
    other.values = {new: shell.values[old] for new, old in olds.items()}
    return other


def test_a_replay_without_task_is_a_fresh_run():
    shell = Shell(flow(*ts("a"))).start().run_all()
    other = replayed(shell, None)

    assert history(other.execution) == ["CREATED"]
    assert other.start().run_all().state is SUCCESS


def test_a_replay_keeps_what_came_before_with_its_outputs():
    shell = Shell(flow(*ts("a b c"))).start()
    shell.end("a", outputs={"v": 1})
    shell.run_all()
    other = replayed(shell, shell.run("b"))

    assert other.states() == {"a": "SUCCESS", "b": "RESTARTED"}
    assert other.run("a").outputs == {"v": 1}
    assert other.run("a").id != shell.run("a").id
    assert history(other.execution) == ["CREATED", "RUNNING", "SUCCESS", "RESTARTED"]
    assert other.start().run_all().states() == {"a": "SUCCESS", "b": "SUCCESS", "c": "SUCCESS"}


def nested_serial() -> Flow:
    return flow(each("e", t("r1"), each("i", *ts("i1 i2")), t("r3")), t("end"))


def values_of(ask, run):
    return ("s1", "s2", "s3") if run.task_id == "e" else ("a", "b")


@pytest.mark.parametrize(("task", "value", "count"), [("i", "s1", 5), ("i1", "a", 6)])
def test_a_replay_in_serial_loops_keeps_earlier_tasks_of_all_values(task, value, count):
    shell = Shell(nested_serial(), {Question.VALUES: values_of}).start().run_all()
    assert len(shell.runs()) == 23
    other = replayed(shell, shell.run(task, value))

    assert len(other.runs()) == count
    assert other.run("i", "s1").state is State.RUNNING
    other.start().run_all()
    assert len(other.runs()) == 23
    assert other.state is SUCCESS


def test_a_replay_of_a_parallel_value_keeps_its_siblings():
    tree = flow(eachpar("e", seq("s", *ts("a b"))), *ts("z"))
    shell = Shell(tree, {Question.VALUES: ("1", "2", "3")}).start().run_all()
    other = replayed(shell, shell.run("s", "1"))

    assert len(other.runs()) == 8
    assert other.run("s", "1").state is State.RUNNING
    assert len(other.start().run_all().runs()) == 11


def test_a_replay_of_a_nested_parallel_child_keeps_all_branches():
    tree = flow(par("p", *ts("a b"), par("q", *ts("c"), seq("s", *ts("d e")), *ts("f")), *ts("g")), *ts("z"))
    shell = Shell(tree).start().run_all()
    other = replayed(shell, shell.run("s"))

    assert len(other.runs()) == 8
    assert len(other.start().run_all().runs()) == 11
    assert other.state is SUCCESS


def test_a_replay_in_a_dag_leaves_out_what_depends_on_the_target():
    tree = flow(dag("d", *ts("a b c e"), depends={"b": ("a",), "c": ("b",)}))
    shell = Shell(tree).start().run_all()
    other = replayed(shell, shell.run("b"))

    assert other.states() == {"d": "RUNNING", "a": "SUCCESS", "e": "SUCCESS", "b": "RESTARTED"}
    assert other.start().run_all().state is SUCCESS


def test_a_failed_serial_loop_can_be_replayed_from_one_of_its_tasks():
    shell = Shell(flow(each("e", *ts("a b"))), {Question.VALUES: ("1", "2", "3")}).start()
    shell.end("a")
    shell.end("b")
    shell.run_all({"a": FAILED})
    other = replayed(shell, shell.run("b", "1"))
    other.start().run_all()

    assert sorted(other.order()) == ["a@1", "a@2", "a@3", "b@1", "b@2", "b@3", "e"]
    assert other.state is SUCCESS


def test_a_replay_from_an_if_asks_its_condition_again():
    shell = Shell(flow(*ts("a"), if_("i", *ts("b"), else_=ts("c"))), {Question.CONDITION: False}).start().run_all()
    other = replayed(shell, shell.run("i"))
    other.answers = {Question.CONDITION: True}

    assert other.start().run_all().order() == ["a", "i", "b"]


def test_a_replay_of_a_running_execution_runs_its_live_tasks_again():
    shell = Shell(flow(par("p", *ts("a b")), *ts("z"))).start()
    shell.end("a")
    shell.begin("b")
    other = replayed(shell, shell.run("a"))

    assert other.start().run_all().states() == {"p": "SUCCESS", "a": "SUCCESS", "b": "SUCCESS", "z": "SUCCESS"}


def test_a_replay_from_an_error_handler_runs_only_what_follows_it():
    shell = Shell(flow(*ts("a b"), errors=ts("e1 e2"))).start().run_all({"a": FAILED})
    other = replayed(shell, shell.run("e2"))

    assert other.states() == {"a": "FAILED", "e1": "SUCCESS", "e2": "RESTARTED"}
    assert other.start().run_all().state is FAILED


def test_a_replay_names_an_unknown_task_run_and_a_missing_task():
    shell = Shell(flow(*ts("a b"))).start().run_all()

    with pytest.raises(NotFound):
        replay(shell.flow, shell.execution, "x2", "nope", shell.now)
    with pytest.raises(Conflict, match="task a is not in revision"):
        replay(flow(*ts("b")), shell.execution, "x2", shell.run("b").id, shell.now)


def test_an_execution_can_be_restarted_under_another_revision():
    shell = Shell(flow(*ts("a b"))).start().run_all({"b": FAILED})
    tree = flow(*ts("a b c"), revision=2)
    other = Shell(tree)
    other.execution, runs, _ = restart_as(tree, shell.execution, "x2", shell.now)

    assert [run.id for run in runs] == list(other.execution.runs)
    assert other.start().run_all().states() == {"a": "SUCCESS", "b": "SUCCESS", "c": "SUCCESS"}


def test_a_restarted_pause_waits_again():
    shell = Shell(flow(pause("p"), *ts("b")), {Question.PAUSE: (None, None, "RESUME")}).start()
    shell.kill()
    restart(shell)

    assert shell.state is State.PAUSED
    assert TimerKind.PAUSE  # no timer: it waits for a person
    shell.resume()
    assert shell.dispatched() == ["b"]


def test_restarted_under_another_revision_what_still_runs_in_a_paused_execution_runs_again():
    shell = Shell(flow(par("p", pause("q"), t("a"), sub("s"))), {Question.PAUSE: (None, None, "RESUME")}).start()
    shell.begin("a")
    tree = replace(shell.flow, revision=2)
    other = Shell(tree, {Question.PAUSE: (None, None, "RESUME")})
    made = restart_as(tree, shell.execution, "x2", shell.now)
    assert made is not None
    other.execution = made[0]

    assert other.states() == {"p": "RUNNING", "q": "RESTARTED", "a": "RESTARTED", "s": "RESTARTED"}
    assert shell.states()["a"] == "RUNNING"
    other.start()
    other.resume()
    assert other.run_all().state is State.SUCCESS


def test_nothing_to_restart_under_another_revision():
    shell = Shell(flow(*ts("a"))).start().run_all()
    assert restart_as(shell.flow, shell.execution, "x2", shell.now) is None
