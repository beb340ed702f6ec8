"""Wake-ups: who waits is woken, and nothing is kept per topic."""

from __future__ import annotations

import threading

from namespaces.store.nudges import Nudges


def test_a_nudge_wakes_who_waits() -> None:
    nudges = Nudges()
    seen = nudges.seen("a")
    found: list[int] = []
    waiter = threading.Thread(target=lambda: found.append(nudges.wait("a", seen, 30)))
    waiter.start()

    nudges.send("a")
    waiter.join(30)

    assert found == [seen + 1]


def test_a_nudge_between_looking_and_waiting_is_not_missed() -> None:
    nudges = Nudges()
    seen = nudges.seen("a")
    nudges.send("a")

    assert nudges.wait("a", seen, 30) != seen


def test_silent_nudges_let_the_time_run_out() -> None:
    nudges = Nudges(silent=True)
    nudges.send("a")

    assert nudges.wait("a", nudges.seen("a"), 0) == 0


def test_a_million_topics_cost_nothing() -> None:
    nudges = Nudges()
    before = len(nudges._slots)

    for number in range(10_000):
        nudges.send(f"execution:{number}")

    assert len(nudges._slots) == before
