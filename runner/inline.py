"""The inline task types: no I/O, cannot block, may run again after a crash without harm.

The shell runs them where the event is applied, many in one commit. Each takes properties as written and a renderer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from namespaces.errors import InvalidInput
from namespaces.flows.model import Task
from runner.asking import Renderer, truthy
from runner.engine.events import Update
from runner.engine.states import State
from runner.logs import LEVELS
from runner.plugin import Metric, RunFailed


@dataclass(slots=True)
class Result:
    outputs: dict[str, Any] | None = None
    logs: list[tuple[str, str]] = field(default_factory=list)
    """(level, message)."""
    update: Update | None = None
    metrics: list[Metric] = field(default_factory=list)


class Scene(Renderer, Protocol):
    """What an inline task may look at besides its own properties."""

    def variables(self) -> Mapping[str, Any]:
        """The execution's present ``vars``."""
        ...


Run = Callable[[Task, Scene], Result]


def _log(task: Task, scene: Scene) -> Result:
    level = scene.text(str(task.properties.get("level") or "INFO")).strip().upper() or "INFO"
    if level not in LEVELS:
        raise RunFailed(f"level '{level}' is not one of {', '.join(LEVELS)}")
    message = task.properties.get("message", task.properties.get("format"))
    if isinstance(message, str):
        rendered: Any = scene.text(message)
        if "[" in rendered[:1] and "{{" in message:
            rendered = _maybe_list(rendered)
    elif isinstance(message, list):
        rendered = scene.value(message)
    elif message is None and "format" in task.properties:
        rendered = []
    else:
        raise RunFailed(f"'message' must be a text or a list of texts, got {type(message).__name__}")
    lines = rendered if isinstance(rendered, list) else [rendered]
    return Result(logs=[(level, line if isinstance(line, str) else json.dumps(line)) for line in lines])


