"""The sync pages: sources, one source with its errors, one run with what happened to each file."""

from __future__ import annotations

from typing import Any

from flask import Response, request

from namespaces.errors import BadRequest, InvalidInput
from service.api.context import lanner
from service.auth.principal import caller
from service.ui import parts, sources
from service.ui.site import page, redirect, render, url

RUNS = 20
EXCERPTS = 50
"""Faults that are shown with their source; further ones are listed without."""
RESULTS = 200


@page("/sync", "source.read")
def sync() -> Response:
    found = lanner().sync.list()
    runs = lanner().sync.runs(limit=10)
    return render("sync.html", sources=found, runs=runs, last=_last_runs(found))


def _last_runs(found: Any) -> dict[str, Any]:
    return {status.name: next(iter(lanner().sync.runs(status.name, limit=1)), None) for status in found}


@page("/sync/<source>", "source.read")
def sync_source(source: str) -> Response:
    service = lanner().sync
    status = service.status(source)
    held = list(service.items(source, "held"))
    kept = service.items(source, "kept", limit=100)
    along = [item for item in held if not parts.own_problems(item)]
    held = [item for item in held if parts.own_problems(item)]
    texts = service.texts(source, [item.seen_oid for item in held if item.seen_oid][:EXCERPTS])
    files = [
        {
            "item": item,
            "problems": [
                {"problem": problem, "excerpt": sources.excerpt(texts.get(item.seen_oid or "", ""), problem.line)}
                for problem in parts.own_problems(item)
            ],
        }
        for item in held
    ]
    return render(
        "sync_source.html",
        status=status,
        files=files,
        kept=kept,
        along=along,
        runs=service.runs(source, limit=RUNS),
        total=sum(status.counts.values()),
        hook=f"/api/v1/git/hooks/{status.hook_id}" if status.hook_id else "",
    )


@page("/sync/<source>/runs/<run_id>", "source.read")
def sync_run(source: str, run_id: str) -> Response:
    service = lanner().sync
    run = service.run(run_id)
    if run.source != source:
        from namespaces.errors import NotFound

        raise NotFound(f"There is no sync run “{run_id}” of source “{source}”.")
    results = service.results(run_id, limit=5_000)
    bad = [one for one in results if one.severity == "error"]
    warned = [one for one in results if one.severity == "warning"]
    texts: dict[str, str] = {}
    if run.to_commit:
        names = list(dict.fromkeys(one.path for one in bad if one.line))[:EXCERPTS]
        root = service.status(source).path.strip("/")
        full = {name: (f"{root}/{name}" if root and not name.startswith(root + "/") else name) for name in names}
        found = service.texts(source, [f"{run.to_commit}:{full[name]}" for name in names])
        texts = {name: found.get(f"{run.to_commit}:{full[name]}", "") for name in names}
    faults = [{"result": one, "excerpt": sources.excerpt(texts.get(one.path, ""), one.line)} for one in bad]
    done = [one for one in results if one.severity not in ("error", "warning")]
    return render(
        "sync_run.html",
        run=run,
        faults=faults,
        warned=warned,
        done=done[:RESULTS],
        more=max(0, len(done) - RESULTS),
        seconds=(run.ended_at - run.started_at).total_seconds() if run.ended_at else None,
    )


@page("/sync/<source>/now", "source.sync", methods=("POST",))
def sync_now(source: str) -> Response:
    lanner().sync.request(source, by=_by())
    return redirect(url("sync_source", source=source))


@page("/sync/<source>/hold", "source.pin", methods=("POST",))
def sync_hold(source: str) -> Response:
    """Pause or resume a source."""
    match request.form.get("do"):
        case "pause":
            lanner().sync.pause(source, by=_by())
        case "resume":
            lanner().sync.resume(source, by=_by())
        case _:
            raise BadRequest("There is no such action.")
    return redirect(url("sync_source", source=source))


@page("/sync/<source>/approve", "source.approve", methods=("POST",))
def sync_approve(source: str) -> Response:
    """Let the plan that waits pass its guards; its hash says which one was looked at."""
    wanted = request.form.get("plan", "")
    if not wanted:
        raise InvalidInput("The plan is missing.")
    lanner().sync.approve(source, wanted, by=_by())
    return redirect(url("sync_source", source=source))


def _by() -> str:
    principal = caller()
    return principal.name if principal is not None else ""
