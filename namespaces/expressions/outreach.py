"""Functions that reach out: thin calls of the ports, with the rule for text from outside (expressions.md 6)."""

# ruff: noqa: ARG001 - whatever is registered takes the rendering's state first, used or not

from __future__ import annotations

from collections.abc import Mapping

from namespaces.expressions.failures import RefusedOutside, RenderError
from namespaces.expressions.registry import function
from namespaces.expressions.state import State
from namespaces.expressions.text_filters import integer, text
from namespaces.expressions.values import kind


def refuse_outside(state: State, name: str) -> None:
    """Raises in text from outside."""
    if state.restricted:
        raise RefusedOutside(
            f"{name}() is not available in text from outside",
            hint="the text came from trigger, inputs, outputs or another source of data; call it in the flow instead",
        )


def _optional_text(value: object, name: str) -> str | None:
    return None if value is None else text(value, name)


def _own_namespace(state: State, namespace: object, name: str) -> str | None:
    """The namespace asked for; text from outside may only ask for the flow's own."""
    wanted = _optional_text(namespace, name)
    if wanted is not None and state.restricted:
        flow = state.context.get("flow")
        if not isinstance(flow, Mapping) or flow.get("namespace") != wanted:
            raise RefusedOutside(f"{name}() of another namespace is not available in text from outside")
    return wanted


def _own_file(state: State, path: object, name: str) -> str:
    """A path or URI; text from outside may only name files of the namespace and of this execution."""
    wanted = text(path, name)
    if state.restricted and (":" in wanted or wanted.startswith("/")):
        execution = state.context.get("execution")
        own = execution.get("id") if isinstance(execution, Mapping) else None
        if not own or f"/executions/{own}/" not in wanted or ".." in wanted:
            raise RefusedOutside(f"{name}() of another execution is not available in text from outside")
    return wanted


@function("secret", disclosing=True, outside=True, examples=(("{{ secret('TOKEN') }}", "s3cret"),))
def secret(state: State, key: object, namespace: object = None, subkey: object = None, full: object = False) -> object:
    """A secret, masked in logs; missing is an error. `subkey` reads a field of a JSON secret, `full` gives a map."""
    refuse_outside(state, "secret")
    if subkey is not None and full is True:
        raise RenderError("secret(): `subkey` and `full` exclude each other")
    return state.ports.secret(
        text(key, "secret"), _optional_text(namespace, "secret"), _optional_text(subkey, "secret"), full is True
    )


@function(
    "credential",
    disclosing=True,
    outside=True,
    examples=(("{{ credential('github') }}", "error: credential() is not available"),),
)
def credential(state: State, name: object) -> object:
    """Not available: Lanner keeps no credentials beside secrets."""
    refuse_outside(state, "credential")
    raise RenderError("credential() is not available", hint="store the token as a secret and use secret()")


@function(
    "kv",
    outside=True,
    examples=(
        ("{{ kv('cursor') }}", "42"),
        ("{{ kv('nothing', errorOnMissing=false) ?? 'none' }}", "none"),
    ),
)
def kv(state: State, key: object, namespace: object = None, error_on_missing: object = True) -> object:
    """A value of the key-value store; missing is an error unless `errorOnMissing=false`."""
    wanted = _own_namespace(state, namespace, "kv")
    return state.ports.kv(text(key, "kv"), wanted, error_on_missing is not False)


def _revision(version: object, revision: object, name: str) -> int | None:
    given = revision if revision is not None else version
    if isinstance(given, str) and given.isdecimal():
        return int(given)
    return None if given is None else integer(given, name, "revision")


@function("read", outside=True, examples=(("{{ read('hello.txt') }}", "Hello"),))
def read(state: State, path: object, namespace: object = None, version: object = None, revision: object = None) -> str:
    """The text of a namespace file or of a file of internal storage."""
    wanted = _own_namespace(state, namespace, "read")
    return state.ports.read(_own_file(state, path, "read"), wanted, _revision(version, revision, "read"))


@function("fileURI", examples=(("{{ fileURI('hello.txt') }}", "kestra:///company/team/_files/hello.txt"),))
def file_uri(state: State, path: object, version: object = None, revision: object = None) -> str:
    """The storage URI of a namespace file."""
    wanted = text(path, "fileURI")
    if ".." in wanted.split("/"):
        raise RenderError("fileURI(): `..` is not allowed in a path")
    return state.ports.file_uri(wanted, _revision(version, revision, "fileURI"))


