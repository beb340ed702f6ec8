"""Properties of random flows under random events (``house-style.md`` 3): what must hold whatever happens."""

from __future__ import annotations

from datetime import timedelta
from random import Random
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from namespaces.flows.model import Flow, Task, WorkingDirectory
from runner.engine.effects import Question
from runner.engine.events import Kill, Started
from tests.runner.engine.build import (
    allow,
    approve,
    dag,
    each,
    eachpar,
    flow,
    if_,
    loop,
    new_execution,
    output,
    par,
    pause,
    retry,
    seq,
    sub,
    switch,
    t,
    until,
    wd,
)
from tests.runner.engine.chaos import Chaos, answers
from tests.runner.engine.shell import Shell, terms

LIMITS = st.sampled_from([0, 1, 2])


@st.composite
def flows(draw: Any, *, calm: bool = False) -> Flow:
    """A flow of up to three levels. ``calm`` leaves out what makes the end depend on the order of events."""
    count = 0

    def name() -> str:
        nonlocal count
        count += 1
        return f"t{count}"

    def flags() -> dict[str, Any]:
        found: dict[str, Any] = {}
        if draw(st.integers(0, 5)) == 0:
            found["run_if"] = "x"
        if draw(st.integers(0, 6)) == 0:
            found["allow_failure"] = True
        if draw(st.integers(0, 8)) == 0:
            found["allow_warning"] = True
        if draw(st.integers(0, 9)) == 0:
            found["disabled"] = True
        if draw(st.integers(0, 4)) == 0:
            found["retry"] = retry(2, warning_on_retry=draw(st.booleans()))
        elif not calm and draw(st.integers(0, 30)) == 0:
            found["retry"] = new_execution()
        if draw(st.integers(0, 15)) == 0:
            found["on_worker_lost"] = "FAIL"
        return found

    def some(depth: int, most: int = 3) -> list[Task]:
        return [task(depth) for _ in range(draw(st.integers(1, most)))]

    def late(depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if draw(st.integers(0, 3)) == 0:
            found["errors"] = tuple(some(depth, 2))
        if draw(st.integers(0, 4)) == 0:
            found["finally_"] = tuple(some(depth, 2))
        return found

    def task(depth: int) -> Task:
        # Whoever decides first on an Approval may end the whole execution: not calm.
        kind = draw(st.sampled_from(LEAVES if depth <= 0 else LEAVES + NODES + ([] if calm else ["approve"])))
        if kind == "task":
            return t(name(), **flags())
        if kind == "sub":
            return sub(name(), wait=draw(st.booleans()), transmit_failed=draw(st.booleans()), **flags())
        more = flags() | late(depth - 1)
        children = some(depth - 1)
        match kind:
            case "wd":
                return wd(name(), t(name()), **more)
            case "seq":
                return seq(name(), *children, **more)
            case "allow":
                return allow(name(), *children, **more)
            case "par":
                return par(name(), *children, concurrent=draw(LIMITS), **more)
            case "dag":
                ids = [child.id for child in children]
                depends = {ids[i]: tuple(ids[:i][: draw(st.integers(0, 2))]) for i in range(1, len(ids))}
                return dag(name(), *children, depends=depends, concurrent=draw(LIMITS), **more)
            case "if":
                return if_(name(), *children, else_=tuple(some(depth - 1, 1)), **more)
            case "switch":
                cases = {"a": tuple(children), "b": tuple(some(depth - 1, 1))}
                defaults = tuple(some(depth - 1, 1)) if draw(st.booleans()) else ()
                return switch(name(), cases, defaults=defaults, **more)
            case "each":
                return each(name(), *children, limit=draw(LIMITS), **more)
            case "eachpar":
                return eachpar(name(), *children, concurrent=draw(LIMITS), **more)
            case "loop":
                return loop(name(), *children, transmit_failed=draw(st.booleans()), **more)
            case "until":
                return until(
                    name(), *children, max_iterations=3, fail_on_max_reached=draw(st.booleans()),
                    interval=timedelta(seconds=1), **more,
                )  # fmt: skip
            case "approve":
                words = ["CONTINUE", "WARN", "FAIL", "SUCCEED", "CANCEL", "KILL"]
                properties = {key: draw(st.sampled_from(words)) for key in ("approve", "deny", "expire")}
                properties["auto"] = draw(st.integers(0, 4)) == 0
                on_wait = tuple(some(depth - 1, 2)) if draw(st.booleans()) else ()
                return approve(
                    name(), on_wait=on_wait, on_approve=tuple(children[:1]), on_deny=tuple(children[1:]),
                    properties=properties, **more,
                )  # fmt: skip
            case _:
                on_pause = t(name()) if draw(st.integers(0, 4)) == 0 else None
                return pause(name(), *children[:1], on_pause=on_pause, **more)

    top: dict[str, Any] = late(1)
    if draw(st.integers(0, 3)) == 0:
        top["after_execution"] = tuple(some(1, 2))
    if draw(st.integers(0, 4)) == 0:
        top["outputs"] = (output("o"),)
    if draw(st.integers(0, 6)) == 0:
        top["retry"] = retry(2)
    return flow(*some(3, 3), **top)


LEAVES = ["task", "task", "task", "sub"]
NODES = ["seq", "par", "each", "if", "dag", "switch", "eachpar", "until", "allow", "wd", "pause", "loop"]

pauses = st.sampled_from([(None, None), (2, None), (None, 2)])
behaviors = st.sampled_from(["RESUME", "WARN", "FAIL", "CANCEL"])

often = settings(
    suppress_health_check=list(HealthCheck),
    # Shrinking these flows takes minutes; a failure tells its story anyway. Remove this line to shrink one.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)


def chaos(tree: Flow, seed: int, wait: Any, behavior: str, **more: Any) -> Chaos:
    found = answers(seed)
    duration, timeout = (timedelta(seconds=s) if s else None for s in wait)
    found[Question.PAUSE] = (duration, timeout, behavior)
    found[Question.APPROVAL] = lambda ask, run: {**terms(), "timeout": timeout, **tree.by_id[run.task_id].properties}
    return Chaos(Shell(tree, found), Random(seed), **more)


@often
@given(flows(), st.integers(0, 2**32), pauses, behaviors)
def test_whatever_happens_every_execution_comes_to_its_end(tree, seed, wait, behavior):
    """All invariants of ``Chaos.check`` hold after each event, and nothing hangs once people stop interfering."""
    play = chaos(tree, seed, wait, behavior)
    play.play(60)

    assert play.shell.state.terminal
    assert play.shell.execution.finished


@often
@given(flows(calm=True), st.integers(0, 2**32), st.integers(0, 2**32))
def test_the_order_of_independent_siblings_does_not_change_the_end(tree, seed, other):
    ends = []
    for order in (seed, other):
        play = chaos(tree, seed, (None, None), "RESUME", wild=False, results=True)
        play.random = Random(order)
        play.play(400)
        ends.append(play)

    one, two = ends
    assert one.shell.state is two.shell.state, f"{one.story()}\n{two.story()}"


@often
@given(flows(), st.integers(0, 2**32))
def test_a_kill_at_any_moment_ends_in_killed_and_starts_nothing_new(tree, seed):
    play = chaos(tree, seed, (None, None), "RESUME", wild=False)
    play.send(Started(at=play.shell.now))
    for _ in range(play.random.randrange(8)):
        if not play.shell.state.terminal:
            play.move()
    if play.shell.state.terminal:
        return
    play.send(Kill(at=play.shell.now))
    known = set(play.shell.execution.runs)
    play.drain()

    assert play.shell.state == "KILLED"
    new = [run for run_id, run in play.shell.execution.runs.items() if run_id not in known]
    # What a block ran before the kill reached it is told at its end.
    new = [
        run for run in new if not isinstance(tree.by_id.get(tree.places[run.task_id].parent or ""), WorkingDirectory)
    ]
    assert {top_list(tree, run.task_id) for run in new} <= {"afterExecution"}


def top_list(tree: Flow, task_id: str) -> str:
    """The flow's own list that a task belongs to."""
    place = tree.places[task_id]
    while place.parent is not None:
        place = tree.places[place.parent]
    return place.branch
