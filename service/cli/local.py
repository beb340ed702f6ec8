"""Runs one flow file in a temporary instance of this process and shows what happens while it happens.

The instance is the real one (database, engine, workers), only its folder is thrown away at the end.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from namespaces.errors import LannerError, NotFound, Severity
from service.cli.checking import text_line
from service.cli.executions import log_line, pairs
from service.cli.output import console, fail, note, print_json

if TYPE_CHECKING:
    from rich.live import Live

    from service.wiring import Lanner

ROLES = frozenset({"executor", "worker"})
TICK_S = 0.1
KILL_GRACE_S = 10.0


def run_file(
    file: Path,
    inputs: Sequence[str] = (),
    files: Sequence[str] = (),
    *,
    others: Sequence[Path] = (),
    resume: Sequence[str] = (),
    quiet: bool = False,
    as_json: bool = False,
) -> str:
    """Run the flow to its end, or to a pause that nothing here answers; returns the end state.

    Raises ``LannerError`` before anything runs: a file that is missing or has errors, inputs that do not fit.
    """
    with LocalInstance() as instance:
        execution = instance.run(file, inputs, files, others=others, resume=resume, quiet=quiet or as_json)
    state = str(execution["state"]["current"])
    if as_json:
        print_json(execution)
    elif execution.get("outputs"):
        print_json(execution["outputs"])
    return state


class LocalInstance:
    """A whole Lanner in a folder that is gone afterwards; use as a context manager."""

    def __enter__(self) -> LocalInstance:
        with ExitStack() as held:
            folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="lanner-run-")))
            self.lanner = _instance(folder)
            held.callback(self.lanner.close)
            self.lanner.start()
            # Called in reverse order: stop before close.
            held.callback(self.lanner.stop, drain_s=0, kill=True)
            self._held = held.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def run(
        self,
        file: Path,
        inputs: Sequence[str] = (),
        files: Sequence[str] = (),
        *,
        others: Sequence[Path] = (),
        resume: Sequence[str] = (),
        quiet: bool = True,
    ) -> dict[str, Any]:
        """The execution of the flow file, in its JSON shape, once it has ended or waits for an answer."""
        from namespaces.conversions import Upload
        from runner.starting import StartRequest

        given: dict[str, Any] = dict(pairs(list(inputs), "--input"))
        answers = dict(pairs(list(resume), "--resume"))
        for name, path in pairs(list(files), "--file"):
            source = Path(path)
            if not source.is_file():
                raise NotFound(f"the file {path} cannot be read")
            given[name] = Upload(filename=source.name, size=source.stat().st_size, source=source)
        for other in others:
            self._register(other)
        namespace, flow_id = self._register(file)
        executions = self.lanner.executions
        started = executions.start(StartRequest(namespace=namespace, flow_id=flow_id, inputs=given))
        try:
            return _View(self.lanner, started.execution_id, quiet=quiet, answers=answers).follow()
        except KeyboardInterrupt:
            note("killing the execution; Ctrl+C again leaves at once")
            executions.kill(started.execution_id)
            executions.wait(started.execution_id, timeout_s=KILL_GRACE_S)
            raise

    def _register(self, file: Path) -> tuple[str, str]:
        """Save the flow of a file; findings are printed with the file's name. Raises when it has errors."""
        from namespaces import revisions

        text = _text(file)
        registry = self.lanner.registry
        reading = registry.read(text)
        findings = [problem.at_file(str(file)) for problem in reading.problems]
        for problem in findings:
            if problem.severity is not Severity.INFO:
                note(text_line(problem))
        if reading.flow is None:
            raise _Refused(file, sum(problem.severity is Severity.ERROR for problem in findings))
        namespace, flow_id = reading.flow.namespace, reading.flow.id
        if self.lanner.database.read(lambda connection: revisions.latest(connection, namespace, flow_id)) is None:
            registry.create(text)
        else:
            registry.update(namespace, flow_id, text)
        return namespace, flow_id


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise NotFound(f"{file} is not UTF-8 text") from error
    except OSError as error:
        raise NotFound(f"{file} cannot be read: {(error.strerror or 'error').lower()}") from error


