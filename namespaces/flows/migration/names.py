"""Rules that give something another name or spelling: M05, M06, M16, M17, M19 to M21, M24 and M25."""

from __future__ import annotations

import re
from typing import Any

from namespaces.flows.migration import places
from namespaces.flows.migration.draft import Draft
from namespaces.flows.migration.places import FLOW
from namespaces.flows.reader import Path, scalar_text

_CORE = "io.kestra.plugin.core."


def run_if(draft: Draft) -> None:
    """M05: ``runIf`` is ``when``."""
    for task in draft.tasks():
        if "runIf" in task.value and "when" not in task.value:
            draft.sheet.rename((*task.path, "runIf"), "when")
            draft.tell("M05", (*task.path, "runIf"), "runIf is now when")


def checks(draft: Draft) -> None:
    """M06: ``condition`` of a check is ``when``; all others keep their name."""
    written = draft.value.get("checks")
    for index, check in enumerate(written if isinstance(written, list) else ()):
        if isinstance(check, dict) and "condition" in check and "when" not in check:
            path: Path = ("checks", index, "condition")
            draft.sheet.rename(path, "when")
            draft.tell("M06", path, "condition of a check is now when")


# -- M16

_TYPES = {"BOOLEAN": "BOOL", "ENUM": "SELECT"}


def inputs(draft: Draft) -> None:
    """M16: names and types of inputs."""
    for path, one in places.inputs(draft.value, draft.around.canonical):
        _input(draft, path, one)
    for path, one in places.outputs(draft.value, draft.around.canonical):
        _type(draft, path, one)
    _callers(draft)


def _input(draft: Draft, path: Path, one: dict[str, Any]) -> None:
    sheet = draft.sheet
    _type(draft, path, one)
    if "name" in one and "id" not in one:
        sheet.rename((*path, "name"), "id")
        draft.tell("M16", path, "name of an input is now id")
    if one.get("type") == "MULTISELECT" and "options" in one and "values" not in one:
        sheet.rename((*path, "options"), "values")
        draft.tell("M16", path, "options of a MULTISELECT is now values")
    if one.get("required") is False and one.get("defaults") is not None:
        sheet.remove((*path, "required"))
        draft.tell("M16", path, "required: false beside defaults says nothing")
    if one.get("type") == "FILE" and "extension" in one and "allowedFileExtensions" not in one:
        extension = one["extension"]
        sheet.rename((*path, "extension"), "allowedFileExtensions")
        sheet.write((*path, "extension"), [extension])
        draft.tell("M16", path, "extension of a FILE is now allowedFileExtensions")
    if one.get("type") in ("BOOLEAN", "BOOL") and one.get("defaults") is not None:
        written = scalar_text(one["defaults"]).lower()
        if written not in ("true", "false") and "{{" not in written:
            draft.ask("M16", (*path, "defaults"), f"BOOL takes true or false only, BOOLEAN read '{written}' as false")


def _type(draft: Draft, path: Path, one: dict[str, Any]) -> None:
    for key in ("type", "itemType"):
        newer = _TYPES.get(str(one.get(key)))
        if newer is not None:
            draft.sheet.write((*path, key), newer)
            draft.tell("M16", (*path, key), f"{one[key]} is now {newer}")


def _callers(draft: Draft) -> None:
    """Values that callers give to a BOOLEAN: BOOL refuses what is neither true nor false."""
    for task in draft.tasks():
        if task.type not in (FLOW + "Subflow", FLOW + "ForEachItem"):
            continue
        called = draft.around.flows.get((str(task.value.get("namespace")), str(task.value.get("flowId"))))
        given = task.value.get("inputs")
        _given(draft, called, given, (*task.path, "inputs"))
    for path, trigger in places.triggers(draft.value):
        _given(draft, draft.value, trigger.get("inputs"), (*path, "inputs"))


def _given(draft: Draft, called: Any, given: Any, path: Path) -> None:
    if called is None or not isinstance(given, dict):
        return
    flags = {
        one.get("id", one.get("name"))
        for _, one in places.inputs({"inputs": called.get("inputs")}, draft.around.canonical)
        if one.get("type") in ("BOOLEAN", "BOOL")
    }
    for key, value in given.items():
        text = scalar_text(value).lower() if not isinstance(value, dict | list) else ""
        if key in flags and value is not None and text not in ("true", "false") and "{{" not in text:
            draft.ask("M16", (*path, key), f"BOOL takes true or false only, BOOLEAN read '{text}' as false")


