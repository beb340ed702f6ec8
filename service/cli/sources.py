"""`lanner source` and `lanner sync`: Git sources. `add` writes `lanner.yaml`, everything else asks a server.

Sources of the configuration are read-only in the API, because only operators may decide what is trusted.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from namespaces.errors import ConfigurationError, Conflict
from service.cli.client import Client, segment
from service.cli.output import JsonOption, clean, listing, note, print_json, told

app = typer.Typer()
Name = Annotated[str, typer.Argument(help="Name of the source.")]
COLUMNS = [
    ("name", "SOURCE"),
    ("state", "STATE"),
    ("reason", "REASON"),
    ("applied_commit", "APPLIED"),
    ("seen_commit", "SEEN"),
    ("url", "URL"),
]
DEGRADED, BLOCKED = 3, 4


@app.command()
def add(
    name: Name,
    url: Annotated[str, typer.Argument(help="Address of the repository.")],
    namespaces: Annotated[
        list[str], typer.Option("--namespace", "-n", help="Namespace it may write, ** for all below; repeat for more.")
    ],
    branch: Annotated[str, typer.Option(help="Branch to follow.")] = "main",
    path: Annotated[str, typer.Option(help="Folder in the repository.")] = "",
    layout: Annotated[str, typer.Option(help="auto, lanner, kestra-tenant, kestra-tasks or flat.")] = "auto",
    token_env: Annotated[str | None, typer.Option(help="Variable of the server that holds an access token.")] = None,
    poll: Annotated[str | None, typer.Option(help="How often to ask, e.g. 60s.")] = None,
    config: Annotated[Path, typer.Option("--config", help="File to write.")] = Path("lanner.yaml"),
) -> None:
    """Add a source to lanner.yaml; a running server reads it again on SIGHUP."""
    entry: dict[str, Any] = {"name": name, "url": url, "ref": {"branch": branch}, "namespaces": namespaces}
    if path:
        entry["path"] = path
    if layout != "auto":
        entry["layout"] = layout
    if poll:
        entry["poll"] = poll
    if token_env:
        entry["auth"] = {"type": "token", "token": "${env:" + token_env + "}"}
    add_source(config, entry)
    note(f"added {name} to {config}; restart the server or send it SIGHUP")


@app.command("list")
def list_(as_json: JsonOption = False) -> None:
    """Sources and their states."""
    with Client() as client:
        rows = _rows(client.json("GET", "git/sources"))
    listing(rows, COLUMNS, as_json, "no sources; see lanner source add")


@app.command()
def show(name: Name, as_json: JsonOption = False) -> None:
    """One source: state, commits, what is held and why."""
    with Client() as client:
        source = client.json("GET", f"git/sources/{segment(name)}")
        held = _rows(client.json("GET", f"git/sources/{segment(name)}/items", params={"state": "held"}))
    if as_json:
        print_json(source | {"held": held})
        return
    for key, value in source.items():
        if value is not None and not isinstance(value, (dict, list)):
            print(clean(f"{key}: {value}"))
    if source.get("hook_id"):
        print(clean(f"push hook: {client.target.url}/api/v1/git/hooks/{source['hook_id']}"))
    for item in held:
        for found in item.get("problems") or [item.get("error") or {}]:
            place = ":".join(str(part) for part in (item.get("path"), found.get("line"), found.get("column")) if part)
            print(clean(f"{place}: {found.get('code', 'held')} {found.get('message', '')}"))


@app.command("sync")
def source_sync(
    name: Name,
    full: Annotated[bool, typer.Option("--full", help="Read everything again.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan, change nothing.")] = False,
    approve: Annotated[str | None, typer.Option(help="Apply the plan with this hash.")] = None,
    wait: Annotated[str, typer.Option(help="How long to wait for the end, 0 for not at all.")] = "120s",
    as_json: JsonOption = False,
) -> None:
    """Sync a source now."""
    _sync(name, full=full, dry_run=dry_run, approve=approve, wait=wait, as_json=as_json)


def sync(
    name: Name,
    full: Annotated[bool, typer.Option("--full", help="Read everything again.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan, change nothing.")] = False,
    approve: Annotated[str | None, typer.Option(help="Apply the plan with this hash.")] = None,
    wait: Annotated[str, typer.Option(help="How long to wait for the end, 0 for not at all.")] = "120s",
    as_json: JsonOption = False,
) -> None:
    """Sync a source now (the same as lanner source sync)."""
    _sync(name, full=full, dry_run=dry_run, approve=approve, wait=wait, as_json=as_json)


@app.command()
def pause(name: Name, as_json: JsonOption = False) -> None:
    """Stop applying new commits."""
    _post(name, "pause", as_json)


@app.command()
def resume(name: Name, as_json: JsonOption = False) -> None:
    """Apply new commits again."""
    _post(name, "resume", as_json)


@app.command("test")
def access(name: Name, as_json: JsonOption = False) -> None:
    """Try access to the repository; changes nothing. Exit code 1 when it fails."""
    with Client() as client:
        answer = client.json("POST", f"git/sources/{segment(name)}/test") or {}
    ok = bool(answer.get("ok", True))
    if as_json:
        print_json(answer)
    else:
        print(clean(answer.get("message") or ("reachable" if ok else "not reachable")))
    raise typer.Exit(0 if ok else 1)


def add_source(config: Path, entry: dict[str, Any]) -> None:
    """Append ``entry`` to ``git.sources`` of the file, keeping its comments and everything else as it is.

    Raises ``Conflict`` when the name is taken and ``ConfigurationError`` when the result would not be valid.
    """
    import yaml

    from service.settings import load_settings

    text = config.read_text(encoding="utf-8") if config.exists() else ""
    root = yaml.compose(text, Loader=yaml.SafeLoader) if text.strip() else None
    git = _value(root, "git")
    sources = _value(git, "sources")
    for source in getattr(sources, "value", []) or []:
        if getattr(_value(source, "name"), "value", None) == entry["name"]:
            raise Conflict(f"{config} has a source '{entry['name']}' already", hint=f"edit {config}")
    fresh = _inserted(text, git, sources, entry)
    candidate = config.with_name(f".{config.name}.new")
    candidate.write_text(fresh, encoding="utf-8")
    try:
        # Literal environment: what is checked is the file alone.
        load_settings(candidate, environ={})
    except ConfigurationError as error:
        raise ConfigurationError(error.message.replace(candidate.name, config.name), hint=error.hint) from error
    else:
        if config.exists():
            candidate.chmod(config.stat().st_mode & 0o777)
        candidate.replace(config)
    finally:
        candidate.unlink(missing_ok=True)


def _inserted(text: str, git: Any, sources: Any, entry: dict[str, Any]) -> str:
    import yaml

    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    dumped = yaml.safe_dump([entry], sort_keys=False, allow_unicode=True).splitlines(keepends=True)
    if git is None or not isinstance(git, yaml.MappingNode):
        return "".join([*lines, "git:\n", "  sources:\n", *("    " + line for line in dumped)])
    if git.flow_style or (sources is not None and (getattr(sources, "flow_style", False) and sources.value)):
        raise ConfigurationError(
            "git.sources is written in {} or []", hint="write it as an indented list, then try again"
        )
    if sources is not None and isinstance(sources, yaml.SequenceNode) and sources.value:
        last = sources.value[-1]
        indent = " " * sources.start_mark.column
        end = _last_line(last)
        return "".join([*lines[: end + 1], *(indent + line for line in dumped), *lines[end + 1 :]])
    indent = " " * git.start_mark.column
    block = [f"{indent}sources:\n", *(f"{indent}  {line}" for line in dumped)]
    if sources is not None:
        row = next(key.start_mark.line for key, value in git.value if value is sources)
        return "".join([*lines[:row], *block, *lines[row + 1 :]])
    row = git.value[-1][1]
    end = _last_line(row)
    return "".join([*lines[: end + 1], *block, *lines[end + 1 :]])


def _last_line(node: Any) -> int:
    """Line of the last scalar inside a node: a block's own end mark lies behind trailing comments."""
    if isinstance(node.value, str) or not node.value:
        end: int = node.end_mark.line
        return end - 1 if node.end_mark.column == 0 and end > node.start_mark.line else end
    last = node.value[-1]
    inner = last[1] if isinstance(last, tuple) else last
    if getattr(node, "flow_style", False):
        return int(node.end_mark.line)
    return _last_line(inner)


