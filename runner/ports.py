"""The functions of expressions that reach out, answered for one place of one execution.

Each obeys the rights of the flow's namespace; what ``secret`` gives is remembered for masking.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NoReturn

import sqlalchemy as sa

from namespaces import files, kv
from namespaces.blobs import Storage, path_of, uri
from namespaces.errors import LannerError, NotFound
from namespaces.expressions import RenderError
from namespaces.secrets import Secrets, lineage
from namespaces.store.db import Database
from runner import access
from runner.engine.values import Execution, TaskRun
from runner.logs import NAMES
from runner.rendering import Place
from runner.rows import run_table
from runner.writing import log_table

Http = Callable[[Mapping[str, object]], object]
MOST_ERRORS = 1_000


class World:
    """What ports of every execution share."""

    def __init__(
        self, database: Database, storage: Storage, secrets: Secrets, environment: Mapping[str, str], http: Http,
        now: Callable[[], datetime],
    ) -> None:  # fmt: skip
        self.database = database
        self.storage = storage
        self.secrets = secrets
        self.environment = environment
        self.http = http
        self.now = now


class FlowPorts:
    """Ports of a flow outside of any execution: defaults of inputs, keys of webhooks, conditions of triggers."""

    def __init__(
        self, world: World, namespace: str, generation: int | None = None, seen: set[str] | None = None
    ) -> None:
        self._world = world
        self._namespace = namespace
        self._generation = generation
        self._seen = seen if seen is not None else set()

    def secret(self, key: str, namespace: str | None, subkey: str | None, full: bool) -> object:
        owner = namespace or self._namespace
        if owner != self._namespace and owner not in lineage(self._namespace):
            # Without allowed_callers a secret is open to its namespace and the ones below it only.
            raise RenderError(f"Cannot find secret for key '{key}'.")
        try:
            value = self._world.secrets.get(owner, key)
        except NotFound as error:
            raise RenderError(error.message) from error
        self._seen.add(value)
        if subkey is not None:
            try:
                part = json.loads(value)[subkey]
            except (ValueError, KeyError, TypeError) as error:
                raise RenderError(f"Cannot find secret sub-key '{subkey}' in secret '{key}'.") from error
            text = part if isinstance(part, str) else json.dumps(part)
            self._seen.add(text)
            return text
        return {"value": value} if full else value

    def kv(self, key: str, namespace: str | None, error_on_missing: bool) -> object:
        def read(connection: Any) -> object:
            levels = [namespace] if namespace else lineage(self._namespace)
            for level in levels:
                found = kv.get(connection, level, key, now=self._world.now())
                if found is not None:
                    return found.value
            return None

        value = self._world.database.read(read)
        if value is None and error_on_missing:
            raise RenderError(f"The key '{key}' does not exist in the namespace '{namespace or self._namespace}'.")
        return value

    def read(self, path: str, namespace: str | None, revision: int | None) -> str:
        raw = self.read_bytes(path, namespace, revision)
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            raise RenderError(f"the file '{path}' is not UTF-8 text") from error

    def read_bytes(self, path: str, namespace: str | None, revision: int | None) -> bytes:
        if path.startswith("kestra://"):
            self._may_read(path)
            try:
                with self._world.storage.open(path_of(path)) as file:
                    return file.read()
            except LannerError as error:
                raise RenderError(error.message) from error
        name = self._namespace_path(path)
        found = self._world.database.read(
            lambda c: files.read(
                c, namespace or self._namespace, name, generation=self._at(namespace), revision=revision
            )
        )
        if found is None:
            raise RenderError(f"the file '{path}' does not exist in the namespace '{namespace or self._namespace}'")
        return bytes(found)

    def _at(self, namespace: str | None) -> int | None:
        return self._generation if namespace in (None, self._namespace) else None

    @staticmethod
    def _namespace_path(path: str) -> str:
        name = path.removeprefix("nsfile://")
        if name.startswith("file:") or ".." in name.split("/"):
            raise RenderError(f"'{path}' is not a file of this execution or namespace")
        return "/" + name.lstrip("/")

    def _may_read(self, path: str) -> None:
        raise RenderError(f"'{path}' cannot be read outside of an execution")

    def file_uri(self, path: str, revision: int | None) -> str:
        name = self._namespace_path(path)
        return uri(f"/{self._namespace.replace('.', '/')}/_files{name}")

    def file_size(self, path: str) -> int:
        if path.startswith("kestra://"):
            self._may_read(path)
            return self._world.storage.size(path_of(path))
        return len(self.read_bytes(path, None, None))

    def file_exists(self, path: str) -> bool:
        if path.startswith("kestra://"):
            self._may_read(path)
            return self._world.storage.exists(path_of(path))
        name = self._namespace_path(path)
        found = self._world.database.read(
            lambda c: files.read(c, self._namespace, name, generation=self._generation, revision=None)
        )
        return found is not None

    def env(self, name: str) -> str | None:
        return self._world.environment.get(name.lower())

    def http(self, request: Mapping[str, object]) -> object:
        try:
            return self._world.http(request)
        except LannerError as error:
            raise RenderError(error.message) from error

    def error_logs(self) -> list[dict[str, object]]:
        return self._outside("errorLogs")

    def tasks_with_state(self, state: str) -> list[dict[str, object]]:
        return self._outside("tasksWithState")

    def subflow(self, request: Mapping[str, object]) -> object:
        return self._outside("subflow")

    def iteration_output(self, outputs: object, iteration: int | None) -> object:
        return self._outside("iterationOutput")

    @staticmethod
    def _outside(name: str) -> NoReturn:
        raise RenderError(f"{name}() is available inside a running execution only")


class ExecutionPorts(FlowPorts):
    """Ports of a task run (or of the execution itself, for flow outputs)."""

    def __init__(self, world: World, place: Place, value: Execution, run: TaskRun | None) -> None:
        super().__init__(world, place.flow.namespace, place.facts.generation, place.secrets)
        self._place = place
        self._value = value
        self._run = run

    def _may_read(self, path: str) -> None:
        plain = path_of(path)
        allowed = self._world.database.read(lambda c: access.may_read(c, plain, self._namespace, self._place.facts.id))
        if not allowed:
            raise RenderError(access.refuse(path).message)

    def error_logs(self) -> list[dict[str, object]]:
        rows = self._world.database.read(
            lambda c: c.execute(
                sa.select(log_table)
                .where(log_table.c.execution_id == self._place.facts.id, log_table.c.level >= 50)
                .order_by(log_table.c.id)
                .limit(MOST_ERRORS)
            ).all()
        )
        lines: list[Any] = [*rows, *(line for line in self._place.unwritten if line.level >= 50)]
        return [
            {
                "taskId": line.task_id,
                "taskRunId": line.task_run_id,
                "attemptNumber": line.attempt,
                "message": line.message,
                "timestamp": line.at.isoformat(),
                "level": NAMES[line.level],
                "executionId": line.execution_id,
            }
            for line in lines[:MOST_ERRORS]
        ]

    def tasks_with_state(self, state: str) -> list[dict[str, object]]:
        wanted = state.upper()
        stored = self._world.database.read(
            lambda c: c.execute(
                sa.select(run_table.c.id, run_table.c.task_id, run_table.c.state, run_table.c.value)
                .where(run_table.c.execution_id == self._place.facts.id)
                .order_by(run_table.c.sequence)
            ).all()
        )
        states: dict[str, tuple[str, str, str | None]] = {row.id: (row.task_id, row.state, row.value) for row in stored}
        states.update({run.id: (run.task_id, run.state.value, run.value) for run in self._value.runs.values()})
        return [
            {"taskId": task_id, "state": current, **({"value": value} if value is not None else {})}
            for task_id, current, value in states.values()
            if current == wanted
        ]

    def iteration_output(self, outputs: object, iteration: int | None) -> object:
        """Outputs of a loop's child in another iteration, by default the one before (0-based)."""
        if self._run is None or self._run.iteration is None or not isinstance(outputs, Mapping):
            raise RenderError("iterationOutput() needs the outputs of a task of the surrounding loop")
        wanted = iteration if iteration is not None else self._run.iteration - 1
        sibling = sa.select(run_table.c.value).where(
            run_table.c.parent_id == self._run.parent_id, run_table.c.iteration == wanted
        )
        row = self._world.database.read(lambda c: c.execute(sibling).first())
        if row is None or row.value not in outputs:
            raise RenderError(f"there is no iteration {wanted} with outputs")
        return outputs[row.value]
