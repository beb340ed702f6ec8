"""`lanner migrate`: flow files of Kestra 0.x and 1.x for 2.x, without a server."""

from __future__ import annotations

import difflib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from namespaces.errors import Problem
from service.cli.checking import text_line
from service.cli.output import clean, note, print_json

if TYPE_CHECKING:
    from namespaces.flows.catalog import Catalog
    from namespaces.flows.migration import Outcome, SourceFile

FORMATS = ("text", "json")
RULES_PAGE = "docs/reference/migration.md"


def migrate(
    paths: Annotated[list[Path], typer.Argument(help="Flow files and folders of them.")],
    check: Annotated[bool, typer.Option("--check", help="Only say what is to be done, the default.")] = False,
    write: Annotated[bool, typer.Option("--write", help="Write into the files.")] = False,
    out: Annotated[Path | None, typer.Option("--out", help="Write all files into this folder instead.")] = None,
    target: Annotated[int, typer.Option("--target", help="Version to convert to; 2 is the only one.")] = 2,
    keep_1: Annotated[bool, typer.Option("--keep-1", help="Only what also runs on Kestra 1.3.")] = False,
    form: Annotated[str, typer.Option("--format", help="text or json.")] = "text",
    as_json_too: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Convert flow files to Kestra 2; exit code 1 when something is left to do, 2 when a file cannot be read."""
    if check + write + (out is not None) > 1:
        raise typer.BadParameter("give one of --check, --write and --out")
    if target != 2:
        raise typer.BadParameter(f"{target} is not 2", param_hint="--target")
    if as_json_too:
        form = "json"
    if form not in FORMATS:
        raise typer.BadParameter(f"'{form}' is not one of {', '.join(FORMATS)}", param_hint="--format")
    missing = [path for path in paths if not path.exists()]
    if missing:
        raise typer.BadParameter(f"there is no {missing[0]}", param_hint="PATH")
    from namespaces.flows.migration import migrate as convert

    files = _files(paths)
    outcomes = convert([file for _, file in files], _catalog(), keep_1=keep_1)
    if out is not None:
        _into(out, [(relative, outcome) for (relative, _), outcome in zip(files, outcomes, strict=True)])
    elif write:
        for outcome in outcomes:
            if outcome.changed:
                _replace(Path(outcome.name), outcome.text)
    writing = write or out is not None
    if form == "json":
        print_json([as_json(outcome) for outcome in outcomes])
    else:
        for line in rendered(outcomes, writing=writing):
            print(line)
    note(summary(outcomes, writing=writing))
    raise typer.Exit(exit_code(outcomes, writing=writing))


def exit_code(outcomes: Sequence[Outcome], *, writing: bool) -> int:
    """2: something cannot be read; 1: something is to be done, or left for a person; 0: nothing."""
    statuses = {str(outcome.status) for outcome in outcomes}
    if "unreadable" in statuses:
        return 2
    return int("needs you" in statuses or (not writing and "can be converted" in statuses))


def summary(outcomes: Sequence[Outcome], *, writing: bool) -> str:
    """One line about all files."""
    counts = {
        name: sum(outcome.status == name for outcome in outcomes)
        for name in ("ok", "can be converted", "needs you", "unreadable")
    }
    words = {"can be converted": "converted"} if writing else {}
    told = ", ".join(f"{count} {words.get(name, name)}" for name, count in counts.items() if count or name == "ok")
    return f"{len(outcomes)} {'file' if len(outcomes) == 1 else 'files'}: {told}"


def rendered(outcomes: Sequence[Outcome], *, writing: bool) -> list[str]:
    """The lines of the text form; a diff only where nothing is written."""
    lines = []
    for outcome in outcomes:
        lines.append(clean(f"{outcome.name}: {outcome.status}"))
        lines += [f"  {text_line(problem.at_file(outcome.name))}" for problem in outcome.problems]
        for remark in outcome.remarks:
            if remark.kind == "needs you":
                told = f"{remark.rule} needs you: {remark.message} ({_link(remark.rule)})"
            else:
                told = f"{remark.rule} {remark.message}"
            lines.append(clean(f"  line {remark.line}: {told}"))
        if not writing:
            lines += [clean(line.rstrip("\r\n")) for line in _diff(outcome)]
    return lines


def as_json(outcome: Outcome) -> dict[str, object]:
    """One file for other tools."""
    return {
        "file": outcome.name,
        "status": str(outcome.status),
        "remarks": [
            {
                "line": remark.line,
                "rule": remark.rule,
                "kind": remark.kind,
                "message": remark.message,
                "link": _link(remark.rule),
            }
            for remark in outcome.remarks
        ],
        "problems": [_problem(problem) for problem in outcome.problems],
        "diff": "".join(_diff(outcome)),
    }


def _problem(problem: Problem) -> dict[str, object]:
    return {"line": problem.line, "column": problem.column, "code": problem.code, "message": problem.message}


def _link(rule: str) -> str:
    return f"{RULES_PAGE}#{rule.lower()}"


def _diff(outcome: Outcome) -> list[str]:
    old, new = outcome.old.splitlines(keepends=True), outcome.text.splitlines(keepends=True)
    lines = difflib.unified_diff(old, new, outcome.name, outcome.name)
    return [line if line.endswith("\n") else line + "\n" for line in lines]


def _files(paths: Sequence[Path]) -> list[tuple[Path, SourceFile]]:
    """Every YAML and JSON file with its path below the one that was given, each once."""
    from namespaces.errors import LannerError
    from namespaces.flows.migration import SourceFile
    from service.cli.offline import files_of

    found: dict[Path, tuple[Path, SourceFile]] = {}
    for path in paths:
        root, names = files_of(path)
        for name in names:
            place = root / name
            if place.suffix not in (".yaml", ".yml", ".json") or place.is_symlink() or place.resolve() in found:
                continue
            try:
                text = place.read_bytes().decode()
            except UnicodeDecodeError as error:
                raise typer.BadParameter(f"{place} is not UTF-8: byte {error.start}", param_hint="PATH") from None
            except OSError as error:
                raise LannerError(f"{place} cannot be read: {(error.strerror or 'error').lower()}") from error
            found[place.resolve()] = Path(name), SourceFile(str(place), text)
    return list(found.values())


def _catalog() -> Catalog:
    from namespaces.flows.catalog import Catalog, load_entry_points

    plugins = load_entry_points()
    return Catalog(plugins.types)


def _into(out: Path, outcomes: Sequence[tuple[Path, Outcome]]) -> None:
    twice = [name for name, _ in outcomes if [other for other, _ in outcomes].count(name) > 1]
    if twice:
        raise typer.BadParameter(f"{twice[0]} is below two of the paths", param_hint="--out")
    for relative, outcome in outcomes:
        place = out / relative
        if place.resolve() == Path(outcome.name).resolve():
            raise typer.BadParameter("the folder is the one that is read: use --write", param_hint="--out")
        place.parent.mkdir(parents=True, exist_ok=True)
        _replace(place, outcome.text)


def _replace(path: Path, text: str) -> None:
    """Write beside, then move: a full disk or a kill leaves the old file whole. Keeps the file's mode."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text.encode())
        os.chmod(temporary, path.stat().st_mode & 0o7777 if path.exists() else 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
