"""Sequential and AllowFailure: one task after the other (``flows.md`` 4.2, 4.14); outcomes differ."""

from __future__ import annotations

from typing import Any

from runner.engine.draft import Draft
from runner.engine.flowable.family import Family, next_of_list, open_main
from runner.engine.values import TaskRun


def _open(d: Draft, run: TaskRun, _task: Any) -> None:
    open_main(d, run)
    next_of_list(d, run.id)


FAMILY = Family(open=_open)
