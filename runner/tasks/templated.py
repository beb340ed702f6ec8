"""templating.TemplatedTask: a task whose YAML text is rendered first, then run in this one's place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from namespaces.errors import Severity
from namespaces.expressions import truthy
from namespaces.flows.parse import read_task, runnable_of
from runner.engine.states import State
from runner.plugin import Output, RunFailed
from runner.tasks import CORE, Implementation
from runner.worker.running import Running

if TYPE_CHECKING:
    from namespaces.flows.types import tasks_data as types


def run(context: Running, task: types.TemplatedTask) -> Output:
    services = context.services
    reading = read_task(task.spec, services.catalog, policies=services.policies, namespace=context.flow.namespace)
    errors = [problem for problem in reading.problems if problem.severity is Severity.ERROR]
    if errors:
        raise RunFailed("The templated task is invalid: " + ", ".join(problem.constraint() for problem in errors))
    inner = runnable_of(reading)
    if inner is None:
        raise RunFailed("The templated task must be a runnable task")
    if inner.type == CORE + "templating.TemplatedTask":
        raise RunFailed("The templated task cannot be of type 'io.kestra.plugin.core.templating.TemplatedTask'")
    if inner.run_if is not None and not truthy(str(context.render(inner.run_if))):
        return Output(state=State.SKIPPED)
    assert context.run_nested is not None
    return context.run_nested(inner)


TASKS = {CORE + "templating.TemplatedTask": Implementation(run=run)}
