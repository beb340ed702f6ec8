"""Approval: each row of ``flows.md`` 4.15, without any I/O."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from namespaces.flows.model import Flow
from runner.engine.effects import KillAttempt, Question
from runner.engine.events import Reviewed, TimerKind
from runner.engine.states import State
from tests.runner.engine.build import approve, flow, par, t, ts
from tests.runner.engine.shell import Shell, Trouble, history, terms


def shell(tree: Flow, **more: Any) -> Shell:
    return Shell(tree, {Question.APPROVAL: terms(**more)}).start()


def whole(**more: Any) -> Flow:
    """One Approval with every list, and a task behind it."""
    lists = {"on_wait": ts("n"), "on_approve": ts("y"), "on_deny": ts("d"), "finally_": ts("f"), "errors": ts("e")}
    return flow(approve("a", **{**lists, **more}), *ts("z"), errors=ts("x"))


def test_on_wait_runs_first_and_then_the_execution_is_paused():
    play = shell(whole())

    assert play.states() == {"a": "RUNNING", "n": "CREATED"}
    assert play.state == "RUNNING"
    play.end("n")

    assert play.states() == {"a": "PAUSED", "n": "SUCCESS"}
    assert play.state == "PAUSED"


def test_without_on_wait_it_pauses_at_once():
    assert shell(flow(approve("a"))).state == "PAUSED"


@pytest.mark.parametrize(("decision", "branch"), [("APPROVED", "y"), ("DENIED", "d")])
def test_a_decision_runs_its_branch_and_finally_once(decision, branch):
    play = shell(whole(), deny="CONTINUE")
    play.end("n")
    play.review("a", decision, by="ann")
    play.run_all()

    assert play.order() == ["a", "n", branch, "f", "z"]
    assert play.state == "SUCCESS"
    assert play.run("a").outputs["decision"] == decision
    assert play.run("a").outputs["by"] == "ann"


def test_a_failing_on_wait_asks_nobody():
    play = shell(whole())
    play.end("n", State.FAILED)
    play.run_all()

    assert play.states() == {"a": "FAILED", "n": "FAILED", "e": "SUCCESS", "f": "SUCCESS", "x": "SUCCESS"}
    assert "PAUSED" not in history(play.execution)


def test_a_failing_on_wait_pauses_all_the_same_with_allow_failure():
    play = shell(whole(allow_failure=True))
    play.end("n", State.FAILED)

    assert play.states()["a"] == "PAUSED"
    play.review("a", "APPROVED")
    play.run_all()
    assert play.run("a").state == "SUCCESS"


def test_auto_approval_never_waits():
    play = shell(whole(), auto=True).run_all()

    assert play.order() == ["a", "y", "f", "z"]
    assert "PAUSED" not in history(play.execution)
    outputs = play.run("a").outputs
    assert (outputs["decision"], outputs["auto"], outputs["by"]) == ("APPROVED", True, None)


@pytest.mark.parametrize(
    ("behavior", "run", "execution", "after"),
    [
        ("CONTINUE", "SUCCESS", "SUCCESS", True),
        ("WARN", "WARNING", "WARNING", True),
        ("FAIL", "FAILED", "FAILED", False),
        ("SUCCEED", "SUCCESS", "SUCCESS", False),
        ("CANCEL", "CANCELLED", "CANCELLED", False),
        ("KILL", "KILLED", "KILLED", False),
    ],
)
@pytest.mark.parametrize("decision", ["APPROVED", "DENIED", "EXPIRED"])
def test_behaviors(behavior, run, execution, after, decision):
    key = {"APPROVED": "approve", "DENIED": "deny", "EXPIRED": "expire"}[decision]
    play = shell(whole(), timeout=timedelta(seconds=9), **{key: behavior})
    play.end("n")
    if decision == "EXPIRED":
        play.fire(TimerKind.TIMEOUT)
    else:
        play.review("a", decision)
    play.run_all()

    assert play.run("a").state == run
    assert play.state == execution
    assert ("z" in play.states()) is after
    assert ("x" in play.states()) is (behavior == "FAIL")
    assert play.order().count("f") == 1


def test_expiry_runs_neither_branch():
    play = shell(whole(), timeout=timedelta(seconds=9), expire="CONTINUE")
    play.end("n")
    waiting_since = play.now
    assert play.run("a").outputs["due"] == (waiting_since + timedelta(seconds=9)).isoformat()
    play.fire(TimerKind.TIMEOUT)
    play.run_all()

    assert play.order() == ["a", "n", "f", "z"]
    outputs = play.run("a").outputs
    assert (outputs["decision"], outputs["by"], outputs["auto"]) == ("EXPIRED", None, False)


def test_a_decision_before_the_date_wins_and_one_after_it_is_refused():
    early, late = (shell(flow(approve("a"), *ts("z")), timeout=timedelta(seconds=9)) for _ in range(2))
    early.tick(8)
    early.review("a", "APPROVED")
    early.fire(TimerKind.TIMEOUT)
    late.tick(9)

    assert early.run("a").outputs["decision"] == "APPROVED"
    assert "over" in late.review("a", "APPROVED").ignored


def test_a_failed_branch_is_never_hidden():
    play = shell(whole(), approve="SUCCEED")
    play.end("n")
    play.review("a", "APPROVED")
    play.run_all({"y": State.FAILED})

    assert play.states() == {
        "a": "FAILED", "n": "SUCCESS", "y": "FAILED", "e": "SUCCESS", "f": "SUCCESS", "x": "SUCCESS",
    }  # fmt: skip
    assert play.state == "FAILED"


def test_a_second_decision_is_refused():
    play = shell(whole())
    play.end("n")
    assert not play.review("a", "APPROVED").ignored

    assert play.review("a", "DENIED").ignored
    assert play.run("a").outputs["decision"] == "APPROVED"


def test_a_decision_before_the_pause_is_refused():
    assert shell(whole()).review("a", "APPROVED").ignored


def test_a_decision_on_another_task_is_refused():
    play = Shell(flow(*ts("t"))).start()

    assert play.send(Reviewed(at=play.now, task_run_id=play.run("t").id, outputs={"decision": "APPROVED"})).ignored


@pytest.mark.parametrize("behavior", ["CANCEL", "SUCCEED"])
def test_siblings_finish_with_their_own_state(behavior):
    play = shell(flow(par("p", approve("a"), t("s")), *ts("z")), approve=behavior)
    play.begin("s")
    play.review("a", "APPROVED")
    assert not play.state.terminal
    play.end("s")

    assert play.run("s").state == "SUCCESS"
    assert play.state == {"CANCEL": "CANCELLED", "SUCCEED": "SUCCESS"}[behavior]
    assert "z" not in play.states()


def test_kill_kills_siblings():
    play = shell(flow(par("p", approve("a"), t("s"))), deny="KILL")
    play.begin("s")
    play.review("a", "DENIED")

    assert [act.task_run_id for act in play.asked_for(KillAttempt)] == [play.run("s").id]
    play.end("s", State.KILLED)
    assert play.states() == {"p": "KILLED", "a": "KILLED", "s": "KILLED"}
    assert play.state == "KILLED"


def test_of_several_none_begins_its_branch_before_the_last_decision():
    tree = flow(par("p", approve("a", on_approve=ts("y")), approve("b", on_deny=ts("d"))))
    play = shell(tree, deny="CONTINUE")
    play.review("a", "APPROVED")

    assert play.state == "PAUSED"
    assert play.dispatched() == []
    play.review("b", "DENIED")

    assert play.dispatched() == ["y", "d"]
    play.run_all()
    assert play.state == "SUCCESS"


def test_of_several_a_denial_without_branch_waits_for_the_others_too():
    play = shell(flow(par("p", approve("a", finally_=ts("f")), approve("b"))))
    play.review("a", "DENIED")

    assert play.state == "PAUSED"
    assert play.states()["a"] == "RUNNING"
    assert play.run("b").state == "PAUSED"
    play.review("b", "APPROVED")
    play.run_all()

    assert play.states() == {"p": "CANCELLED", "a": "CANCELLED", "b": "SUCCESS", "f": "SUCCESS"}
    assert play.state == "CANCELLED"


def test_on_wait_of_one_runs_while_another_waits():
    play = shell(flow(par("p", approve("a"), approve("b", on_wait=(par("q", *ts("n")),)))))

    assert play.state == "PAUSED"
    assert play.dispatched() == ["n"]
    play.run_all()
    assert play.run("b").state == "PAUSED"


def test_terms_that_cannot_be_rendered_fail_the_task():
    play = Shell(whole(), {Question.APPROVAL: Trouble("no such variable")}).start()
    play.run_all()

    assert play.states() == {"a": "FAILED", "x": "SUCCESS"}


def test_a_restart_asks_again_what_was_denied_and_keeps_what_failed_later():
    from runner.engine.events import Restart, Started

    denied = shell(whole())
    denied.end("n")
    denied.review("a", "DENIED")
    denied.run_all()
    denied.send(Restart(at=denied.now))
    denied.send(Started(at=denied.now))
    assert denied.dispatched() == ["n"]

    failed = shell(whole())
    failed.end("n")
    failed.review("a", "APPROVED")
    failed.run_all({"y": State.FAILED})
    failed.send(Restart(at=failed.now))
    failed.send(Started(at=failed.now))
    assert failed.dispatched() == ["y"]
    failed.run_all()
    assert failed.state == "SUCCESS"
