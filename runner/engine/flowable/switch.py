"""Switch: the value is rendered once and compared with the cases as text (``flows.md`` 4.6)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from namespaces.flows.model import Switch
from runner.engine.draft import Draft
from runner.engine.effects import Ask, Question
from runner.engine.endings import fail
from runner.engine.flowable.family import Family, next_of_list, open_main
from runner.engine.values import TaskRun


def _open(d: Draft, run: TaskRun, _task: Switch) -> None:
    d.ask(Question.SWITCH, run)


def _answered(d: Draft, run: TaskRun, task: Switch, _ask: Ask, value: Any) -> None:
    word = str(value)
    matches = word in task.cases
    run = d.put(replace(run, outputs={"value": word, "defaults": not matches}))
    if not matches and not task.defaults:
        known = ", ".join(repr(case) for case in task.cases)
        fail(d, run, f"No case matches the value {word!r} and there are no defaults; the cases are {known}")
        return
    open_main(d, run, f"cases.{word}" if matches else "defaults")
    next_of_list(d, run.id)


FAMILY = Family(open=_open, answered=_answered)
