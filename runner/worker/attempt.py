"""One attempt from claim to report: context, time limit, properties, run, outcome. The same for every task type.

What a task type does is in ``runner.tasks``; how the result is recorded, behind ``Reporter``.
"""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import orjson

from namespaces import crash
from namespaces.errors import LannerError, Unavailable
from namespaces.flows.model import Task, WorkingDirectory
from namespaces.masking import Masker
from runner import tasks
from runner.engine.events import AttemptFinished, AttemptStarted, BlockFinished, Update
from runner.engine.states import State
from runner.logs import LogLine
from runner.plugin import Output, RunFailed
from runner.worker import caching
from runner.worker.limits import TEXT_INSTEAD, number_too_large
from runner.worker.live import Live
from runner.worker.loglines import FLUSH_S, LogSink, Origin
from runner.worker.pool import Key, Pool
from runner.worker.reporter import Claim, Reporter
from runner.worker.running import Running, Seen, Services
from runner.worker.supervisor import Script

if TYPE_CHECKING:
    from runner.worker.block import BlockState

log = logging.getLogger(__name__)

SUPERVISOR_LOST = "supervisor_lost"

ContextOf = Callable[[Claim], Seen]
T = TypeVar("T")
_LONGEST_PAUSE_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one task ended, before anybody is told."""

    state: State
    outputs: Mapping[str, Any] | None = None
    error: str | None = None
    update: Update | None = None
    info: Mapping[str, Any] = field(default_factory=dict)
    lost: bool = False
    """Nobody knows how it ended."""


class AttemptRunner:
    """Runs attempts, each in the thread that calls ``run``. Thread-safe."""

    def __init__(self, reporter: Reporter, context_of: ContextOf, services: Services, *, worker_id: str) -> None:
        self.reporter = reporter
        self.services = services
        self.worker_id = worker_id
        self.pool: Pool | None = None
        """Whose threads call ``run``: one whose attempt ends takes the execution's next one when nothing waits."""
        self._context_of = context_of
        self._live: dict[tuple[str, int], Live] = {}
        self._coming: dict[tuple[str, int], bool] = {}
        """Attempts being claimed; True: killed meanwhile."""
        self._next: dict[Key, bool] = {}
        """Attempts that may be taken with the end of another; True: killed meanwhile."""
        self._lock = threading.Lock()

    # -- from outside ----------------------------------------------------------------------------------------------

    def run(self, task_run_id: str, epoch: int) -> bool:
        """Claim this attempt and carry it out to its report. False when it was not there to be claimed."""
        key = (task_run_id, epoch)
        with self._lock:
            if key in self._live or key in self._coming:
                return False
            self._coming[key] = False
        try:
            claim = self.reporter.claim(task_run_id, epoch, self.worker_id)
            if claim is None:
                return False
            self._carry_out(claim)
            return True
        finally:
            with self._lock:
                self._coming.pop(key, None)

    def cancel(self, task_run_id: str, epoch: int) -> bool:
        """End this attempt; it reports its own end (KILLED, or how it ended by itself). False: it is not here."""
        key = (task_run_id, epoch)
        with self._lock:
            live = self._live.get(key)
            if live is None:
                found = [waiting for waiting in (self._coming, self._next) if key in waiting]
                for waiting in found:
                    waiting[key] = True
                return bool(found)
        live.killed = True
        live.interrupt()
        self._give_up_later(live)
        return True

    def give_back(self) -> None:
        """End every attempt here because this worker ends: ``onWorkerLost`` says what becomes of them."""
        for key in self.live():
            with self._lock:
                live = self._live.get(key)
            if live is not None:
                live.given_back = True
                self.cancel(*key)

    def live(self) -> list[tuple[str, int]]:
        """The attempts at work here."""
        return list(self._live)

    # -- one attempt -----------------------------------------------------------------------------------------------

    def _carry_out(self, claim: Claim, adopted: Script | None = None, left: BlockState | None = None) -> None:
        """The attempt, and those of its execution that this thread takes over with each end."""
        following = self._carry_out_one(claim, adopted, left)
        while following is not None:
            following = self._carry_out_one(following)

    def _carry_out_one(
        self, claim: Claim, adopted: Script | None = None, left: BlockState | None = None
    ) -> Claim | None:
        live = Live(claim)
        key = (claim.task_run.id, claim.epoch)
        with self._lock:
            self._live[key] = live
            live.killed = any([self._coming.pop(key, False), self._next.pop(key, False)])
        if live.killed:
            live.interrupt()
        began = self.services.clock.now()
        try:
            if isinstance(claim.task, WorkingDirectory):
                from runner.worker.block import run_block

                run_block(self, live, began, adopted, left)
                return None
            return self._carry_out_task(live, began, adopted)
        finally:
            with self._lock:
                self._live.pop(key, None)

    def _carry_out_task(self, live: Live, began: datetime, adopted: Script | None) -> Claim | None:
        claim = live.claim
        masker = Masker(claim.secrets)
        sink = self.sink(claim, masker)
        running: Running | None = None
        following: Claim | None = None
        try:
            try:
                running = self.running(live, claim, sink, masker)
            except LannerError as error:
                outcome = self.failed(sink, masker, error)
            else:
                if adopted is None:
                    self.announce(claim, began, running)
                outcome = self.perform(live, running, adopted)
            following = self._report(live, running, outcome, began, sink)
            return following
        finally:
            if running is not None and not (following and self._aside(claim, running.clean_up)):
                running.clean_up()

    def _aside(self, claim: Claim, call: Callable[[], None]) -> bool:
        """Have another thread do it, so that the next attempt need not wait; False: there is none."""
        key = (f"clean up {claim.task_run.id}", claim.epoch)
        return self.pool is not None and self.pool.submit(key, call)

    def announce(self, claim: Claim, began: datetime, running: Running) -> None:
        """Arrange for what becomes known of a running script to be noted on the attempt."""

        def note(info: Mapping[str, Any]) -> None:
            event = AttemptStarted(
                at=began, task_run_id=claim.task_run.id, epoch=claim.epoch, info={"workerId": self.worker_id, **info}
            )
            try:
                self.reporter.started(claim, event)
            except Unavailable as error:
                log.warning("the start of attempt %s could not be noted: %s", claim.task_run.id, error)

        running.note = note

    def sink(self, claim: Claim, masker: Masker, file: Path | None = None) -> LogSink:
        task = claim.task
        origin = Origin(
            namespace=claim.flow.namespace,
            flow_id=claim.flow.id,
            execution_id=claim.execution["id"],
            task_id=task.id,
            task_run_id=claim.task_run.id,
            attempt=claim.attempt,
        )
        services = self.services
        if task.log_to_file and file is None:
            file = services.spawner.folder(claim.task_run.id, claim.epoch) / "log.txt"
        return LogSink(
            origin,
            self.reporter.logs,
            masker,
            services.clock,
            services.limits,
            minimum=task.log_level,
            file=file,
            later=lambda flush: services.deadlines.after(FLUSH_S, flush),
        )

    def running(
        self,
        live: Live,
        claim: Claim,
        sink: LogSink,
        masker: Masker,
        folder: Path | None = None,
        seen: Seen | None = None,
    ) -> Running:
        """The context of a task. Raises ``LannerError`` when its variables cannot be had."""
        seen = seen or self._context_of(claim)
        masker.add(seen.secrets())
        return Running(self.services, claim, seen, sink, masker, live.cancelled, folder=folder)

    def seen(self, claim: Claim) -> Seen:
        return self._context_of(claim)

    def perform(self, live: Live, running: Running, adopted: Script | None = None) -> Outcome:
        """Run the task in this thread, under its time limit. Never raises for what the task does."""
        sink, masker = running.logs, running.masker
        if live.killed and adopted is None:
            return Outcome(state=State.KILLED)
        alarm = None
        live.running.append(running)
        running.run_nested = lambda task: self._run_nested(live, running, task)
        try:
            limit = running.read_time_limit()
            running.timeout_s = limit
            if limit is not None:
                alarm = self.services.deadlines.after(limit, lambda: self._time_is_up(live, running))
            output = self._run_implementation(running, adopted)
            return self._checked(live, running, output)
        except Exception as error:  # noqa: BLE001 - whatever a task raises is the end of that task only
            return self._after_error(live, running, error, sink, masker)
        finally:
            if alarm is not None:
                alarm.cancel()
            live.running.remove(running)

    def _run_implementation(self, running: Running, adopted: Script | None) -> Output:
        task = running.task
        task_type = self.services.task_type(task.type)
        implementation = tasks.find(task.type, task_type)
        if implementation is None:
            raise RunFailed(
                f"this worker cannot run the task type {task.type}",
                code="unknown_task_type",
                hint="install the plugin on the worker, or update it",
            )
        if adopted is not None:
            from runner.tasks.scripts import take_over

            return take_over(running, adopted)
        if implementation.prepare is not None:
            implementation.prepare(running)
        properties = running.properties(implementation, task_type)
        crash.reach("run.middle")
        if caching.wanted(running):
            return caching.run(self.reporter, running, implementation, properties)
        return implementation.run(running, properties)

    def _run_nested(self, live: Live, outer: Running, task: Task) -> Output:
        """Another task in this attempt's place: same task run, same log, same folder."""
        claim = replace(outer.claim, task=task)
        inner = self.running(live, claim, outer.logs, outer.masker, outer.working_dir, outer.seen)
        inner.metrics = outer.metrics
        inner.note = outer.note
        live.running.append(inner)
        try:
            return self._run_implementation(inner, None)
        finally:
            live.running.remove(inner)
            outer.info.update(inner.info)
            inner.hand_over(outer)

    def _checked(self, live: Live, running: Running, output: Output) -> Outcome:
        if live.timed_out:
            raise RunFailed(running.timeout_message())
        values = output.values
        if values:
            try:
                size = len(orjson.dumps(values, default=str, option=orjson.OPT_NON_STR_KEYS))
            except TypeError:
                problem = number_too_large(values)
                if problem is None:
                    raise
                raise RunFailed(problem, code="number_too_large", hint=TEXT_INSTEAD) from None
            if size > self.services.limits.outputs:
                self.services.limits.hits.note("output_bytes")
                raise RunFailed(
                    f"the outputs are {size} bytes, more than {self.services.limits.outputs}",
                    code="output_too_large",
                    hint="write a file and give its URI",
                )
        return Outcome(state=output.state, outputs=values, update=output.update, info={**running.info, **output.info})

    def _after_error(self, live: Live, running: Running, error: Exception, sink: LogSink, masker: Masker) -> Outcome:
        outputs = error.outputs if isinstance(error, RunFailed) else None
        info = {**running.info, **(error.info if isinstance(error, RunFailed) else {})}
        if live.killed:
            return Outcome(state=State.KILLED, outputs=outputs, info=info, error=None)
        if live.timed_out or getattr(error, "code", "") == "timeout":
            error = RunFailed(running.timeout_message(), outputs=outputs)
        failed = self.failed(sink, masker, error)
        state = error.state if isinstance(error, RunFailed) else State.FAILED
        lost = getattr(error, "code", "") == SUPERVISOR_LOST
        return replace(failed, state=state, outputs=outputs, info=info, lost=lost)

    def failed(self, sink: LogSink, masker: Masker, error: Exception) -> Outcome:
        """One clear line for the user; a traceback only in the server's own log, and only for bugs."""
        if isinstance(error, LannerError):
            text = str(error)
        else:
            log.error("a task raised %s", type(error).__name__, exc_info=error)
            text = f"{type(error).__name__}: {error}"
        text = masker.mask(text)
        sink.add("ERROR", text)
        hint = getattr(error, "hint", "")
        if hint and isinstance(error, RunFailed):
            sink.add("INFO", f"hint: {hint}")
        return Outcome(state=State.FAILED, error=text)

    # -- ends ------------------------------------------------------------------------------------------------------

    def _time_is_up(self, live: Live, running: Running) -> None:
        live.timed_out = True
        live.interrupt()
        self._give_up_later(live)

    def _give_up_later(self, live: Live) -> None:
        """A task that is no process cannot be forced: if it ignores its end, the attempt ends without it."""

        def give_up() -> None:
            if any(running.script is not None for running in live.running):
                return
            if isinstance(live.claim.task, WorkingDirectory) or not live.running:
                return
            running = live.running[0]
            log.warning("attempt %s ignores its end and is given up", live.claim.task_run.id)
            state = State.KILLED if live.killed else State.FAILED
            error = None if live.killed else running.timeout_message()
            if error is not None:
                running.logs.add("ERROR", error)
            running.logs.flush()
            self._report(live, None, Outcome(state=state, error=error), self.services.clock.now(), running.logs)

        self.services.deadlines.after(self.services.limits.unresponsive_s, give_up)

    def _report(
        self, live: Live, running: Running | None, outcome: Outcome, began: datetime, sink: LogSink
    ) -> Claim | None:
        """Say how it ended. Its last log lines go with the end, and the claim of what follows: one commit."""
        first = live.first_to_report()
        claim = live.claim
        lost = outcome.lost or (live.given_back and outcome.state is State.KILLED)
        if not first or lost or claim.task.log_to_file:
            self.drain(sink)
        if not first:
            return None
        if lost:
            gone = outcome.error or "its supervisor is gone"
            self.deliver_lost(claim, gone if outcome.lost else "its worker was stopped")
            return None
        info = {"workerId": self.worker_id, **outcome.info}
        if running is not None and claim.task.log_to_file:
            info["logFile"] = self.keep_log(running)
        event = AttemptFinished(
            at=self.services.clock.now(),
            task_run_id=claim.task_run.id,
            epoch=claim.epoch,
            state=outcome.state,
            started_at=began,
            outputs=outcome.outputs,
            error=outcome.error,
            update=outcome.update,
            info=info,
        )
        if running is None:
            self.deliver(claim, event, (), sink.last())
            return None
        return self.deliver(claim, event, tuple(running.metrics), sink.last(), go_on=True)

    def drain(self, sink: LogSink) -> None:
        """All lines are recorded before the end is, however long the database is away."""
        sink.close()
        pause = 0.1
        while sink.backlog:
            time.sleep(pause)
            pause = min(_LONGEST_PAUSE_S, pause * 2)
            sink.flush()

    def keep_log(self, running: Running) -> str | None:
        """Move the attempt's log file to internal storage; its URI."""
        file = running.home / "log.txt"
        if not file.exists():
            file.touch()
        return running.store(f"{running.task_run_id}-{running.attempt}.log", file)

    def deliver(
        self,
        claim: Claim,
        event: AttemptFinished | BlockFinished,
        metrics: tuple[Any, ...],
        lines: Sequence[LogLine] = (),
        *,
        go_on: bool = False,
    ) -> Claim | None:
        """Have the end recorded, however long the database is away: the spool keeps it meanwhile.

        With ``go_on`` the answer is the claim of the execution's next attempt, where this thread takes it.
        """
        crash.reach("result.after_spool")
        asked: list[Key] = []

        def take(task_run_id: str, epoch: int) -> bool:
            if self.pool is None or not self.pool.spare():
                return False
            asked.append((task_run_id, epoch))
            with self._lock:
                self._next[task_run_id, epoch] = False
            return True

        following = self._insist(
            claim, lambda: self.reporter.finished(claim, event, metrics, lines, take if go_on else None)
        )
        with self._lock:
            for key in asked:
                if following is None or key != (following.task_run.id, following.epoch):
                    self._next.pop(key, None)
        return following

    def deliver_lost(self, claim: Claim, reason: str) -> None:
        self._insist(claim, lambda: self.reporter.lost(claim, reason))

    def _insist(self, claim: Claim, call: Callable[[], T]) -> T:
        pause = 0.1
        while True:
            try:
                return call()
            except Unavailable as error:
                log.warning("the end of attempt %s cannot be recorded yet: %s", claim.task_run.id, error)
                time.sleep(pause)
                pause = min(_LONGEST_PAUSE_S, pause * 2)

    # -- adoption --------------------------------------------------------------------------------------------------

    def adopt(self) -> list[Callable[[], None]]:
        """Take over what an earlier process of this worker left in the spool; call before the first ``run``.

        Each returned function carries one attempt on to its report and wants a thread of its own. What nobody
        wants any more is ended and removed here.
        """
        from runner.worker import block

        scripts = self.services.spawner.adoptable()
        by_key = {script.key: script for script in scripts}
        work: list[Callable[[], None]] = []
        for state in block.left_behind(self.services.spawner.root):
            crash.reach("adopt.middle")
            child = by_key.pop(state.child, None) if state.child else None
            claim = self.reporter.adopted(state.task_run_id, state.epoch)
            if claim is None:
                if child is not None:
                    child.kill()
                state.discard()
            else:
                self._coming[state.task_run_id, state.epoch] = False
                work.append(functools.partial(self._carry_out, claim, child, state))
        for script in by_key.values():
            crash.reach("adopt.middle")
            claim = None if script.spec["after"].get("block") else self.reporter.adopted(*script.key)
            if claim is None:
                script.kill()
            else:
                self._coming[script.key] = False
                work.append(functools.partial(self._carry_out, claim, script))
        return work
