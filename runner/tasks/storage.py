"""Tasks on whole files of internal storage: Concat, Size, Delete, Write, LocalFiles, PurgeCurrentExecutionFiles."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import orjson

from namespaces import blobs
from namespaces.errors import NotFound
from runner.plugin import Output, RunFailed
from runner.tasks import CORE, Implementation, files
from runner.worker.running import Running

if TYPE_CHECKING:
    from namespaces.flows.types import tasks_data as types


def uris(written: str | list[str]) -> list[str]:
    """A list of URIs: as it is, one URI, or a JSON array of them."""
    if not isinstance(written, str):
        return list(written)
    if written.lstrip().startswith("["):
        try:
            return [str(item) for item in orjson.loads(written)]
        except orjson.JSONDecodeError as error:
            raise RunFailed(f"`files` is no JSON list: {error}") from error
    return [written]


def concat(context: Running, task: types.Concat) -> Output:
    target = context.home / "concat"
    with target.open("wb") as out:
        for uri in uris(task.files):
            with context.open(uri) as source:
                shutil.copyfileobj(source, out, 1 << 20)
            if task.separator is not None:
                out.write(task.separator.encode())
    return Output(values={"uri": context.store(f"concat{task.extension}", target)})


def size(context: Running, task: types.StorageSize) -> Output:
    if task.uri.startswith(blobs.SCHEME):
        context.check_readable(task.uri)
        return Output(values={"size": context.services.storage.size(task.uri)})
    with context.open(task.uri) as file:
        return Output(values={"size": sum(len(chunk) for chunk in iter(lambda: file.read(1 << 20), b""))})


def delete(context: Running, task: types.StorageDelete) -> Output:
    context.check_readable(task.uri)
    deleted = context.services.storage.delete(task.uri)
    if not deleted and task.error_on_missing:
        raise NotFound(f"Unable to find file '{task.uri}'")
    return Output(values={"uri": task.uri, "deleted": deleted})


def write(context: Running, task: types.Write) -> Output:
    content: Any = task.content
    structured = isinstance(content, Mapping | list)
    data = orjson.dumps(content) if structured else _text(content).encode()
    extension = task.extension or (".json" if structured else ".txt")
    name = "write" + (extension if extension.startswith(".") else f".{extension}")
    return Output(values={"uri": context.store(blobs.safe_name(name), data)})


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def local_files(context: Running, task: types.LocalFiles) -> Output:
    folder = context.working_dir
    files.place_input_files(context, task.inputs, folder)
    return Output(values={"uris": files.collect(context, task.outputs_, folder)})


def purge_own(context: Running, _task: types.PurgeCurrentExecutionFiles) -> Output:
    folder = blobs.execution_folder(context.flow.namespace, context.flow.id, context.execution_id)
    gone = context.services.storage.delete_prefix(folder)
    return Output(values={"uris": [blobs.uri(path) for path in gone]})


TASKS = {
    CORE + "storage.Concat": Implementation(run=concat),
    CORE + "storage.Size": Implementation(run=size),
    CORE + "storage.Delete": Implementation(run=delete),
    CORE + "storage.Write": Implementation(run=write, forced=frozenset({"content"})),
    CORE + "storage.LocalFiles": Implementation(run=local_files),
    CORE + "storage.PurgeCurrentExecutionFiles": Implementation(run=purge_own),
}
