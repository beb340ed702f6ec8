"""`lanner flow`: flows of a server. Texts are sent and shown byte for byte."""

from __future__ import annotations

import difflib
import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from namespaces.errors import BadRequest, NotFound
from service.cli.client import CallFailed, Client, segment
from service.cli.output import JsonOption, clean, listing, note, print_json, told

app = typer.Typer()
Namespace = Annotated[str, typer.Argument(help="Namespace.")]
FlowId = Annotated[str, typer.Argument(help="Flow id.")]
Files = Annotated[list[Path], typer.Argument(help="Flow files, or folders of them.")]
COLUMNS = [("namespace", "NAMESPACE"), ("id", "FLOW"), ("revision", "REVISION"), ("disabled", "DISABLED")]
YAML = {"Content-Type": "application/x-yaml"}


@app.command("list")
def list_(
    namespace: Annotated[str | None, typer.Option("--namespace", "-n", help="Namespace and below.")] = None,
    query: Annotated[str | None, typer.Option("--query", "-q", help="Part of id or namespace.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Rows at most.")] = 1000,
    as_json: JsonOption = False,
) -> None:
    """Flows and where they come from."""
    with Client() as client:
        rows = client.pages("flows/search", {"namespace": namespace, "q": query}, limit)
    columns = [*COLUMNS, ("git.source", "SOURCE"), ("git.commit", "COMMIT")]
    listing(rows, columns, as_json, "no flows")


@app.command()
def get(
    namespace: Namespace,
    flow: FlowId,
    revision: Annotated[int | None, typer.Option(min=1, help="Revision; default the newest.")] = None,
    as_json: JsonOption = False,
) -> None:
    """The text of a flow."""
    with Client() as client:
        found = _stored(client, namespace, flow, revision)
    if as_json:
        print_json(found)
    else:
        sys.stdout.write(_shown(found.get("source", "")))


@app.command()
def diff(files: Files) -> None:
    """What deploying these files would change; exit code 1 when something would."""
    changed = False
    with Client() as client:
        for path, text in _texts(files):
            namespace, flow = identity(text, path)
            try:
                old = str(_stored(client, namespace, flow, None).get("source", ""))
            except CallFailed as error:
                if error.http_status != 404:
                    raise
                old = ""
            lines = list(
                difflib.unified_diff(
                    old.splitlines(), text.splitlines(), f"{namespace}.{flow} (server)", str(path), lineterm=""
                )
            )
            changed = changed or bool(lines)
            for line in lines:
                print(clean(line))
    raise typer.Exit(1 if changed else 0)


@app.command()
def deploy(files: Files, as_json: JsonOption = False) -> None:
    """Create or update flows from files."""
    rows: list[dict[str, Any]] = []
    with Client() as client:
        for path, text in _texts(files):
            namespace, flow = identity(text, path)
            address = f"flows/{segment(namespace)}/{segment(flow)}"
            body = text.encode()
            try:
                saved = client.json("PUT", address, content=body, headers=YAML)
            except CallFailed as error:
                if error.http_status != 404:
                    raise _at(error, path) from error
                try:
                    saved = client.json("POST", "flows", content=body, headers=YAML)
                except CallFailed as refused:
                    raise _at(refused, path) from refused
            rows.append({"file": str(path), "namespace": namespace, "id": flow, "revision": saved.get("revision")})
            if not as_json:
                note(f"{path}: {namespace}.{flow} is at revision {saved.get('revision')}")
    if as_json:
        print_json(rows)


@app.command()
def delete(namespace: Namespace, flow: FlowId, as_json: JsonOption = False) -> None:
    """Delete a flow; its revisions and executions stay."""
    with Client() as client:
        client.call("DELETE", f"flows/{segment(namespace)}/{segment(flow)}")
    told(f"deleted {namespace}.{flow}", {"namespace": namespace, "id": flow, "deleted": True}, as_json)


@app.command()
def export(
    output: Annotated[Path, typer.Option("--output", "-o", help="ZIP file to write.")] = Path("flows.zip"),
    namespace: Annotated[str | None, typer.Option("--namespace", "-n", help="Namespace and below.")] = None,
) -> None:
    """Flows as a ZIP file of their texts."""
    with Client() as client:
        response = client.call("GET", "flows/export/by-query", params={"namespace": namespace} if namespace else {})
    output.write_bytes(response.content)
    note(f"wrote {output}, {len(response.content)} bytes")


@app.command()
def validate(files: Files, as_json: JsonOption = False) -> None:
    """Ask the server whether it would accept these files; exit code 1 when not (offline: lanner check)."""
    rows: list[dict[str, Any]] = []
    with Client() as client:
        for path, text in _texts(files):
            rows += [
                {"file": str(path), **row}
                for row in client.json("POST", "flows/validate", content=text.encode(), headers=YAML)
            ]
    bad = [row for row in rows if row.get("constraints")]
    if as_json:
        print_json(rows)
    else:
        for row in rows:
            for line in str(row.get("constraints") or "").splitlines():
                print(clean(f"{row['file']}: error: {line}"))
            for line in row.get("warnings") or ():
                print(clean(f"{row['file']}: warning: {line}"))
        note(f"{len(rows)} checked, {len(bad)} not accepted")
    raise typer.Exit(1 if bad else 0)


def identity(text: str, path: Path) -> tuple[str, str]:
    """Namespace and id of a flow text. Raises ``BadRequest`` when it declares none."""
    import yaml

    try:
        node: Any = yaml.compose(text, Loader=yaml.SafeLoader)
        pairs = {key.value: value.value for key, value in node.value if isinstance(value, yaml.ScalarNode)}
        return str(pairs["namespace"]), str(pairs["id"])
    except (yaml.YAMLError, AttributeError, TypeError, ValueError, RecursionError, KeyError) as error:
        raise BadRequest(f"{path} is no flow with namespace and id", hint=f"run lanner check {path}") from error


def _stored(client: Client, namespace: str, flow: str, revision: int | None) -> dict[str, Any]:
    params: dict[str, Any] = {"source": "true"} | ({"revision": revision} if revision else {})
    found: dict[str, Any] = client.json("GET", f"flows/{segment(namespace)}/{segment(flow)}", params=params)
    return found


def _texts(files: list[Path]) -> list[tuple[Path, str]]:
    """Every document of the files and folders named; raises ``NotFound`` when a name leads nowhere."""
    found: list[tuple[Path, str]] = []
    for named in files:
        if named.is_dir():
            inside = sorted(path for path in named.rglob("*") if path.suffix in {".yml", ".yaml"} and path.is_file())
        elif named.is_file():
            inside = [named]
        else:
            raise NotFound(f"there is no file {named}")
        for path in inside:
            text = path.read_text(encoding="utf-8")
            documents = re.split(r"(?m)^---[ \t]*$\n?", text)
            found += [(path, document) for document in documents if document.strip()]
    return found


def _shown(text: str) -> str:
    """A flow's text for a terminal; into a pipe it goes unchanged, or it would not be the text any more."""
    return "".join(clean(line) + "\n" for line in text.splitlines()) if sys.stdout.isatty() else text


def _at(error: CallFailed, path: Path) -> CallFailed:
    return CallFailed(f"{path}: {error.message}", error.http_status, code=error.code, hint=error.hint)
