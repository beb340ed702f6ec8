"""Rules that move tasks: M14 listeners and M26 Pause."""

from __future__ import annotations

from typing import Any

from namespaces.flows.migration import expressions
from namespaces.flows.migration.conditions import Condition, Part, Refused, expression, joined, kind_of
from namespaces.flows.migration.draft import Draft
from namespaces.flows.migration.expressions import literal
from namespaces.flows.migration.places import FLOW, Task
from namespaces.flows.reader import Path

# -- M14


def listeners(draft: Draft) -> None:
    """M14: ``listeners`` are ``afterExecution`` when their conditions are about the execution's state."""
    written = draft.value.get("listeners")
    if not isinstance(written, list):
        return
    tasks: list[Any] = []
    for index, listener in enumerate(written):
        path: Path = ("listeners", index)
        try:
            when, listed = _parts_of(draft, listener)
            tasks += [_conditional(draft, (*path, "tasks", n), one, when) for n, one in enumerate(listed)]
        except Refused as refused:
            draft.ask("M14", path, f"{refused}; or make it a flow of its own with a Flow trigger")
            return
    sheet = draft.sheet
    after = draft.value.get("afterExecution")
    if isinstance(after, list):
        tasks = [sheet.kept(("afterExecution", index)) for index in range(len(after))] + tasks
        sheet.write(("afterExecution",), tasks)
        sheet.remove(("listeners",))
    else:
        sheet.rename(("listeners",), "afterExecution")
        sheet.write(("listeners",), tasks)
    draft.tell("M14", ("listeners",), "listeners is now afterExecution")


def _parts_of(draft: Draft, listener: Any) -> tuple[Part | None, list[Any]]:
    if not isinstance(listener, dict) or not isinstance(listener.get("tasks"), list):
        raise Refused("a listener has conditions and tasks")
    return _when(draft, listener.get("conditions") or []), listener["tasks"]


def _when(draft: Draft, conditions: list[Condition]) -> Part | None:
    parts: list[Part] = []
    for one in conditions:
        match kind_of(one, draft.around.canonical):
            case "ExecutionStatus":
                parts += _states(one)
            case "Expression":
                parts.append(expression(one))
            case kind:
                raise Refused(f"{kind} has no counterpart in afterExecution: write a `when` that says what is meant")
    if not parts:
        return None
    return Part(joined(parts)[3:-3], all(part.boolean for part in parts))


def _states(condition: Condition) -> list[Part]:
    found = []
    for key, negated in (("in", False), ("notIn", True)):
        states = condition.get(key)
        if not isinstance(states, list):
            continue
        names = [literal(str(state)) for state in states]
        if len(names) == 1:
            found.append(Part(f"execution.state {'!=' if negated else '=='} {names[0]}"))
        else:
            part = f"[{', '.join(names)}] contains execution.state"
            found.append(Part(f"not ({part})" if negated else part))
    return found


def _conditional(draft: Draft, path: Path, task: Any, when: Part | None) -> dict[str, Any]:
    if not isinstance(task, dict):
        raise Refused("a listener's task is no map")
    made: dict[str, Any] = {}
    own = next((key for key in ("when", "runIf") if key in task), None)
    parts = [] if when is None else [when]
    if own is not None:
        found = expressions.find(str(task[own]))
        node = expressions.printed(found)
        if found.whole is None or node is None:
            raise Refused(f"'{own}' is not one {{{{ }}}} alone")
        parts.append(Part(found.whole, expressions.is_boolean(node)))
    for key in task:
        if key not in ("when", "runIf"):
            made[key] = draft.sheet.kept((*path, key))
        if key == "type" and parts:
            made["when"] = joined(parts)
    return made


# -- M26


def pauses(draft: Draft) -> None:
    """M26: ``delay`` is ``pauseDuration``; tasks inside a Pause stand behind it."""
    for task in draft.tasks():
        if task.type == FLOW + "Pause" and "delay" in task.value and "pauseDuration" not in task.value:
            draft.sheet.rename((*task.path, "delay"), "pauseDuration")
            draft.tell("M26", (*task.path, "delay"), "delay is now pauseDuration")
    draft.commit()
    refused: set[str] = set()
    while True:
        found = (one for one in draft.tasks() if one.type == FLOW + "Pause" and one.value.get("tasks"))
        task_ = next((one for one in found if one.id not in refused), None)
        if task_ is None:
            return
        reason = _stays(draft, task_)
        if reason:
            draft.ask("M26", (*task_.path, "tasks"), reason)
            refused.add(task_.id)
        else:
            _move(draft, task_)
            draft.tell("M26", task_.path, "the tasks of the Pause are now behind it")
        draft.commit()


def _stays(draft: Draft, task: Task) -> str:
    if not task.in_list:
        return "the tasks of a Pause belong behind it, but what stands here does not run one after the other"
    for key in ("errors", "finally", "allowFailure", "retry", "runIf", "when", "disabled"):
        if key in task.value:
            return f"the tasks of a Pause belong behind it; '{key}' covered them too: decide what it is for"
    for _, _, found in draft.found(task.value["tasks"], (*task.path, "tasks")):
        if any(chain.root in ("parent", "parents") for chain in found.chains):
            return "the tasks of a Pause belong behind it, but one of them names its parent"
    return ""


def _move(draft: Draft, task: Task) -> None:
    sheet = draft.sheet
    pause = {key: sheet.kept((*task.path, key)) for key in task.value if key != "tasks"}
    behind = [sheet.kept((*task.path, "tasks", index)) for index in range(len(task.value["tasks"]))]
    sheet.splice(task.path, [pause, *behind])
