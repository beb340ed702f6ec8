"""Tasks that only say something: debug.Return, debug.Echo, log.Log, output.OutputValues, metric.Publish."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from runner.plugin import Metric, Output, RunContext, RunFailed
from runner.tasks import CORE, Implementation

if TYPE_CHECKING:
    from namespaces.flows.types import tasks_core as types


def give_back(context: RunContext, task: types.Return) -> Output:
    begun = time.monotonic()
    text = task.format
    context.metric(Metric(name="length", type="counter", value=len(text or ""), tags={"format": _short(text)}))
    context.metric(Metric(name="duration", type="timer", value=time.monotonic() - begun))
    return Output(values={"value": text})


def _short(text: str | None) -> str:
    return (text or "")[:50]


def echo(context: RunContext, task: types.Echo) -> Output:
    context.log(task.level, task.format or "")
    return Output()


def log(context: RunContext, task: types.Log) -> Output:
    if isinstance(task.message, str):
        context.log(task.level, task.message)
    else:
        for message in task.message:
            context.log(task.level, message)
    return Output()


def output_values(context: RunContext, task: types.OutputValues) -> Output:
    return Output(values={"values": dict(task.values or {})})


def publish(context: RunContext, task: types.Publish) -> Output:
    published = 0
    for entry in task.metrics or ():
        context.metric(
            Metric(
                name=entry.name,
                type=entry.type,
                value=metric_value(entry.type, entry.value),
                tags={str(key): str(value) for key, value in (entry.tags or {}).items()},
            )
        )
        published += 1
    return Output(values={"metrics": published})


def metric_value(kind: str, value: Any) -> float:
    """The number of a counter or gauge; a timer's seconds, written as a duration or a number."""
    from namespaces.durations import parse_duration

    try:
        if kind == "timer" and isinstance(value, str) and not value.strip().replace(".", "", 1).isdigit():
            return parse_duration(value).total_seconds()
        return float(value)
    except (TypeError, ValueError) as error:
        raise RunFailed(f"a {kind} needs a {'duration' if kind == 'timer' else 'number'}, not {value!r}") from error


TASKS = {
    CORE + "debug.Return": Implementation(run=give_back),
    CORE + "debug.Echo": Implementation(run=echo),
    CORE + "log.Log": Implementation(run=log),
    CORE + "output.OutputValues": Implementation(run=output_values),
    CORE + "metric.Publish": Implementation(run=publish),
}

