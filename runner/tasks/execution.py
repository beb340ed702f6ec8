"""Tasks about the running execution: Fail, Assert, Exit, Labels, SetVariables, UnsetVariables, Resume, Kill."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import orjson

from runner.engine.events import Update
from runner.engine.states import State
from runner.plugin import Metric, Output, RunContext, RunFailed
from runner.tasks import CORE, Implementation

if TYPE_CHECKING:
    from namespaces.flows.types import tasks_core as types


def truthy(text: str | None) -> bool:
    """Kestra's rule (``flows.md`` 0): falsy is nothing, ``false``, ``0``, ``-0`` and the empty text."""
    return text not in (None, "", "false", "0", "-0")


def fail(context: RunContext, task: types.Fail) -> Output:
    if "condition" in task.model_fields_set and not truthy(task.condition):
        return Output()
    raise RunFailed(task.error_message)


def assert_all(context: RunContext, task: types.Assert) -> Output:
    failed = 0
    for written, condition in zip(_written(context), task.conditions, strict=False):
        if not truthy(condition):
            failed += 1
            context.log("ERROR", f"assertion `{written}` failed")
    context.metric(Metric(name="failed", type="counter", value=failed))
    context.metric(Metric(name="success", type="counter", value=len(task.conditions) - failed))
    if failed:
        raise RunFailed(f"{failed} assertion(s) failed!" + (f"\n{task.error_message}" if task.error_message else ""))
    return Output()


def _written(context: RunContext) -> list[Any]:
    conditions = context.task.properties.get("conditions")
    return list(conditions) if isinstance(conditions, list | tuple) else []


def leave(context: RunContext, task: types.Exit) -> Output:
    state = State.CANCELLED if task.state == "CANCELED" else State(task.state)
    return Output(state=state, update=Update(exit_state=state))


def label(context: RunContext, task: types.LabelsTask) -> Output:
    labels = _label_pairs(task.labels)
    for key, value in labels.items():
        if key.startswith("system."):
            raise RunFailed(
                f"System labels can only be set by Kestra itself, offending label: {key}={value}", code="system_label"
            )
    return Output(update=Update(labels=tuple(labels.items())))


def _label_pairs(written: Any) -> dict[str, str]:
    if isinstance(written, str):
        try:
            written = orjson.loads(written)
        except orjson.JSONDecodeError as error:
            raise RunFailed(f"labels must be a map, a list or their JSON text: {error}") from error
    if isinstance(written, Mapping):
        pairs = list(written.items())
    elif isinstance(written, list | tuple):
        try:
            pairs = [(entry["key"], entry["value"]) for entry in written]
        except (KeyError, TypeError) as error:
            raise RunFailed("each label of the list needs `key` and `value`") from error
    else:
        raise RunFailed(f"labels must be a map or a list, not {type(written).__name__}")
    return {_label_part("key", key): _label_part("value", value) for key, value in pairs}


def _label_part(what: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None or value == "" or isinstance(value, Mapping | list):
        raise RunFailed(f"a label's {what} must be a non-empty text, not {value!r}")
    return str(value)


def set_variables(context: RunContext, task: types.SetVariables) -> Output:
    before = _variables(context)
    if not task.overwrite:
        known = [key for key in task.variables if key in before]
        if known:
            raise RunFailed(f"variable(s) already set: {', '.join(known)}", hint="overwrite is false")
    return Output(update=Update(variables=merged(before, task.variables)))


def _variables(context: RunContext) -> dict[str, Any]:
    known = context.variables.get("vars")
    return copy.deepcopy(dict(known)) if isinstance(known, Mapping) else {}


def merged(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``over`` laid upon ``base``: maps key by key, everything else replaced. Changes and returns ``base``."""
    for key, value in over.items():
        present = base.get(key)
        if isinstance(present, dict) and isinstance(value, Mapping):
            merged(present, value)
        else:
            base[key] = value
    return base


def unset_variables(context: RunContext, task: types.UnsetVariables) -> Output:
    variables = _variables(context)
    for path in task.variables:
        if not _remove(variables, path.split(".")) and not task.ignore_missing:
            raise RunFailed(f"no variable `{path}`", hint="ignoreMissing: true lets it pass")
    return Output(update=Update(variables=variables))


def _remove(variables: dict[str, Any], path: list[str]) -> bool:
    *folders, last = path
    place: Any = variables
    for part in folders:
        place = place.get(part) if isinstance(place, dict) else None
    if not isinstance(place, dict) or last not in place:
        return False
    del place[last]
    return True


def resume(context: RunContext, task: types.Resume) -> Output:
    context.world.resume_execution(task.execution_id or context.execution_id, dict(task.inputs or {}))
    return Output()


def kill(context: RunContext, task: types.Kill) -> Output:
    context.world.kill_execution(task.execution_id, task.propagate_kill)
    return Output()


TASKS = {
    CORE + "execution.Fail": Implementation(run=fail),
    CORE + "execution.Assert": Implementation(run=assert_all),
    CORE + "execution.Exit": Implementation(run=leave),
    CORE + "execution.Labels": Implementation(run=label, forced=frozenset({"labels"})),
    CORE + "execution.SetVariables": Implementation(run=set_variables),
    CORE + "execution.UnsetVariables": Implementation(run=unset_variables),
    CORE + "execution.Resume": Implementation(run=resume),
    CORE + "execution.Kill": Implementation(run=kill),
}
