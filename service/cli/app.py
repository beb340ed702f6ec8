"""The command tree and what every command shares: errors in one line, exit codes, interrupted pipes.

Commands live in the modules beside this one; each imports its heavy parts inside the function that needs them.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from namespaces.errors import ConfigurationError, LannerError, StartRefused
from service.cli import (
    checking,
    contexts,
    database,
    doctor,
    executions,
    flows,
    kv,
    migrating,
    namespaces_,
    running,
    schema,
    serving,
    sources,
    triggers,
)
from service.cli.output import fail

DONE, FAILED, USAGE, INTERRUPTED, DISK_ERROR, REFUSED = 0, 1, 2, 130, 74, 78

app = typer.Typer(
    name="lanner",
    help="Push YAML flows to Git, Lanner runs them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for group, name, text in (
    (flows.app, "flow", "Flows of a server."),
    (executions.app, "execution", "Executions of a server."),
    (triggers.app, "trigger", "Triggers of a server."),
    (kv.app, "kv", "Key-value entries of a server."),
    (namespaces_.app, "namespace", "Namespaces of a server."),
    (sources.app, "source", "Git sources: repositories that flows come from."),
    (database.app, "db", "The database schema."),
    (contexts.app, "context", "Servers this command line talks to."),
):
    app.add_typer(group, name=name, help=text, no_args_is_help=True)
for command, name in (
    (serving.serve, "serve"),
    (serving.worker, "worker"),
    (running.run, "run"),
    (checking.check, "check"),
    (migrating.migrate, "migrate"),
    (sources.sync, "sync"),
    (schema.schema, "schema"),
    (doctor.doctor, "doctor"),
):
    app.command(name)(command)


def _version(wanted: bool) -> None:
    if wanted:
        from service.version import VERSION

        print(f"lanner {VERSION}")
        raise typer.Exit


@app.callback()
def root(
    context: Annotated[
        str | None, typer.Option("--context", help="Server to talk to, by its name in `lanner context list`.")
    ] = None,
    version: Annotated[  # noqa: ARG001 - answered by its callback
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Push YAML flows to Git, Lanner runs them."""
    if context:
        os.environ["LANNER_CONTEXT"] = context


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; no traceback reaches the person for errors we foresee."""
    command = typer.main.get_command(app)
    try:
        result = command.main(args=list(arguments), prog_name="lanner", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader left (`lanner flow list | head`): point stdout elsewhere, so that the exit flush is quiet.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except KeyboardInterrupt:
        return INTERRUPTED
    except LannerError as error:
        fail(error.message if not error.where else f"{error.where}: {error.message}", error.hint)
        starting = list(arguments[:1]) in (["serve"], ["worker"])
        if isinstance(error, StartRefused):
            return REFUSED if starting else USAGE if isinstance(error, ConfigurationError) else FAILED
        return FAILED
    except OSError as error:
        if error.errno in _DISK:
            fail(f"the disk refused: {error.strerror}", "free some space or check the mount, then start again")
            return DISK_ERROR
        raise
    except Exception as error:  # noqa: BLE001 - click's own errors have two homes; all others are raised again
        return _of_click(error)
    return result if isinstance(result, int) else DONE


_DISK = {5, 28, 30, 122}  # EIO, ENOSPC, EROFS, EDQUOT


def _of_click(error: Exception) -> int:
    """Typer brings its own copy of click's errors or uses click's: both are told by their shape."""
    name = type(error).__name__
    if name == "Exit":
        return int(getattr(error, "exit_code", 0))
    if name == "Abort":
        return INTERRUPTED
    if hasattr(error, "format_message") and hasattr(error, "exit_code"):
        if name != "NoArgsIsHelpError":
            fail(error.format_message(), _usage(error))
        else:
            print(error.format_message())
        return USAGE
    raise error


def _usage(error: Exception) -> str:
    context = getattr(error, "ctx", None)
    return f"see {context.command_path} --help" if context is not None else ""