# -- M17

_RENAMED = (
    (re.compile(r"io\.kestra\.plugin\.notifications\.slack\.(\w+)"), r"io.kestra.plugin.slack.notifications.\1"),
    (re.compile(r"io\.kestra\.plugin\.notifications\.mail\.MailSend"), "io.kestra.plugin.email.MailSend"),
    (re.compile(r"io\.kestra\.plugin\.langchain4j\.(.+)"), r"io.kestra.plugin.ai.\1"),
    (re.compile(r"io\.kestra\.plugin\.kubernetes\.PodCreate"), "io.kestra.plugin.kubernetes.core.PodCreate"),
    (re.compile(r"io\.kestra\.plugin\.dbt\.cli\.Build"), "io.kestra.plugin.dbt.cli.DbtCLI"),
)
_FETCH, _NEW_FETCH = _CORE + "log.Fetch", "io.kestra.plugin.kestra.logs.Fetch"


def type_names(draft: Draft) -> None:
    """M17: aliases and renamed plugins get their present name."""
    for task in draft.tasks():
        _named(draft, task.path, task.value)
        runner = task.value.get("taskRunner")
        if isinstance(runner, dict):
            _named(draft, (*task.path, "taskRunner"), runner)
    for path, trigger in places.triggers(draft.value):
        _named(draft, path, trigger)
    for path, condition in places.conditions(draft.value):
        _named(draft, path, condition)
    draft.commit()
    for task in draft.tasks():
        if task.type == _CORE + "debug.Echo":
            draft.sheet.write((*task.path, "type"), _CORE + "log.Log")
            if "format" in task.value:
                draft.sheet.rename((*task.path, "format"), "message")
                if task.value["format"] is None:
                    draft.sheet.write((*task.path, "format"), "")
            else:
                draft.sheet.add(task.path, "message", "", after="type")
            draft.tell("M17", task.path, "debug.Echo is now log.Log")
        elif task.type == FLOW + "Template":
            _template(draft, task)


def _named(draft: Draft, path: Path, one: dict[str, Any]) -> None:
    written = one.get("type")
    if not isinstance(written, str) or not written.startswith("io.") or written == _NEW_FETCH:
        return
    name = draft.around.canonical(written)
    for old, new in _RENAMED:
        if old.fullmatch(name):
            name = old.sub(new, name)
    if name == _FETCH and not draft.around.keep_1:
        name = _NEW_FETCH
    if name != written:
        draft.sheet.write((*path, "type"), name)
        draft.tell("M17", (*path, "type"), f"{written} is now {name}")


def _template(draft: Draft, task: places.Task) -> None:
    wanted = str(task.value.get("namespace")), str(task.value.get("templateId"))
    if wanted not in draft.around.flows:
        draft.ask("M17", task.path, f"there are no templates in 2.x: make {'.'.join(wanted)} a flow and call it")
        return
    draft.sheet.write((*task.path, "type"), FLOW + "Subflow")
    draft.sheet.rename((*task.path, "templateId"), "flowId")
    if "args" in task.value:
        draft.sheet.rename((*task.path, "args"), "inputs")
    draft.tell("M17", task.path, "Template is now Subflow")


# -- M19

_DOCKER = "io.kestra.plugin.scripts.runner.docker.Docker"
_PROCESS = _CORE + "runner.Process"


def scripts(draft: Draft) -> None:
    """M19: ``runner`` and ``docker`` are ``taskRunner`` and ``containerImage``."""
    for task in draft.tasks():
        if "runner" not in task.value and "docker" not in task.value:
            continue
        entry = draft.around.catalog.resolve(task.type)
        if entry is not None and "taskRunner" not in entry.properties:
            continue
        _script(draft, task)


