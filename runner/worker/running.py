"""What a running task sees: the ``RunContext`` of one attempt. Claiming, limits and reporting are in ``attempt``."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from namespaces import blobs
from namespaces.blobs import Content, Storage
from namespaces.clock import Clock
from namespaces.durations import format_duration, parse_duration
from namespaces.errors import Forbidden, InvalidInput
from namespaces.expressions import Ports
from namespaces.flows.model import Task
from namespaces.flows.policies import Policy
from namespaces.masking import Masker
from namespaces.plugin import PluginType
from runner.plugin import Metric, Output, RunFailed, World
from runner.worker.deadlines import Deadlines
from runner.worker.limits import Limits
from runner.worker.loglines import LogSink
from runner.worker.properties import render_properties
from runner.worker.reporter import Claim
from runner.worker.slots import Slots
from runner.worker.supervisor import Script, Spawner, remove_folder

if TYPE_CHECKING:
    from namespaces.flows.catalog import Catalog
    from runner.tasks import Implementation


class Renderer(Protocol):
    """The expression engine as workers use it (``runner.renderer.Renderer``)."""

    def render(self, text: str, context: Mapping[str, object], ports: Ports) -> str: ...

    def render_typed(self, text: str, context: Mapping[str, object], ports: Ports) -> object: ...

    def render_value(self, value: object, context: Mapping[str, object], ports: Ports) -> object: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What expressions of one attempt see.

    ``secrets`` gives every secret text handed out so far; ``hide`` adds a text to them.
    """

    variables: Mapping[str, Any]
    ports: Ports
    secrets: Callable[[], Iterable[str]] = tuple
    hide: Callable[[str], object] = str


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSettings:
    """The section ``tasks`` of the configuration, and ``egress`` for tasks that send requests."""

    default_task_runner: str = "auto"
    inherit_env: tuple[str, ...] = ()
    allowed_paths: tuple[Path, ...] = ()
    docker_host: str | None = None
    docker_volumes: bool = False
    docker_privileged: bool = False
    minimum_isolation: str = "process"
    """``process``, ``bubblewrap`` or ``container`` (S17)."""


@dataclass(slots=True, kw_only=True)
class Services:
    """What all attempts of a worker share."""

    renderer: Renderer
    storage: Storage
    world: Callable[[Claim], World]
    clock: Clock
    spawner: Spawner
    catalog: Catalog
    limits: Limits = field(default_factory=Limits)
    settings: TaskSettings = field(default_factory=TaskSettings)
    deadlines: Deadlines = field(default_factory=Deadlines)
    slots: Slots = field(default_factory=lambda: Slots(Limits().subprocesses))
    policies: tuple[Policy, ...] = ()
    """What the operator rules about tasks; for those that are only known once they are rendered."""
    egress: Any = None
    """The rules of ``runner.egress`` for requests of tasks; None: the defaults."""

    def task_type(self, name: str) -> type[PluginType] | None:
        """The class that declares a type; None for an unknown one."""
        entry = self.catalog.resolve(name)
        return None if entry is None else entry.cls


