"""`lanner check`: validate flows offline, with the server's own code; and explain a code."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from namespaces.errors import Problem, Severity
from service.cli.output import clean, note, print_json

MAX_ANNOTATIONS = 50
"""GitHub shows no more of one step; the rest is counted."""
FORMATS = ("text", "json", "github")


def check(
    paths: Annotated[list[Path], typer.Argument(help="Files, folders or Git work trees; default this folder.")] = [],
    layout: Annotated[str, typer.Option(help="auto, lanner, kestra-tenant, kestra-tasks or flat.")] = "auto",
    target_namespace: Annotated[
        str | None, typer.Option("--target-namespace", help="Root namespace of layout kestra-tasks.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings fail as well.")] = False,
    form: Annotated[str, typer.Option("--format", help="text, json or github.")] = "text",
    as_json_too: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    explain: Annotated[str | None, typer.Option("--explain", help="Say what a code means and how to cure it.")] = None,
) -> None:
    """Check flow files without a server; exit code 1 when one has errors."""
    if explain is not None:
        from service.cli.codes import explanation

        print(explanation(explain))
        return
    if as_json_too:
        form = "json"
    missing = [path for path in paths if not path.exists()]
    if missing:
        raise typer.BadParameter(f"there is no {missing[0]}", param_hint="PATH")
    if form not in FORMATS:
        raise typer.BadParameter(f"'{form}' is not one of {', '.join(FORMATS)}", param_hint="--format")
    from service.cli.offline import check_path

    reports = [check_path(path, layout=layout, target_namespace=target_namespace) for path in paths or [Path()]]
    problems = [problem for report in reports for problem in report.problems]
    files = sum(report.flows for report in reports)
    for line in rendered(problems, form):
        print(line)
    errors = sum(problem.severity is Severity.ERROR for problem in problems)
    warnings = sum(problem.severity is Severity.WARNING for problem in problems)
    if form == "json":
        print_json([as_json(problem) for problem in problems])
    note(f"{files} {_plural(files, 'flow')} checked: {errors} {_plural(errors, 'error')}, "
         f"{warnings} {_plural(warnings, 'warning')}")  # fmt: skip
    raise typer.Exit(1 if errors or (strict and warnings) else 0)


def rendered(problems: Sequence[Problem], form: str) -> list[str]:
    """The lines of a format; JSON is printed as one value by the caller."""
    if form == "text":
        return [text_line(problem) for problem in problems]
    if form == "github":
        lines = [github_line(problem) for problem in problems[:MAX_ANNOTATIONS]]
        more = len(problems) - MAX_ANNOTATIONS
        return [*lines, f"::notice::{more} more findings are in the log"] if more > 0 else lines
    return []


def text_line(problem: Problem) -> str:
    """``flows/a.yaml:14:9: error G020 unknown type …; did you mean …``."""
    place = ":".join(str(part) for part in (problem.file or ".", problem.line, problem.column) if part)
    path = f" ({problem.path})" if problem.path and problem.path not in problem.message else ""
    hint = f"; {problem.hint}" if problem.hint else ""
    return clean(f"{place}: {problem.severity} {problem.code} {problem.message}{path}{hint}").replace("\n", " ")


def github_line(problem: Problem) -> str:
    """A workflow command; its own syntax is escaped, so that a flow's text cannot issue commands."""
    level = {"error": "error", "warning": "warning"}.get(problem.severity, "notice")
    properties = {"file": problem.file, "line": problem.line, "col": problem.column, "title": problem.code}
    listed = ",".join(f"{key}={_property(str(value))}" for key, value in properties.items() if value)
    message = problem.message + (f"; {problem.hint}" if problem.hint else "")
    return f"::{level} {listed}::{_data(clean(message))}"


def as_json(problem: Problem) -> dict[str, object]:
    return {
        "file": problem.file,
        "line": problem.line,
        "column": problem.column,
        "severity": str(problem.severity),
        "code": problem.code,
        "path": problem.path,
        "message": problem.message,
        "hint": problem.hint,
    }


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(clean(text)).replace(":", "%3A").replace(",", "%2C")


def _plural(count: int, noun: str) -> str:
    return noun if count == 1 else noun + "s"