@function("fileSize", examples=(("{{ fileSize('hello.txt') }}", "5"),))
def file_size(state: State, path: object) -> int:
    """Bytes of a file."""
    return state.ports.file_size(_own_file(state, path, "fileSize"))


@function("fileExists", examples=(("{{ fileExists('nothing.txt') }}", "false"),))
def file_exists(state: State, path: object) -> bool:
    """Whether a file exists."""
    return state.ports.file_exists(_own_file(state, path, "fileExists"))


@function("isFileEmpty", examples=(("{{ isFileEmpty('hello.txt') }}", "false"),))
def is_file_empty(state: State, path: object) -> bool:
    """Whether a file has no bytes."""
    return state.ports.file_size(_own_file(state, path, "isFileEmpty")) == 0


@function(
    "env", disclosing=True, examples=(("{{ env('region') }}", "eu"), ("{{ env('nothing', default='none') }}", "none"))
)
def env(state: State, name: object, default: object = None) -> object:
    """An entry of `envs` whose name may be computed; the default where it is missing or empty."""
    refuse_outside(state, "env")
    found = state.ports.env(text(name, "env"))
    if found:
        return found
    if default is None:
        raise RenderError(f"env(): there is no `{name}`", hint="only variables with the configured prefix are visible")
    return default


@function("http", disclosing=True, outside=True, examples=(("{{ http('https://example.com/user').name }}", "Ada"),))
def http(
    state: State,
    uri: object,
    method: object = "GET",
    query: object = None,
    body: object = None,
    content_type: object = "application/json",
    headers: object = None,
    options: object = None,
    accept: object = "application/json",
) -> object:
    """The answer of a request: parsed JSON, else text; 400 and above is an error."""
    refuse_outside(state, "http")
    for name, value in (("query", query), ("headers", headers), ("options", options)):
        if value is not None and not isinstance(value, Mapping):
            raise RenderError(f"http(): {name} must be a map, got {kind(value)}")
    return state.ports.http({
        "uri": text(uri, "http"), "method": text(method, "http").upper(), "query": query, "body": body,
        "contentType": text(content_type, "http"), "headers": headers, "options": options,
        "accept": text(accept, "http"),
    })  # fmt: skip


@function(
    "subflow",
    disclosing=True,
    outside=True,
    examples=(("{{ subflow('company.team', 'child').outputs.city }}", "Paris"),),
)
def subflow(
    state: State,
    namespace: object,
    id_: object,
    inputs: object = None,
    revision: object = None,
    labels: object = None,
    timeout: object = None,
) -> object:
    """Runs a flow and waits for it, while inputs are resolved; gives `id`, `state`, `outputs`, `labels`."""
    refuse_outside(state, "subflow")
    return state.ports.subflow({
        "namespace": text(namespace, "subflow"), "id": text(id_, "subflow"), "inputs": inputs, "revision": revision,
        "labels": labels, "timeout": timeout,
    })  # fmt: skip


@function("errorLogs", outside=True, examples=(("{{ errorLogs()[0].message }}", "it broke"),))
def error_logs(state: State) -> list[dict[str, object]]:
    """The ERROR log entries of this execution."""
    return state.ports.error_logs()


@function(
    "tasksWithState",
    names=("state",),
    outside=True,
    examples=(("{{ tasksWithState('FAILED')[0].taskId }}", "load"),),
)
def tasks_with_state(state: State, wanted: object) -> list[dict[str, object]]:
    """The tasks of this execution in a state, as `taskId`, `state`, `value`."""
    return state.ports.tasks_with_state(text(wanted, "tasksWithState"))


@function("iterationOutput", outside=True, examples=(("{{ iterationOutput(outputs.say).value }}", "hello a"),))
def iteration_output(state: State, task_outputs: object, iteration: object = None) -> object:
    """The outputs of a ForEach child in another iteration, the previous one by default; counted from 0."""
    index = None if iteration is None else integer(iteration, "iterationOutput", "iteration")
    return state.ports.iteration_output(task_outputs, index)


@function("appLink", examples=(("{{ appLink() }}", "error: appLink() is not available: there are no apps"),))
def app_link(state: State, app_id: object = None) -> str:
    """Not available: Lanner has no apps."""
    raise RenderError("appLink() is not available: there are no apps")
