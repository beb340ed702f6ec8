"""Event streams: when they look, when they sleep."""

from __future__ import annotations

from collections.abc import Iterator

from namespaces.store.nudges import Nudges
from service import stream


class CountedNudges(Nudges):
    """Counts how often a stream goes to sleep; nobody wakes it."""

    def __init__(self) -> None:
        super().__init__()
        self.sleeps = 0

    def wait(self, topic: str, seen: int, timeout_s: float) -> int:
        self.sleeps += 1
        return seen


def test_a_stream_does_not_sleep_while_more_is_waiting() -> None:
    nudges = CountedNudges()
    looks: list[list[stream.Event] | None] = [[("progress", 1), ("progress", 2)], [("progress", 3)], [], None]

    def look() -> Iterator[stream.Event] | None:
        found = looks.pop(0)
        return None if found is None else iter(found)

    sent = list(stream.watch(nudges, "logs:x", look, lambda: False))

    assert [data for _, data in sent] == [1, 2, 3]
    assert nudges.sleeps == 1
