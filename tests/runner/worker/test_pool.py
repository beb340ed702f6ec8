from __future__ import annotations

import threading

import pytest

from namespaces.errors import Unavailable
from runner.dispatch.inprocess import InProcessDispatch
from runner.engine.states import State
from runner.plugin import RunFailed
from runner.worker.pool import Pool
from runner.worker.slots import Slots
from tests.runner.worker.world import Bench
from tests.support.waiting import until


def test_work_starts_at_once_and_never_more_than_the_size_runs() -> None:
    pool = Pool(size=3)
    gate, running, most = threading.Event(), [], []
    lock = threading.Lock()
    three = threading.Event()

    def work() -> None:
        with lock:
            running.append(1)
            most.append(len(running))
            if len(running) == 3:
                three.set()
        gate.wait(10)
        with lock:
            running.pop()

    for number in range(10):
        assert pool.submit((str(number), 0), work)
    assert three.wait(10)
    gate.set()
    assert pool.stop(10)
    assert max(most) == 3


def test_a_key_that_waits_or_runs_is_not_taken_twice() -> None:
    pool = Pool(size=1)
    gate, begun = threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        gate.wait(10)

    assert pool.submit(("a", 1), hold)
    assert begun.wait(10)
    assert not pool.submit(("a", 1), hold)
    assert pool.submit(("b", 1), hold)
    assert not pool.submit(("b", 1), hold)
    assert pool.withdraw(("b", 1))
    assert not pool.withdraw(("a", 1))
    gate.set()
    assert pool.stop(10)


@pytest.mark.parametrize("error", [Unavailable("down"), ValueError("bug")])
def test_a_failing_call_does_not_end_the_thread(error: Exception) -> None:
    pool = Pool(size=1)
    done = threading.Event()

    def fail() -> None:
        raise error

    pool.submit(("a", 1), fail)
    pool.submit(("b", 1), done.set)
    assert done.wait(10)
    assert pool.stop(10)


def test_stop_says_when_something_still_runs() -> None:
    pool = Pool()
    gate, begun = threading.Event(), threading.Event()
    pool.submit(("a", 1), lambda: (begun.set(), gate.wait(10)))
    assert begun.wait(10)
    assert not pool.stop(0.01)
    assert not pool.submit(("b", 1), begun.set)
    gate.set()


def test_slots_go_round_among_namespaces() -> None:
    slots = Slots(1)
    never = threading.Event()
    order: list[str] = []
    lock = threading.Lock()

    def work(namespace: str) -> None:
        with slots.hold(namespace, never), lock:
            order.append(namespace)

    threads = []
    with slots.hold("first", never):
        for namespace in ("a", "a", "a", "b", "c"):
            waiting = sum(len(queue) for queue in slots._waiting.values())
            threads.append(threading.Thread(target=work, args=(namespace,)))
            threads[-1].start()
            while sum(len(queue) for queue in slots._waiting.values()) == waiting:
                pass
    for thread in threads:
        thread.join(10)
    assert order == ["a", "b", "c", "a", "a"]


def test_waiting_for_a_slot_ends_when_the_attempt_is_cancelled() -> None:
    slots = Slots(1)
    cancelled = threading.Event()
    cancelled.set()
    with slots.hold("a", threading.Event()), pytest.raises(RunFailed), slots.hold("a", cancelled):
        pass
    with slots.hold("a", threading.Event()):
        pass


def test_dispatch_runs_kills_and_stops(bench: Bench) -> None:
    dispatch = InProcessDispatch(bench.runner)
    assert dispatch.start() == 0
    began = threading.Event()
    bench.reporter.on_lines = lambda lines: began.set()
    claim = bench.claim(
        "  - id: s\n    type: io.kestra.plugin.scripts.shell.Commands\n    commands: ['echo on', 'sleep 600']\n"
    )
    dispatch.submit(claim.task_run.id, 1, "")
    assert began.wait(20)
    dispatch.kill(claim.task_run.id, 1)
    assert bench.reporter.ended.wait(20)
    assert bench.reporter.ends[claim.task_run.id, 1].state is State.KILLED
    dispatch.stop(10)


SLEEPER = "  - id: s\n    type: io.kestra.plugin.scripts.shell.Commands\n    commands: ['sleep 600']\n"
SAYER = "  - id: s\n    type: io.kestra.plugin.scripts.shell.Commands\n    commands: ['echo on']\n"


def test_the_thread_of_an_ended_attempt_goes_on_with_what_follows(bench: Bench) -> None:
    dispatch = InProcessDispatch(bench.runner)
    first, bench.reporter.following = bench.claim(SAYER), bench.claim(SAYER, number=2)
    dispatch.submit(first.task_run.id, 1, "")
    until(lambda: len(bench.reporter.ends) == 2, "both ends")
    assert dispatch.pool.stop(10)
    assert [path for path in bench.spawner.root.iterdir() if path.is_dir()] == []
    assert bench.runner.live() == []
    dispatch.stop(10)


def test_it_does_not_when_something_else_waits_or_when_it_stops() -> None:
    pool = Pool(size=1)
    gate, begun = threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        gate.wait(10)

    assert pool.spare()
    pool.submit(("a", 1), hold)
    assert begun.wait(10)
    assert pool.spare()
    pool.submit(("b", 1), hold)
    assert not pool.spare()
    assert pool.withdraw(("b", 1))
    assert pool.spare()
    pool.close()
    assert not pool.spare()
    gate.set()
    assert pool.stop(10)


def test_a_kill_counts_as_soon_as_the_attempt_is_taken_with_the_end_of_another(bench: Bench) -> None:
    dispatch = InProcessDispatch(bench.runner)
    first, second = bench.claim(SAYER), bench.claim(SLEEPER, number=2)
    bench.reporter.following = second
    bench.reporter.on_going_on = lambda: dispatch.kill(second.task_run.id, 1)
    dispatch.submit(first.task_run.id, 1, "")
    until(lambda: len(bench.reporter.ends) == 2, "both ends")
    assert bench.reporter.ends[second.task_run.id, 1].state is State.KILLED
    dispatch.stop(10)
