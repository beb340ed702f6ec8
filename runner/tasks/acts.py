"""metric.Publish, flow.Sleep and the tasks that act on other executions: Resume, Kill, trigger.Toggle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runner.plugin import Metric, Output, RunContext, RunFailed
from runner.tasks import CORE, Implementation

if TYPE_CHECKING:
    from namespaces.flows.types import tasks_core as types
    from namespaces.flows.types import tasks_data as data


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
        if kind == "timer":
            return parse_duration(value).total_seconds()
        return float(value)
    except (TypeError, ValueError) as error:
        raise RunFailed(f"a {kind} needs a {'duration' if kind == 'timer' else 'number'}, not {value!r}") from error


def sleep(context: RunContext, task: types.Sleep) -> Output:
    if context.cancelled.wait(task.duration.total_seconds()):
        raise RunFailed("the sleep was interrupted")
    return Output()


def resume(context: RunContext, task: types.Resume) -> Output:
    context.world.resume_execution(
        task.execution_id or context.execution_id,
        dict(task.inputs or {}),
        namespace=task.namespace,
        flow_id=task.flow_id,
    )
    return Output()


def kill(context: RunContext, task: types.Kill) -> Output:
    context.world.kill_execution(task.execution_id, task.propagate_kill)
    return Output()


def toggle(context: RunContext, task: data.Toggle) -> Output:
    flow = context.flow
    context.world.toggle_trigger(task.namespace or flow.namespace, task.flow_id or flow.id, task.trigger, task.enabled)
    return Output()


def template(context: RunContext, _task: Any) -> Output:
    """Templates are off, as they are by default in Kestra: there is none that could be run."""
    written = context.task.properties
    name = f"{context.render(written.get('namespace'))}.{context.render(written.get('templateId'))}"
    raise RunFailed(
        f"templates are off on this server: '{name}' cannot be run",
        code="templates_off",
        hint="write its tasks as a flow of its own and call it with io.kestra.plugin.core.flow.Subflow",
    )


TASKS = {
    CORE + "metric.Publish": Implementation(run=publish),
    CORE + "flow.Template": Implementation(run=template, render=False),
    CORE + "flow.Sleep": Implementation(run=sleep),
    CORE + "execution.Resume": Implementation(run=resume),
    CORE + "execution.Kill": Implementation(run=kill),
    CORE + "trigger.Toggle": Implementation(run=toggle),
}
