"""Rendering bound to a place: one execution, one task run. Knows secrets to mask and outputs to look up.

``Rendering`` is the server-wide half (what is the same for all executions), ``Place`` the half of one decision.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import Any, Protocol

from namespaces.blobs import Storage, execution_folder, path_of, uri
from namespaces.clock import Clock
from namespaces.errors import LannerError, NotFound
from namespaces.expressions import Ports
from namespaces.flows.model import Flow, Task
from namespaces.inputs import convert_output
from namespaces.masking import Masker
from namespaces.secrets import Vault, masked
from namespaces.store.base import dump_json
from namespaces.store.db import Database
from runner import inline
from runner.context import (
    Lookup,
    Surroundings,
    ancestors_of,
    execution_roots,
    iteration_roots,
    task_roots,
    within_loop,
)
from runner.engine.events import AttemptFinished, AttemptStarted
from runner.engine.states import State
from runner.engine.values import Execution, TaskRun
from runner.limits import Limits, may_be_large
from runner.logs import LEVELS, LogLine
from runner.plugin import Metric
from runner.rows import address
from runner.view import Facts, body, load


class Engine(Protocol):
    """The expression engine as this room uses it (``runner.renderer.Renderer``)."""

    def render(self, text: str, context: Mapping[str, object], ports: Ports) -> str: ...

    def render_typed(self, text: str, context: Mapping[str, object], ports: Ports) -> object: ...

    def render_value(self, value: object, context: Mapping[str, object], ports: Ports) -> object: ...


PortsOf = Callable[["Place", Execution, TaskRun | None, Mapping[str, Any]], Ports]
Listens = Callable[[Facts, Execution, State], bool]


@dataclass(slots=True, kw_only=True)
class Rendering:
    """What every rendering of this server shares."""

    engine: Engine
    database: Database
    storage: Storage
    vault: Vault
    clock: Clock
    surroundings: Surroundings
    ports_of: PortsOf
    flow_ports: Callable[[Flow], Ports]
    """Ports of a flow outside of executions."""
    listens: Listens
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class Around:
    """What surrounds an iteration: the execution that its Loop runs in, as it was when it was first looked at."""

    place: Place
    value: Execution
    run: TaskRun | None
    """The Loop's own task run."""

    def context(self) -> dict[str, Any]:
        return self.place.context(self.value, self.run)


