"""`lanner schema`: the JSON Schema of the flow language, for editors."""

from __future__ import annotations

from typing import Annotated

import typer

from namespaces.errors import NotFound, did_you_mean
from service.cli.output import print_json


def schema(
    type_name: Annotated[str | None, typer.Option("--type", help="Only this task or trigger type.")] = None,
) -> None:
    """Print the JSON Schema of flows with every installed type."""
    from namespaces.flows.catalog import Catalog, load_entry_points
    from namespaces.flows.schema import json_schema, type_schema

    plugins = load_entry_points()
    catalog = Catalog(plugins.types)
    if type_name is None:
        print_json(json_schema("flow", catalog))
        return
    entry = catalog.resolve(type_name)
    if entry is None:
        near = did_you_mean(type_name, catalog.suggest(type_name))
        raise NotFound(f"there is no type '{type_name}'{near}", hint="lanner schema prints all")
    print_json(type_schema(entry, catalog))
