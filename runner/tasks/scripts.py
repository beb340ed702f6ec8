"""Script tasks: shell, python, node and the other languages, as Script (one text) or Commands (lines of a shell).

Files are handled in ``files``, the process in ``runner.worker.supervisor``; which runner, in ``taskrunners.choice``.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from namespaces import crash
from namespaces.flows.types.tasks_scripts import BY_LANGUAGE
from runner.plugin import Output, RunFailed
from runner.tasks import Implementation, files, python_packages
from runner.tasks.languages import DEFAULT_INTERPRETER, LANGUAGES, Language, fail_fast_line, interpreter, program
from runner.tasks.protocol import Reading
from runner.tasks.python_head import with_head
from runner.tasks.python_packages import may_be_kept
from runner.worker.loglines import FLUSH_S
from runner.worker.running import Running
from runner.worker.supervisor import Script, ScriptResult, ScriptSpec
from runner.worker.taskrunners import containers
from runner.worker.taskrunners.choice import DOCKER, Choice, choose

if TYPE_CHECKING:
    from namespaces.flows.types.tasks_scripts import PythonCommands, PythonScript, ScriptProperties

LONGEST_ARGUMENT = 100_000
"""Bytes of one argument that Linux surely takes (its limit is 128 KiB); longer texts go through a file."""

_READY_BELOW = 4_000
"""Lines that may wait for the database before the spool is read on: what is read at once still fits behind them."""

_NOTED_AFTER_S = 1.0

_CONTEXT_FILE = ".kestra-execution-context.json"
_CONTEXT_ROOTS = ("inputs", "outputs", "vars", "labels", "trigger", "flow", "execution", "task", "taskrun")


def prepare(context: Running) -> None:
    """Offer the variables that only scripts have, before anything is rendered."""
    folder = context.working_dir
    written = context.task.properties
    context.offer(workingDir=str(folder))
    if written.get("outputDirectory") is True:
        out = context.home / "out"
        out.mkdir(mode=0o700, exist_ok=True)
        context.offer(outputDir=str(out))
    named = written.get("outputFiles")
    if isinstance(named, list):
        context.offer(outputFiles={name: str(folder / name) for name in named if isinstance(name, str)})


class _Preparation:
    """One script on its way from properties to a process."""

    def __init__(self, context: Running, task: ScriptProperties, *, contained: bool) -> None:
        self.context = context
        self.contained = contained
        """In a container: programs and their places are the image's, not this host's."""
        self.task = task
        self.language_name = type(task).language
        self.language: Language = LANGUAGES[self.language_name]
        self.folder = context.working_dir
        self.helpers: list[str] = []
        """Files in the working folder that are ours, not the script's."""

    def argv_and_env(self) -> tuple[list[str], dict[str, str]]:
        env = self.environment()
        shell = interpreter(self.language_name, self.task.interpreter)
        before = [self.localised(line) for line in self.task.before_commands or ()]
        script = getattr(self.task, "script", None)
        if script is None:
            commands = [self.localised(line) for line in getattr(self.task, "commands", ())]
            argv = self.through_shell(shell, [*self.dependencies(env), *before, *commands])
        elif not self.language.command:
            argv = self.through_shell(shell, [*before, self.localised(script)])
        else:
            command = list(self.language.command)
            if not self.contained:
                command[0] = program(self.language, env["PATH"])
            file = self.script_file(self.localised(script))
            before = [*self.dependencies(env), *before]
            plain = not before and tuple(shell) == DEFAULT_INTERPRETER
            argv = [*command, file] if plain else self.through_shell(shell, [*before, _quoted([*command, file])])
        self.write_context([script or "", *argv])
        return argv, env

    def through_shell(self, shell: list[str], lines: list[str]) -> list[str]:
        """One shell process for all lines. Secrets go by file: everybody on this machine may read arguments."""
        text = "\n".join([*([fail_fast_line(shell)] if self.task.fail_fast else []), *lines])
        takes_file = shell[-1] in ("-c", "-Command")
        secret = takes_file and any(secret in text for secret in self.context.masker.secrets)
        if len(text.encode()) < LONGEST_ARGUMENT and not secret:
            return [*shell, text]
        if not takes_file:
            raise RunFailed(f"the commands are longer than {LONGEST_ARGUMENT} bytes", code="script_too_long")
        return [*shell[:-1], self.helper_file(LANGUAGES["shell"].extension, text)]

    def script_file(self, text: str) -> str:
        """Beside the files it may import: in the working folder, hidden, gone before outputs are collected."""
        return self.helper_file(
            self.language.extension, with_head(self.language.head, text) if self.language.head else text
        )

    def helper_file(self, extension: str, text: str) -> str:
        name = f".{self.context.task.id}{extension}"
        (self.folder / name).write_text(text, encoding="utf-8")
        self.helpers.append(name)
        return str(self.folder / name)

    def localised(self, text: str) -> str:
        return files.fetch_uris(self.context, text, self.context.home / "fetched")

    def dependencies(self, env: dict[str, str]) -> list[str]:
        """Lines that install Python requirements, or find them installed, in front of ``PYTHONPATH``."""
        wanted = getattr(self.task, "dependencies", None)
        if not wanted:
            return []
        target = self.context.home / "packages"
        env["PYTHONPATH"] = f"{target}{os.pathsep}{env['PYTHONPATH']}" if env.get("PYTHONPATH") else str(target)
        if self.contained:
            target.mkdir(mode=0o700, exist_ok=True)
            return [_quoted([self.language.command[0], *_pip(target), *wanted])]
        python = program(self.language, env["PATH"])
        task = cast("PythonScript | PythonCommands", self.task)
        uv = shutil.which("uv", path=env["PATH"]) if task.package_manager == "UV" else None
        if uv:
            install = [uv, "pip", "install", "--quiet", "--python", python, "--target", str(target), *wanted]
        else:
            install = [python, *_pip(target), *wanted]
        spawner = self.context.services.spawner
        files_here = any(os.path.exists(self.folder / name) for name in wanted)
        if task.dependency_cache_enabled and spawner.user is None and not files_here and may_be_kept(wanted):
            cache = spawner.root.parent.absolute() / "packages"
            key = python_packages.key_of("uv" if uv else "pip", wanted, env)
            install = [python, "-I", python_packages.__file__, str(cache), str(target), key, *install]
        return [_quoted(install)]

    def environment(self) -> dict[str, str]:
        """What the script inherits: never the server's own environment (``reliability.md`` S17)."""
        context = self.context
        temporary = context.home / "tmp"
        temporary.mkdir(mode=0o700, exist_ok=True)
        inherited = {name: os.environ[name] for name in context.services.settings.inherit_env if name in os.environ}
        host = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": os.environ.get("HOME", "/"),
            "LANG": os.environ.get("LANG", "C.UTF-8"),
        }
        if self.contained:
            inherited = {name: value for name, value in inherited.items() if name not in host}
            host = {}
        env = {
            **host,
            "TMPDIR": str(temporary),
            "WORKING_DIR": str(self.folder),
            **({"TZ": os.environ["TZ"]} if "TZ" in os.environ else {}),
            **inherited,
            **self.language.env,
        }
        out = context.variables.get("outputDir")
        if isinstance(out, str):
            env["OUTPUT_DIR"] = out
        for name, value in (self.task.env or {}).items():
            if value is not None:
                env[str(name)] = value if isinstance(value, str) else json.dumps(value)
        env.update(
            LANNER_IDEMPOTENCY_KEY=context.task_run_id,
            LANNER_TASKRUN_ID=context.task_run_id,
            LANNER_ATTEMPT=str(context.attempt),
            LANNER_EPOCH=str(context.epoch),
        )
        for name, value in env.items():
            if "\0" in value or "\0" in name or "=" in name or not name:
                raise RunFailed(f"environment variable {name!r} has a name or value that no process can get")
        return env

    def write_context(self, texts: Sequence[str]) -> None:
        """What ``from kestra import context`` reads; left out when nothing here can want it.

        It holds the outputs of every task before this one, each of them a read: a long sequence must not pay for them.
        """
        if not any("kestra" in text for text in texts) and set(os.listdir(self.folder)) <= set(self.helpers):
            return
        from namespaces.expressions import to_json

        variables = self.context.variables
        content = {root: variables[root] for root in _CONTEXT_ROOTS if root in variables}
        (self.folder / _CONTEXT_FILE).write_text(to_json(content), encoding="utf-8")
        self.helpers.append(_CONTEXT_FILE)