class Place:
    """Renders for the task runs of one execution; what it reads of secrets is masked in what it writes."""

    def __init__(self, shared: Rendering, flow: Flow, facts: Facts, paths: Mapping[str, tuple[str, ...]]) -> None:
        self.shared = shared
        self.flow = flow
        self.facts = facts
        self.paths = paths
        self.secrets: set[str] = set()
        self.unwritten: Sequence[LogLine] = ()
        """Log lines of this decision that no table holds yet; ``errorLogs()`` must see them."""
        self.lookup = Lookup(flow, facts.id, shared.database.read, self.whole_outputs, self.opened)
        self.lookup.paths = dict(paths)
        self.lookup.outside = lambda: None if self.around is None else self.around.place.lookup
        self._inputs: Mapping[str, Any] | None = None
        self._roots: tuple[Execution, dict[str, Any]] | None = None

    @cached_property
    def around(self) -> Around | None:
        """Where an iteration of a Loop comes from; None for every other execution. Raises ``NotFound``."""
        loop_run = self.facts.loop_run
        if loop_run is None:
            return None
        parent, run_id = str(self.facts.trigger_execution_id), str(self.facts.parent_run_id)
        marked = AttemptStarted(at=self.shared.clock.now(), task_run_id=run_id, epoch=0)
        loaded = self.shared.database.read(lambda c: load(c, parent, [marked]))
        if loaded is None or self.flow.whole is None:
            raise NotFound(f"the execution '{parent}' that this iteration belongs to does not exist")
        place = Place(self.shared, body(self.flow.whole, loaded.facts.loop_run), loaded.facts, loaded.paths)
        place.secrets = self.secrets
        return Around(place, loaded.value, loaded.value.runs.get(run_id))

    def inputs(self) -> Mapping[str, Any] | None:
        """The execution's inputs, secrets opened (and remembered for masking); an iteration has its parent's."""
        if self.around is not None:
            return self.around.place.inputs()
        if self.facts.inputs is not None and self._inputs is None:
            self._inputs = self.shared.vault.unseal(dict(self.facts.inputs), self.facts.id, self.secrets)
        return self._inputs

    def whole_outputs(self, row: Any) -> Any:
        """Outputs of a row, fetched from storage when they are large, secrets opened."""
        outputs = row.outputs
        if row.outputs_uri:
            import orjson

            with self.shared.storage.open(path_of(row.outputs_uri)) as file:
                outputs = orjson.loads(file.read())
        return self.opened(outputs)

    def opened(self, outputs: Any) -> Any:
        """Outputs with their sealed parts opened (and remembered for masking)."""
        return None if outputs is None else self.shared.vault.unseal(outputs, self.facts.id, self.secrets)

    def note(self, run: TaskRun, path: tuple[str, ...]) -> None:
        """A task run changed in this decision: lookups must see it before it is committed."""
        self.lookup.fresh[run.task_id, address(path)] = run
        self.lookup.paths[run.id] = path

    def committed(self) -> None:
        self.lookup.fresh.clear()

    def context(self, value: Execution, run: TaskRun | None) -> dict[str, Any]:
        """All root variables for this task run (or, None, for the execution)."""
        if self._roots is None or self._roots[0] is not value:
            roots = execution_roots(self.flow, value, self.facts, self.inputs(), self.lookup, self.shared.surroundings)
            if value.outputs is not None:
                roots["execution"]["outputs"] = self.opened(value.outputs)
            if self.around is not None:
                roots.update(iteration_roots(self.around.context(), value.variables is not None))
            self._roots = (value, roots)
        roots = dict(self._roots[1])
        if run is not None:
            task = self.flow.by_id[run.task_id]
            ancestors = tuple(
                replace(one, outputs=self.opened(one.outputs)) if one.outputs else one
                for one in ancestors_of(value.runs, run)
            )
            own = task_roots(task, run, ancestors, self.shared.clock.now())
            roots.update(own if self.around is None else within_loop(own, self.around.context()))
        return roots

    def variables(self, value: Execution) -> Mapping[str, Any]:
        """``vars``: as last set in this execution, or an iteration's parent, else as the flow has them."""
        if value.variables is not None:
            return value.variables
        return self.flow.variables if self.around is None else self.around.place.variables(self.around.value)

    def renderer(self, value: Execution, run: TaskRun | None) -> Bound:
        return Bound(self, value, run)

    def mask(self, text: str) -> str:
        return Masker(self.secrets).mask(text) if self.secrets else text

    def flow_outputs(self, value: Execution) -> dict[str, Any]:
        """The declared outputs, rendered and converted. Raises ``LannerError``."""
        bound = self.renderer(value, None)
        outputs: dict[str, Any] = {}
        for declared in self.flow.outputs:
            rendered = bound.value(declared.value)
            converted = convert_output(declared, rendered)
            if declared.type == "SECRET" and converted is not None:
                converted = self.shared.vault.seal(converted, self.facts.id)
            here = outputs
            *parents, last = declared.id.split(".")
            for parent in parents:
                here = here.setdefault(parent, {})
            here[last] = converted
        self.shared.limits.refuse_large(outputs)
        sealed: dict[str, Any] = self.sealed(outputs, self.facts.id)
        return sealed

    def run_inline(
        self, value: Execution, run: TaskRun, epoch: int
    ) -> tuple[AttemptFinished, list[LogLine], list[Metric]]:
        """Run an inline task: its event, its log lines (masked) and its metrics."""
        clock = self.shared.clock
        task = self.flow.by_id[run.task_id]
        started = clock.now()
        attempt = len(run.attempts)
        error: str | None = None
        result = inline.Result()
        try:
            result = inline.run(task, self.renderer(value, run))
            self.shared.limits.refuse_large(result.outputs)
        except LannerError as failure:
            error = failure.message
            result.outputs = result.update = None
            result.logs.append(("ERROR", error))
        lines = self.lines(task, run, attempt, result.logs, clock.now())
        event = AttemptFinished(
            at=clock.now(),
            task_run_id=run.id,
            epoch=epoch,
            state=State.FAILED if error is not None else State.SUCCESS,
            started_at=started,
            outputs=result.outputs or None,
            error=self.mask(error) if error else None,
            update=result.update,
        )
        return event, lines, result.metrics

    def lines(
        self, task: Task, run: TaskRun, attempt: int, logs: Sequence[tuple[str, str]], at: datetime
    ) -> list[LogLine]:
        least = LEVELS[task.log_level] if task.log_level else 0
        return [
            LogLine(
                at=at,
                level=LEVELS[level],
                message=self.mask(message),
                namespace=self.flow.namespace,
                flow_id=self.flow.id,
                execution_id=self.facts.id,
                task_id=run.task_id,
                task_run_id=run.id,
                attempt=attempt,
            )
            for level, message in logs
            if LEVELS[level] >= least
        ]

    def stored_outputs(self, runs: Sequence[TaskRun]) -> dict[str, tuple[Any, str | None]]:
        """What the rows keep of outputs: secrets sealed, large ones in internal storage."""
        kept: dict[str, tuple[Any, str | None]] = {}
        for run in runs:
            if run.outputs is None:
                continue
            outputs: Any = self.sealed(run.outputs, self.facts.id)
            text = dump_json(outputs) if may_be_large(outputs, self.shared.limits.output_row_bytes) else ""
            if len(text) > self.shared.limits.output_row_bytes:
                self.shared.limits.hits.note("output_row_bytes")
                folder = execution_folder(self.flow.namespace, self.flow.id, self.facts.id)
                path = f"{folder}/outputs/{run.id}.json"
                self.shared.storage.put(path, text.encode())
                kept[run.id] = (None, uri(path))
            else:
                kept[run.id] = (outputs, None)
        return kept

    def sealed(self, outputs: Mapping[str, Any], belongs_to: str) -> Any:
        """Texts that contain a secret are sealed for that execution; everything else stays readable."""
        secrets = [secret for secret in self.secrets if len(secret) >= 4]
        if not secrets:
            return dict(outputs)

        def seal(value: Any) -> Any:
            if isinstance(value, str):
                return self.shared.vault.seal(value, belongs_to) if any(s in value for s in secrets) else value
            if isinstance(value, Mapping):
                return {key: seal(item) for key, item in value.items()}
            if isinstance(value, list | tuple):
                return [seal(item) for item in value]
            return value

        return seal(outputs)


