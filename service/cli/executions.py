"""`lanner execution`: start, watch and steer executions of a server."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Annotated, Any

import typer

from namespaces.errors import BadRequest, NotFound
from service.cli.client import Client, segment
from service.cli.output import JsonOption, clean, console, listing, note, print_json, told

app = typer.Typer()
Namespace = Annotated[str, typer.Argument(help="Namespace.")]
FlowId = Annotated[str, typer.Argument(help="Flow id.")]
Id = Annotated[str, typer.Argument(help="Execution id.")]
Inputs = Annotated[list[str], typer.Option("--input", "-i", help="Input as id=value; repeat for more.")]
Uploads = Annotated[list[str], typer.Option("--file", "-f", help="File input as id=path; repeat for more.")]
Revision = Annotated[int | None, typer.Option(min=1, help="Revision of the flow.")]
COLUMNS = [
    ("id", "EXECUTION"),
    ("namespace", "NAMESPACE"),
    ("flowId", "FLOW"),
    ("flowRevision", "REVISION"),
    ("state.current", "STATE"),
    ("state.startDate", "STARTED"),
    ("state.duration", "DURATION"),
]


@app.command()
def run(
    namespace: Namespace,
    flow: FlowId,
    inputs: Inputs = [],
    files: Uploads = [],
    label: Annotated[list[str], typer.Option("--label", help="Label as key:value; repeat for more.")] = [],
    revision: Revision = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end; exit code 0 only on SUCCESS.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Start an execution."""
    params: dict[str, Any] = {"labels": label} if label else {}
    if revision:
        params["revision"] = revision
    with Client() as client, multipart(inputs, files) as parts:
        path = f"executions/{segment(namespace)}/{segment(flow)}"
        execution = client.json("POST", path, params=params, files=parts or None)
        if not as_json:
            note(f"started {execution['id']}")
        if wait:
            execution = _until_end(client, execution["id"])
    state = execution["state"]["current"]
    if as_json:
        print_json(execution)
    elif wait:
        print(f"{execution['id']} {state}")
        if execution.get("outputs"):
            print_json(execution["outputs"])
    else:
        print(execution["id"])
    if wait and state != "SUCCESS":
        raise typer.Exit(1)


@app.command("list")
def list_(
    namespace: Annotated[str | None, typer.Option("--namespace", "-n", help="Namespace and below.")] = None,
    flow: Annotated[str | None, typer.Option("--flow", help="Flow id.")] = None,
    state: Annotated[list[str], typer.Option("--state", help="State; repeat for more.")] = [],
    limit: Annotated[int, typer.Option(min=1, help="Rows at most.")] = 25,
    as_json: JsonOption = False,
) -> None:
    """Newest executions."""
    params = {"namespace": namespace, "flowId": flow, "state": state, "sort": "state.startDate:desc"}
    with Client() as client:
        rows = client.pages("executions/search", params, limit)
    listing(rows, COLUMNS, as_json, "no executions")


@app.command()
def get(execution: Id, as_json: JsonOption = False) -> None:
    """One execution with its task runs."""
    with Client() as client:
        found = client.json("GET", f"executions/{segment(execution)}")
    if as_json:
        print_json(found)
        return
    from service.cli.tree import tree

    console().print(tree(found))
    if found.get("outputs"):
        print_json(found["outputs"])


