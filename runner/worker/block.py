"""WorkingDirectory: all children one after the other in one folder, one slot, one report (``flows.md`` 4.12).

After each child the results so far are written beside the spool, so that a restarted server goes on where it was.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from namespaces import blobs
from namespaces.durations import parse_duration
from namespaces.errors import LannerError, NotFound
from namespaces.expressions import truthy
from namespaces.flows.model import Task, WorkingDirectory
from namespaces.masking import Masker
from runner.context import task_roots
from runner.engine import outcomes, retries
from runner.engine.events import BlockFinished, ChildResult
from runner.engine.naming import task_run_id
from runner.engine.states import State
from runner.engine.values import Attempt, TaskRun
from runner.plugin import Metric
from runner.tasks import files
from runner.tasks.globs import output_matcher
from runner.worker.properties import rendered_text_list
from runner.worker.reporter import Claim
from runner.worker.running import Running, Seen
from runner.worker.supervisor import Script, remove_folder

if TYPE_CHECKING:
    from runner.worker.attempt import AttemptRunner, Outcome
    from runner.worker.live import Live

_STATE_FILE = "block.json"
Tries = tuple[tuple[State, datetime, datetime], ...]


@dataclass(slots=True)
class BlockState:
    """What is known of a block's progress; kept in ``block.json`` of its folder."""

    folder: Path
    task_run_id: str
    epoch: int
    done: list[ChildResult] = field(default_factory=list)
    child: tuple[str, int] | None = None
    """Task run id and epoch of the child at work."""
    child_started: datetime | None = None
    tries: Tries = ()

    def save(self) -> None:
        data = {
            "task_run_id": self.task_run_id,
            "epoch": self.epoch,
            "done": [_child_to_json(child) for child in self.done],
            "child": self.child,
            "child_started": self.child_started.isoformat() if self.child_started else None,
            "tries": [[state.value, begun.isoformat(), ended.isoformat()] for state, begun, ended in self.tries],
        }
        temporary = self.folder / (_STATE_FILE + ".tmp")
        temporary.write_text(json.dumps(data, default=str))
        os.rename(temporary, self.folder / _STATE_FILE)

    def discard(self) -> None:
        remove_folder(self.folder)


def left_behind(root: Path) -> Iterator[BlockState]:
    """The blocks that an earlier process was at work on."""
    for path in sorted(root.glob(f"*/{_STATE_FILE}")) if root.is_dir() else ():
        if path.parent.name.startswith("."):
            continue
        data = json.loads(path.read_bytes())
        yield BlockState(
            folder=path.parent,
            task_run_id=data["task_run_id"],
            epoch=data["epoch"],
            done=[_child_from_json(child) for child in data["done"]],
            child=(data["child"][0], data["child"][1]) if data["child"] else None,
            child_started=datetime.fromisoformat(data["child_started"]) if data["child_started"] else None,
            tries=_tries(data["tries"]),
        )


def _tries(data: Any) -> Tries:
    return tuple((State(s), datetime.fromisoformat(b), datetime.fromisoformat(e)) for s, b, e in data)


def _child_to_json(child: ChildResult) -> dict[str, Any]:
    return {
        "task_id": child.task_id,
        "state": child.state.value,
        "started_at": child.started_at.isoformat(),
        "ended_at": child.ended_at.isoformat(),
        "attempts": [[state.value, begun.isoformat(), ended.isoformat()] for state, begun, ended in child.attempts],
        "outputs": child.outputs,
        "error": child.error,
        "info": dict(child.info),
    }


def _child_from_json(data: Mapping[str, Any]) -> ChildResult:
    return ChildResult(
        task_id=data["task_id"],
        state=State(data["state"]),
        started_at=datetime.fromisoformat(data["started_at"]),
        ended_at=datetime.fromisoformat(data["ended_at"]),
        attempts=_tries(data["attempts"]),
        outputs=data["outputs"],
        error=data["error"],
        info=data["info"],
    )


