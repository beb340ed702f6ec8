"""The form that starts a flow, made from its typed inputs; and its fields alone, as they depend on each other."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import Any

from flask import Response, request

from namespaces.errors import BadRequest, Conflict, InvalidInput, LannerError, TooMany, Unavailable
from namespaces.flows.model import Flow
from namespaces.ids import new_id
from namespaces.inputs import InputState
from runner import queries, queries_counters
from runner.checks import CheckFailed, Failing
from runner.starting import StartRequest
from service.api.context import instant, lanner
from service.api.uploads import Submitted, submitted
from service.ui import flowpages, inputform, markdown
from service.ui.inputform import PREFIX
from service.ui.site import page, redirect, render, url

PATH = "/flows/<namespace>/<flow_id>/execute"


@page(PATH, "execution.run", methods=("GET", "POST"))
def execute(namespace: str, flow_id: str) -> Response:
    head = flowpages.load(namespace, flow_id, "")
    flow = _runnable(head)
    if request.method == "GET":
        values = _prefill(request.args.get("from"))
        return _form(head, flow, values)
    with submitted() as given:
        values = inputs_of(given)
        try:
            started = lanner().executions.start(
                StartRequest(
                    namespace=namespace,
                    flow_id=flow_id,
                    inputs=values,
                    labels=_labels(request.form.get("labels", "")),
                    schedule_date=_schedule(request.form.get("schedule", "")),
                    idempotency_key=request.form.get("key") or None,
                    body_hash=given.digest,
                )
            )
        except (InvalidInput, BadRequest, TooMany, Unavailable) as error:
            return _form(head, flow, values, error)
    return redirect(url("execution", namespace=namespace, flow_id=flow_id, execution_id=started.execution_id))


@page(PATH + "/fields", "execution.run", methods=("POST",))
def execute_fields(namespace: str, flow_id: str) -> Response:
    """The fields for what is filled in so far: dependent ones appear and vanish."""
    head = flowpages.load(namespace, flow_id, "")
    flow = _runnable(head)
    with submitted() as given:
        values = inputs_of(given)
        states, checks = _seen(flow, values)
        return render("execute_fields.html", fields=_fields(flow, states, values), checks=checks)


def _runnable(head: dict[str, Any]) -> Flow:
    stored, flow = head["stored"], head["flow"]
    if stored.deleted:
        raise Conflict(f"Flow “{stored.id}” was deleted.", hint="its revisions stay readable")
    if flow is None:
        raise Conflict(f"Flow “{stored.id}” does not read.", hint="the source tab shows where")
    if stored.disabled or flow.disabled:
        raise Conflict(f"Flow “{stored.id}” is disabled.", hint="take `disabled` out of its source")
    found: Flow = flow
    return found


def inputs_of(given: Submitted) -> dict[str, Any]:
    """Inputs among the form's fields; an empty file field was left alone, ticked boxes become one list."""
    found: dict[str, Any] = {}
    for name, value in given.inputs.items():
        if not name.startswith(PREFIX):
            continue
        if not isinstance(value, str) and value.size == 0:
            continue
        found[name.removeprefix(PREFIX)] = value
    for name in request.form.getlist("many"):
        found[name] = request.form.getlist(PREFIX + name)
        if not found[name]:
            del found[name]
    return found


def _seen(flow: Flow, values: dict[str, Any]) -> tuple[tuple[InputState, ...] | None, tuple[Failing, ...]]:
    """How the server sees these values (None when nothing depends on it), and the checks that do not pass."""
    if not flow.inputs and not flow.checks:
        return None, ()
    door = lanner().executions
    try:
        _, resolved = door.validate_inputs(flow.namespace, flow.id, flow.revision, values)
        return tuple(resolved.details), door.failing_checks(flow, resolved)
    except LannerError:
        return None, ()


def _fields(
    flow: Flow,
    states: tuple[InputState, ...] | None,
    values: dict[str, Any],
    faults: dict[str, list[str]] | None = None,
) -> list[inputform.Field]:
    """With checks every field asks the server when it changes: any of them may decide."""
    fields = inputform.fields(flow.inputs, states, values, faults)
    return [replace(field, depended_on=True) for field in fields] if flow.checks else fields


def _prefill(execution_id: str | None) -> dict[str, Any]:
    """Inputs of an earlier execution, without what is secret."""
    if not execution_id:
        return {}
    now = lanner().clock.now()
    shape = lanner().database.read(lambda c: queries.execution(c, execution_id, now=now, light=True))
    if shape is None:
        return {}
    found: dict[str, Any] = {}

    def flat(prefix: str, value: Any) -> None:
        found[prefix] = value
        if isinstance(value, dict):
            for key, item in value.items():
                flat(f"{prefix}.{key}", item)

    for key, value in (shape.get("inputs") or {}).items():
        flat(key, value)
    return found


def _form(
    head: dict[str, Any],
    flow: Flow,
    values: dict[str, Any],
    error: LannerError | None = None,
) -> Response:
    states, checks = _seen(flow, values)
    refused = isinstance(error, CheckFailed)  # the checks say it themselves
    faults = inputform.faults_of(error.message) if isinstance(error, InvalidInput) and not refused else {}
    fields = _fields(flow, states, values, faults)
    known = {field.input_id for field in fields}
    general = [line for name, lines in faults.items() if name not in known for line in lines]
    if error is not None and not faults and not (refused and checks):
        general = [error.message]
    queued = 0
    if flow.concurrency is not None:
        running = lanner().database.read(lambda c: queries_counters.open_executions(c, (flow.namespace, flow.id)))
        queued = max(0, running - flow.concurrency.limit + 1)
    return render(
        "execute.html",
        error.status if error is not None else 200,
        **head,
        fields=fields,
        checks=checks,
        general=general,
        key=new_id(),
        queued=queued,
        labels=request.form.get("labels", ""),
        schedule=request.form.get("schedule", ""),
        source_id=request.args.get("from", ""),
        curl=_curl(flow),
        described=markdown.rendered(flow.description) if flow.description else "",
        dependent=any(field.depended_on for field in fields),
    )


def _labels(text: str) -> tuple[tuple[str, str], ...]:
    """One ``key:value`` a line (or between commas). Raises ``InvalidInput``."""
    found = []
    for part in text.replace(",", "\n").splitlines():
        if not part.strip():
            continue
        key, colon, value = part.strip().partition(":")
        if not colon or not key.strip() or not value.strip():
            raise InvalidInput(f"Label “{part.strip()[:80]}” is not key:value")
        found.append((key.strip(), value.strip()))
    return tuple(found)


def _schedule(text: str) -> Any:
    """The date to start at, UTC when it names no zone. Raises ``InvalidInput``."""
    return instant(text, "start at") if text.strip() else None


def _curl(flow: Flow) -> str:
    """The same start as a call of the API; nothing typed into the form is in it."""
    base = (lanner().settings.server.url or request.host_url).rstrip("/")
    parts = ["curl -X POST"]
    for one in flow.inputs:
        sample = f"@./{one.id}" if one.type == "FILE" else "…" if one.type == "SECRET" else _sample(one.defaults)
        parts.append(f"-F {shlex.quote(f'{one.id}={sample}')}")
    parts.append(shlex.quote(f"{base}/api/v1/main/executions/{flow.namespace}/{flow.id}"))
    return " \\\n  ".join(parts)


def _sample(default: Any) -> str:
    return "…" if default is None else str(default)
