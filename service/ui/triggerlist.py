"""The list of all triggers: what starts by itself, when next, and what is locked or failing."""

from __future__ import annotations

from flask import Response, request

from runner import triggerstate
from service.api.context import lanner
from service.ui import parts
from service.ui.site import page, render


@page("/triggers", "flow.read")
def triggers() -> Response:
    asked = parts.page_of(())
    state = request.args.get("state", "")
    query = triggerstate.TriggerQuery(
        q=request.args.get("q", "").strip() or None,
        namespace=request.args.get("namespace", "").strip() or None,
        disabled={"enabled": False, "disabled": True}.get(state),
        locked=True if state == "locked" else None,
    )
    rows, total = lanner().database.read(
        lambda c: triggerstate.search(c, query, page=asked.number, size=asked.size, sort=())
    )
    active = any(request.args.get(name) for name in ("q", "namespace", "state"))
    return render("triggers.html", rows=rows, total=total, asked=asked, active=active)