class _Outputs(Mapping[str, Any]):
    """The root ``outputs`` inside a block: what its children gave so far, before what was there already."""

    def __init__(self, base: Mapping[str, Any], own: Mapping[str, Any]) -> None:
        self._base = base
        self._own = own

    def __getitem__(self, task_id: str) -> Any:
        return self._own[task_id] if task_id in self._own else self._base[task_id]

    def __iter__(self) -> Iterator[str]:
        yield from self._own
        yield from (task_id for task_id in self._base if task_id not in self._own)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def run_block(
    runner: AttemptRunner,
    live: Live,
    began: datetime,
    adopted: Script | None = None,
    left: BlockState | None = None,
) -> None:
    """Carry a WorkingDirectory out to its report."""
    _Block(runner, live, began, left).carry_out(adopted)


class _Block:
    def __init__(self, runner: AttemptRunner, live: Live, began: datetime, left: BlockState | None) -> None:
        assert isinstance(live.claim.task, WorkingDirectory)
        self.runner = runner
        self.services = runner.services
        self.live = live
        self.claim = live.claim
        self.task = live.claim.task
        self.began = began
        self.resumed = left is not None
        folder = self.services.spawner.folder(self.claim.task_run.id, self.claim.epoch)
        self.state = left or BlockState(folder, self.claim.task_run.id, self.claim.epoch)
        self.folder = folder / "work"
        self.masker = Masker(self.claim.secrets)
        self.sink = runner.sink(self.claim, self.masker)
        self.metrics: list[Metric] = []
        self.outputs: dict[str, Any] = {}
        self.spent: list[Running] = []
        """Tries that have ended; their spools go once their results are in ``block.json``."""
        enclosing = reversed((self.claim.task_run, *self.claim.ancestors))
        self.values = [run.value for run in enclosing if run.value is not None]

    def carry_out(self, adopted: Script | None) -> None:
        own = State.SUCCESS
        error: str | None = None
        outputs: dict[str, Any] | None = None
        try:
            context = self.runner.running(self.live, self.claim, self.sink, self.masker, self.folder)
            context.offer(workingDir=str(self.folder))
            if not self.resumed:
                self.folder.mkdir(mode=0o700, exist_ok=True)
                self.state.save()
                self.prepare(context)
            for child in self.state.done:
                self.remember(child)
            try:
                self.children(context, adopted)
            finally:
                outputs = self.collect(context)
            _Cache(context, self.task.properties.get("cache")).keep(self.folder)
            if self.live.killed:
                own = State.KILLED
        except Exception as failure:  # noqa: BLE001 - the end of this block only
            own = State.KILLED if self.live.killed else State.FAILED
            if not self.live.killed:
                error = self.runner.failed(self.sink, self.masker, failure).error
        self.runner.drain(self.sink)
        if self.live.first_to_report() and not self.handed_back(own):
            event = BlockFinished(
                at=self.services.clock.now(),
                task_run_id=self.claim.task_run.id,
                epoch=self.claim.epoch,
                children=tuple(self.state.done),
                state=own,
                started_at=self.began,
                outputs=outputs,
                error=error,
                info={"workerId": self.runner.worker_id},
            )
            self.runner.deliver(self.claim, event, tuple(self.metrics))
        while self.spent:
            self.spent.pop().clean_up()
        remove_folder(self.state.folder)

    def handed_back(self, own: State) -> bool:
        """Whether it ended for its worker's sake, which is told instead of an end."""
        if not self.live.given_back or own is not State.KILLED:
            return False
        self.runner.deliver_lost(self.claim, "its worker was stopped")
        return True

    def prepare(self, context: Running) -> None:
        written = self.task.properties
        _Cache(context, written.get("cache")).restore(self.folder)
        files.place_namespace_files(context, context.render(written.get("namespaceFiles")), self.folder)
        wanted = context.render(written.get("inputFiles"))
        if isinstance(wanted, str) and wanted:
            wanted = json.loads(wanted)
        files.place_input_files(context, wanted, self.folder)

    def collect(self, context: Running) -> dict[str, Any] | None:
        if self.task.properties.get("outputFiles") is None:
            return None
        patterns = rendered_text_list("outputFiles", context.render(self.task.properties["outputFiles"]))
        return {"outputFiles": files.collect(context, patterns, self.folder)}

    # -- children --------------------------------------------------------------------------------------------------

    def children(self, context: Running, adopted: Script | None) -> None:
        finished = {child.task_id for child in self.state.done}
        if any(child.state in outcomes.STOPPING for child in self.state.done):
            return
        for task in self.task.tasks:
            if task.disabled or task.id in finished:
                continue
            if self.live.killed:
                return
            result = self.child(context, task, adopted)
            adopted = None
            self.state.done.append(result)
            self.state.child, self.state.child_started, self.state.tries = None, None, ()
            self.save()
            self.remember(result)
            if result.state in outcomes.STOPPING:
                return

    def save(self) -> None:
        self.state.save()
        while self.spent:
            self.spent.pop().clean_up()

    def remember(self, child: ChildResult) -> None:
        if child.outputs is not None:
            nested: Any = child.outputs
            for value in reversed(self.values):
                nested = {value: nested}
            self.outputs[child.task_id] = nested

    def child(self, context: Running, task: Task, adopted: Script | None) -> ChildResult:
        started = self.state.child_started or self.services.clock.now()
        run_id = task_run_id(context.execution_id, task.id, self.claim.task_run.id, self.claim.epoch)
        self.state.child_started = started
        tries = self.state.tries
        source = task.retry or self.task.retry or self.claim.flow.retry
        while True:
            begun = self.services.clock.now()
            self.state.child = (run_id, len(tries) + self.claim.epoch * 1000)
            self.state.tries = tries
            self.save()
            outcome, running = self.attempt(context, task, run_id, tries, begun, adopted)
            adopted = None
            if outcome.state is State.SKIPPED:
                return ChildResult(task_id=task.id, state=State.SKIPPED, started_at=started, ended_at=begun)
            ended = self.services.clock.now()
            tries = (*tries, (outcome.state, begun, ended))
            decision = None
            if outcome.state is State.FAILED and source is not None and not self.live.killed:
                decision = retries.next_try(source, len(tries), tries[0][1], ended)
            if decision is None:
                break
            wait = (decision.due - ended) + random.random() * decision.spread  # noqa: S311 - spreads load, no secret
            if self.live.cancelled.wait(max(0.0, wait.total_seconds())):
                break
        if running is not None:
            self.metrics.extend(running.metrics)
        return ChildResult(
            task_id=task.id,
            state=outcomes.of_attempt(task, outcome.state, len(tries), source),
            started_at=started,
            ended_at=ended,
            attempts=tries,
            outputs=outcome.outputs,
            error=outcome.error,
            info=outcome.info,
        )

    def attempt(
        self, context: Running, task: Task, run_id: str, tries: Tries, begun: datetime, adopted: Script | None
    ) -> tuple[Outcome, Running | None]:
        from runner.worker.attempt import Outcome

        number, epoch = len(tries), len(tries) + self.claim.epoch * 1000
        made = tuple(Attempt(number=n, state=s, started_at=b, ended_at=e) for n, (s, b, e) in enumerate(tries))
        run = TaskRun(id=run_id, task_id=task.id, parent_id=self.claim.task_run.id, epoch=epoch, attempts=made)
        claim = replace(
            self.claim,
            task=task,
            task_run=run,
            epoch=epoch,
            attempt=number,
            ancestors=(self.claim.task_run, *self.claim.ancestors),
        )
        sink = self.runner.sink(claim, self.masker)
        running: Running | None = None
        try:
            running = self.runner.running(self.live, claim, sink, self.masker, self.folder, self.seen(context, claim))
            running.block = True
            if adopted is None and task.run_if is not None and not truthy(running.render(task.run_if)):
                return Outcome(state=State.SKIPPED), None
            outcome = self.runner.perform(self.live, running, adopted)
            if task.log_to_file:
                outcome = replace(outcome, info={**outcome.info, "logFile": self.runner.keep_log(running)})
        except LannerError as error:
            outcome = self.runner.failed(sink, self.masker, error)
        finally:
            self.runner.drain(sink)
            if running is not None:
                self.spent.append(running)
        return outcome, running

    def seen(self, context: Running, claim: Claim) -> Seen:
        """What a child's expressions see: the block's view, its own place, what its siblings gave."""
        base = context.seen
        variables = {
            **{name: value for name, value in base.variables.items() if name != "parent"},
            **task_roots(claim.task, claim.task_run, claim.ancestors, self.services.clock.now()),
            "outputs": _Outputs(base.variables.get("outputs") or {}, self.outputs),
            "workingDir": str(self.folder),
        }
        return replace(base, variables=variables)


