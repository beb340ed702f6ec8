"""The pages of one execution: overview with what went wrong, Gantt, topology, outputs. Logs are in ``logpages``."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import orjson
from flask import Response, request
from sqlalchemy.engine import Connection

from namespaces import revisions
from namespaces.errors import InvalidFlow, NotFound
from namespaces.flows.model import Flow
from namespaces.flows.model import Pause as PauseTask
from namespaces.store.base import to_micros
from runner import queries, queries_counters, reviewing, view
from runner.engine.events import Pause
from runner.engine.states import State
from service.api.context import lanner
from service.api.outputs import load_outputs
from service.ui import explain, inputform, logview, words
from service.ui.site import page, render, url

PATH = "/executions/<namespace>/<flow_id>/<execution_id>"
TABS = (
    ("overview", "Overview", "execution"),
    ("gantt", "Gantt", "execution_gantt"),
    ("logs", "Logs", "execution_logs"),
    ("topology", "Topology", "execution_topology"),
    ("outputs", "Outputs", "execution_outputs"),
)
LARGEST_VALUE = 20_000


def load(connection: Connection, namespace: str, flow_id: str, execution_id: str, tab: str) -> dict[str, Any]:
    """What the head of every page of an execution shows. Raises ``NotFound``."""
    now = lanner().clock.now()
    shape = queries.execution(connection, execution_id, now=now, light=True)
    if shape is None or (shape["namespace"], shape["flowId"]) != (namespace, flow_id):
        raise NotFound(
            f"There is no execution “{execution_id}” of {namespace}.{flow_id}.",
            hint="it may have been deleted or purged; the list shows what is there",
        )
    counts = queries_counters.task_states(connection, execution_id)
    stored = revisions.at_revision(connection, namespace, flow_id, shape["flowRevision"])
    latest = revisions.latest(connection, namespace, flow_id, allow_deleted=True)
    flow = fault = None
    if stored is not None:
        try:
            flow = lanner().registry.parsed(stored)
        except InvalidFlow as error:
            fault = error.message
    place = {"namespace": namespace, "flow_id": flow_id, "execution_id": execution_id}
    if flow is not None:
        flow = flow.bodies.get(shape["loopRun"]["taskId"]) if "loopRun" in shape else flow
    waiting = _waiting(connection, flow, shape["id"], now) if shape["state"]["current"] == "PAUSED" else None
    return {
        "execution": shape,
        "state": shape["state"],
        "counts": counts,
        "done": sum(count for state, count in counts.items() if state in words.ENDED),
        "runs_total": sum(counts.values()),
        "stored": stored,
        "latest": latest,
        "flow": flow,
        "flow_fault": fault,
        "place": place,
        "tab": tab,
        "tab_urls": [(key, text, url(end, **place)) for key, text, end in TABS],
        "shown_labels": [one for one in shape["labels"] if not one["key"].startswith("system.")],
        "paused_fields": _paused_fields(*waiting) if waiting else [],
        **_question(connection, waiting),
        "mark": words.TITLE_MARKS.get(words.state_look(shape["state"]["current"])[2], ""),
        "starter": queries_counters.parent(connection, execution_id),
    }


def _waiting(
    connection: Connection, flow: Flow | None, execution_id: str, now: datetime
) -> tuple[Flow, view.Loaded] | None:
    """What waits for a person: this execution, or an iteration of a Loop in it, however deep."""
    while flow is not None:
        loaded = view.load(connection, execution_id, [Pause(at=now)])
        if loaded is None:
            return None
        iteration = view.paused_iteration(connection, flow, loaded)
        if iteration is None or view.paused_task(flow, loaded) or reviewing.waiting_approvals(flow, loaded):
            return flow, loaded
        inner = view.ONE_EXECUTION.one_or_none(connection, k_id=iteration)
        flow, execution_id = view.body(flow.whole or flow, inner.loop_run), iteration
    return None


def _paused_fields(flow: Flow, loaded: view.Loaded) -> list[Any]:
    """The fields a paused task asks for before it goes on."""
    for run in loaded.value.runs.values():
        task = flow.by_id.get(run.task_id)
        if run.state is State.PAUSED and isinstance(task, PauseTask) and task.on_resume:
            return inputform.fields(task.on_resume)
    return []


def _question(connection: Connection, waiting: tuple[Flow, view.Loaded] | None) -> dict[str, Any]:
    """The decision that is waited for."""
    if waiting is None or not waiting[0].asks_approval:
        return {"question": None}
    flow, loaded = waiting
    found = reviewing.question(connection, flow, loaded.value.id, lanner().clock.now())
    return {"question": found, "question_fields": inputform.fields(found.task.inputs) if found else []}


@page(PATH, "execution.read")
def execution(namespace: str, flow_id: str, execution_id: str) -> Response:
    now = lanner().clock.now()

    def read(connection: Connection) -> dict[str, Any]:
        head = load(connection, namespace, flow_id, execution_id, "overview")
        head["children"] = queries_counters.children(connection, execution_id)
        head["why"] = None
        if head["state"]["current"] in ("FAILED", "WARNING", "KILLED"):
            whole = queries.execution(connection, execution_id, now=now)
            if whole is not None and (
                head["state"]["current"] == "FAILED" or explain.first_failure(whole["taskRunList"])
            ):
                head["why"] = why = explain.explain(connection, whole, now)
                line_url = f"{url('execution_log_line', **head['place'])}?id="
                why["html"] = logview.blocks(
                    logview.in_time(why["lines"]), why.get("number", 1), lambda one: f"{line_url}{one}", 400
                )
        return head

    head = lanner().database.read(read)
    return render("execution_overview.html", **head, timeline=_timeline(head["state"], now))


def _timeline(state: dict[str, Any], now: datetime) -> list[dict[str, Any]]:
    """Each state with its moment and how long it lasted."""
    found = []
    history = state["histories"]
    for index, one in enumerate(history):
        start = datetime.fromisoformat(one["date"])
        following = history[index + 1]["date"] if index + 1 < len(history) else None
        end = datetime.fromisoformat(following) if following else now
        final = one["state"] in words.ENDED
        found.append({"state": one["state"], "at": start, "seconds": None if final else (end - start).total_seconds()})
    return found


@page(PATH + "/gantt", "execution.read")
def execution_gantt(namespace: str, flow_id: str, execution_id: str) -> Response:
    from service.ui import gantt  # drawings are loaded with the first one: a server starts without them

    now = lanner().clock.now()
    opened = request.args.getlist("open")
    offsets = {
        key: int(value)
        for key, _, value in (one.rpartition("~") for one in request.args.getlist("at"))
        if value.isdigit()
    }

    def read(connection: Connection) -> dict[str, Any]:
        head = load(connection, namespace, flow_id, execution_id, "gantt")
        found = queries.task_runs(connection, [(execution_id, namespace, flow_id)], to_micros(now))
        head["runs"] = found[execution_id]
        head["iterations"] = _iterations(connection, execution_id)
        return head

    head = lanner().database.read(read)
    runs = head.pop("runs")
    state = head["state"]
    start = datetime.fromisoformat(state["startDate"]) if "startDate" in state else now
    end = datetime.fromisoformat(state["endDate"]) if state["current"] in words.ENDED and "endDate" in state else now
    ends = [datetime.fromisoformat(run["state"]["endDate"]) for run in runs if "endDate" in run["state"]]
    chart = gantt.chart(runs, start=start, end=max([end, *ends]), opened=opened, offsets=offsets)
    return render("execution_gantt.html", **head, chart=chart, opened=opened, More=gantt.More)


@page(PATH + "/topology", "execution.read")
def execution_topology(namespace: str, flow_id: str, execution_id: str) -> Response:
    from service.ui import topology

    now = lanner().clock.now()

    def read(connection: Connection) -> dict[str, Any]:
        head = load(connection, namespace, flow_id, execution_id, "topology")
        found = queries.task_runs(connection, [(execution_id, namespace, flow_id)], to_micros(now))
        head["all_runs"] = found[execution_id]
        head["iterations"] = _iterations(connection, execution_id)
        return head

    head = lanner().database.read(read)
    flow: Flow | None = head["flow"]
    opened = request.args.getlist("open")
    drawing = outline = None
    if flow is not None:
        wanted = [task.id for task in flow.walk()] if "all" in opened else opened or None
        drawing, outline = topology.draw_flow(flow, wanted), topology.outline(flow)
    runs = _by_task(head.pop("all_runs"), head.pop("iterations"))
    return render("execution_topology.html", **head, drawing=drawing, outline=outline, opened=opened, runs=runs)


_WORST = ("FAILED", "KILLED", "KILLING", "RUNNING", "PAUSED", "RETRYING", "RESTARTED", "QUEUED", "CREATED", "WARNING")


def _iterations(connection: Connection, execution_id: str) -> dict[str, str]:
    """How far each Loop is, by task run: ``50 iterations: 47 Success, 2 Failed, 1 running``."""
    found = {}
    for run_id, counts in queries_counters.iterations(connection, execution_id).items():
        parts = [f"{n:,} {words.state_look(state)[0]}" for state, n in counts["states"].items()]
        if counts["running"]:
            parts.append(f"{counts['running']:,} running")
        total = counts["total"]
        text = f"{total:,} iteration{'' if total == 1 else 's'}"
        found[run_id] = f"{text}: {', '.join(parts)}" if parts else text
    return found


def _by_task(runs: list[dict[str, Any]], iterations: dict[str, str]) -> dict[str, dict[str, str]]:
    """Task id to how it stands: of several runs (a loop) the one that matters most, with how many there are."""
    grouped: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        grouped.setdefault(run["taskId"], []).append(run)
    found = {}
    for task_id, members in grouped.items():
        states = [run["state"]["current"] for run in members]
        state = next((one for one in _WORST if one in states), states[-1])
        word, _, look = words.state_look(state)
        note = words.duration(members[0]["state"].get("duration")) if len(members) == 1 else ""
        if len(members) > 1:
            ended = sum(one in ("SUCCESS", "WARNING", "SKIPPED") for one in states)
            note = f"{ended}/{len(members)}"
        elif members[0]["id"] in iterations:
            note = iterations[members[0]["id"]]
        found[task_id] = {"word": word, "look": look, "note": note}
    return found


@page(PATH + "/outputs", "execution.read")
def execution_outputs(namespace: str, flow_id: str, execution_id: str) -> Response:
    wanted = request.args.get("run", "")

    def read(connection: Connection) -> dict[str, Any]:
        head = load(connection, namespace, flow_id, execution_id, "outputs")
        head["tasks"] = queries.runs_with_outputs(connection, execution_id)
        return head

    head = lanner().database.read(read)
    tasks = head["tasks"]
    chosen = next((one for one in tasks if one["taskRunId"] == wanted), None)
    if chosen is None and not wanted and tasks:
        chosen = tasks[0]
    value = None
    if chosen is not None:
        load_large = load_outputs(lanner())
        value = lanner().database.read(lambda c: queries.run_outputs(c, execution_id, chosen["taskRunId"], load_large))
    return render("execution_outputs.html", **head, chosen=chosen, value=value, largest=LARGEST_VALUE)


@page(PATH + "/preview", "execution.read")
def execution_preview(namespace: str, flow_id: str, execution_id: str) -> Response:
    """The beginning of a file, cut by the server; never run or rendered by the browser."""
    from service.api import execution_files

    uri = request.args.get("path", "")
    found = orjson.loads(execution_files.preview(execution_id).get_data())
    head = lanner().database.read(lambda c: load(c, namespace, flow_id, execution_id, "outputs"))
    return render(
        "execution_preview.html", **head, uri=uri, name=uri.rpartition("/")[2], preview=found, rows=_table(found)
    )


def _table(found: dict[str, Any]) -> list[list[str]] | None:
    """CSV and lists of objects as rows of cells, the first being the head; None for anything else."""
    cut = 2_000
    if found["extension"] in ("csv", "tsv") and isinstance(found["content"], str):
        import csv
        import io

        reader = csv.reader(io.StringIO(found["content"]), delimiter="\t" if found["extension"] == "tsv" else ",")
        return [[cell[:cut] for cell in row] for row in reader][:201]
    if found["type"] == "LIST" and found["content"] and all(isinstance(one, dict) for one in found["content"]):
        names = list(dict.fromkeys(name for one in found["content"] for name in one))
        rows = [
            [("" if one.get(name) is None else str(one.get(name)))[:cut] for name in names] for one in found["content"]
        ]
        return [names, *rows[:200]]
    return None
