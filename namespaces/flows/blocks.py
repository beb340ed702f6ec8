"""The flowable, executable and block tasks (``flows.md`` 4): from checked properties and children to the model."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from namespaces.flows import model, scalars
from namespaces.flows.declared import read_flow_outputs, read_inputs, read_label_map
from namespaces.flows.findings import Findings
from namespaces.flows.model import Task
from namespaces.flows.reader import Path
from namespaces.flows.scope import Scope
from namespaces.flows.tasks import read_task, read_tasks
from namespaces.flows.validate import check_dag, check_inputs

Own = dict[str, Any]
Common = dict[str, Any]
EMPTY = "must not be empty"
_CHILDREN = frozenset(
    {
        "tasks",
        "errors",
        "finally",
        "then",
        "else",
        "cases",
        "defaults",
        "onPause",
        "onResume",
        "onWait",
        "onApprove",
        "onDeny",
    }
)
_WORKING_DIRECTORY_REFUSES = frozenset(
    f"io.kestra.plugin.core.execution.{name}" for name in ("Labels", "Exit", "SetVariables", "UnsetVariables")
)


def _scalars(own: Own) -> Own:
    """The type's own properties without its children, which the model holds as tasks."""
    return {key: value for key, value in own.items() if key not in _CHILDREN}


def _ends(scope: Scope, own: Own, path: Path) -> dict[str, Any]:
    """The lists that every flowable has."""
    return {
        "errors": read_tasks(scope, own.get("errors"), (*path, "errors")),
        "finally_": read_tasks(scope, own.get("finally"), (*path, "finally")),
        "properties": _scalars(own),
    }


def _count(own: Own, key: str, default: int) -> int:
    value = own.get(key)
    if value is None:
        return default
    # Pydantic has reported what is not a number already.
    return value if isinstance(value, int) and not isinstance(value, bool) else _lenient(value, default)


def _lenient(value: Any, default: int) -> int:
    try:
        return int(str(value).replace("_", ""))
    except ValueError:
        return default


def _flag(own: Own, key: str, default: bool) -> bool:
    value = own.get(key, default)
    return value if isinstance(value, bool) else str(value).lower() in ("true", "yes", "on", "1")


def _text(own: Own, key: str) -> str:
    value = own.get(key)
    return "" if value is None or isinstance(value, dict | list) else scalars.scalar_text(value)


def _sequential(scope: Scope, common: Common, own: Own, path: Path) -> Task:
    tasks = read_tasks(scope, own.get("tasks"), (*path, "tasks"), empty=EMPTY)
    return model.Sequential(**common, tasks=tasks, **_ends(scope, own, path))


def _allow_failure(scope: Scope, common: Common, own: Own, path: Path) -> Task:
    tasks = read_tasks(scope, own.get("tasks"), (*path, "tasks"), empty=EMPTY)
    return model.AllowFailure(**common, tasks=tasks, **_ends(scope, own, path))


def _parallel(scope: Scope, common: Common, own: Own, path: Path) -> Task:
    tasks = read_tasks(scope, own.get("tasks"), (*path, "tasks"), empty=EMPTY)
    concurrent = _count(own, "concurrent", 0)
    return model.Parallel(**common, tasks=tasks, concurrent=concurrent, **_ends(scope, own, path))


def _dag(scope: Scope, common: Common, own: Own, path: Path) -> Task:
    written = scalars.a_list(scope.findings, own.get("tasks"), (*path, "tasks"))
    if not written:
        scope.findings.error("F012", (*path, "tasks"), "No task defined")
    tasks: list[Task] = []
    depends_on: dict[str, tuple[str, ...]] = {}
    for index, item in enumerate(written):
        place = (*path, "tasks", index)
        if not isinstance(item, dict):
            scope.findings.error(scalars.WRONG_TYPE, place, "must be a map with 'task' and 'dependsOn'")
            continue
        for key in item:
            if key not in ("task", "dependsOn"):
                scope.findings.unknown_property((*place, key), ("task", "dependsOn"), "Dag task")
        if item.get("task") is None:
            scope.findings.required((*place, "task"))
            continue
        task = read_task(scope, item["task"], (*place, "task"))
        needed = scalars.texts(scope.findings, item.get("dependsOn"), (*place, "dependsOn"))
        if task is not None:
            tasks.append(task)
            depends_on[task.id] = needed
    check_dag(scope.findings, depends_on, path)
    return model.Dag(
        **common,
        tasks=tuple(tasks),
        depends_on=depends_on,
        concurrent=_count(own, "concurrent", 0),
        **_ends(scope, own, path),
    )


def _if(scope: Scope, common: Common, own: Own, path: Path) -> Task:
    return model.If(
        **common,
        condition=_text(own, "condition"),
        tasks=read_tasks(scope, own.get("then"), (*path, "then"), empty=EMPTY),
        else_=read_tasks(scope, own.get("else"), (*path, "else")),
        **_ends(scope, own, path),
    )


