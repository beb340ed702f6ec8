"""`lanner trigger`: schedules and other triggers of a server."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from service.cli.client import Client
from service.cli.output import JsonOption, listing, told

app = typer.Typer()
Namespace = Annotated[str, typer.Argument(help="Namespace.")]
Flow = Annotated[str, typer.Argument(help="Flow id.")]
Trigger = Annotated[str, typer.Argument(help="Trigger id.")]
COLUMNS = [
    ("namespace", "NAMESPACE"),
    ("flowId", "FLOW"),
    ("triggerId", "TRIGGER"),
    ("disabled", "DISABLED"),
    ("nextExecutionDate", "NEXT"),
    ("date", "LAST"),
]


@app.command("list")
def list_(
    namespace: Annotated[str | None, typer.Option("--namespace", "-n", help="Namespace and below.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Rows at most.")] = 100,
    as_json: JsonOption = False,
) -> None:
    """Triggers and their next dates."""
    with Client() as client:
        rows = client.pages("triggers/search", {"namespace": namespace}, limit)
    flat = [_flat(row) for row in rows] if not as_json else rows
    listing(flat, COLUMNS, as_json, "no triggers")


@app.command()
def enable(
    namespace: Namespace,
    flow: Flow,
    trigger: Trigger,
    recover: Annotated[str | None, typer.Option(help="Missed fires: ALL, LAST or NONE; default the flow's.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Let a trigger fire again."""
    _set(namespace, flow, trigger, disabled=False, recover=recover, as_json=as_json)


@app.command()
def disable(namespace: Namespace, flow: Flow, trigger: Trigger, as_json: JsonOption = False) -> None:
    """Stop a trigger from firing."""
    _set(namespace, flow, trigger, disabled=True, as_json=as_json)


@app.command()
def backfill(
    namespace: Namespace,
    flow: Flow,
    trigger: Trigger,
    start: Annotated[str, typer.Option(help="First moment, e.g. 2026-01-01T00:00:00Z.")],
    end: Annotated[str | None, typer.Option(help="Last moment; default now.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Run a schedule for past dates."""
    period: dict[str, Any] = {"start": start} | ({"end": end} if end else {})
    with Client() as client:
        body = _id(namespace, flow, trigger) | {"backfill": period}
        answer = client.json("PUT", "triggers/backfill/create", json=body)
    told(f"backfill of {namespace}.{flow}/{trigger} from {start}", answer, as_json)


def _set(namespace: str, flow: str, trigger: str, *, disabled: bool, recover: str | None = None, as_json: bool) -> None:
    body = _id(namespace, flow, trigger) | {"disabled": disabled}
    if recover:
        body["recoverMissedSchedules"] = recover
    with Client() as client:
        answer = client.json("PUT", "triggers/set-disabled", json=body)
    told(f"{'disabled' if disabled else 'enabled'} {namespace}.{flow}/{trigger}", answer, as_json)


def _id(namespace: str, flow: str, trigger: str) -> dict[str, Any]:
    return {"namespace": namespace, "flowId": flow, "triggerId": trigger}


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """Newer servers send ``{abstractTrigger, triggerContext}``, older ones the state alone."""
    context = row.get("triggerContext")
    return {**row, **context} if isinstance(context, dict) else row