def run(context: Running, task: ScriptProperties) -> Output:
    """Prepare, run and collect one script."""
    older = context.render(task.docker) if task.docker else None
    image = task.container_image or (older or {}).get("image")
    choice = choose(task.task_runner, task.runner, image, context.services.settings, older)
    contained = choice.type == DOCKER
    if contained:
        image = image or type(task).image
        options = containers.read_options(task.task_runner or older)
        containers.check_allowed(context, options)
    _announce(context, choice, image)
    folder = context.working_dir
    files.place_namespace_files(context, task.namespace_files, folder)
    files.place_input_files(context, task.input_files, folder)
    preparation = _Preparation(context, task, contained=contained)
    argv, env = preparation.argv_and_env()
    ran: dict[str, Any] = {"type": choice.type, "reason": choice.reason}
    if contained:
        argv, env = containers.client_of(context, choice, options, str(image), argv, env)
        ran.update(engine=choice.engine, image=image)
    after = {
        "patterns": list(task.output_files or ()),
        "folder": str(folder),
        "helpers": preparation.helpers,
        "outputDir": context.variables.get("outputDir"),
        "runner": ran,
        "secrets": sorted(context.masker.secrets),
        "block": context.block,
    }
    spec = ScriptSpec(
        task_run_id=context.task_run_id,
        epoch=context.epoch,
        argv=argv,
        env=env,
        cwd=folder,
        timeout_s=context.timeout_s,
        after=after,
    )
    with context.services.slots.hold(context.flow.namespace, context.cancelled):
        script = context.services.spawner.spawn(spec)
        context.attach(script)
        crash.reach("spawn.after_register")
        return _finish(context, script, after)


