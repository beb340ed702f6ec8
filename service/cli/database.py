"""`lanner db`: look at the schema of a database and upgrade it, without a server."""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from namespaces.errors import NotFound
from service.cli.output import JsonOption, note, print_json
from service.cli.serving import ConfigOption, DatabaseOption, DataOption

if TYPE_CHECKING:
    from service.settings import Settings

app = typer.Typer()


@app.command()
def status(
    data: DataOption = None, config: ConfigOption = None, database: DatabaseOption = None, as_json: JsonOption = False
) -> None:
    """Schema of the database beside what this release needs; exit code 1 when they differ."""
    from namespaces.store.db import open_database
    from service.migrations import schema

    settings = _settings(data, config, database)
    _must_exist(settings)
    with closing(open_database(settings.database_url, must_exist=True)) as opened:
        found = opened.read(schema.inspect)
        shown = opened.url.render_as_string(hide_password=True)
    if as_json:
        print_json({"database": shown, "state": found.state, "version": found.version, "needed": schema.HEAD})
    else:
        print(f"{shown}: {found.state}, schema '{found.version}', this release needs '{schema.HEAD}'")
    raise typer.Exit(0 if found.state is schema.State.CURRENT else 1)


@app.command()
def upgrade(data: DataOption = None, config: ConfigOption = None, database: DatabaseOption = None) -> None:
    """Make the schema of a new database, or bring an old one to this release; no server may use it meanwhile."""
    from namespaces.store.db import open_database
    from service import datafolder
    from service.migrations import schema

    settings = _settings(data, config, database)
    file = settings.sqlite_file
    with ExitStack() as held:
        if file is not None:
            datafolder.prepare(file.parent)
            held.callback(datafolder.lock(file).release)
            datafolder.protect(file)
        opened = held.enter_context(closing(open_database(settings.database_url)))
        before = schema.ensure(opened)
    note(f"schema '{schema.HEAD}', it was {before}")


def _settings(data: Path | None, config: Path | None, database: str | None) -> Settings:
    from service.settings import load_settings

    return load_settings(config, {"data_dir": data, "database.url": database})


def _must_exist(settings: Settings) -> None:
    file = settings.sqlite_file
    if file is not None and not file.exists():
        raise NotFound(f"there is no database {file}", hint="it is made by the first lanner serve")