def _script(draft: Draft, task: places.Task) -> None:
    value, path, sheet = task.value, task.path, draft.sheet
    docker = value.get("docker")
    docker = docker if isinstance(docker, dict) else {}
    entry = draft.around.catalog.resolve(_DOCKER)
    assert entry is not None
    foreign = [key for key in docker if key != "image" and key not in entry.properties]
    if "taskRunner" in value:
        draft.ask("M19", path, "taskRunner and runner or docker are both written: keep taskRunner")
        return
    if foreign:
        draft.ask("M19", (*path, "docker"), f"the Docker task runner has no '{foreign[0]}'")
        return
    if "image" in docker and "containerImage" in value:
        draft.ask("M19", (*path, "docker"), "docker.image and containerImage are both written: keep containerImage")
        return
    contained = value.get("runner", "DOCKER") == "DOCKER"
    runner: dict[str, Any] = {"type": _DOCKER if contained else _PROCESS}
    if contained:
        runner.update({key: sheet.kept((*path, "docker", key)) for key in docker if key != "image"})
    first = "runner" if "runner" in value else "docker"
    sheet.rename((*path, first), "taskRunner")
    sheet.write((*path, first), runner)
    if "image" in docker and contained:
        if first == "runner":
            sheet.rename((*path, "docker"), "containerImage")
            sheet.write((*path, "docker"), sheet.kept((*path, "docker", "image")))
        else:
            sheet.add(path, "containerImage", sheet.kept((*path, "docker", "image")), after="docker")
    elif first == "runner" and "docker" in value:
        sheet.remove((*path, "docker"))
    draft.tell("M19", path, f"{' and '.join(k for k in ('runner', 'docker') if k in value)} is now taskRunner")
    draft.commit()


# -- M20


def spellings(draft: Draft) -> None:
    """M20: ``CANCELED``, ``maxAttempt``, ``minLogLevel``; ``schedule.x`` is with the expressions."""
    sheet = draft.sheet
    for task in draft.tasks():
        if task.type == _CORE + "execution.Exit" and task.value.get("state") == "CANCELED":
            sheet.write((*task.path, "state"), "CANCELLED")
            draft.tell("M20", (*task.path, "state"), "CANCELED is now CANCELLED")
        _retry(draft, task.path, task.value)
    _retry(draft, (), draft.value)
    for path, trigger in places.triggers(draft.value):
        if "minLogLevel" in trigger and "logLevel" not in trigger:
            sheet.rename((*path, "minLogLevel"), "logLevel")
            draft.tell("M20", (*path, "minLogLevel"), "minLogLevel is now logLevel")


def _retry(draft: Draft, path: Path, owner: dict[str, Any]) -> None:
    retry = owner.get("retry")
    if isinstance(retry, dict) and "maxAttempt" in retry and "maxAttempts" not in retry:
        draft.sheet.rename((*path, "retry", "maxAttempt"), "maxAttempts")
        draft.tell("M20", (*path, "retry", "maxAttempt"), "maxAttempt is now maxAttempts")


# -- M21

_TAG = re.compile(r"[a-z0-9][a-z0-9.-]*")


def workers(draft: Draft) -> None:
    """M21: ``workerGroup`` is ``workerSelector``."""
    owners: list[tuple[Path, dict[str, Any]]] = [((), draft.value)]
    owners += [(task.path, task.value) for task in draft.tasks()]
    owners += list(places.triggers(draft.value))
    for path, owner in owners:
        group = owner.get("workerGroup")
        if not isinstance(group, dict) or "workerSelector" in owner:
            continue
        key, fallback = group.get("key"), group.get("fallback")
        if not isinstance(key, str) or not _TAG.fullmatch(key):
            draft.ask("M21", (*path, "workerGroup"), f"a tag has lower case letters, digits, '.' and '-', not {key!r}")
            continue
        made = {"tags": [key], "fallback": fallback or "WAIT"}
        draft.sheet.rename((*path, "workerGroup"), "workerSelector")
        draft.sheet.write((*path, "workerGroup"), made)
        draft.tell("M21", (*path, "workerGroup"), "workerGroup is now workerSelector")


# -- M24, M25


def deletes(draft: Draft) -> None:
    """M24: what language 1 means without ``recursive`` is written down."""
    if draft.language != 1:
        return
    for task in draft.tasks():
        if task.type == "io.kestra.plugin.fs.local.Delete" and "recursive" not in task.value:
            draft.sheet.add(task.path, "recursive", True)
            draft.tell("M24", task.path, "recursive: true is what 1.x did")


def purges(draft: Draft) -> None:
    """M25: ``expiredOnly`` of PurgeKV is in ``behavior``."""
    for task in draft.tasks():
        if task.type == _CORE + "kv.PurgeKV" and "expiredOnly" in task.value and "behavior" not in task.value:
            kept = draft.sheet.kept((*task.path, "expiredOnly"))
            draft.sheet.rename((*task.path, "expiredOnly"), "behavior")
            draft.sheet.write((*task.path, "expiredOnly"), {"type": "key", "expiredOnly": kept})
            draft.tell("M25", (*task.path, "expiredOnly"), "expiredOnly is now in behavior")
