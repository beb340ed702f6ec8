"""Sequences, errors, finally, afterExecution, outputs: how lists follow each other."""

from __future__ import annotations

from namespaces.flows.model import Listener
from runner.engine.effects import Announce, Log, Question, Release
from runner.engine.states import State
from tests.runner.engine.build import allow, flow, output, par, seq, t, ts
from tests.runner.engine.shell import Shell, Trouble, history

FAILED, WARNING, SUCCESS = State.FAILED, State.WARNING, State.SUCCESS


def test_tasks_run_one_after_the_other():
    shell = Shell(flow(*ts("a b"))).start()

    assert shell.dispatched() == ["a"]
    shell.begin("a")
    shell.end("a")

    assert shell.dispatched() == ["b"]
    shell.run_all()
    assert shell.states() == {"a": "SUCCESS", "b": "SUCCESS"}
    assert history(shell.execution) == ["CREATED", "RUNNING", "SUCCESS"]
    assert history(shell.run("a")) == ["CREATED", "RUNNING", "SUCCESS"]
    assert [a.state for a in shell.asked_for(Announce)] == ["RUNNING", "SUCCESS"]
    assert len(shell.asked_for(Release)) == 1
    assert shell.execution.finished


def test_nothing_of_a_list_starts_after_a_failure():
    shell = Shell(flow(*ts("a b"))).start().run_all({"a": FAILED})

    assert shell.states() == {"a": "FAILED"}
    assert shell.state is FAILED


def test_errors_run_after_a_failure_and_do_not_rescue():
    shell = Shell(flow(*ts("a"), errors=ts("e1 e2"), finally_=ts("f"))).start().run_all({"a": FAILED})

    assert shell.order() == ["a", "e1", "e2", "f"]
    assert shell.state is FAILED


def test_a_failing_handler_does_not_keep_finally_from_running():
    shell = Shell(flow(*ts("a"), errors=ts("e1 e2"), finally_=ts("f"))).start().run_all({"a": FAILED, "e1": FAILED})

    assert shell.order() == ["a", "e1", "f"]


def test_a_failing_finally_task_does_not_change_the_state():
    shell = Shell(flow(*ts("a"), finally_=ts("f g"))).start().run_all({"f": FAILED})

    assert shell.states() == {"a": "SUCCESS", "f": "FAILED"}
    assert shell.state is SUCCESS


def test_errors_of_a_block_run_before_those_of_the_flow():
    tree = flow(seq("s", *ts("a b"), errors=ts("se"), finally_=ts("sf")), *ts("c"), errors=ts("fe"))
    shell = Shell(tree).start().run_all({"a": FAILED})

    assert shell.order() == ["s", "a", "se", "sf", "fe"]
    assert shell.run("s").state is FAILED


def test_after_execution_runs_when_the_state_is_terminal():
    shell = Shell(flow(*ts("a"), after_execution=ts("z y"))).start()
    shell.end("a", FAILED)

    assert shell.state is FAILED
    assert not shell.execution.finished
    assert not shell.asked_for(Release)
    shell.run_all({"z": FAILED})
    assert shell.order() == ["a", "z"]
    assert shell.state is FAILED
    assert shell.execution.finished
    assert len(shell.asked_for(Release)) == 1


def test_allow_failure_turns_failed_into_warning_and_goes_on():
    shell = Shell(flow(t("a", allow_failure=True), t("b"))).start().run_all({"a": FAILED})

    assert shell.states() == {"a": "WARNING", "b": "SUCCESS"}
    assert shell.state is WARNING


def test_allow_failure_with_allow_warning_ends_in_success():
    shell = Shell(flow(t("a", allow_failure=True, allow_warning=True))).start().run_all({"a": FAILED})

    assert shell.state is SUCCESS


def test_allow_warning_alone_does_not_rescue_a_failure():
    shell = Shell(flow(t("a", allow_warning=True))).start().run_all({"a": FAILED})

    assert shell.state is FAILED


def test_an_allow_failure_block_ends_in_warning_after_its_errors():
    shell = Shell(flow(allow("af", *ts("a b"), errors=ts("e")), *ts("c"))).start().run_all({"a": FAILED})

    assert shell.states() == {"af": "WARNING", "a": "FAILED", "e": "SUCCESS", "c": "SUCCESS"}
    assert shell.state is WARNING


