"""`lanner context`: named servers with their credentials in one file that only its owner may read."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from namespaces.errors import ConfigurationError, NotFound
from service.cli.output import JsonOption, listing, note

app = typer.Typer()


def contexts_file() -> Path:
    """`$XDG_CONFIG_HOME/lanner/contexts.json`, else below `~/.config`."""
    base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "lanner" / "contexts.json"


def read() -> dict[str, Any]:
    """``{"current": name, "contexts": {name: {url, token, user, password}}}``. Raises ``ConfigurationError``."""
    path = contexts_file()
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {"current": None, "contexts": {}}
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path} cannot be read", hint="correct or remove it") from error
    if not isinstance(kept, dict) or not isinstance(kept.get("contexts"), dict):
        raise ConfigurationError(f"{path} is not a file of contexts", hint="correct or remove it")
    return kept


def write(kept: dict[str, Any]) -> None:
    path = contexts_file()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        json.dump(kept, file, indent=2)
    fresh.replace(path)


def current(name: str | None = None) -> dict[str, str]:
    """The named context, or the one in use; empty when none is in use. Raises ``NotFound``."""
    kept = read()
    wanted = name or kept["current"]
    if wanted is None:
        return {}
    if wanted not in kept["contexts"]:
        raise NotFound(f"there is no context '{wanted}'", hint="see lanner context list")
    found: dict[str, str] = kept["contexts"][wanted]
    return found


@app.command("list")
def list_(as_json: JsonOption = False) -> None:
    """Contexts, the one in use marked; credentials are not shown."""
    kept = read()
    rows = [
        {"current": "*" if name == kept["current"] else "", "name": name, "url": value.get("url", "")}
        for name, value in sorted(kept["contexts"].items())
    ]
    listing(rows, [("current", ""), ("name", "NAME"), ("url", "URL")], as_json, "no contexts; see lanner context add")


@app.command()
def add(
    name: str,
    url: Annotated[str, typer.Option(help="Address of the server.")],
    token: Annotated[str | None, typer.Option(help="API token; prompted for with `-`.")] = None,
    user: Annotated[str | None, typer.Option(help="User name.")] = None,
) -> None:
    """Keep a server under a name and use it; the password of --user is asked for."""
    value = {"url": url.rstrip("/")}
    if token:
        value["token"] = typer.prompt("Token", hide_input=True) if token == "-" else token  # noqa: S105
    if user:
        value |= {"user": user, "password": typer.prompt("Password", hide_input=True)}
    kept = read()
    kept["contexts"][name] = value
    kept["current"] = name
    write(kept)
    note(f"using {name}: {value['url']}")


@app.command()
def use(name: str) -> None:
    """Talk to this server from now on."""
    current(name)
    kept = read()
    kept["current"] = name
    write(kept)
    note(f"using {name}")


@app.command()
def remove(name: str) -> None:
    """Forget a server and its credentials."""
    current(name)
    kept = read()
    del kept["contexts"][name]
    if kept["current"] == name:
        kept["current"] = None
    write(kept)
    note(f"removed {name}")
