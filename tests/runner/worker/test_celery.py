from __future__ import annotations

from runner.dispatch.celery import TASK, CeleryWorker


def test_a_worker_that_ends_takes_nothing_more() -> None:
    taken: list[tuple[str, int]] = []
    worker = CeleryWorker(
        "memory://", "ending", lambda run, epoch: taken.append((run, epoch)), lambda *_: None, concurrency=1
    )
    bell = worker._app.tasks[TASK]
    bell("first", 1)

    worker.close()
    bell("given back", 2)

    assert taken == [("first", 1)]