def take_over(context: Running, script: Script) -> Output:
    """Go on with a script that an earlier process of this worker has started."""
    after = script.spec["after"]
    context.masker.add(after["secrets"])
    context.attach(script)
    return _finish(context, script, after)


def _announce(context: Running, choice: Choice, image: str | None) -> None:
    name = choice.type.rpartition(".")[2]
    if choice.warn:
        context.log("WARN", f"containerImage {image} is ignored: {name} task runner, {choice.reason}")
    else:
        where = f", image {image}" if choice.engine else ""
        context.log("DEBUG", f"{name} task runner: {choice.reason}{where}")


def _finish(context: Running, script: Script, after: Mapping[str, Any]) -> Output:
    """Follow the script to its end and turn what it left into outputs."""
    logs = context.logs
    reading = Reading(logs.add)
    logs.by_hand()
    begun = flushed = time.monotonic()
    noted = False

    def idle() -> bool:
        """Pass lines on about every 0.1 s; note the runner once the script is no short one.

        The claim made the attempt RUNNING, and its end brings the same details: a short script needs no commit
        in between.
        """
        nonlocal noted, flushed
        now = time.monotonic()
        if logs.backlog and now - flushed >= FLUSH_S:
            logs.flush()
            flushed = now
        if not noted and now - begun >= _NOTED_AFTER_S:
            noted = True
            context.note({"taskRunner": after["runner"]})
        return not noted or logs.backlog > 0

    script.follow(reading.frames, idle, ready=lambda: logs.backlog < _READY_BELOW)
    result = script.result()
    context.metrics.extend(reading.metrics)
    engine = after["runner"].get("engine")
    info: dict[str, Any] = {"taskRunner": after["runner"], "isolation": "container" if engine else result.isolation}
    if engine and (result.reason != "exit" or result.signal):
        containers.remove_left(engine, script.folder)
    if result.code is not None:
        info["exitCode"] = result.code
    context.info.update(info)
    outputs: dict[str, Any] = {"vars": reading.variables, "exitCode": result.code, "outputFiles": {}}
    for limit in (*result.met, _LIMITS.get(result.reason, "")):
        context.services.limits.hits.note(limit)
    if result.reason == "lost":
        raise RunFailed(
            "the supervisor of this script was killed from outside" + (f": {result.error}" if result.error else ""),
            code="supervisor_lost",
        )
    for name in after["helpers"]:
        (Path(after["folder"]) / name).unlink(missing_ok=True)
    try:
        outputs["outputFiles"] = _collected(context, after)
    except RunFailed as error:
        error.outputs = outputs
        raise
    if result.reason == "exit" and engine and (failed := containers.failure(script.folder)):
        context.services.limits.hits.note(_LIMITS["oom"] if failed[0] == "script_oom" else "")
        raise RunFailed(failed[1], outputs=outputs, code=failed[0])
    _raise_for(result, outputs)
    return Output(values=outputs)


def _collected(context: Running, after: Mapping[str, Any]) -> dict[str, str]:
    folder = Path(after["folder"])
    if not folder.is_dir():
        return {}
    kept = files.collect(context, after["patterns"], folder)
    if after.get("outputDir"):
        kept.update(files.collect_folder(context, Path(after["outputDir"])))
    return kept


_LIMITS = {
    "oom": "attempt_memory_bytes",
    "cpu": "attempt_cpu",
    "pids": "attempt_processes",
    "fsize": "attempt_file_bytes",
}
_REASONS = {
    "oom": "killed: out of memory (oom)",
    "cpu": "killed: more processor time than allowed (cpu)",
    "pids": "killed: more processes than allowed (pids)",
    "fsize": "killed: it wrote a file larger than allowed (fsize)",
    "killed": "killed",
    "abandoned": "killed: its worker was away for too long",
}


def _raise_for(result: ScriptResult, outputs: Mapping[str, Any]) -> None:
    match result.reason:
        case "exit":
            if result.code:
                raise RunFailed(f"Command failed with exit code {result.code}", outputs=outputs)
        case "start_failed":
            raise RunFailed(result.error or "the process could not be started", outputs=outputs, code="not_started")
        case "timeout":
            raise RunFailed("timeout", outputs=outputs, code="timeout")
        case reason:
            raise RunFailed(_REASONS[reason], outputs=outputs, code=f"script_{reason}")


def _pip(target: Path) -> list[str]:
    return ["-m", "pip", "install", "--quiet", "--target", str(target)]


def _quoted(words: Sequence[str]) -> str:
    import shlex

    return shlex.join(words)


_IMPLEMENTATION = Implementation(run=run, prepare=prepare)
TASKS = {kind.type_name: _IMPLEMENTATION for pair in BY_LANGUAGE.values() for kind in pair}