class Bound:
    """A renderer for one task run at one moment; what ``asking`` and ``inline`` call."""

    def __init__(self, place: Place, value: Execution, run: TaskRun | None) -> None:
        self._place = place
        self._value = value
        self._run = run
        self._context: dict[str, Any] | None = None
        self._ports: Ports | None = None

    def context(self) -> dict[str, Any]:
        if self._context is None:
            self._context = self._place.context(self._value, self._run)
        return self._context

    def ports(self) -> Ports:
        if self._ports is None:
            self._ports = self._place.shared.ports_of(self._place, self._value, self._run, self.context())
        return self._ports

    def text(self, template: str) -> str:
        if "{" not in template:
            return template
        return self._place.shared.engine.render(template, self.context(), self.ports())

    def typed(self, template: str) -> Any:
        return self._place.shared.engine.render_typed(template, self.context(), self.ports())

    def value(self, value: Any) -> Any:
        return self._place.shared.engine.render_value(value, self.context(), self.ports())

    def variables(self) -> Mapping[str, Any]:
        return self._place.variables(self._value)


def shown(outputs: Any) -> Any:
    """Outputs as API and UI show them: sealed parts as eight stars (``flows.md`` 9.2)."""
    return masked(outputs, "********")


__all__ = ["Bound", "Place", "Rendering", "shown"]