def test_a_false_run_if_skips_the_task_with_one_skipped_attempt():
    shell = Shell(flow(t("a", run_if="{{ x }}"), t("b")), {(Question.RUN_IF, "a"): False}).start().run_all()

    run = shell.run("a")
    assert history(run) == ["CREATED", "SKIPPED"]
    assert [attempt.state for attempt in run.attempts] == ["SKIPPED"]
    assert shell.state is SUCCESS


def test_a_broken_run_if_fails_the_task_with_a_log_line():
    shell = Shell(flow(t("a", run_if="{{ x }}"), t("b")), {Question.RUN_IF: Trouble("no x")}).start().run_all()

    assert shell.states() == {"a": "FAILED"}
    assert [log.message for log in shell.asked_for(Log)] == ["no x"]


def test_skipped_flowables_have_no_children():
    shell = Shell(flow(par("p", *ts("a b"), run_if="x"), *ts("c")), {Question.RUN_IF: False}).start().run_all()

    assert shell.states() == {"p": "SKIPPED", "c": "SUCCESS"}


def test_disabled_tasks_do_not_exist():
    shell = Shell(flow(t("a", disabled=True), seq("s", t("b", disabled=True)), t("c"))).start().run_all()

    assert shell.states() == {"s": "SUCCESS", "c": "SUCCESS"}


def test_a_flow_without_enabled_tasks_ends_in_success():
    shell = Shell(flow(t("a", disabled=True))).start()

    assert shell.state is SUCCESS
    assert shell.execution.finished


def test_outputs_are_asked_once_at_the_end():
    shell = Shell(flow(*ts("a"), outputs=(output("o"),)), {Question.OUTPUTS: {"o": "1"}}).start().run_all()

    assert shell.execution.outputs == {"o": "1"}
    assert shell.state is SUCCESS


def test_broken_outputs_fail_the_execution_and_say_so():
    shell = Shell(flow(*ts("a"), outputs=(output("o"),)), {Question.OUTPUTS: Trouble("no x")}).start().run_all()

    assert shell.state is FAILED
    assert [log.message for log in shell.asked_for(Log)] == ["Failed to render output values: no x"]


def test_a_long_sequence_of_empty_blocks_needs_no_recursion():
    tree = flow(*(seq(f"s{i}", t(f"t{i}", disabled=True)) for i in range(3000)))
    shell = Shell(tree, compare=False).start()

    assert shell.state is SUCCESS
    assert len(shell.runs()) == 3000


def test_a_late_or_repeated_result_changes_nothing():
    shell = Shell(flow(*ts("a b"))).start()
    dispatch = shell.pending[0]
    shell.end("a")
    before = shell.execution

    from runner.engine.events import AttemptFinished

    step = shell.send(
        AttemptFinished(at=shell.now, task_run_id=dispatch.task_run_id, epoch=dispatch.epoch, state=FAILED)
    )

    assert step.ignored
    assert shell.execution == before


# ---- listeners ----


def listened(*holding: int) -> Shell:
    listeners = (Listener(tasks=ts("a b")), Listener(tasks=(t("off", disabled=True), t("c"))), Listener(tasks=ts("d")))
    tree = flow(*ts("x"), listeners=listeners, after_execution=ts("z"))
    return Shell(tree, {Question.LISTENERS: list(holding)}).start()


def test_listeners_that_hold_run_in_order_after_the_end_and_before_after_execution():
    shell = listened(1, 2).run_all()

    assert shell.order() == ["x", "c", "d", "z"]
    assert shell.state == "SUCCESS"
    assert shell.execution.finished


def test_without_a_listener_that_holds_after_execution_follows_at_once():
    assert listened().run_all().order() == ["x", "z"]


def test_a_failing_listener_changes_nothing_and_stops_the_others():
    shell = listened(0, 2).run_all({"a": State.FAILED})

    assert shell.order() == ["x", "a", "z"]
    assert shell.state == "SUCCESS"
    assert shell.execution.finished


def test_listeners_of_a_killed_execution_run():
    shell = listened(2)
    shell.begin("x")
    shell.kill()
    shell.end("x", State.KILLED)
    shell.run_all()

    assert shell.order() == ["x", "d", "z"]
    assert shell.state == "KILLED"


def test_listeners_whose_conditions_cannot_be_told_are_left_out():
    shell = Shell(
        flow(*ts("x"), listeners=(Listener(tasks=ts("a")),)), {Question.LISTENERS: Trouble("no such variable")}
    )
    shell.start().run_all()

    assert shell.order() == ["x"]
    assert shell.execution.finished
