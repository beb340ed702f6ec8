"""If: the condition is asked once, its answer picks ``then`` or ``else`` (``flows.md`` 4.5)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from namespaces.flows.model import If
from runner.engine.draft import Draft
from runner.engine.effects import Ask, Question
from runner.engine.flowable.family import Family, next_of_list, open_main
from runner.engine.values import TaskRun


def _open(d: Draft, run: TaskRun, _task: If) -> None:
    d.ask(Question.CONDITION, run)


def _answered(d: Draft, run: TaskRun, _task: If, _ask: Ask, value: Any) -> None:
    holds = bool(value)
    d.put(replace(run, outputs={"evaluationResult": holds}))
    open_main(d, run, "then" if holds else "else")
    next_of_list(d, run.id)


FAMILY = Family(open=_open, answered=_answered)
