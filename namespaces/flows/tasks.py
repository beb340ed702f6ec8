"""From a written task to the model: what all tasks have in common, runnable tasks, and lists of tasks.

The flowables, whose properties hold other tasks, are in ``blocks``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from namespaces.flows import scalars
from namespaces.flows.catalog import TypeEntry
from namespaces.flows.model import Retry, RetryBehavior, RetryType, Runnable, Task
from namespaces.flows.reader import Path
from namespaces.flows.scope import Scope

TASK_ID = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_-]*", re.ASCII)
MAX_ID = 256
LEVELS = ("ERROR", "WARN", "INFO", "DEBUG", "TRACE")
WORKER_LOST = ("RESUBMIT", "FAIL")

# Markers of the flow's language (`versions.md` 2) by canonical type.
_FLOW = "io.kestra.plugin.core.flow."
_CORE = "io.kestra.plugin.core."
NEWER_TYPES = frozenset({_FLOW + "Loop", _FLOW + "Approval", _CORE + "execution.Kill"})
OLDER_TYPES = frozenset(
    {
        *(_FLOW + name for name in ("ForEach", "ForEachItem", "EachSequential", "EachParallel", "Template")),
        *(_CORE + name for name in ("debug.Echo", "storage.LocalFiles", "state.Set", "state.Get", "state.Delete")),
    }
)


def read_tasks(scope: Scope, value: Any, path: Path, *, empty: str = "") -> tuple[Task, ...]:
    """A list of tasks. ``empty``: the words of the finding when there is none (not required if blank)."""
    if not value and (value is None or value == []):
        if empty:
            scope.findings.error("F023", path, empty)
        return ()
    if not isinstance(value, list):
        scope.findings.error(scalars.WRONG_TYPE, path, "must be a list of tasks")
        return ()
    found = []
    for index, item in enumerate(value):
        task = read_task(scope, item, (*path, index))
        if task is not None:
            found.append(task)
    return tuple(found)


def read_task(scope: Scope, written: Any, path: Path) -> Task | None:
    """One task with everything below it; None when not even its id and type could be read."""
    from namespaces.flows.blocks import BLOCKS

    if not isinstance(written, dict):
        scope.findings.error(scalars.WRONG_TYPE, path, "must be a task: a map with id and type")
        return None
    task_id = read_id(scope, written.get("id"), (*path, "id"))
    if task_id:
        scope.task_ids.append((task_id, path))
    entry = scope.resolve(written.get("type"), path, ("task", "flowable"), "task")
    if entry is None:
        _look_below(scope, written, path)
        return None
    if entry.name in NEWER_TYPES:
        scope.is_newer(entry.short, path)
    elif entry.name in OLDER_TYPES:
        scope.is_older(entry.short, path)
    merged = scope.laid(entry, written, (*COMMON, *entry.properties), path)
    common: dict[str, Any] = {"id": task_id or "", "type": entry.name, "written": written}
    own = read_common(scope, merged, path, common)
    if "taskRunner" in own and "taskRunner" in entry.properties:
        own["taskRunner"] = read_runner(scope, own["taskRunner"], (*path, "taskRunner"))
    own = scope.check(entry, own, path, COMMON.keys())
    if entry.kind == "task":
        from namespaces.flows.types.tasks_scripts import ScriptProperties  # loaded with the catalog, not before

        if issubclass(entry.cls, ScriptProperties):
            _script_markers(scope, own, path)
        return Runnable(**common, properties=own, inline=entry.inline)
    if "task_cache" in common:
        scope.findings.warning("F114", (*path, "taskCache"), "taskCache has no effect on a task that holds other tasks")
    return BLOCKS[entry.name](scope, common, own, path)


def read_id(scope: Scope, value: Any, path: Path) -> str | None:
    """An id of a task or trigger."""
    task_id = scalars.text(scope.findings, value, path)
    if task_id is None:
        if value is None:
            scope.findings.required(path)
        return None
    if not TASK_ID.fullmatch(task_id):
        scope.findings.error("F005", path, f'must match "^{TASK_ID.pattern}", but is {task_id[:60]!r}')
        return None
    if len(task_id) > MAX_ID:
        scope.findings.error("F005", path, f"size must be between 1 and {MAX_ID}, but is {len(task_id)}")
        return None
    return task_id


def _look_below(scope: Scope, written: dict[str, Any], path: Path) -> None:
    """Findings in the children of a task of unknown type, so that one bad type hides nothing."""
    for key in ("tasks", "then", "else", "errors", "finally", "defaults"):
        children = written.get(key)
        if isinstance(children, list):
            for index, child in enumerate(children):
                if isinstance(child, dict) and "type" in child:
                    read_task(scope, child, (*path, key, index))


def read_common(scope: Scope, merged: dict[str, Any], path: Path, common: dict[str, Any]) -> dict[str, Any]:
    """Put the properties that every task has into ``common``; returns the others, nulls left out."""
    own: dict[str, Any] = {}
    for key, value in merged.items():
        reader = COMMON.get(key)
        if reader is None:
            if value is not None:
                own[key] = value
        elif value is not None:
            reader(scope, common, value, (*path, key))
    return own


Reader = Callable[[Scope, dict[str, Any], Any, Path], None]


def _nothing(scope: Scope, common: dict[str, Any], value: Any, path: Path) -> None:
    """``id`` and ``type`` are read before, ``version`` and ``assets`` are accepted without effect."""


def _flag(name: str) -> Reader:
    def read(scope: Scope, common: dict[str, Any], value: Any, path: Path) -> None:
        common[name] = scalars.boolean(scope.findings, value, path, False)

    return read


def _description(scope: Scope, common: dict[str, Any], value: Any, path: Path) -> None:
    common["description"] = scalars.text(scope.findings, value, path)


def _retry(scope: Scope, common: dict[str, Any], value: Any, path: Path) -> None:
    common["retry"] = read_retry(scope, value, path)


def _timeout(scope: Scope, common: dict[str, Any], value: Any, path: Path) -> None:
    common["timeout"] = scalars.dynamic_duration(scope.findings, value, path)


def _run_if(scope: Scope, common: dict[str, Any], value: Any, path: Path) -> None:
    if path[-1] == "when":
        scope.is_newer("when", path)
    else:
        scope.is_older("runIf", path)
    if "run_if" in common:
        scope.findings.error("F030", path, "'runIf' and 'when' are two names of one property: write one of them")
    common["run_if"] = scalars.text(scope.findings, value, path)


def _log_level(scope: Scope, common: dict[str, Any], value: Any, path: Path) -> None:
    common["log_level"] = scalars.one_of(scope.findings, value, path, LEVELS)


def _cache(scope: Scope, common: dict[str, Any], value: Any, path: Path) -> None:
    cache = scalars.a_map(scope.findings, value, path)
    for key in cache:
        if key not in ("enabled", "ttl"):
            scope.findings.unknown_property((*path, key), ("enabled", "ttl"), "taskCache")
    if cache.get("enabled") is None:
        scope.findings.required((*path, "enabled"))
        return
    made: dict[str, Any] = {"enabled": scalars.boolean(scope.findings, cache["enabled"], (*path, "enabled"), False)}
    if cache.get("ttl") is not None:
        made["ttl"] = scalars.duration(scope.findings, cache["ttl"], (*path, "ttl"))
    common["task_cache"] = made


def _worker_group(scope: Scope, common: dict[str, Any], value: Any, path: Path) -> None:
    common["worker_group"] = read_worker_group(scope, value, path)


def _worker_lost(scope: Scope, common: dict[str, Any], value: Any, path: Path) -> None:
    common["on_worker_lost"] = scalars.one_of(scope.findings, value, path, WORKER_LOST)
    scope.findings.info("F203", path, "onWorkerLost is Lanner's own: a Kestra server refuses the flow")


def _policies(scope: Scope, common: dict[str, Any], value: Any, path: Path) -> None:
    scope.is_newer("policyRefs", path)
    common["policy_refs"] = scalars.texts(scope.findings, value, path)


COMMON: dict[str, Reader] = {
    "id": _nothing,
    "type": _nothing,
    "version": _nothing,
    "assets": _nothing,
    "pluginDefaultsRef": _nothing,
    "description": _description,
    "retry": _retry,
    "timeout": _timeout,
    "disabled": _flag("disabled"),
    "runIf": _run_if,
    "when": _run_if,
    "allowFailure": _flag("allow_failure"),
    "allowWarning": _flag("allow_warning"),
    "logLevel": _log_level,
    "logToFile": _flag("log_to_file"),
    "taskCache": _cache,
    "workerGroup": _worker_group,
    "workerSelector": _worker_group,
    "onWorkerLost": _worker_lost,
    "policyRefs": _policies,
}
"""Properties of every task (``flows.md`` 2.1), each with what reads it."""


def read_worker_group(scope: Scope, value: Any, path: Path) -> dict[str, Any] | None:
    """``workerGroup {key, fallback}`` or ``workerSelector {tags, match, fallback}`` in one shape.

    ``group`` tells them apart: a key that no worker ever had is an error of its own.
    """
    newer = path[-1] == "workerSelector"
    (scope.is_newer if newer else scope.is_older)(str(path[-1]), path)
    group = scalars.a_map(scope.findings, value, path)
    known = ("tags", "match", "fallback") if newer else ("key", "fallback")
    fallbacks = ("FAIL", "WAIT", "CANCEL", "IGNORE") if newer else ("FAIL", "WAIT", "CANCEL")
    for key in group:
        if key not in known:
            scope.findings.unknown_property((*path, key), known, str(path[-1]))
    fallback = group.get("fallback")
    if fallback is not None:
        fallback = scalars.one_of(scope.findings, fallback, (*path, "fallback"), fallbacks)
    if newer:
        tags = scalars.texts(scope.findings, group.get("tags"), (*path, "tags"))
        if fallback is not None and not tags:
            scope.findings.error("F004", (*path, "tags"), "must not be empty when 'fallback' is given")
        match = scalars.one_of(scope.findings, group.get("match") or "ALL", (*path, "match"), ("ALL", "ANY"))
        return {"tags": tags, "match": match or "ALL", "fallback": fallback or "FAIL", "group": False}
    name = scalars.text(scope.findings, group.get("key"), (*path, "key"))
    return {"tags": (name,) if name else (), "match": "ALL", "fallback": fallback or "WAIT", "group": True}


_RETRY_KEYS: dict[RetryType, tuple[tuple[str, ...], tuple[str, ...]]] = {
    RetryType.CONSTANT: (("interval",), ()),
    RetryType.EXPONENTIAL: (("interval", "maxInterval"), ("delayFactor",)),
    RetryType.RANDOM: (("minInterval", "maxInterval"), ()),
}
_RETRY_SHARED = ("type", "maxAttempts", "maxAttempt", "maxDuration", "warningOnRetry", "behavior")


def read_retry(scope: Scope, value: Any, path: Path) -> Retry | None:
    """``flows.md`` 2.2; the bounds between its durations are checked here too."""
    findings = scope.findings
    written = scalars.a_map(findings, value, path)
    if written.get("type") is None:
        findings.required((*path, "type"))
        return None
    kind = scalars.enum(findings, written["type"], (*path, "type"), RetryType)
    if kind is None:
        return None
    required, optional = _RETRY_KEYS[kind]
    known = (*_RETRY_SHARED, *required, *optional)
    for key in written:
        if key not in known:
            findings.unknown_property((*path, key), known, f"{kind} retry")
    made: dict[str, Any] = {"type": kind}
    for key in (*required, "maxDuration"):
        if written.get(key) is None:
            if key in required:
                findings.required((*path, key))
            continue
        found = scalars.duration(findings, written[key], (*path, key))
        if found is not None:
            made[_SNAKE[key]] = found
    for key in ("maxAttempt", "maxAttempts"):
        if written.get(key) is not None:
            if key == "maxAttempt":
                scope.is_older("maxAttempt", (*path, key))
                findings.warning("F101", (*path, key), "maxAttempt is deprecated: it is now maxAttempts")
            made["max_attempts"] = scalars.integer(findings, written[key], (*path, key), at_least=1)
    if written.get("maxAttempt") is not None and written.get("maxAttempts") is not None:
        findings.error("F030", (*path, "maxAttempt"), "'maxAttempt' and 'maxAttempts' are two names of one property")
    factor = written.get("delayFactor")
    if factor is not None:
        if isinstance(factor, bool) or not isinstance(factor, int | float) or factor <= 0:
            findings.error(scalars.WRONG_TYPE, (*path, "delayFactor"), "must be a number above 0")
        else:
            made["delay_factor"] = float(factor)
    if written.get("behavior") is not None:
        behavior = scalars.enum(findings, written["behavior"], (*path, "behavior"), RetryBehavior)
        made["behavior"] = behavior or RetryBehavior.RETRY_FAILED_TASK
    made["warning_on_retry"] = scalars.boolean(
        findings, written.get("warningOnRetry"), (*path, "warningOnRetry"), False
    )
    retry = Retry(**made)
    _retry_bounds(scope, written, retry, path)
    return retry


_SNAKE = {
    "interval": "interval",
    "minInterval": "min_interval",
    "maxInterval": "max_interval",
    "maxDuration": "max_duration",
}
_BOUNDS = (
    ("interval", "maxDuration"),
    ("interval", "maxInterval"),
    ("minInterval", "maxInterval"),
    ("maxInterval", "maxDuration"),
)


def _retry_bounds(scope: Scope, written: dict[str, Any], retry: Retry, path: Path) -> None:
    for lower, upper in _BOUNDS:
        if written.get(lower) is None or written.get(upper) is None:
            continue
        low, high = getattr(retry, _SNAKE[lower]), getattr(retry, _SNAKE[upper])
        if low is not None and high is not None and low >= high:
            message = f"'{lower}' must be less than '{upper}' but is {written[lower]}"
            scope.findings.error("F014", (*path, lower), message)
    pause = retry.min_interval if retry.type is RetryType.RANDOM else retry.interval
    if not pause and any(written.get(key) is not None for key in ("interval", "minInterval")):
        scope.findings.warning("F108", path, "retry without a pause: at least 100 ms are left between two attempts")


def read_runner(scope: Scope, value: Any, path: Path) -> Any:
    """A task runner object, defaults applied; its own properties are checked."""
    if not isinstance(value, dict):
        scope.findings.error(scalars.WRONG_TYPE, path, "must be a map with 'type'")
        return value
    entry = scope.resolve(value.get("type"), path, ("runner",), "task runner")
    if entry is None:
        return value
    return check_typed(scope, entry, value, path, ("type", "version"))


def check_typed(scope: Scope, entry: TypeEntry, value: dict[str, Any], path: Path, also: tuple[str, ...]) -> Any:
    """A map with ``type`` below a task: defaults laid under it, its properties checked."""
    merged = scope.laid(entry, value, entry.properties, path)
    own = {k: v for k, v in merged.items() if v is not None and k not in also}
    return {**scope.check(entry, own, path, also), "type": entry.name}


def _script_markers(scope: Scope, own: dict[str, Any], path: Path) -> None:
    for key in ("runner", "docker"):
        if key in own:
            scope.is_older(f"script {key}", (*path, key))
            scope.findings.warning("F101", (*path, key), f"{key} is deprecated: it is now taskRunner")
