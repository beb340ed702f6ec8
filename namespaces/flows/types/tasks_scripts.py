"""Script task types and task runners (``flows.md`` 6): properties, outputs and default images only."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from namespaces.flows.types.fields import Part, TaskOutputs, TaskRunner
from namespaces.plugin import (
    Duration,
    Dynamic,
    DynamicBool,
    DynamicDuration,
    DynamicFloat,
    DynamicList,
    DynamicMap,
    DynamicText,
    RunnerType,
    TaskType,
)

SCRIPTS = "io.kestra.plugin.scripts."


class NamespaceFiles(Part):
    enabled: DynamicBool = True
    include: DynamicList | None = None
    exclude: DynamicList | None = None
    namespaces: DynamicList | None = None
    if_exists: Annotated[Literal["OVERWRITE", "FAIL", "WARN", "IGNORE"], Dynamic] = "OVERWRITE"
    folder_per_namespace: DynamicBool = False


class ScriptResult(TaskOutputs):
    vars: dict[str, Any]
    exit_code: int
    output_files: dict[str, str]
    task_runner: dict[str, Any] | None = None


class ScriptProperties(TaskType):
    """What all script tasks take."""

    outputs = ScriptResult
    language: ClassVar[str] = ""
    image: ClassVar[str] = ""

    task_runner: TaskRunner
    runner: Literal["PROCESS", "DOCKER"] | None = None
    docker: dict[str, Any] | None = None
    container_image: DynamicText | None = None
    before_commands: DynamicList | None = None
    interpreter: DynamicList | None = None
    fail_fast: DynamicBool = True
    env: DynamicMap | None = None
    warning_on_std_err: DynamicBool | None = None
    target_os: Annotated[Literal["AUTO", "LINUX", "WINDOWS"], Dynamic] = Field(default="AUTO", alias="targetOS")
    input_files: DynamicMap | None = None
    output_files: DynamicList | None = None
    output_directory: bool | None = None
    namespace_files: NamespaceFiles | None = None


class ScriptTask(ScriptProperties):
    """One inline text, written to a file and run by the language's interpreter."""

    script: DynamicText


class CommandsTask(ScriptProperties):
    """Shell lines, run in one shell."""

    commands: DynamicList


class _PythonProperties(ScriptProperties):
    dependencies: DynamicList | None = None
    python_version: DynamicText | None = None
    dependency_cache_enabled: DynamicBool = True
    package_manager: Annotated[Literal["UV", "PIP"], Dynamic] = "UV"


class PythonScript(_PythonProperties, ScriptTask):
    type_name = SCRIPTS + "python.Script"
    title = "Run a Python script."
    language = "python"
    image = "python:3.13-slim"


class PythonCommands(_PythonProperties, CommandsTask):
    type_name = SCRIPTS + "python.Commands"
    title = "Run commands where Python is."
    language = "python"
    image = "python:3.13-slim"


LANGUAGES: dict[str, tuple[str, str]] = {
    "shell": ("Shell", "ubuntu"),
    "node": ("Node.js", "node"),
    "powershell": ("PowerShell", "ghcr.io/kestra-io/powershell:latest"),
    "r": ("R", "r-base"),
    "ruby": ("Ruby", "ruby"),
    "julia": ("Julia", "julia"),
    "go": ("Go", "golang"),
    "php": ("PHP", "php"),
    "perl": ("Perl", "perl"),
    "lua": ("Lua", "nickblah/lua"),
    "bun": ("Bun", "oven/bun"),
    "deno": ("Deno", "denoland/deno"),
    "dotnet": (".NET", "mcr.microsoft.com/dotnet/sdk:10.0"),
    "groovy": ("Groovy", "groovy"),
    "jbang": ("JBang", "jbangdev/jbang-action"),
}
"""Language to title and default image; Python is above, because it takes more properties."""


def _declare(language: str, title: str, image: str) -> tuple[type[ScriptTask], type[CommandsTask]]:
    shared = {"__module__": __name__, "language": language, "image": image}
    name = language.capitalize()
    prefix = f"{SCRIPTS}{language}."
    script = type(
        name + "Script", (ScriptTask,), {**shared, "type_name": prefix + "Script", "title": f"Run a {title} script."}
    )
    commands = type(
        name + "Commands",
        (CommandsTask,),
        {**shared, "type_name": prefix + "Commands", "title": f"Run commands where {title} is."},
    )
    return script, commands


BY_LANGUAGE: dict[str, tuple[type[ScriptTask], type[CommandsTask]]] = {
    "python": (PythonScript, PythonCommands),
    **{language: _declare(language, *named) for language, named in LANGUAGES.items()},
}
"""Language to its Script and Commands types."""

TYPES: tuple[type[TaskType], ...] = tuple(task_type for pair in BY_LANGUAGE.values() for task_type in pair)


class Process(RunnerType):
    type_name = "io.kestra.plugin.core.runner.Process"
    aliases = ("io.kestra.core.models.tasks.runners.ProcessTaskRunner",)
    title = "Run as a process beside the worker."


class Cpu(Part):
    cpus: DynamicFloat | None = None


class Memory(Part):
    memory: DynamicText | None = None
    memory_swap: DynamicText | None = None
    memory_swappiness: DynamicText | None = None
    memory_reservation: DynamicText | None = None
    kernel_memory: DynamicText | None = None
    oom_kill_disable: DynamicBool | None = None


class Credentials(Part):
    registry: DynamicText | None = None
    username: DynamicText | None = None
    password: DynamicText | None = None
    registry_token: DynamicText | None = None
    identity_token: DynamicText | None = None
    auth: DynamicText | None = None


class Docker(RunnerType):
    type_name = "io.kestra.plugin.scripts.runner.docker.Docker"
    aliases = ("io.kestra.plugin.scripts.runner.docker.DockerTaskRunner",)
    title = "Run in a container."
    host: DynamicText | None = None
    config: Any = None
    credentials: Credentials | None = None
    user: DynamicText | None = None
    entry_point: DynamicList | None = None
    extra_hosts: DynamicList | None = None
    network_mode: DynamicText | None = None
    volumes: DynamicList | None = None
    pull_policy: Annotated[Literal["IF_NOT_PRESENT", "ALWAYS", "NEVER"], Dynamic] = "IF_NOT_PRESENT"
    device_requests: list[dict[str, Any]] | None = None
    cpu: Cpu | None = None
    memory: Memory | None = None
    shm_size: DynamicText | None = None
    privileged: DynamicBool | None = None
    file_handling_strategy: Annotated[Literal["VOLUME", "MOUNT"], Dynamic] = "VOLUME"
    delete: DynamicBool = True
    wait: DynamicBool = True
    kill_grace_period: DynamicDuration | Duration | None = None


RUNNER_TYPES: tuple[type[RunnerType], ...] = (Process, Docker)
