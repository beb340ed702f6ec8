"""Wake-ups: they come, they are not missed, and in the silent mode there are none."""

from __future__ import annotations

import threading

from namespaces.store.nudges import SLOTS, Nudges


def test_a_nudge_wakes_who_waits_for_its_topic() -> None:
    nudges = Nudges()
    seen = nudges.seen("t")
    woken: list[int] = []
    waiter = threading.Thread(target=lambda: woken.append(nudges.wait("t", seen, 10)))
    waiter.start()

    nudges.send("t")
    waiter.join(10)

    assert woken == [seen + 1]


def test_a_nudge_between_looking_and_waiting_is_not_missed() -> None:
    nudges = Nudges()
    seen = nudges.seen("t")

    nudges.send("t")

    assert nudges.wait("t", seen, 10) == seen + 1


def test_other_topics_wake_nobody() -> None:
    nudges = Nudges()
    # Topics share slots by their hash, which differs from process to process: take one that has another slot.
    other = next(name for name in map(str, range(1_000)) if hash(name) % SLOTS != hash("t") % SLOTS)

    nudges.send(other)

    assert nudges.wait("t", 0, 0.01) == 0


def test_in_the_silent_mode_nothing_comes() -> None:
    nudges = Nudges(silent=True)

    nudges.send("t")

    assert nudges.seen("t") == 0
    assert nudges.wait("t", 0, 0.01) == 0


def test_a_million_topics_cost_nothing() -> None:
    nudges = Nudges()
    before = len(nudges._slots)

    for number in range(10_000):
        nudges.send(f"execution:{number}")

    assert len(nudges._slots) == before