def _instance(folder: Path) -> Lanner:
    """A whole instance in ``folder``, not started. The configuration of servers on this machine is not read."""
    from service.processes import ensure_schema
    from service.settings import load_settings
    from service.wiring import build

    environ = {key: value for key, value in os.environ.items() if not key.startswith("LANNER_") or "SECRET" in key}
    empty = folder / "lanner.yaml"
    empty.write_text("{}", encoding="utf-8")
    # Nothing is turned away for later: this process runs one person's flow and ends.
    alone = {"data_dir": folder, "auth.mode": "none", "limits.memory_bytes": "1TiB"}
    settings = load_settings(empty, alone, environ={})
    ensure_schema(settings)
    return build(settings, roles=ROLES, environ=environ)


class _Refused(LannerError):
    """The flow file has errors; they were printed line by line."""

    code = "invalid_flow"

    def __init__(self, file: Path, errors: int) -> None:
        super().__init__(f"{file} has {errors} {'error' if errors == 1 else 'errors'}, nothing was run")


class _View:
    """Log lines as they come and, on a terminal, the tree of task runs below them."""

    def __init__(self, lanner: Lanner, execution_id: str, *, quiet: bool, answers: Mapping[str, str]) -> None:
        self._lanner = lanner
        self._id = execution_id
        self._quiet = quiet
        self._answers = dict(answers)
        self._console = console(sys.stderr)
        self._after = 0

    def follow(self) -> dict[str, Any]:
        """Watch until the end; returns the execution in its JSON shape."""
        from rich.live import Live

        from service.cli.tree import tree

        if self._quiet or not self._console.is_terminal:
            execution = self._until_end(None)
            if not self._quiet:
                self._console.print(tree(execution))
            return execution
        with Live(console=self._console, auto_refresh=False, transient=False) as live:
            return self._until_end(live)

    def _until_end(self, live: Live | None) -> dict[str, Any]:
        from service.cli.tree import tree

        topic = f"execution:{self._id}"
        nudges = self._lanner.nudges
        while True:
            seen = nudges.seen(topic)
            execution = self._read()
            state = execution["state"]["current"]
            # Lines are read after the state: what an ended execution logged is all there.
            self._print_new_lines()
            if live is not None:
                live.update(tree(execution), refresh=True)
            if state in TERMINAL and self._settled(execution):
                return execution
            if state == "PAUSED" and not self._answer():
                return execution
            nudges.wait(topic, seen, TICK_S)

    def _read(self) -> dict[str, Any]:
        from runner import queries

        now = self._lanner.clock.now()
        found = self._lanner.database.read(lambda connection: queries.execution(connection, self._id, now=now))
        assert found is not None
        return found

    def _print_new_lines(self) -> None:
        from runner import queries_logs

        lines, self._after = self._lanner.database.read(
            lambda connection: queries_logs.log_lines(connection, self._id, after=self._after)
        )
        if not self._quiet:
            for line in lines:
                self._console.print(log_line(line), soft_wrap=True)

    def _settled(self, execution: Mapping[str, Any]) -> bool:
        """Tasks of ``afterExecution`` run after the end state is known: wait for them too."""
        return all(run["state"]["current"] in TERMINAL for run in execution.get("taskRunList") or ())

    def _has_timer(self) -> bool:
        """Whether the pause ends by itself."""
        import sqlalchemy as sa

        from runner.tables import TimerRow

        query = sa.select(sa.func.count()).where(TimerRow.execution_id == self._id)  # type: ignore[arg-type]
        return bool(self._lanner.database.read(lambda connection: connection.scalar(query)))

    def _answer(self) -> bool:
        """Resume a paused execution with ``--resume``; False when there is no answer and it would wait for ever."""
        if not self._answers:
            # A timer that is gone may have fired since the state was read: a short pause is over by now.
            if self._has_timer() or self._read()["state"]["current"] != "PAUSED":
                return True
            fail("the flow is paused and waits for an answer", "give it with --resume id=value, or run it on a server")
            return False
        self._lanner.executions.resume(self._id, inputs=self._answers, by="lanner run")
        self._answers.clear()
        return True


TERMINAL = {"SUCCESS", "WARNING", "FAILED", "KILLED", "CANCELLED", "RETRIED", "SKIPPED"}
