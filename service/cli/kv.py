"""`lanner kv`: key-value entries of a server."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from service.cli.client import Client, segment
from service.cli.output import JsonOption, clean, listing, print_json, told

app = typer.Typer()
Namespace = Annotated[str, typer.Argument(help="Namespace.")]
Key = Annotated[str, typer.Argument(help="Key.")]


@app.command("list")
def list_(namespace: Namespace, as_json: JsonOption = False) -> None:
    """Keys of a namespace."""
    with Client() as client:
        rows = client.json("GET", f"namespaces/{segment(namespace)}/kv")
    columns = [("key", "KEY"), ("version", "VERSION"), ("updateDate", "UPDATED"), ("expirationDate", "EXPIRES")]
    listing(rows, columns, as_json, f"no entries in {namespace}")


@app.command()
def get(namespace: Namespace, key: Key, as_json: JsonOption = False) -> None:
    """The value of a key."""
    with Client() as client:
        detail = client.json("GET", f"namespaces/{segment(namespace)}/kv/{segment(key)}")
    if as_json:
        print_json(detail)
        return
    value: Any = detail.get("value") if isinstance(detail, dict) else detail
    print(clean(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


@app.command("set")
def set_(
    namespace: Namespace,
    key: Key,
    value: Annotated[str, typer.Argument(help="Text; typed with --typed.")],
    typed: Annotated[bool, typer.Option("--typed", help="Read the value as JSON, date or duration.")] = False,
    ttl: Annotated[str | None, typer.Option(help="Life of the entry, e.g. PT1H.")] = None,
    description: Annotated[str | None, typer.Option(help="What the entry is.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Set a key."""
    headers = {"Content-Type": "text/plain; charset=utf-8"}
    if ttl:
        headers["ttl"] = ttl
    if description:
        headers["description"] = description
    body = value if typed else json.dumps(value, ensure_ascii=False)
    with Client() as client:
        client.call("PUT", f"namespaces/{segment(namespace)}/kv/{segment(key)}", content=body.encode(), headers=headers)
    told(f"set {namespace}/{key}", {"namespace": namespace, "key": key}, as_json)


@app.command()
def delete(namespace: Namespace, key: Key, as_json: JsonOption = False) -> None:
    """Delete a key; exit code 1 when there was none."""
    with Client() as client:
        gone = client.json("DELETE", f"namespaces/{segment(namespace)}/kv/{segment(key)}")
    message = f"deleted {namespace}/{key}" if gone else f"there was no {namespace}/{key}"
    told(message, {"namespace": namespace, "key": key, "deleted": bool(gone)}, as_json)
    raise typer.Exit(0 if gone else 1)
