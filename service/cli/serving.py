"""`lanner serve` and `lanner worker`: options become settings, `service.processes` does the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

DataOption = Annotated[
    Path | None, typer.Option("--data", help="Folder of everything Lanner keeps; default ~/.local/share/lanner.")
]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", "-c", help="Configuration; default lanner.yaml of this folder if it exists.")
]
DatabaseOption = Annotated[
    str | None, typer.Option("--database", help="sqlite:////path/lanner.db or postgresql://user@host/name.")
]
DrainOption = Annotated[
    str, typer.Option("--drain", help="At the end: wait leaves running scripts to the next start, kill ends them.")
]
GroupOption = Annotated[
    list[str],
    typer.Option("--group", help="Worker group to serve, several with commas; default is work that names none."),
]
ROLES = "web, scheduler, executor, sync, worker"


def serve(
    data: DataOption = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; default 127.0.0.1.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; default 8080.")] = None,
    config: ConfigOption = None,
    database: DatabaseOption = None,
    auth: Annotated[str | None, typer.Option(help="basic, or none on a loopback address.")] = None,
    role: Annotated[
        list[str], typer.Option("--role", help=f"Part of the server, several with commas; default all: {ROLES}.")
    ] = [],
    group: GroupOption = [],
    drain: DrainOption = "wait",
) -> None:
    """Run the server; everything in one process unless --role says otherwise."""
    overrides = {
        "data_dir": data,
        "server.host": host,
        "server.port": port,
        "database.url": database,
        "auth.mode": auth,
        "dispatch.groups": _groups(group),
    }
    _serve(config, overrides, role, drain)


def worker(
    data: DataOption = None,
    config: ConfigOption = None,
    database: DatabaseOption = None,
    group: GroupOption = [],
    drain: DrainOption = "wait",
) -> None:
    """Run a worker: the same as serve --role worker."""
    overrides = {"data_dir": data, "database.url": database, "dispatch.groups": _groups(group)}
    _serve(config, overrides, ["worker"], drain)


def _groups(given: list[str]) -> list[str] | None:
    return [name.strip() for part in given for name in part.split(",") if name.strip()] or None


def _serve(config: Path | None, overrides: dict[str, Any], roles: list[str], drain: str) -> None:
    import gc

    # Importing makes some hundred thousand objects that all stay: collecting in between is a tenth of the start.
    gc.disable()
    from namespaces.errors import BadRequest
    from service import processes
    from service.settings import load_settings

    try:
        wanted = processes.parse_roles(roles)
    except BadRequest as error:
        raise typer.BadParameter(f"{error.message}; {error.hint}", param_hint="--role") from error
    if drain not in processes.DRAINS:
        raise typer.BadParameter(f"'{drain}' is not one of {', '.join(processes.DRAINS)}", param_hint="--drain")
    # The environment is read once and kept: processes.serve clears the server's secrets from it.
    environ = processes.take_environment()

    def load() -> Any:
        return load_settings(config, overrides, environ=environ)

    raise typer.Exit(processes.serve(load(), wanted, environ=environ, drain=drain, reload=load))