class _Cache:
    """The zip of files that a WorkingDirectory keeps between runs."""

    def __init__(self, context: Running, written: Any) -> None:
        self._context = context
        self._wanted = written if isinstance(written, Mapping) else None

    @property
    def _path(self) -> str:
        context = self._context
        return blobs.cache_file(context.flow.namespace, context.flow.id, context.task.id, context.claim.task_run.value)

    def _matching(self, folder: Path) -> dict[str, Path]:
        assert self._wanted is not None
        patterns = rendered_text_list("cache.patterns", self._context.render(self._wanted.get("patterns")))
        matches = output_matcher(patterns, str(folder))
        found = {path: folder / path for path in files.walk(folder) if matches(path)}
        return {name: path for name, path in found.items() if not path.is_symlink()}

    def restore(self, folder: Path) -> None:
        """Unpack what an earlier run kept, unless it is too old."""
        if self._wanted is None:
            return
        try:
            with self._context.services.storage.open(self._path) as file, zipfile.ZipFile(file) as archive:
                made = datetime.fromisoformat(archive.comment.decode())
                ttl = self._wanted.get("ttl")
                if ttl is not None and self._context.services.clock.now() - made > parse_duration(ttl):
                    self._context.log("DEBUG", "the cache is older than its ttl and is not used")
                    return
                for name in archive.namelist():
                    target = files.inside(folder, name)
                    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                    with archive.open(name) as source, target.open("wb") as out:
                        shutil.copyfileobj(source, out, 1 << 20)
                    mode = archive.getinfo(name).external_attr >> 16
                    if mode:
                        target.chmod(mode & 0o777)
        except NotFound:
            return
        except (zipfile.BadZipFile, ValueError) as error:
            self._context.log("WARN", f"the cache cannot be read and is not used: {error}")

    def keep(self, folder: Path) -> None:
        """Write the zip anew when a matching file came or changed."""
        if self._wanted is None:
            return
        found = self._matching(folder)
        if not found or not self._changed(found):
            return
        bundle = self._context.home / "cache.zip"
        with zipfile.ZipFile(bundle, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.comment = self._context.services.clock.now().isoformat().encode()
            for name, path in found.items():
                archive.write(path, name)
        self._context.services.storage.put(self._path, bundle)

    def _changed(self, found: Mapping[str, Path]) -> bool:
        try:
            with self._context.services.storage.open(self._path) as file, zipfile.ZipFile(file) as archive:
                kept = {info.filename: (info.file_size, info.CRC) for info in archive.infolist()}
        except (NotFound, zipfile.BadZipFile):
            return True
        return any(kept.get(name) != (path.stat().st_size, _checksum(path)) for name, path in found.items())


def _checksum(path: Path) -> int:
    import zlib

    value = 0
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            value = zlib.crc32(chunk, value)
    return value
