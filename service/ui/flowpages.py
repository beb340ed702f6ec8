"""The pages of one flow: overview, topology, source, revisions, executions, triggers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Response, request
from sqlalchemy.engine import Connection

from namespaces import revisions
from namespaces.errors import InvalidFlow, LannerError, NotFound
from namespaces.flows.model import Flow
from namespaces.revisions import Stored
from runner import queries_counters, triggerstate
from service.api.context import lanner
from service.auth.principal import require_here
from service.ui import executionlist, markdown, parts, sources
from service.ui.site import page, redirect, render, url

PATH = "/flows/<namespace>/<flow_id>"
TABS = (
    ("overview", "Overview", "flow"),
    ("topology", "Topology", "flow_topology"),
    ("executions", "Executions", "flow_executions"),
    ("source", "Source", "flow_source"),
    ("revisions", "Revisions", "flow_revisions"),
    ("triggers", "Triggers", "flow_triggers"),
)
LAST = 10


def load(namespace: str, flow_id: str, tab: str) -> dict[str, Any]:
    """What the head of every page of a flow shows. Raises ``NotFound``, naming flows that are near."""

    def read(connection: Connection) -> tuple[Stored | None, list[str]]:
        stored = revisions.latest(connection, namespace, flow_id, allow_deleted=True)
        near = [] if stored else [one.id for one in revisions.of_namespace(connection, namespace)]
        return stored, near

    stored, near = lanner().database.read(read)
    if stored is None:
        from namespaces.errors import did_you_mean

        hint = did_you_mean(flow_id, near, 3).removeprefix(", ")
        raise NotFound(
            f"There is no flow “{flow_id}” in namespace “{namespace}”.", hint=hint or "see the list of flows"
        )
    flow, fault = parse(stored)
    held = parts.broken_flows(stored.source).get(stored.key) if stored.source else None
    tab_urls = [(key, text, url(end, namespace=namespace, flow_id=flow_id)) for key, text, end in TABS]
    return {"stored": stored, "flow": flow, "fault": fault, "held": held, "tab": tab, "tab_urls": tab_urls}


def parse(stored: Stored) -> tuple[Flow | None, InvalidFlow | None]:
    try:
        return lanner().registry.parsed(stored), None
    except InvalidFlow as error:
        return None, error


@page(PATH, "flow.read")
def flow(namespace: str, flow_id: str) -> Response:
    head = load(namespace, flow_id, "overview")
    stored: Stored = head["stored"]

    def read(connection: Connection) -> Any:
        return (
            queries_counters.last_executions(connection, [stored.key], 50)[stored.key],
            revisions.history(connection, namespace, flow_id)[-5:][::-1],
            triggerstate.of_flow(connection, namespace, flow_id),
        )

    runs, history, triggers = lanner().database.read(read)
    now = lanner().clock.now()
    value: Flow | None = head["flow"]
    done = [run for run in runs if run["end"] is not None]
    lasting = sorted((run["end"] - run["start"]) / 1e6 for run in done)
    return render(
        "flow_overview.html",
        **head,
        description=markdown.rendered(value.description) if value and value.description else "",
        recent=[{**run, "at": parts.instant(run["start"]), "seconds": _lasting(run)} for run in runs[:LAST]],
        bars=parts.bars(stored.key, runs[:20], now),
        history=history,
        triggers=[parts.Sparse(one) for one in triggers],
        rate=round(100 * sum(run["state"] in ("SUCCESS", "WARNING") for run in done) / len(done)) if done else None,
        counted=len(done),
        p50=lasting[len(lasting) // 2] if lasting else None,
        p95=lasting[min(len(lasting) - 1, int(len(lasting) * 0.95))] if lasting else None,
    )


def _lasting(run: Mapping[str, Any]) -> float | None:
    return None if run["end"] is None else (run["end"] - run["start"]) / 1e6


@page(PATH + "/topology", "flow.read")
def flow_topology(namespace: str, flow_id: str) -> Response:
    from service.ui import topology  # drawings are loaded with the first one: a server starts without them

    head = load(namespace, flow_id, "topology")
    value: Flow | None = head["flow"]
    opened = request.args.getlist("open")
    drawing = outline = None
    if value is not None:
        wanted = _opened(value, opened)
        drawing, outline = topology.draw_flow(value, wanted), topology.outline(value)
    return render("flow_topology.html", **head, drawing=drawing, outline=outline, opened=opened, runs={})


def _opened(value: Flow, opened: list[str]) -> list[str] | None:
    """Groups to draw open: those of the URL, ``all`` for every one, None for what is usual."""
    if "all" in opened:
        return [task.id for task in value.walk()]
    return opened or None


@page(PATH + "/source", "flow.read")
def flow_source(namespace: str, flow_id: str) -> Response:
    head = load(namespace, flow_id, "source")
    stored: Stored = head["stored"]
    wanted = request.args.get("revision", "")
    if wanted.isdigit() and int(wanted) != stored.revision:
        found = lanner().database.read(lambda c: revisions.at_revision(c, namespace, flow_id, int(wanted)))
        if found is None:
            raise NotFound(f"Flow “{flow_id}” has no revision {wanted}.")
        stored = found
    reading = lanner().registry.read(stored.text, namespace=namespace)
    problems: dict[int, list[Any]] = {}
    for problem in reading.problems:
        problems.setdefault(problem.line, []).append(problem)
    task = request.args.get("task", "")
    return render(
        "flow_source.html",
        **head,
        shown=stored,
        lines=sources.highlighted(stored.text),
        problems=problems,
        hit=sources.task_line(stored.text.splitlines(), task) if task else None,
    )


@page(PATH + "/source.yaml", "flow.read")
def flow_raw(namespace: str, flow_id: str) -> Response:
    """The text as a file."""
    from service.api.answers import download
    from service.api.context import optional_number
    from service.api.flows import find

    stored = find(namespace, flow_id, optional_number("revision"), allow_deleted=True)
    return download(stored.text.encode(), f"{namespace}.{flow_id}.yaml", "application/yaml")


@page(PATH + "/revisions", "flow.read")
def flow_revisions(namespace: str, flow_id: str) -> Response:
    head = load(namespace, flow_id, "revisions")
    history = lanner().database.read(lambda c: revisions.history(c, namespace, flow_id))
    by_number = {one.revision: one for one in history}
    newest = history[-1].revision
    to = _revision("to", by_number, newest)
    before = max((number for number in by_number if number < to), default=to)
    start = _revision("from", by_number, before)
    old, new = by_number[start], by_number[to]
    return render(
        "flow_revisions.html",
        **head,
        history=history[::-1],
        old=old,
        new=new,
        rows=sources.difference(old.text, new.text) if start != to else [],
    )


def _revision(name: str, known: Mapping[int, Any], default: int) -> int:
    text = request.args.get(name, "")
    return int(text) if text.isdigit() and int(text) in known else default


@page(PATH + "/executions", "execution.read")
def flow_executions(namespace: str, flow_id: str) -> Response:
    return executionlist.draw(load(namespace, flow_id, "executions"))


@page(PATH + "/triggers", "flow.read")
def flow_triggers(namespace: str, flow_id: str) -> Response:
    head = load(namespace, flow_id, "triggers")
    rows = lanner().database.read(lambda c: triggerstate.of_flow(c, namespace, flow_id))
    value: Flow | None = head["flow"]
    cards = [_trigger_card(value, row) for row in rows]
    return render("flow_triggers.html", **head, cards=cards)


def _trigger_card(value: Flow | None, row: dict[str, Any]) -> dict[str, Any]:
    key = (row["namespace"], row["flowId"], row["triggerId"])
    declared = value.trigger(row["triggerId"]) if value else None
    card: dict[str, Any] = {"row": parts.Sparse(row), "declared": declared, "dates": [], "fault": "", "fires": []}
    if declared is None:
        return card
    card["properties"] = parts.Sparse(declared.written)
    if declared.type.endswith((".Schedule", ".ScheduleOnDates")):
        card["zone"] = str(declared.properties.get("timezone") or _server_zone())
        try:
            card["dates"] = [_in_zone(text, card["zone"]) for text in lanner().triggers.states.next_dates(key)]
        except LannerError as error:
            card["fault"] = error.message
        fires = lanner().database.read(lambda c: triggerstate.fires(c, key, limit=20))
        card["fires"] = [parts.Sparse(fire) for fire in fires]
    if declared.type.endswith("Webhook"):
        literal = declared.properties.get("key")
        card["webhook"] = f"/api/v1/main/executions/webhook/{key[0]}/{key[1]}/"
        card["literal"] = literal if isinstance(literal, str) and "{{" not in literal else None
    return card


def _server_zone() -> str:
    from service.wiring import host_zone

    return lanner().settings.server.timezone or host_zone()


def _in_zone(text: str, zone: str) -> dict[str, Any]:
    """A date in the schedule's zone, and whether the clock changes before it."""
    from datetime import datetime
    from zoneinfo import ZoneInfo

    instant = datetime.fromisoformat(text)
    local = instant.astimezone(ZoneInfo(zone))
    return {"at": instant, "local": local.strftime("%a %Y-%m-%d %H:%M:%S %Z"), "offset": local.utcoffset()}


@page(PATH + "/triggers/<trigger_id>", "trigger.control", methods=("POST",))
def flow_trigger_switch(namespace: str, flow_id: str, trigger_id: str) -> Response:
    """Enable, disable or unlock a trigger here."""
    states = lanner().triggers.states
    key = (namespace, flow_id, trigger_id)
    require_here(namespace)
    match request.form.get("do"):
        case "disable":
            states.set_disabled(key, True)
        case "enable":
            states.set_disabled(key, False)
        case "unlock":
            states.unlock(key)
    return redirect(url("flow_triggers", namespace=namespace, flow_id=flow_id))