def _switch(scope: Scope, common: Common, own: Own, path: Path) -> Task:
    written = scalars.a_map(scope.findings, own.get("cases"), (*path, "cases"))
    cases = {key: read_tasks(scope, value, (*path, "cases", key)) for key, value in written.items()}
    defaults = read_tasks(scope, own.get("defaults"), (*path, "defaults"))
    if not own.get("defaults") and not any(written.values()):
        scope.findings.error("F013", path, "No task defined, neither cases or default have any tasks")
    return model.Switch(**common, value=_text(own, "value"), cases=cases, defaults=defaults, **_ends(scope, own, path))


def _for_each(scope: Scope, common: Common, own: Own, path: Path) -> Task:
    return model.ForEach(
        **common,
        values=own.get("values", ()),
        concurrency_limit=_count(own, "concurrencyLimit", 1),
        tasks=read_tasks(scope, own.get("tasks"), (*path, "tasks"), empty=EMPTY),
        **_ends(scope, own, path),
    )


def _each_sequential(scope: Scope, common: Common, own: Own, path: Path) -> Task:
    return model.ForEach(
        **common,
        values=own.get("value", ()),
        concurrency_limit=1,
        tasks=read_tasks(scope, own.get("tasks"), (*path, "tasks"), empty=EMPTY),
        **_ends(scope, own, path),
    )


def _each_parallel(scope: Scope, common: Common, own: Own, path: Path) -> Task:
    return model.EachParallel(
        **common,
        values=own.get("value", ()),
        concurrent=_count(own, "concurrent", 0),
        tasks=read_tasks(scope, own.get("tasks"), (*path, "tasks"), empty=EMPTY),
        **_ends(scope, own, path),
    )


def _loop_until(scope: Scope, common: Common, own: Own, path: Path) -> Task:
    # `WaitFor` keeps the limits of 0.x when it names none (`decisions.md` 7).
    older = str(common["written"].get("type", "")).endswith("WaitFor")
    written = own.get("checkFrequency")
    check = written if isinstance(written, dict) else {}
    made: dict[str, Any] = {}
    if written is None and older:
        made = {"interval": timedelta(seconds=1), "max_iterations": 100}
    for key, name in (("interval", "interval"), ("maxDuration", "max_duration")):
        if check.get(key) is not None:
            found = scalars.duration(_Quiet(), check[key], path)
            if found is not None:
                made[name] = found
    if check.get("maxIterations") is not None:
        made["max_iterations"] = _count(check, "maxIterations", 1)
    return model.LoopUntil(
        **common,
        condition=_text(own, "condition"),
        fail_on_max_reached=_flag(own, "failOnMaxReached", False),
        tasks=read_tasks(scope, own.get("tasks"), (*path, "tasks"), empty=EMPTY),
        **made,
        **_ends(scope, own, path),
    )


class _Quiet(Findings):
    """For values that pydantic has checked and reported already."""


def _subflow(scope: Scope, common: Common, own: Own, path: Path) -> Task:
    return model.Subflow(
        **common,
        namespace=_text(own, "namespace"),
        flow_id=_text(own, "flowId"),
        revision=_count(own, "revision", 1) if own.get("revision") is not None else None,
        inputs=own.get("inputs") or {},
        labels=read_label_map(scope, own.get("labels"), (*path, "labels")),
        inherit_labels=_flag(own, "inheritLabels", False),
        wait=_flag(own, "wait", True),
        transmit_failed=_flag(own, "transmitFailed", True),
        outputs=own.get("outputs"),
        schedule_date=own.get("scheduleDate"),
        restart_behavior=own.get("restartBehavior") or "RETRY_FAILED",
        properties=own,
    )


def _for_each_item(scope: Scope, common: Common, own: Own, path: Path) -> Task:
    labels = read_label_map(scope, own.get("labels"), (*path, "labels"))
    errors = read_tasks(scope, own.get("errors"), (*path, "errors"))
    name, wait = common["id"], _flag(own, "wait", True)
    shared: dict[str, Any] = {"log_level": common.get("log_level"), "worker_group": common.get("worker_group")}
    step = f"{_PREFIX}ForEachItem$ForEachItem"
    split = model.Runnable(
        id=f"{name}_split",
        type=f"{step}Split",
        properties={"items": own.get("items"), "batch": own.get("batch") or {}},
        **shared,
    )
    items = model.Batches(
        id=f"{name}_items",
        type=f"{step}Executable",
        split=split.id,
        namespace=_text(own, "namespace"),
        flow_id=_text(own, "flowId"),
        revision=_count(own, "revision", 1) if own.get("revision") is not None else None,
        inputs=own.get("inputs") or {},
        labels=labels,
        inherit_labels=_flag(own, "inheritLabels", False),
        wait=wait,
        transmit_failed=_flag(own, "transmitFailed", True),
        schedule_date=own.get("scheduleDate"),
        restart_behavior=own.get("restartBehavior") or "RETRY_FAILED",
        **shared,
    )
    merge = model.Runnable(
        id=f"{name}_merge", type=f"{step}MergeOutputs", properties={"items": items.id, "wait": wait}, **shared
    )
    return model.ForEachItem(**common, errors=errors, properties=_scalars(own), steps=(split, items, merge))


