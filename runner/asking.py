"""Answers to ask effects: renders what a decision depends on, in memory, before anything is written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Protocol

from namespaces.durations import parse_duration
from namespaces.errors import LannerError
from namespaces.flows.model import Approval, EachParallel, Flow, ForEach, If, LoopUntil, Pause, Switch
from runner.engine.effects import Ask, Question

MAX_VALUES = 50_000
"""Iterations of one loop: the limit of task runs per execution (``reliability.md`` R21)."""


class Renderer(Protocol):
    """Rendering bound to one place of one execution."""

    def text(self, template: str) -> str: ...

    def typed(self, template: str) -> Any: ...

    def value(self, value: Any) -> Any: ...


class CannotAnswer(LannerError):
    """The expression failed; its message becomes the task's error."""

    code = "render_error"
    status = 422


def truthy(text: str) -> bool:
    """``flows.md`` 0: falsy are exactly ``false``, ``0``, ``-0`` and the empty text."""
    return text not in ("false", "0", "-0", "")


def answer(flow: Flow, ask: Ask, task_id: str | None, renderer: Renderer, stored_value: Any = None) -> Any:
    """The value the engine waits for. Raises ``LannerError`` when it cannot be computed."""
    task = flow.by_id.get(task_id) if task_id else None
    match ask.question, task:
        case Question.RUN_IF, _ if task is not None:
            return truthy(renderer.text(task.run_if or "true"))
        case Question.CONDITION, If() | LoopUntil():
            return truthy(renderer.text(task.condition))
        case Question.SWITCH, Switch():
            return renderer.text(task.value)
        case Question.VALUES, ForEach() | EachParallel():
            return loop_values(task.values, renderer)
        case Question.ITERATION, _:
            return stored_value
        case Question.PAUSE, Pause():
            behavior = renderer.text(task.behavior).strip().upper() or "RESUME"
            return _duration(task.pause_duration, renderer), _duration(task.timeout, renderer), behavior
        case Question.APPROVAL, Approval():
            return approval_terms(task, renderer)
        case Question.SLA, _:
            sla = flow.sla[ask.index] if ask.index < len(flow.sla) else None
            return sla is None or sla.assert_ is None or truthy(renderer.text(sla.assert_))
        case _:
            raise CannotAnswer(f"no answer to '{ask.question}' for task '{task_id}'")


_BEHAVIORS = ("CONTINUE", "WARN", "FAIL", "SUCCEED", "CANCEL", "KILL")
_COMMENTS = ("NEVER", "ALWAYS", "ON_DENY", "ON_APPROVE")


def approval_terms(task: Approval, renderer: Renderer) -> dict[str, Any]:
    """What an Approval says about its decision, rendered (``flows.md`` 4.15). Raises ``CannotAnswer``."""
    given = task.properties

    def text(key: str, default: str) -> str:
        value = given.get(key)
        return default if value is None else renderer.text(str(value)).strip()

    def word(key: str, default: str, known: tuple[str, ...]) -> str:
        found = text(key, default).upper()
        if found not in known:
            raise CannotAnswer(f"{key} is {found[:40]!r}, expected one of {', '.join(known)}")
        return found

    auto = given.get("autoApprove")
    texts = given.get("decisions") or {}
    return {
        "auto": auto if isinstance(auto, bool) else truthy(renderer.text(str(auto or "false"))),
        "timeout": _duration(task.timeout, renderer),
        "comment": word("commentRequired", "NEVER", _COMMENTS),
        "buttons": [renderer.text(str(texts.get(key) or default)) for key, default in _BUTTONS],
        "approve": word("approveBehavior", "CONTINUE", _BEHAVIORS),
        "deny": word("denyBehavior", "CANCEL", _BEHAVIORS),
        "expire": word("expireBehavior", "CANCEL", _BEHAVIORS),
    }


_BUTTONS = (("approve", "Approve"), ("deny", "Deny"))


def loop_values(values: Any, renderer: Renderer) -> tuple[str, ...]:
    """The values of a ForEach as text, distinct, first kept (``flows.md`` 4.7).

    Raises ``CannotAnswer`` for what is not a list and for null values.
    """
    if isinstance(values, str):
        rendered = renderer.text(values)
        try:
            found = json.loads(rendered)
        except ValueError as error:
            raise CannotAnswer(
                f"'values' must be a JSON array, got {rendered[:200]!r}", hint="print a list, e.g. {{ outputs.x.list }}"
            ) from error
    else:
        found = [renderer.value(item) if isinstance(item, str | Mapping | list) else item for item in values]
    if not isinstance(found, list):
        raise CannotAnswer(f"'values' must be a JSON array, got {type(found).__name__}")
    nulls = sum(1 for item in found if item is None)
    if nulls:
        raise CannotAnswer(f"Found '{nulls}' null values on Each, with values={json.dumps(found)[:500]}")
    if len(found) > MAX_VALUES:
        raise CannotAnswer(
            f"a loop of {len(found)} values exceeds {MAX_VALUES} task runs per execution", code="too_many_taskruns"
        )
    texts = (item if isinstance(item, str) else _json_text(item) for item in found)
    return tuple(dict.fromkeys(texts))


def _json_text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _duration(text: str | None, renderer: Renderer) -> timedelta | None:
    if text is None:
        return None
    rendered = renderer.text(str(text)).strip()
    return parse_duration(rendered) if rendered else None
