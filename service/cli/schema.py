"""`lanner schema`: the JSON Schema of the flow language, for editors."""

from __future__ import annotations

from typing import Annotated

import typer

from namespaces.errors import NotFound
from service.cli.output import print_json


def schema(
    type_name: Annotated[str | None, typer.Option("--type", help="Only this task or trigger type.")] = None,
) -> None:
    """Print the JSON Schema of flows with every installed task type."""
    from service.cli.flowschema import flow_schema, type_schema

    if type_name is None:
        print_json(flow_schema())
        return
    found = type_schema(type_name)
    if found is None:
        raise NotFound(f"there is no type '{type_name}'", hint="run lanner schema to see all")
    print_json(found)