class Running:
    """One attempt at work. ``extra`` variables (``workingDir`` …) are laid over those of the execution."""

    def __init__(
        self,
        services: Services,
        claim: Claim,
        seen: Seen,
        logs: LogSink,
        masker: Masker,
        cancelled: threading.Event,
        *,
        folder: Path | None = None,
    ) -> None:
        self.services = services
        self.claim = claim
        self.flow = claim.flow
        self.task: Task = claim.task
        self.execution_id: str = claim.execution["id"]
        self.task_run_id = claim.task_run.id
        self.attempt = claim.attempt
        self.epoch = claim.epoch
        self.cancelled = cancelled
        self.masker = masker
        self.logs = logs
        self.metrics: list[Metric] = []
        self.info: dict[str, Any] = {}
        self.timeout_s: float | None = None
        self.block = False
        """Whether this is a child of a WorkingDirectory."""
        self.run_nested: Callable[[Task], Output] | None = None
        """Runs another task in this attempt's place (TemplatedTask)."""
        self.note: Callable[[Mapping[str, Any]], object] = dict
        """Has what becomes known of a running script noted on its attempt."""
        self.seen = seen
        self._extra: dict[str, Any] = {}
        self._home: Path | None = None
        self._folder = folder
        self._shared = folder is not None
        self._world: World | None = None
        self._script: Script | None = None
        self._stored = 0

    # -- expressions -----------------------------------------------------------------------------------------------

    @property
    def variables(self) -> Mapping[str, Any]:
        return {**self.seen.variables, **self._extra} if self._extra else self.seen.variables

    def offer(self, **extra: Any) -> None:
        """Let expressions of this task see these variables as well."""
        self._extra.update(extra)

    def render(self, value: Any, extra: Mapping[str, Any] | None = None) -> Any:
        variables = self.variables if extra is None else {**self.variables, **extra}
        try:
            if isinstance(value, str):
                return self.services.renderer.render(value, variables, self.seen.ports) if "{" in value else value
            if isinstance(value, dict | list | tuple):
                return self.services.renderer.render_value(value, variables, self.seen.ports)
            return value
        finally:
            self.learn_secrets()

    def render_typed(self, text: str) -> Any:
        try:
            return self.services.renderer.render_typed(text, self.variables, self.seen.ports)
        finally:
            self.learn_secrets()

    def learn_secrets(self) -> None:
        self.masker.add(self.seen.secrets())

    def hide(self, text: str) -> None:
        """Treat this text as a secret from now on: masked in what is written, sealed where it is kept."""
        self.masker.add([text])
        self.seen.hide(text)

    def read_time_limit(self) -> float | None:
        """Seconds of the task's own limit, rendered; None without one. Raises ``RunFailed`` for no duration."""
        written = self.task.timeout
        if written is None:
            return None
        text = self.render(written)
        if text == "":
            return None
        try:
            return parse_duration(text).total_seconds()
        except ValueError as error:
            raise RunFailed(f"property `timeout`: {error}") from error

    def timeout_message(self) -> str:
        return f"Timeout after {format_duration(timedelta(seconds=self.timeout_s or 0))}"

    def properties(self, implementation: Implementation, task_type: type[PluginType] | None) -> Any:
        """The task's own properties, rendered and converted; the plain map when no class declares them."""
        written = self.task.properties
        if not implementation.render:
            return None
        if task_type is None:
            return self.render(dict(written))
        return render_properties(task_type, written, self.render, raw=implementation.raw, forced=implementation.forced)

    # -- log, metrics ----------------------------------------------------------------------------------------------

    def log(self, level: str, message: str) -> None:
        self.logs.add(level, message)

    def metric(self, metric: Metric) -> None:
        self.metrics.append(metric)

    # -- files -----------------------------------------------------------------------------------------------------

    @property
    def home(self) -> Path:
        """The attempt's private folder (spool); ``work`` and ``tmp`` are inside."""
        if self._home is None:
            self._home = self.services.spawner.folder(self.task_run_id, self.epoch)
        return self._home

    @property
    def working_dir(self) -> Path:
        if self._folder is None:
            self._folder = self.home / "work"
            with contextlib.suppress(FileExistsError):
                os.mkdir(self._folder, 0o700)
        return self._folder

    @property
    def shares_folder(self) -> bool:
        """Whether the working folder belongs to a WorkingDirectory around this task."""
        return self._shared

    def open(self, uri: str) -> BinaryIO:
        if uri.startswith(blobs.SCHEME):
            self.check_readable(uri)
            return self.services.storage.open(uri)
        if uri.startswith("nsfile://"):
            namespace, path = self._namespace_file(uri)
            import io

            return io.BytesIO(self.world.namespace_file_read(namespace, path))
        if uri.startswith("file://"):
            return self._allowed_file(uri)
        raise InvalidInput(f"not a file URI: {uri!r}", hint="kestra:///, nsfile:/// or file:/// was expected")

    def check_readable(self, uri: str) -> None:
        """Raises ``Forbidden`` unless the file belongs to this execution or may be read from it (``flows.md`` 9.5)."""
        path = blobs.path_of(uri)
        own = blobs.execution_folder(self.flow.namespace, self.flow.id, self.execution_id)
        if not path.startswith(own + "/") and not self.world.may_read(uri):
            raise Forbidden(f"Unable to read the file '{uri}' as it didn't belong to the current execution")

    def _namespace_file(self, uri: str) -> tuple[str, str]:
        place, _, path = uri[len("nsfile://") :].partition("/")
        return place or self.flow.namespace, "/" + path

    def _allowed_file(self, uri: str) -> BinaryIO:
        path = Path(uri[len("file://") :])
        real = path.resolve()
        if not any(real.is_relative_to(allowed.resolve()) for allowed in self.services.settings.allowed_paths):
            raise Forbidden(
                f"the file {path} is not below an allowed path", hint="an operator lists folders in tasks.allowed_paths"
            )
        if not real.is_file():
            raise InvalidInput(f"no such file: {path}")
        return real.open("rb")

    def storage_path(self, name: str) -> str:
        """Where a file of this task run is kept."""
        folder = blobs.task_folder(self.flow.namespace, self.flow.id, self.execution_id, self.task.id, self.task_run_id)
        return f"{folder}/{name}"

    def store(self, name: str, content: Content) -> str:
        limit = self.services.limits.file
        return self.services.storage.put(self.storage_path(name), content, limit=limit)

    # -- the rest of Lanner ----------------------------------------------------------------------------------------

    @property
    def world(self) -> World:
        if self._world is None:
            self._world = self.services.world(self.claim)
        return self._world

    # -- scripts ---------------------------------------------------------------------------------------------------

    def attach(self, script: Script | None) -> None:
        """The process that does this attempt's work: a kill goes to it."""
        self._script = script
        if script is not None and self.cancelled.is_set():
            script.stop()

    @property
    def script(self) -> Script | None:
        return self._script

    def interrupt(self) -> None:
        """Make the task stop soon."""
        self.cancelled.set()
        script = self._script
        if script is not None:
            script.stop()

    def hand_over(self, outer: Running) -> None:
        """Leave the script to the attempt around this task."""
        if self._script is not None:
            outer._script, self._script = self._script, None

    def clean_up(self) -> None:
        """Remove what the attempt left on this host; its end has been recorded."""
        if self._script is not None:
            self._script.recorded()
            self._script.close()
            self._script = None
        remove_folder(self.services.spawner.root / f"{self.task_run_id}-{self.epoch}")
