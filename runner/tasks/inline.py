"""The inline task types when a worker runs them (inside a WorkingDirectory, a TemplatedTask): the shell's own code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runner import inline
from runner.plugin import Output, RunContext
from runner.tasks import Implementation


class _Scene:
    """The shell's view of a task, answered by the running attempt."""

    def __init__(self, context: RunContext) -> None:
        self._context = context

    def text(self, template: str) -> str:
        return str(self._context.render(template))

    def typed(self, template: str) -> Any:
        return self._context.render_typed(template)

    def value(self, value: Any) -> Any:
        return self._context.render(value)

    def variables(self) -> Mapping[str, Any]:
        known = self._context.variables.get("vars")
        return known if isinstance(known, Mapping) else {}


def run(context: RunContext, _task: Any) -> Output:
    result = inline.run(context.task, _Scene(context))
    for level, message in result.logs:
        context.log(level, message)
    for metric in result.metrics:
        context.metric(metric)
    update = result.update
    if update is not None and update.exit_state is not None:
        return Output(values=result.outputs, update=update, state=update.exit_state)
    return Output(values=result.outputs, update=update)


TASKS = {name: Implementation(run=run, render=False) for name in inline.INLINE}