@app.command()
def logs(
    execution: Id,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the execution has ended.")] = False,
    level: Annotated[str | None, typer.Option("--level", help="This level and worse.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Log lines of an execution."""
    path = f"logs/{segment(execution)}"
    params = {"minLevel": level.upper()} if level else {}
    with Client() as client:
        entries = (
            (data for kind, data in client.events(f"{path}/follow", params=params) if kind == "progress" and data)
            if follow
            else client.json("GET", path, params=params)
        )
        if as_json and not follow:
            print_json(entries)
            return
        for entry in entries:
            if as_json:
                import json

                print(json.dumps(entry, ensure_ascii=False), flush=True)
            else:
                print(log_line(entry), flush=follow)


@app.command()
def kill(execution: Id, as_json: JsonOption = False) -> None:
    """Kill an execution and what it started."""
    _act("DELETE", execution, "kill", as_json=as_json)


@app.command()
def restart(execution: Id, revision: Revision = None, as_json: JsonOption = False) -> None:
    """Run the failed tasks again, in the same execution."""
    _act("POST", execution, "restart", {"revision": revision}, as_json=as_json)


@app.command()
def replay(
    execution: Id,
    task_run: Annotated[str | None, typer.Option("--task-run", help="Start from this task run.")] = None,
    revision: Revision = None,
    as_json: JsonOption = False,
) -> None:
    """Run again as a new execution; prints its id."""
    found = _act("POST", execution, "replay", {"taskRunId": task_run, "revision": revision}, as_json=as_json)
    if not as_json:
        print(clean(found.get("id", "")))


@app.command()
def resume(execution: Id, inputs: Inputs = [], files: Uploads = [], as_json: JsonOption = False) -> None:
    """Let a paused execution go on."""
    with Client() as client, multipart(inputs, files) as parts:
        found = client.json("POST", f"executions/{segment(execution)}/actions/resume", files=parts or None)
    told(f"{execution} {_state(found)}", found, as_json)


@app.command("eval")
def eval_(
    execution: Id,
    expression: Annotated[str, typer.Argument(help="Text with expressions.")],
    task_run: Annotated[str | None, typer.Option("--task-run", help="Seen from this task run.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Render an expression with what an execution sees."""
    path = f"executions/{segment(execution)}/actions/eval" + (f"/{segment(task_run)}" if task_run else "")
    with Client() as client:
        answer = client.json("POST", path, content=expression.encode(), headers={"Content-Type": "text/plain"})
    if answer.get("error"):
        raise BadRequest(str(answer["error"]))
    if as_json:
        print_json(answer)
    else:
        print(clean(answer.get("result", "")))


def log_line(entry: dict[str, Any]) -> str:
    """``10:00:00.123 INFO  task: message``."""
    task = entry.get("taskId") or entry.get("triggerId") or ""
    moment = str(entry.get("timestamp", ""))[11:23]
    return clean(f"{moment} {entry.get('level', ''):<5} {task}{': ' if task else ''}{entry.get('message', '')}")


def pairs(given: list[str], option: str) -> list[tuple[str, str]]:
    """``id=value`` texts as pairs. Raises ``BadParameter`` for one without an equals sign."""
    found = []
    for text in given:
        name, sign, value = text.partition("=")
        if not sign or not name:
            raise typer.BadParameter(f"'{text}' is not of the form id=value", param_hint=option)
        found.append((name, value))
    return found


@contextlib.contextmanager
def multipart(inputs: list[str], files: list[str]) -> Iterator[list[tuple[str, Any]]]:
    """Inputs as parts of a form; files stay open while the block runs."""
    with contextlib.ExitStack() as opened:
        parts: list[tuple[str, Any]] = [(name, (None, value)) for name, value in pairs(inputs, "--input")]
        for name, path in pairs(files, "--file"):
            try:
                handle: IO[bytes] = opened.enter_context(Path(path).open("rb"))
            except OSError as error:
                raise NotFound(f"the file {path} cannot be read: {error.strerror}") from error
            parts.append((name, (Path(path).name, handle)))
        yield parts


def _until_end(client: Client, execution: str) -> dict[str, Any]:
    """The execution once it has ended, or paused: a pause may last for ever."""
    path = f"executions/{segment(execution)}"
    for kind, data in client.events(f"{path}/follow"):
        if kind == "end" or (kind == "progress" and _waits_for_somebody(data)):
            break
    found: dict[str, Any] = client.json("GET", path)
    return found


def _waits_for_somebody(execution: dict[str, Any]) -> bool:
    """Paused, and not just between two rounds of a LoopUntil, whose task run counts them."""
    if _state(execution) != "PAUSED":
        return False
    paused = [run for run in execution.get("taskRunList") or () if _state(run) == "PAUSED"]
    return not paused or any("iterationCount" not in (run.get("outputs") or {}) for run in paused)


def _act(
    method: str, execution: str, action: str, params: dict[str, Any] | None = None, *, as_json: bool
) -> dict[str, Any]:
    given = {key: value for key, value in (params or {}).items() if value is not None}
    with Client() as client:
        found: dict[str, Any] = client.json(method, f"executions/{segment(execution)}/actions/{action}", params=given)
    told(f"{found.get('id', execution)} {_state(found)}", found, as_json)
    return found


def _state(execution: Any) -> str:
    state = execution.get("state") if isinstance(execution, dict) else None
    return str(state.get("current", "")) if isinstance(state, dict) else ""