def _maybe_list(text: str) -> Any:
    """A message that rendered to a JSON array of texts is a list, as a dynamic list property is."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, list) and all(isinstance(item, str) for item in value) else text


def _return(task: Task, scene: Scene) -> Result:
    template = task.properties.get("format")
    if template is None:
        return Result(outputs={})
    text = scene.text(template if isinstance(template, str) else json.dumps(template))
    return Result(
        outputs={"value": text},
        metrics=[Metric(name="length", type="counter", value=len(text), tags={"format": str(template)[:200]})],
    )


def _output_values(task: Task, scene: Scene) -> Result:
    return Result(outputs={"values": scene.value(task.properties.get("values") or {})})


def _fail(task: Task, scene: Scene) -> Result:
    condition = task.properties.get("condition")
    if condition is None or truthy(scene.text(str(condition))):
        raise RunFailed(scene.text(str(task.properties.get("errorMessage") or "Task failure")))
    return Result()


def _assert(task: Task, scene: Scene) -> Result:
    conditions = task.properties.get("conditions")
    if isinstance(conditions, str):
        conditions = json.loads(scene.text(conditions))
    failed = [str(condition) for condition in conditions or () if not truthy(scene.text(str(condition)))]
    total = len(conditions or ())
    metrics = [
        Metric(name="failed", type="counter", value=len(failed)),
        Metric(name="success", type="counter", value=total - len(failed)),
    ]
    if failed:
        message = f"{len(failed)} assertion(s) failed!"
        extra = task.properties.get("errorMessage")
        if extra:
            message += "\n" + scene.text(str(extra))
        raise RunFailed(message)
    return Result(metrics=metrics)


def _labels(task: Task, scene: Scene) -> Result:
    written = task.properties.get("labels")
    if isinstance(written, str):
        rendered = scene.text(written)
        try:
            written = json.loads(rendered)
        except ValueError as error:
            raise RunFailed(f"'labels' must be a map, a list or JSON text, got {rendered[:200]!r}") from error
        pairs = _pairs(written)
    else:
        pairs = _pairs(scene.value(written))
    for key, value in pairs:
        if key.startswith("system."):
            raise RunFailed(f"System labels can only be set by Kestra itself, offending label: {key}={value}")
        if not key or not value:
            raise RunFailed(f"label '{key}' must have a key and a value")
    return Result(update=Update(labels=tuple(dict(pairs).items())))


def _pairs(written: Any) -> list[tuple[str, str]]:
    if isinstance(written, Mapping):
        return [(str(key), _text(value)) for key, value in written.items()]
    if isinstance(written, list) and all(isinstance(item, Mapping) and "key" in item for item in written):
        return [(str(item["key"]), _text(item.get("value"))) for item in written]
    raise RunFailed("'labels' must be a map or a list of {key, value}")


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping | list):
        raise RunFailed("a label's value must be a scalar")
    return "" if value is None else str(value)


def _exit(task: Task, scene: Scene) -> Result:
    wanted = scene.text(str(task.properties.get("state") or "SUCCESS")).strip().upper()
    wanted = "CANCELLED" if wanted == "CANCELED" else wanted
    if wanted not in ("SUCCESS", "WARNING", "KILLED", "FAILED", "CANCELLED"):
        raise RunFailed(f"state '{wanted}' is not one an execution can exit with")
    return Result(update=Update(exit_state=State(wanted)))


def _set_variables(task: Task, scene: Scene) -> Result:
    given = scene.value(task.properties.get("variables") or {})
    overwrite = task.properties.get("overwrite", True)
    if isinstance(overwrite, str):
        overwrite = truthy(scene.text(overwrite))
    present = scene.variables()
    if not overwrite:
        taken = [key for key in given if key in present]
        if taken:
            raise RunFailed(f"variables {taken} exist already and 'overwrite' is false")
    return Result(update=Update(variables=_merged(present, given)))


def _merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(one)
    for key, value in other.items():
        before = merged.get(key)
        merged[key] = _merged(before, value) if isinstance(before, Mapping) and isinstance(value, Mapping) else value
    return merged


def _unset_variables(task: Task, scene: Scene) -> Result:
    names = task.properties.get("variables") or []
    if isinstance(names, str):
        names = json.loads(scene.text(names))
    ignore = task.properties.get("ignoreMissing", False)
    if isinstance(ignore, str):
        ignore = truthy(scene.text(ignore))
    left = json.loads(json.dumps(dict(scene.variables()), default=str))
    for name in names:
        path = scene.text(str(name)).split(".")
        here: Any = left
        for part in path[:-1]:
            here = here.get(part) if isinstance(here, dict) else None
        if not isinstance(here, dict) or path[-1] not in here:
            if ignore:
                continue
            raise RunFailed(f"variable '{'.'.join(path)}' does not exist", hint="set ignoreMissing: true to go on")
        del here[path[-1]]
    return Result(update=Update(variables=left))


INLINE: dict[str, Run] = {
    "io.kestra.plugin.core.log.Log": _log,
    "io.kestra.plugin.core.debug.Echo": _log,
    "io.kestra.plugin.core.debug.Return": _return,
    "io.kestra.plugin.core.output.OutputValues": _output_values,
    "io.kestra.plugin.core.execution.Fail": _fail,
    "io.kestra.plugin.core.execution.Assert": _assert,
    "io.kestra.plugin.core.execution.Labels": _labels,
    "io.kestra.plugin.core.execution.Exit": _exit,
    "io.kestra.plugin.core.execution.SetVariables": _set_variables,
    "io.kestra.plugin.core.execution.UnsetVariables": _unset_variables,
}


def run(task: Task, scene: Scene) -> Result:
    """Run one inline task. Raises ``LannerError`` for every expected failure."""
    implementation = INLINE.get(task.type)
    if implementation is None:
        raise InvalidInput(f"'{task.type}' is not an inline task type")
    return implementation(task, scene)
