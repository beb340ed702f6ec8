"""What every page shares: the blueprint, the template environment, navigation and the rendering of a page."""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

from flask import Blueprint, Response, g, request
from flask import url_for as flask_url_for

from service.api.context import lanner
from service.auth.gate import CSRF_FIELD
from service.auth.principal import caller, can
from service.ui import inputform, words
from service.version import VERSION

HERE = Path(__file__).parent
THEMES = ("system", "light", "dark")
THEME_COOKIE = "lanner_theme"

blueprint = Blueprint("ui", __name__)
ENDPOINTS: dict[str, str] = {}
"""Endpoint to permission, filled by ``page``."""


class Parameters(dict[str, str]):
    """The query of the URL for templates: what was not given is empty."""

    def __missing__(self, key: str) -> str:
        return ""


View = TypeVar("View", bound=Callable[..., Any])


def page(path: str, permission: str, *, methods: tuple[str, ...] = ("GET",)) -> Callable[[View], View]:
    """Register a view under ``/ui`` with the permission it asks for; its endpoint is ``ui.<function>``."""

    def register(view: View) -> View:
        blueprint.add_url_rule("/ui" + path, view.__name__, view, methods=list(methods))
        ENDPOINTS[f"ui.{view.__name__}"] = permission
        return view

    return register


def is_fragment() -> bool:
    """Whether htmx or a live page asked: then the part it swaps is enough."""
    return request.headers.get("HX-Request") == "true"


def render(template: str, status: int = 200, /, **context: Any) -> Response:
    """A page as HTML. ``title`` is a list from the object outwards; ``crumbs`` are (text, URL) pairs."""
    text = environment().get_template(template).render(**_shared(), **context)
    response = Response(text, status, mimetype="text/html")
    response.headers["Vary"] = "HX-Request, Cookie"
    return response


def redirect(url: str) -> Response:
    """See other, after a form was carried out."""
    response = Response("", 303)
    response.headers["Location"] = url
    return response


def url(endpoint: str, /, **values: Any) -> str:
    """Address of a page; values that are None or empty stay out."""
    return flask_url_for(f"ui.{endpoint}", **{key: value for key, value in values.items() if value not in (None, "")})


def with_args(**changes: Any) -> str:
    """The address of this page with some query parameters changed (None: removed), always from its first page."""
    pairs = [(k, v) for k, v in request.args.items(multi=True) if k not in changes and k != "page" and v != ""]
    for key, value in changes.items():
        for one in value if isinstance(value, list | tuple) else [value]:
            if one not in (None, ""):
                pairs.append((key, str(one)))
    return request.path + ("?" + urlencode(pairs) if pairs else "")


def here() -> str:
    return request.full_path.rstrip("?")


def own_path(target: str | None) -> str | None:
    """``target`` when it is a page of ours: never another host."""
    if not target or not target.startswith("/ui") or target.startswith("//") or "\\" in target:
        return None
    return target if posixpath.normpath(target.partition("?")[0]).startswith("/ui") else None


def _shared() -> dict[str, Any]:
    settings = lanner().settings
    theme = request.cookies.get(THEME_COOKIE, "system")
    session = g.get("session")
    principal = caller()
    return {
        "now": lanner().clock.now(),
        "theme": theme if theme in THEMES else "system",
        "principal": principal,
        "csrf": session.csrf if session is not None else "",
        "session": session,
        "nav": _navigation() if principal is not None else (),
        "environment_name": settings.server.environment.name,
        "fragment": is_fragment(),
        "args": Parameters(request.args),
        "may": lambda permission, namespace=None: can(principal, permission, namespace),
    }


def _navigation() -> list[dict[str, Any]]:
    """Entries the caller can read something behind."""
    principal = caller()
    entries = (
        ("Flows", "workflow", "flows", "flow.read"),
        ("Executions", "activity", "executions", "execution.read"),
        ("Triggers", "calendar-clock", "triggers", "flow.read"),
        ("Sync", "git-branch", "sync", "source.read"),
    )
    found = []
    for text, icon, endpoint, permission in entries:
        if not can(principal, permission):
            continue
        target = url(endpoint)
        # The page of an error asks the database nothing: it may be what is broken.
        count = _sync_errors() if endpoint == "sync" and not g.get("drawing_error") else 0
        found.append(
            {"text": text, "icon": icon, "url": target, "current": request.path.startswith(target), "count": count}
        )
    return found


def _sync_errors() -> int:
    """How many sources need somebody to look."""
    return sum(1 for status in lanner().sync.list() if status.state in ("Error", "Degraded"))


@cache
def environment() -> Any:
    """The templates; everything is escaped, and a name that is missing is an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from service.ui.assets import asset

    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.globals.update(
        url=url,
        asset=asset,
        with_args=with_args,
        here=here,
        version=VERSION,
        state_look=words.state_look,
        iteration_of=words.iteration_of,
        title_marks=words.TITLE_MARKS,
        ended=words.ENDED,
        many=words.many,
        total_words=words.total_words,
    )
    made.globals["csrf_input"] = _csrf_input
    made.filters.update(
        iso=words.iso,
        absolute=words.absolute,
        relative=words.relative,
        duration=words.duration,
        size=words.size,
        short_type=words.short_type,
        subject=words.subject,
        pretty=_pretty,
        plain=inputform.text_of,
    )
    macros = made.get_template("macros.html").module
    made.globals.update({name: item for name, item in vars(macros).items() if not name.startswith("_")})
    return made


def _csrf_input() -> Any:
    """The hidden field of every form."""
    from markupsafe import Markup

    session = g.get("session")
    if session is None:
        return ""
    return Markup('<input type="hidden" name="{}" value="{}">').format(CSRF_FIELD, session.csrf)


def _pretty(value: Any) -> str:
    import json

    return json.dumps(value, indent=2, ensure_ascii=False, default=str)