def _working_directory(scope: Scope, common: Common, own: Own, path: Path) -> Task:
    findings = scope.findings
    if not own.get("tasks"):
        findings.error("F013", path, "The 'tasks' property cannot be empty")
    tasks = read_tasks(scope, own.get("tasks"), (*path, "tasks"))
    for task in tasks:
        if not isinstance(task, model.Runnable) or task.type in _WORKING_DIRECTORY_REFUSES:
            findings.error(
                "F013",
                (*path, "tasks"),
                "Only runnable tasks are allowed as children of a WorkingDirectory task, "
                f"'{task.id}' is a {task.type.rpartition('.')[2]}",
            )
    return model.WorkingDirectory(**common, tasks=tasks, **_ends(scope, own, path))


def _asked(scope: Scope, value: Any, path: Path) -> tuple[model.Input, ...]:
    """Inputs that are asked while the execution waits."""
    inputs = read_inputs(scope, value, path)
    check_inputs(scope.findings, inputs, value, path)
    return inputs


def _pause(scope: Scope, common: Common, own: Own, path: Path) -> Task:
    delay, pause = own.get("delay"), own.get("pauseDuration")
    if delay is not None:
        scope.findings.warning("F101", (*path, "delay"), "delay is deprecated: it is now pauseDuration")
        if pause is not None:
            scope.findings.error("F030", (*path, "delay"), "'delay' and 'pauseDuration' are two names of one property")
    wanted = pause if pause is not None else delay
    on_pause = read_task(scope, own["onPause"], (*path, "onPause")) if own.get("onPause") is not None else None
    if on_pause is not None and not isinstance(on_pause, model.Runnable):
        scope.findings.error("F013", (*path, "onPause"), "'onPause' must be a runnable task")
    return model.Pause(
        **common,
        pause_duration=None if wanted is None else scalars.dynamic_duration(_Quiet(), wanted, path),
        behavior=own.get("behavior") or "RESUME",
        on_resume=_asked(scope, own.get("onResume"), (*path, "onResume")),
        on_pause=on_pause,
        tasks=read_tasks(scope, own.get("tasks"), (*path, "tasks")),
        **_ends(scope, own, path),
    )


def _approval(scope: Scope, common: Common, own: Own, path: Path) -> Task:
    return model.Approval(
        **common,
        inputs=_asked(scope, own.get("inputs"), (*path, "inputs")),
        on_wait=read_tasks(scope, own.get("onWait"), (*path, "onWait")),
        on_approve=read_tasks(scope, own.get("onApprove"), (*path, "onApprove")),
        on_deny=read_tasks(scope, own.get("onDeny"), (*path, "onDeny")),
        **_ends(scope, own, path),
    )


def _loop(scope: Scope, common: Common, own: Own, path: Path) -> Task:
    return model.Loop(
        **common,
        values=own.get("values", ()),
        concurrency_limit=_count(own, "concurrencyLimit", 0),
        transmit_failed=_flag(own, "transmitFailed", True),
        outputs=read_flow_outputs(scope, own.get("outputs"), (*path, "outputs")),
        fetch_type=own.get("fetchType") or "AUTO",
        break_when=own.get("breakWhen"),
        tasks=read_tasks(scope, own.get("tasks"), (*path, "tasks"), empty=EMPTY),
        **_ends(scope, own, path),
    )


def _template(scope: Scope, common: Common, own: Own, path: Path) -> Task:
    scope.findings.warning("F102", path, "templates are not available on this server: the task will fail when it runs")
    return model.Runnable(**common, properties=own)


_PREFIX = "io.kestra.plugin.core.flow."

BLOCKS: dict[str, Callable[[Scope, Common, Own, Path], Task]] = {
    _PREFIX + "Sequential": _sequential,
    _PREFIX + "AllowFailure": _allow_failure,
    _PREFIX + "Parallel": _parallel,
    _PREFIX + "Dag": _dag,
    _PREFIX + "If": _if,
    _PREFIX + "Switch": _switch,
    _PREFIX + "ForEach": _for_each,
    _PREFIX + "EachSequential": _each_sequential,
    _PREFIX + "EachParallel": _each_parallel,
    _PREFIX + "LoopUntil": _loop_until,
    _PREFIX + "Subflow": _subflow,
    _PREFIX + "ForEachItem": _for_each_item,
    _PREFIX + "WorkingDirectory": _working_directory,
    _PREFIX + "Pause": _pause,
    _PREFIX + "Approval": _approval,
    _PREFIX + "Loop": _loop,
    _PREFIX + "Template": _template,
}
"""What builds each flowable type, by canonical name."""
