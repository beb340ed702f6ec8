"""Routes of Git sources, sync runs and push hooks (``gitops.md`` 2.9, 2.10). What they mean is decided in ``sync``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from flask import Response, request

from namespaces.clock import iso
from namespaces.errors import BadRequest, InvalidInput, LannerError, TooLarge
from service.api.answers import answer, empty
from service.api.context import json_object, lanner, number
from service.api.problems import unauthorized
from service.api.routes import Resource
from service.auth.principal import caller

resource = Resource("git")

HOOK_BYTES = 5 * 1024 * 1024
LONGEST_WAIT_S = 120.0


def plain(value: Any) -> Any:
    """A value of ``sync.model`` as JSON: members keep their names, those without a value are left out."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        pairs = ((field.name, getattr(value, field.name)) for field in dataclasses.fields(value))
        return {name: plain(item) for name, item in pairs if item is not None and item != ""}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return iso(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    return value


def _by() -> str:
    principal = caller()
    return principal.name if principal is not None else ""


def _window() -> tuple[int, int]:
    """(limit, offset) of ``page`` and ``size``."""
    size = number("size", 50, least=1, most=1_000)
    return size, (number("page", 1, least=1) - 1) * size


@resource.on("GET", "/git/sources")
def sources() -> Response:
    found = [plain(status) for status in lanner().sync.list()]
    return answer({"results": found, "total": len(found)})


@resource.on("GET", "/git/sources/<name>")
def source(name: str) -> Response:
    return answer(plain(lanner().sync.status(name)))


@resource.on("GET", "/git/sources/<name>/items")
def items(name: str) -> Response:
    limit, offset = _window()
    found = lanner().sync.items(name, request.args.get("state"), limit=limit, offset=offset)
    return answer({"results": [_item(one) for one in found], "total": offset + len(found)})


def _item(view: Any) -> dict[str, Any]:
    shape: dict[str, Any] = plain(view)
    if view.problems:
        # The first finding by itself, for lists that show one line a file.
        shape["error"] = plain(view.problems[0])
    return shape


@resource.on("POST", "/git/sources/<name>/sync")
def sync(name: str) -> Response:
    """202 with the id of the run to come; with ``wait`` (true or seconds) 200 with the run once it is over."""
    body = json_object()
    full, wait = bool(body.get("full")), body.get("wait")
    if not wait:
        run_id = lanner().sync.request(name, full=full, by=_by())
        return answer({"id": run_id, "sync_run_id": run_id}, 202)
    if wait is not True and not isinstance(wait, int | float):
        raise InvalidInput("Illegal argument: wait must be true or a number of seconds")
    limit_s = LONGEST_WAIT_S if wait is True else min(float(wait), LONGEST_WAIT_S)
    run = lanner().sync.sync_now(name, full, limit_s, by=_by())
    return answer(plain(run)) if run is not None else answer({"outcome": "pending"}, 202)


@resource.on("POST", "/git/sources/<name>/plan")
def plan(name: str) -> Response:
    ref = json_object().get("ref")
    if ref is not None and not isinstance(ref, str):
        raise InvalidInput("Illegal argument: ref must be text")
    return answer(plain(lanner().sync.plan(name, ref)))


@resource.on("POST", "/git/sources/<name>/plans/<plan_hash>/approve")
def approve(name: str, plan_hash: str) -> Response:
    run_id = lanner().sync.approve(name, plan_hash, by=_by())
    return answer({"id": run_id, "sync_run_id": run_id}, 202)


@resource.on("POST", "/git/sources/<name>/pause")
def pause(name: str) -> Response:
    lanner().sync.pause(name, by=_by())
    return source(name)


@resource.on("POST", "/git/sources/<name>/resume")
def resume(name: str) -> Response:
    lanner().sync.resume(name, by=_by())
    return source(name)


@resource.on("POST", "/git/sources/<name>/pin")
def pin(name: str) -> Response:
    """``{commit | null, reason}``."""
    body = json_object()
    if "commit" not in body:
        raise BadRequest("commit is required: a full commit id, or null to follow the ref again")
    commit = body["commit"]
    if commit is not None and not isinstance(commit, str):
        raise InvalidInput("Illegal argument: commit must be text or null")
    lanner().sync.pin(name, commit, by=_by(), reason=str(body.get("reason") or ""))
    return source(name)


@resource.on("POST", "/git/sources/<name>/test")
def test(name: str) -> Response:
    """Tries access; changes nothing. That the remote refuses is an answer, not an error."""
    lanner().sync.status(name)
    try:
        commit = lanner().sync.test(name)
    except LannerError as error:
        return answer({"ok": False, "code": error.code, "message": error.message, "hint": error.hint})
    return answer({"ok": True, "commit": commit, "message": f"reachable, at {commit[:12]}"})


@resource.on("GET", "/git/sync-runs")
def runs() -> Response:
    limit, offset = _window()
    found = lanner().sync.runs(request.args.get("source"), request.args.get("outcome"), limit=limit, offset=offset)
    return answer({"results": [plain(run) for run in found], "total": offset + len(found)})


@resource.on("GET", "/git/sync-runs/<run_id>")
def run(run_id: str) -> Response:
    return answer(plain(lanner().sync.run(run_id)))


@resource.on("GET", "/git/sync-runs/<run_id>/results")
def results(run_id: str) -> Response:
    kind = request.args.get("format", "json")
    if kind != "json":
        raise BadRequest(f"format '{kind[:20]}' is not available here", hint="lanner check writes sarif and junit")
    limit, offset = _window()
    found = lanner().sync.results(run_id, limit=limit, offset=offset)
    return answer({"results": [plain(one) for one in found], "total": offset + len(found)})


@resource.on("POST", "/git/hooks/<hook_id>")
def hook(hook_id: str) -> Response:
    """Verified over the raw body; only ever a hint to sync."""
    if (request.content_length or 0) > HOOK_BYTES:
        raise TooLarge("a hook's body has at most 5 MiB")
    raw = request.get_data(cache=False)
    outcome = lanner().sync.receive(hook_id, dict(request.headers.items()), raw)
    if outcome.status == 401 and not outcome.body:
        return unauthorized()
    return answer(dict(outcome.body), outcome.status) if outcome.body else empty(outcome.status)
