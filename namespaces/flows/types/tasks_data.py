"""Task types kv, state, storage, namespace, trigger and templating (``flows.md`` 5.3, 5.4, 5.6)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from namespaces.flows.types.fields import Free, Part, TaskOutputs
from namespaces.flows.types.tasks_core import CORE, Value
from namespaces.plugin import (
    Dynamic,
    DynamicBool,
    DynamicDuration,
    DynamicInt,
    DynamicList,
    DynamicMap,
    DynamicText,
    TaskType,
)

Text = Annotated[str, Dynamic, Field(min_length=1)]


class KvSet(TaskType):
    type_name = CORE + "kv.Set"
    title = "Write a key of the KV store."
    key: Text
    value: Free
    namespace: DynamicText | None = None
    overwrite: DynamicBool = True
    ttl: DynamicDuration | None = None
    kv_type: (
        Annotated[Literal["STRING", "NUMBER", "BOOLEAN", "DATETIME", "DATE", "DURATION", "JSON"], Dynamic] | None
    ) = None
    kv_description: DynamicText | None = None


class KvGet(TaskType):
    type_name = CORE + "kv.Get"
    title = "Read a key of the KV store."
    outputs = Value
    key: Text
    namespace: DynamicText | None = None
    error_on_missing: DynamicBool = False


class Keys(TaskOutputs):
    keys: list[str]


class KvGetKeys(TaskType):
    type_name = CORE + "kv.GetKeys"
    title = "List keys of the KV store."
    outputs = Keys
    prefix: DynamicText | None = None
    namespace: DynamicText | None = None


class Deleted(TaskOutputs):
    deleted: bool


class KvDelete(TaskType):
    type_name = CORE + "kv.Delete"
    title = "Delete a key of the KV store."
    outputs = Deleted
    key: Text
    namespace: DynamicText | None = None
    error_on_missing: DynamicBool = False


class PurgeBehavior(Part):
    type: Literal["key", "version"] = "key"
    expired_only: DynamicBool = True
    before: DynamicText | None = None
    keep_amount: DynamicInt | None = None


class Size(TaskOutputs):
    size: int


class PurgeKV(TaskType):
    type_name = CORE + "kv.PurgeKV"
    title = "Delete expired keys, or old versions, of the KV store."
    outputs = Size
    namespaces: DynamicList | None = None
    namespace_pattern: DynamicText | None = None
    key_pattern: DynamicText | None = None
    behavior: PurgeBehavior | None = None
    expired_only: DynamicBool | None = None
    include_child_namespaces: DynamicBool = True


class StateData(TaskOutputs):
    count: int
    data: dict[str, Any] | None = None


class StateWritten(TaskOutputs):
    count: int
    key: str


class StateSet(TaskType):
    type_name = CORE + "state.Set"
    title = "Merge values into a state."
    outputs = StateWritten
    deprecated = True
    name: DynamicText = "default"
    namespace: bool = False
    taskrun_value: bool = True
    data: DynamicMap | None = None


class StateGet(TaskType):
    type_name = CORE + "state.Get"
    title = "Read a state."
    outputs = StateData
    deprecated = True
    name: DynamicText = "default"
    namespace: bool = False
    taskrun_value: bool = True
    error_on_missing: DynamicBool = False


class StateDelete(TaskType):
    type_name = CORE + "state.Delete"
    title = "Delete a state."
    outputs = Deleted
    deprecated = True
    name: DynamicText = "default"
    namespace: bool = False
    taskrun_value: bool = True
    error_on_missing: DynamicBool = False


class Uri(TaskOutputs):
    uri: str


class Uris(TaskOutputs):
    uris: Any


class Rows(TaskOutputs):
    uri: str
    processed_items_total: int
    dropped_items_total: int


class Concat(TaskType):
    type_name = CORE + "storage.Concat"
    title = "Join files."
    outputs = Uri
    files: DynamicText | list[DynamicText]
    separator: DynamicText | None = None
    extension: DynamicText = ".tmp"


class Split(TaskType):
    type_name = CORE + "storage.Split"
    title = "Split a file of lines."
    outputs = Uris
    from_: Text = Field(alias="from")
    bytes: DynamicText | None = None
    partitions: Annotated[int, Field(ge=1), Dynamic] | None = None
    rows: Annotated[int, Field(ge=1), Dynamic] | None = None
    separator: DynamicText = "\n"


class Reverse(TaskType):
    type_name = CORE + "storage.Reverse"
    title = "Reverse the lines of a file."
    outputs = Uri
    from_: Text = Field(alias="from")
    separator: DynamicText = "\n"
    charset: DynamicText = "UTF-8"


class DeduplicateItems(TaskType):
    type_name = CORE + "storage.DeduplicateItems"
    title = "Keep the last row of each key."
    outputs = Rows
    from_: Text = Field(alias="from")
    expr: Text


class FilterItems(TaskType):
    type_name = CORE + "storage.FilterItems"
    title = "Keep the rows for which a condition holds."
    outputs = Rows
    from_: Text = Field(alias="from")
    filter_condition: Text
    filter_type: Annotated[Literal["INCLUDE", "EXCLUDE"], Dynamic] = "INCLUDE"
    error_or_null_behavior: Annotated[Literal["FAIL", "INCLUDE", "EXCLUDE"], Dynamic] = "FAIL"


class StorageSize(TaskType):
    type_name = CORE + "storage.Size"
    title = "Tell the size of a file in bytes."
    outputs = Size
    uri: Text


class StorageDeleted(TaskOutputs):
    uri: str
    deleted: bool


class StorageDelete(TaskType):
    type_name = CORE + "storage.Delete"
    title = "Delete a file."
    outputs = StorageDeleted
    uri: Text
    error_on_missing: DynamicBool = False


class Write(TaskType):
    type_name = CORE + "storage.Write"
    title = "Write a file."
    outputs = Uri
    content: Free
    extension: DynamicText | None = None


class LocalFiles(TaskType):
    type_name = CORE + "storage.LocalFiles"
    title = "Put files into a working directory, or take them out of it."
    outputs = Uris
    deprecated = True
    inputs: DynamicMap | None = None
    outputs_: DynamicList | None = Field(default=None, alias="outputs")


class PurgeCurrentExecutionFiles(TaskType):
    type_name = CORE + "storage.PurgeCurrentExecutionFiles"
    aliases = (CORE + "storage.PurgeExecution", "io.kestra.core.tasks.storages.PurgeExecution")
    title = "Delete the files of this execution."
    outputs = Uris


class Files(TaskOutputs):
    files: dict[str, str]


class UploadFiles(TaskType):
    type_name = CORE + "namespace.UploadFiles"
    title = "Copy files into a namespace."
    outputs = Files
    namespace: Text
    files: DynamicList | None = None
    files_map: DynamicMap | None = None
    destination: DynamicText = "/"
    conflict: Annotated[Literal["OVERWRITE", "ERROR", "SKIP"], Dynamic] = "OVERWRITE"


class DownloadFiles(TaskType):
    type_name = CORE + "namespace.DownloadFiles"
    title = "Copy files out of a namespace."
    outputs = Files
    namespace: Text
    files: DynamicText | list[DynamicText]
    destination: DynamicText = ""


class DeleteFiles(TaskType):
    type_name = CORE + "namespace.DeleteFiles"
    title = "Delete files of a namespace."
    outputs = Files
    namespace: Text
    files: DynamicText | list[DynamicText]
    delete_parent_folder: DynamicBool = False


class Toggle(TaskType):
    type_name = CORE + "trigger.Toggle"
    title = "Enable or disable a trigger."
    trigger: Text
    flow_id: DynamicText | None = None
    namespace: DynamicText | None = None
    enabled: DynamicBool = False


class TemplatedTask(TaskType):
    type_name = CORE + "templating.TemplatedTask"
    title = "Run a task whose text is rendered first."
    spec: Text


TYPES: tuple[type[TaskType], ...] = (
    KvSet,
    KvGet,
    KvGetKeys,
    KvDelete,
    PurgeKV,
    StateSet,
    StateGet,
    StateDelete,
    Concat,
    Split,
    Reverse,
    DeduplicateItems,
    FilterItems,
    StorageSize,
    StorageDelete,
    Write,
    LocalFiles,
    PurgeCurrentExecutionFiles,
    UploadFiles,
    DownloadFiles,
    DeleteFiles,
    Toggle,
    TemplatedTask,
)
