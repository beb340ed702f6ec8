"""`lanner run FILE`: one flow file, a temporary instance in this process, no server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from service.cli.output import JsonOption


def run(
    file: Annotated[Path, typer.Argument(help="Flow file.")],
    inputs: Annotated[list[str], typer.Option("--input", "-i", help="Input as id=value; repeat for more.")] = [],
    files: Annotated[list[str], typer.Option("--file", "-f", help="File input as id=path; repeat for more.")] = [],
    with_: Annotated[list[Path], typer.Option("--with", help="More flow files that this one calls.")] = [],
    resume: Annotated[list[str], typer.Option("--resume", help="Answer to a pause as id=value; repeat for more.")] = [],
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print outputs only.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Run a flow file here, without a server; exit code 0 only on SUCCESS."""
    from service.cli.local import run_file

    state = run_file(file, inputs, files, others=with_, resume=resume, quiet=quiet, as_json=as_json)
    raise typer.Exit(0 if state == "SUCCESS" else 1)
