"""`lanner namespace`: namespaces of a server."""

from __future__ import annotations

from typing import Annotated

import typer

from service.cli.client import Client
from service.cli.output import JsonOption, listing

app = typer.Typer()


@app.callback()
def group() -> None:
    """Namespaces of a server."""


@app.command("list")
def list_(
    query: Annotated[str | None, typer.Option("--query", "-q", help="Part of the name.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Rows at most.")] = 1000,
    as_json: JsonOption = False,
) -> None:
    """Namespaces with flows, and their parents."""
    with Client() as client:
        rows = client.pages("namespaces/search", {"q": query}, limit)
    listing(rows, [("id", "NAMESPACE"), ("description", "DESCRIPTION")], as_json, "no namespaces")