def _value(node: Any, name: str) -> Any:
    import yaml

    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == name:
                return value
    return None


def _sync(name: str, *, full: bool, dry_run: bool, approve: str | None, wait: str, as_json: bool) -> None:
    from service.settings.values import parse_duration

    try:
        limit_s = parse_duration(wait).total_seconds()
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--wait") from error
    path = f"git/sources/{segment(name)}"
    with Client() as client:
        if dry_run:
            print_json(client.json("POST", f"{path}/plan", json={}))
            return
        if approve:
            client.json("POST", f"{path}/plans/{segment(approve)}/approve")
        # The server answers when the run is over; the connection must be a little more patient than that.
        run = client.json("POST", f"{path}/sync", json={"full": full, "wait": limit_s}, timeout=limit_s + 30) or {}
        source = client.json("GET", path)
    if as_json:
        print_json(source | {"sync_run": run})
    else:
        listing([source], COLUMNS, False)
        if run.get("outcome") == "pending":
            note(f"not done within {wait}; lanner source show {name}")
    raise typer.Exit(_exit_code(source))


def _exit_code(source: dict[str, Any]) -> int:
    state, reason = source.get("state"), source.get("reason")
    if state == "Synced":
        return 0
    if state == "Degraded":
        return DEGRADED
    return BLOCKED if state == "OutOfSync" and reason != "InProgress" else 1


def _post(name: str, action: str, as_json: bool) -> None:
    with Client() as client:
        client.call("POST", f"git/sources/{segment(name)}/{action}")
        source = client.json("GET", f"git/sources/{segment(name)}")
    told(f"{name}: {action}d", source, as_json)


def _rows(answer: Any) -> list[dict[str, Any]]:
    found = answer.get("results", []) if isinstance(answer, dict) else answer
    return list(found or [])
